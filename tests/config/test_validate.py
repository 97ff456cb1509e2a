"""Settings that contradict each other are refused; those that do nothing or harm are warned of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from grpo_tui.config import (
    ConfigError,
    OptimConfig,
    RewardConfig,
    RunConfig,
    RunSettings,
    load_config,
    notes_for,
    validate,
    warnings_for,
)
from grpo_tui.config.algorithms import ALGORITHMS


@pytest.mark.parametrize(
    ("overrides", "key", "said"),
    [
        (("num_minibatches=65",), "algorithm.num_minibatches", "only 64 completions (8 prompts × 8)"),
        (("warmup_steps=100",), "optim.warmup_steps", "use fewer than 100"),
        (("reward.weights.math=0",), "reward.weights", "all 0"),
        (("reward.weights={}",), "reward.weights", "at least one reward"),
        (("reward.weights={' ' = 1}",), "reward.weights", "without a name"),
        (
            ("reward.weights.learned=1",),
            "reward.learned_model",
            "train a model with: grpo-tui train-reward RUN",
        ),
        (("reward.weights.learned=0",), "reward.learned_model", "is empty"),
        (("prompt_template=no place",), "data.prompt_template", "must hold {prompt}"),
        (("answer_field=prompt",), "data.answer_field", "the column of the prompt as well"),
        (("prompt_field=",), "data.prompt_field", "must not be empty"),
        (("split=",), "data.split", "must not be empty"),
        (("data.source= ",), "data.source", "must name a source"),
        (("model.source=",), "model.source", "must name a model"),
        (("device=gpu",), "model.device", "must be 'auto', 'cpu', 'cuda' or 'cuda:N', not 'gpu'"),
        (("device=cuda:",), "model.device", "must be 'auto'"),
        (("run.name=../up",), "run.name", "used for a folder"),
        (("run.name=a/b",), "run.name", "used for a folder"),
        (("run.name=" + "x" * 101,), "run.name", "used for a folder"),
        (("ahead=true", "sampler=trusted"), "sampling.ahead", "the very weights that move meanwhile"),
        (("ahead=true", "algorithm.name=reinforce"), "sampling.ahead", "has nothing that corrects"),
        (("ahead=true", "algorithm.name=rloo"), "sampling.ahead", "has nothing that corrects"),
        (("ahead=true", "algorithm.name=trpo"), "sampling.ahead", "a trust region is laid around"),
        (
            ("ahead=true", "kl_anchor=old", "kl_estimator=exact"),
            "sampling.ahead",
            "would need its weights, one update ago",
        ),
    ],
)
def test_contradictions(overrides: tuple[str, ...], key: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=overrides)
    assert caught.value.key == key
    assert said in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(ALGORITHMS) - {"reinforce", "rloo", "trpo"}))
def test_what_has_a_ratio_can_be_drawn_ahead(name: str) -> None:
    config = load_config(overrides=["sampling.ahead=true", f"algorithm.name={name}"])
    assert any(note.startswith("sampling.ahead: every step but the first") for note in notes_for(config))
    assert not any("does nothing until num_epochs" in note for note in notes_for(config))
    unbounded = [line for line in warnings_for(config) if line.startswith("sampling.ahead")]
    assert bool(unbounded) == (config.algorithm.clip == "none")
    assert not any("has value 0 and gradient 0" in line for line in warnings_for(config))


def test_of_steps_that_are_not_drawn_ahead_nothing_is_said() -> None:
    config = load_config()
    assert not config.sampling.ahead
    assert not any("sampling.ahead" in line for line in (*notes_for(config), *warnings_for(config)))
    assert any("does nothing until num_epochs" in note for note in notes_for(config))


@pytest.mark.parametrize(
    "override",
    ["num_minibatches=64", "warmup_steps=99", "device=cuda:1", "run.name=täst 1", "aggregation=constant"],
)
def test_what_is_allowed_just_so(override: str) -> None:
    load_config(overrides=[override])


def test_a_config_made_in_python_is_checked_as_well() -> None:
    with pytest.raises(ConfigError, match=r"^config: optim\.lr: must be at least 0, not -1$"):
        validate(replace(RunConfig(), optim=OptimConfig(lr=-1.0)))
    with pytest.raises(ConfigError, match=r"^trainer: run\.steps: must be a whole number, not 1\.5$"):
        validate(replace(RunConfig(), run=RunSettings(steps=1.5)), where="trainer")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"nothing to learn"):
        validate(replace(RunConfig(), reward=RewardConfig(weights={"math": 0.0})))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("lr=0", "the adapter will not change"),
        ("lr=0.1", "outside the range usual for LoRA, 1e-06 to 0.01"),
        ("lr=1e-7", "outside the range usual for LoRA"),
        ("top_p=0.9", "drawn from a cut distribution"),
        ("top_k=5", "drawn from a cut distribution"),
        ("sampling.temperature=0.1", "equal completions"),
        ("kl_estimator=k1", "has an expected gradient of 0"),
        ("lora_dropout=0.1", "not that of the policy that sampled"),
        ("group_size=2", "±0.71"),
        ("eval.every=101", "not evaluated on the way"),
        ("max_tokens_per_microbatch=100", "over the budget"),
        ("algorithm.name=trpo,optim.gradient_checkpointing=true", "which differentiates twice"),
        ("learned_model=my_reward", "reward.weights does not name 'learned'"),
    ],
)
def test_warnings(override: str, said: str) -> None:
    (warning,) = warnings_for(load_config(overrides=override.split(",")))
    assert said in warning


def test_kl_that_nobody_measures() -> None:
    assert warnings_for(load_config(overrides=["beta=0"])) == []
    (warning,) = warnings_for(load_config(overrides=["beta=0", "measure_kl_ref=false", "kl_estimator=k1"]))
    assert "greyed out" in warning


def test_the_defaults_give_no_warning_but_facts_worth_knowing() -> None:
    assert warnings_for(RunConfig()) == []
    facts = " ".join(notes_for(RunConfig()))
    assert "the other direction" in facts
    assert "algorithm.clip 'bounds' does nothing" in facts
    (own,) = notes_for(load_config(overrides=["kl_estimator=k2", "num_minibatches=2"]))
    assert own == (
        "algorithm.name 'grpo' with parts of your own: algorithm.kl_estimator k2, algorithm.num_minibatches 2"
    )
    own, fact = notes_for(load_config(overrides=["beta=0", "num_epochs=2", "reward.weights.format=0"]))
    assert "algorithm.beta 0.0, algorithm.num_epochs 2" in own
    assert "format is measured but not paid" in fact
