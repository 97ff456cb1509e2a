"""Names of algorithms: what they set, who wins over them, which parts do not go together, and what is said at start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from grpo_tui.config import (
    ConfigError,
    RunConfig,
    apply_overrides,
    from_dict,
    load_config,
    notes_for,
    to_toml,
    trace_config,
    validate,
    value_of,
    warnings_for,
)
from grpo_tui.config.algorithms import ALGORITHMS, changed_parts, with_algorithm
from grpo_tui.config.schema import ALGORITHM_NAMES


@pytest.mark.parametrize("name", ALGORITHM_NAMES)
def test_a_name_sets_every_part(name: str) -> None:
    # Seen to fail: only the parts that differ from the defaults set.
    config = load_config(overrides=[f"algorithm.name={name}"])
    assert config.algorithm.name == name
    for key, value in ALGORITHMS[name].items():
        assert value_of(config, key) == value, key
    assert changed_parts(config) == {}
    # Whatever was there before, of the parts nothing stays.
    crowded = load_config(overrides=["algorithm.name=dapo", "algorithm.beta=0.7", "algorithm.num_epochs=3"])
    assert with_algorithm(crowded, name) == replace(config, algorithm=replace(config.algorithm, name=name))
    validate(config)


def test_every_row_sets_the_same_keys_and_no_measurement() -> None:
    keys = set(ALGORITHMS["grpo"])
    assert all(set(row) == keys for row in ALGORITHMS.values())
    assert not any("measure" in key or key == "algorithm.name" for key in keys)
    assert {"groups.resample_tries", "groups.overlong_penalty", "algorithm.update"} < keys


def test_the_default_is_grpo_as_the_schema_has_it() -> None:
    assert with_algorithm(RunConfig(), "grpo") == RunConfig()


def test_measurements_and_other_groups_settings_stay() -> None:
    chosen = ("measure_kl_step=true", "mask_truncated=true", "max_group_size=16")
    config = load_config(overrides=[*chosen, "algorithm.name=dr_grpo"])
    assert config.algorithm.measure_kl_step
    assert config.groups.mask_truncated
    assert config.groups.max_group_size == 16


# --- who wins --------------------------------------------------------------------------------------------


def file_with(folder: Path, text: str) -> Path:
    file = folder / "run.toml"
    file.write_text(text, "utf-8")
    return file


def test_a_part_set_beside_the_name_wins_over_its_row(tmp_path: Path) -> None:
    # Seen to fail: overrides in the order given, so that a name after a part undid it.
    for pairs in (["algorithm.name=dapo", "beta=0.1"], ["beta=0.1", "algorithm.name=dapo"]):
        config = load_config(overrides=pairs)
        assert (config.algorithm.beta, config.algorithm.clip_high) == (0.1, 0.28)
        assert changed_parts(config) == {"algorithm.beta": 0.1}
    file = file_with(tmp_path, '[algorithm]\nbeta = 0.1\nname = "dapo"\n')
    assert load_config(file=file) == load_config(overrides=["algorithm.name=dapo", "beta=0.1"])


def test_a_name_in_a_later_source_takes_the_parts_of_an_earlier_one_away(tmp_path: Path) -> None:
    file = file_with(tmp_path, '[algorithm]\nname = "dapo"\nbeta = 0.1\n[groups]\nmask_truncated = true\n')
    config = load_config(file=file, overrides=["algorithm.name=gspo"])
    assert config.algorithm == load_config(overrides=["algorithm.name=gspo"]).algorithm
    assert config.groups.resample_tries == 0
    assert config.groups.mask_truncated
    assert load_config(file=file, overrides=["num_epochs=2"]).algorithm.beta == 0.1
    assert apply_overrides(load_config(file=file), ["algorithm.name=grpo"]).algorithm == RunConfig().algorithm


def test_a_preset_s_parts_give_way_to_a_name_in_the_file(tmp_path: Path) -> None:
    file = file_with(tmp_path, '[algorithm]\nname = "cispo"\n')
    config = load_config(preset="tiny", file=file)
    assert changed_parts(config) == {}
    assert config.algorithm.clip == "cispo"


def test_where_a_part_comes_from_is_told() -> None:
    origins = trace_config(overrides=["algorithm.name=dapo", "beta=0.1"]).origins
    assert origins["algorithm.name"] == "--set algorithm.name=dapo"
    assert origins["algorithm.clip_high"] == origins["groups.resample_tries"] == "algorithm dapo"
    assert origins["algorithm.beta"] == "--set beta=0.1"
    assert origins["optim.lr"] == "default"


@pytest.mark.parametrize("name", ALGORITHM_NAMES)
def test_a_written_config_reads_back_whatever_its_parts(tmp_path: Path, name: str) -> None:
    mixed = load_config(overrides=[f"algorithm.name={name}", "clip_low=0.15", "baseline_decay=0.5"])
    assert load_config(file=file_with(tmp_path, to_toml(mixed))) == mixed


def test_a_dictionary_that_names_an_algorithm_gets_its_parts() -> None:
    # Seen to fail: the name alone, with GRPO's parts.
    config = from_dict({"algorithm": {"name": "dapo", "beta": 0.1}, "run": {"steps": 5}})
    assert config == load_config(overrides=["algorithm.name=dapo", "beta=0.1", "run.steps=5"])


# --- what does not go together ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "key", "said"),
    [
        (("group_size=1",), "sampling.group_size", "'zscore' compares the completions of a group"),
        (("algorithm.name=rloo", "group_size=1"), "sampling.group_size", "'leave_one_out' compares"),
        (("max_group_size=4",), "groups.max_group_size", "below sampling.group_size 8"),
        (("advantage=ema", "max_group_size=16"), "groups.max_group_size", "would bias the gradient; use 0"),
        (("ratio=none",), "algorithm.clip", "there is no ratio to clip; use 'none'"),
        (("clip_delta=1.2",), "algorithm.clip_delta", "not above 1 + clip_high (1.2)"),
        (("kl_in=reward", "kl_estimator=exact"), "algorithm.kl_estimator", "which only a loss can have"),
        (("kl_in=reward", "kl_estimator=k3_ratio"), "algorithm.kl_estimator", "'k1', 'k2' or 'k3'"),
        (("algorithm.name=trpo", "dtype=bf16"), "model.dtype", "needs 'fp32'"),
        (("algorithm.name=trpo", "num_epochs=2"), "algorithm.num_epochs", "one step on the whole rollout"),
        (("algorithm.name=trpo", "num_minibatches=2"), "algorithm.num_minibatches", "use 1"),
        (("algorithm.name=trpo", "ratio=none"), "algorithm.ratio", "needs the surrogate"),
        (("algorithm.name=trpo", "advantage=gae"), "algorithm.advantage", "has no critic; use 'mean'"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(
    overrides: tuple[str, ...], key: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=overrides)
    assert caught.value.key == key
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["reinforce", "ppo"])
def test_one_completion_a_prompt_where_groups_are_not_compared(name: str) -> None:
    assert load_config(overrides=[f"algorithm.name={name}", "group_size=1"]).sampling.group_size == 1


@pytest.mark.parametrize(
    "override", ["max_group_size=8", "clip_delta=1.21", "advantage=none", "algorithm.name=trpo"]
)
def test_what_is_allowed_just_so(override: str) -> None:
    load_config(overrides=[override])


# --- what is said at the start ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALGORITHM_NAMES)
def test_a_row_as_it_stands_is_warned_of_only_where_its_source_is(name: str) -> None:
    said = warnings_for(load_config(overrides=[f"algorithm.name={name}"]))
    # The textbook outline anchors KL at the old policy, where a single update feels nothing of it.
    assert [line.split(":")[0] for line in said] == (
        ["algorithm.kl_anchor 'old' with one gradient step a rollout batch"] if name == "grpo_basic" else []
    )


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("kl_anchor=old",), "has value 0 and gradient 0 there, so algorithm.beta 0.04 does nothing"),
        (("algorithm.name=rloo", "beta=0.1", "kl_anchor=old", "kl_estimator=k2"), "does nothing"),
        (("kl_anchor=old", "num_epochs=2"), "estimates no KL; use 'k3_ratio' or 'exact'"),
        (("kl_in=reward",), "the deviation is that of the KL alone"),
        (("algorithm.name=grpo_basic", "num_epochs=2", "max_completion_tokens=257"), "53 % of 1,024-token"),
        (("algorithm.name=rloo", "num_epochs=2"), "nothing corrects for it"),
        (("algorithm.name=vespo", "ratio=token"), "the published form has 'sequence_product'"),
        (("algorithm.name=reinforce", "resample_tries=2"), "groups.resample_tries does nothing"),
        (("algorithm.name=ppo", "run.steps=10"), "the policy stays frozen throughout"),
        (("top_p=0.9", "top_k=40"), "sampling.top_p 0.9 and top_k 40: completions are drawn from a cut"),
    ],
)
def test_warnings_about_parts(overrides: tuple[str, ...], said: str) -> None:
    (warning,) = warnings_for(load_config(overrides=overrides))
    assert said in warning


@pytest.mark.parametrize(
    "overrides",
    [
        ("kl_anchor=old", "num_epochs=2", "kl_estimator=k3_ratio"),
        ("kl_in=reward", "advantage=mean"),
        ("kl_anchor=old", "beta=0"),
        ("algorithm.name=grpo_basic", "num_epochs=2", "max_completion_tokens=256"),
        ("algorithm.name=vespo", "max_completion_tokens=1024"),
        ("algorithm.name=ppo", "run.steps=11"),
    ],
)
def test_no_warning_where_there_is_nothing_to_warn_of(overrides: tuple[str, ...]) -> None:
    # Seen to fail: a warning about KL to the old policy whatever the number of updates.
    assert warnings_for(load_config(overrides=overrides)) == []


def test_k3_in_the_loss_is_a_fact_worth_knowing_only_there() -> None:
    def said(*overrides: str) -> bool:
        return any("the other direction" in note for note in notes_for(load_config(overrides=overrides)))

    assert said()
    for quiet in (("kl_estimator=k2",), ("kl_estimator=k3_ratio",), ("beta=0",), ("kl_in=reward",)):
        assert not said(*quiet), quiet


def test_a_clip_that_cannot_act_is_told() -> None:
    def said(*overrides: str) -> bool:
        return any("does nothing until" in note for note in notes_for(load_config(overrides=overrides)))

    assert said()
    assert said("algorithm.name=gspo")
    for quiet in (("num_epochs=2",), ("num_minibatches=2",), ("clip=none",), ("algorithm.name=rloo",)):
        assert not said(*quiet), quiet


def test_parts_of_one_s_own_are_told_by_name() -> None:
    notes = notes_for(load_config(overrides=["algorithm.name=dapo", "beta=0.1", "resample_tries=0"]))
    assert (
        "algorithm.name 'dapo' with parts of your own: algorithm.beta 0.1, groups.resample_tries 0" in notes
    )
