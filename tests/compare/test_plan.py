from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from grpo_tui.compare.plan import (
    SweepResult,
    base_configs,
    choose,
    parse_algorithms,
    passed_over,
    plan_measured,
    plan_sweep,
    step_size_key,
    without_sweep,
)
from grpo_tui.config.algorithms import ALGORITHMS
from grpo_tui.config.errors import ConfigError
from grpo_tui.config.schema import ALGORITHM_NAMES, AlgorithmConfig
from grpo_tui.config.settings import all_settings, value_of
from tests.compare.support import terms

OUT = Path("out")


def test_the_names_of_algorithms() -> None:
    assert parse_algorithms("grpo, rloo") == ("grpo", "rloo")
    assert parse_algorithms("all") == ALGORITHM_NAMES


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("grpoo", "no algorithm 'grpoo'; did you mean 'grpo'?"),
        ("grpo,xyzzy", "no algorithm 'xyzzy'; there are grpo, "),
        ("grpo,rloo,grpo", "'grpo' stands twice"),
        (",", "must name algorithms"),
    ],
)
def test_wrong_names(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        parse_algorithms(text)


def test_the_sweep_is_the_same_for_every_algorithm_and_on_no_measured_seed() -> None:
    asked = terms("grpo", "trpo", num_seeds=100)
    configs = base_configs(asked)
    sweep = plan_sweep(asked, configs, OUT)
    assert [(run.name, run.factor) for run in sweep] == [
        (f"{name}-x{factor}", float(factor)) for name in ("grpo", "trpo") for factor in ("0.5", "1", "2")
    ]
    assert {run.seed for run in sweep} == {1000}
    measured = plan_measured(asked, configs, {"grpo": 1.0, "trpo": 1.0}, OUT)
    assert not {run.seed for run in measured} & {1000}
    assert {run.config.run.max_tokens for run in sweep} == {500}
    assert {run.config.eval.every for run in sweep} == {0}
    assert [run.run_dir for run in sweep[:2]] == [OUT / "sweep" / "grpo-x0.5", OUT / "sweep" / "grpo-x1"]


def test_the_step_size_is_the_learning_rate_or_the_limit_of_kl() -> None:
    asked = terms("grpo", "trpo", overrides=("optim.lr=0.002", "trust_region.kl_limit=0.04"))
    grpo, trpo = base_configs(asked).values()
    assert (step_size_key(grpo), step_size_key(trpo)) == ("optim.lr", "trust_region.kl_limit")
    sweep = plan_sweep(asked, base_configs(asked), OUT)
    assert [run.step_size for run in sweep] == pytest.approx([0.001, 0.002, 0.004, 0.02, 0.04, 0.08])
    assert {run.config.optim.lr for run in sweep if run.algorithm == "trpo"} == {0.002}


def test_measured_runs_are_equal_but_for_the_algorithms_own_parts() -> None:
    asked = terms(*ALGORITHM_NAMES, num_seeds=1)
    runs = plan_measured(asked, base_configs(asked), dict.fromkeys(ALGORITHM_NAMES, 1.0), OUT)
    own = {key for row in ALGORITHMS.values() for key in row} | {"algorithm.name", "run.name"}
    for key in set(all_settings()) - own:
        assert len({value_of(run.config, key) for run in runs}) == 1, key
    for run in runs:
        for key, value in ALGORITHMS[run.algorithm].items():
            assert value_of(run.config, key) == value


def test_measured_runs_measure_and_evaluate_at_both_ends_only() -> None:
    asked = terms("grpo")
    first, second = plan_measured(asked, base_configs(asked), {"grpo": 2.0}, OUT)
    assert (first.name, first.seed, second.name, second.seed) == ("grpo-seed0", 0, "grpo-seed1", 1)
    config = first.config
    assert config.algorithm.measure_kl_step
    assert config.algorithm.measure_gradient_noise
    assert config.eval.every == config.run.steps == config.run.checkpoint_every
    assert config.run.max_tokens == 1000
    assert config.optim.lr == 0.002
    # 64 completions of at least a token in a step: 1,000 tokens are sampled before the steps are used up.
    assert config.run.steps * 64 > 1000
    assert replace(second.config, run=first.config.run) == first.config


def test_seeds_go_on_from_the_configs_own_and_take_turns() -> None:
    asked = terms("grpo", "rloo", overrides=("run.seed=7",))
    runs = plan_measured(asked, base_configs(asked), {"grpo": 1.0, "rloo": 1.0}, OUT)
    assert [run.name for run in runs] == ["grpo-seed7", "rloo-seed7", "grpo-seed8", "rloo-seed8"]


def test_an_algorithm_without_a_step_size_is_not_run() -> None:
    asked = terms("grpo", "rloo")
    assert {run.algorithm for run in plan_measured(asked, base_configs(asked), {"rloo": 1.0}, OUT)} == {
        "rloo"
    }


def test_what_a_user_sets_holds_for_every_algorithm_and_the_rest_is_the_rows() -> None:
    asked = terms("grpo", "dr_grpo", overrides=("algorithm.num_minibatches=2",))
    grpo, dr_grpo = base_configs(asked).values()
    assert (grpo.algorithm.num_minibatches, dr_grpo.algorithm.num_minibatches) == (2, 2)
    assert (grpo.algorithm.beta, dr_grpo.algorithm.beta) == (0.04, 0.0)


def test_what_a_user_sets_and_a_comparison_decides_is_told(tmp_path: Path) -> None:
    """Seen to fail with: what the preset sets told too, or what the file sets not."""

    def told(**changes: object) -> list[str]:
        asked = terms("grpo", "trpo", **changes)
        return passed_over(asked, base_configs(asked), OUT)

    assert told(preset="gsm8k") == []
    kept = ("sampling.max_completion_tokens=9", "optim.lr=0.5", "run.seed=3", "sampling.group_size=4")
    assert told(overrides=kept) == []
    mine = told(overrides=("steps=5", "run.name=mine", *kept, "eval.every=1"))
    assert sorted(mine) == ["eval.every=1", "run.name=mine", "run.steps=5"]
    file = tmp_path / "mine.toml"
    file.write_text("[run]\nsteps = 7\nmax_tokens = 9\n[optim]\nlr = 0.1\n")
    assert sorted(told(config_file=file)) == ["run.max_tokens=9", "run.steps=7"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("algorithm.name=rloo", "the algorithms compared are those of --algorithms"),
        ("optim.schedule=linear", "optim.schedule: is 'linear'"),
        ("optim.lr=0", "optim.lr: is 0"),
        ("optim.lrr=0", "did you mean 'optim.lr'?"),
    ],
)
def test_settings_that_cannot_be_compared(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        base_configs(terms("grpo", overrides=(override,)))


def swept(factor: float, reward: float | None, algorithm: str = "grpo") -> SweepResult:
    return SweepResult(algorithm=algorithm, factor=factor, step_size=factor / 100, reward=reward)


def test_the_most_reward_is_chosen() -> None:
    results = [swept(0.5, 0.2), swept(1, 0.4), swept(2, 0.3), *(swept(f, f, "rloo") for f in (0.5, 1, 2))]
    chosen = choose(results)
    assert (chosen["grpo"].factor, chosen["grpo"].step_size, chosen["grpo"].at_edge) == (1, 0.01, False)
    assert (chosen["rloo"].factor, chosen["rloo"].at_edge) == (2, True)


def test_of_equal_rewards_the_smallest_step_is_chosen() -> None:
    assert choose([swept(0.5, 0.1), swept(1, 0.4), swept(2, 0.4)])["grpo"].factor == 1


def test_a_failed_run_is_not_chosen() -> None:
    assert choose([swept(0.5, 0.1), swept(1, None)])["grpo"].factor == 0.5
    assert choose([swept(0.5, None), swept(1, None)]) == {}


def test_one_factor_is_no_sweep() -> None:
    asked = terms("grpo", factors=(2.0,))
    configs = base_configs(asked)
    assert plan_sweep(asked, configs, OUT) == []
    choice = without_sweep(asked, configs)["grpo"]
    assert (choice.factor, choice.step_size, choice.at_edge) == (2.0, 0.002, False)


def test_every_measure_that_costs_time_is_known_here() -> None:
    """A new one has to be thought of in plan.py as well."""
    assert {item.name for item in fields(AlgorithmConfig) if item.name.startswith("measure")} == {
        "measure_kl_ref",
        "measure_kl_step",
        "measure_gradient_noise",
    }
