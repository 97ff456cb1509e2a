"""The table of when a setting is read, held against the engine: every read of every setting is watched."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from grpo_tui.config.algorithms import ALGORITHMS
from grpo_tui.config.load import apply_overrides
from grpo_tui.config.schema import RunConfig
from grpo_tui.config.settings import all_settings, value_of
from grpo_tui.config.tuning import READ_FIRST, Reading, locked_reason, refusal, when_text
from grpo_tui.engine.control import Control, Gate
from grpo_tui.engine.step import run_step
from grpo_tui.events.records import PHASES, Phase
from grpo_tui.events.types import PhaseStarted
from tests.engine.support import Events, small_config, trainer_of

READ_FROM_THE_START = {"run.seed", "sampling.sampler"}
"""Locked settings that a step reads, or may read."""


class Watched:
    """Stands for a config, or a table of one, and notes what is read of it."""

    def __init__(self, inner: Any, table: str, note: Any) -> None:
        self.__dict__.update(_inner=inner, _table=table, _note=note)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if self._table:
            self._note(f"{self._table}.{name}")
            return value
        return Watched(value, name, self._note)


def first_readings(config: RunConfig, steps: int = 1) -> dict[str, set[Phase]]:
    """Key to the phases that first read it, in some steps."""
    found: dict[str, set[Phase]] = {}
    events = Events()
    with trainer_of(config, events) as trainer:
        read_in_step: dict[str, Phase] = {}

        def note(key: str) -> None:
            phase = next((e.phase for e in reversed(events) if isinstance(e, PhaseStarted)), None)
            if phase is not None:
                read_in_step.setdefault(key, phase)

        watched: Any = Watched(config, "", note)
        trainer.config = watched
        gate = Gate(Control(start_paused=False), trainer.emit)
        for step in range(1, steps + 1):
            gate.between_steps(step)
            events.clear()
            read_in_step.clear()
            run_step(trainer, gate)
            for key, phase in read_in_step.items():
                found.setdefault(key, set()).add(phase)
    return found


VARIANTS = {
    **{name: (f"algorithm.name={name}",) for name in ALGORITHMS},
    "off policy": ("algorithm.num_epochs=2", "algorithm.num_minibatches=2", "measure_kl_step=true"),
    "kl in reward": ("algorithm.advantage=mean", "algorithm.kl_in=reward", "algorithm.kl_estimator=k1"),
    "growing": ("groups.max_group_size=8", "groups.resample_tries=2", "groups.overlong_penalty=0.5"),
    "masked": ("groups.mask_truncated=true", "measure_kl_ref=false", "beta=0", "measure_gradient_noise=true"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_nothing_is_read_before_the_table_says(name: str) -> None:
    found = first_readings(small_config(*VARIANTS[name]))
    assert len(found) > 15
    for key, phases in found.items():
        reading = READ_FIRST.get(key)
        if reading is None:
            assert key in READ_FROM_THE_START or key.startswith(("model.", "algorithm.update")), key
            continue
        assert reading is not Reading.BETWEEN, f"{key} is read in a step, by {phases}"
        first = min(PHASES.index(phase) for phase in phases)
        assert first >= PHASES.index(Phase(reading)), f"{key} is read first by {PHASES[first]}"


def test_the_watch_sees() -> None:
    """Where the engine surely reads."""
    found = first_readings(small_config())
    assert found["sampling.group_size"] == {Phase.PROBLEMS}
    assert found["sampling.temperature"] == {Phase.SAMPLE}
    assert found["optim.lr"] == {Phase.UPDATE}
    assert found["algorithm.num_epochs"] == {Phase.REFERENCE}


def test_every_setting_can_change_or_says_why_not() -> None:
    config = RunConfig()
    assert READ_FIRST.keys() <= all_settings().keys()
    for key in all_settings():
        reason = locked_reason(key, config)
        assert bool(when_text(key)) == (key in READ_FIRST)
        assert reason or key in READ_FIRST
        assert "\n" not in reason
        assert len(reason) < 90
    for table in fields(RunConfig):
        assert any(key.startswith(f"{table.name}.") for key in all_settings())


@pytest.mark.parametrize("algorithm", ["grpo", "ppo", "trpo"])
def test_what_is_locked_depends_on_the_machinery(algorithm: str) -> None:
    config = small_config(f"algorithm.name={algorithm}")
    assert bool(locked_reason("critic.value_lr", config)) == (algorithm != "ppo")
    assert bool(locked_reason("trust_region.kl_limit", config)) == (algorithm != "trpo")


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        ("grpo", "dapo", True),
        ("grpo", "reinforce", True),
        ("grpo", "ppo", False),
        ("ppo", "grpo", False),
        ("grpo", "trpo", False),
        ("trpo", "grpo", False),
    ],
)
def test_from_one_algorithm_to_another(before: str, after: str, allowed: bool) -> None:
    old = small_config(f"algorithm.name={before}")
    new = apply_overrides(old, [f"algorithm.name={after}"])
    assert value_of(new, "algorithm.name") == after
    assert (refusal(old, new) == "") is allowed
