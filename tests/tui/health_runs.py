"""Runs for the checks of health: quiet ones, and the same with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from grpo_tui.events.records import EvalRecord, StepMetrics
from grpo_tui.events.state import RunState
from grpo_tui.events.types import RunStarted, StepFinished
from grpo_tui.ops.intervals import wilson_interval
from grpo_tui.tui.health.checks import examine
from grpo_tui.tui.health.finding import Finding, Level
from tests.support.builders import ScriptedRun

Changes = Callable[[int], dict[str, Any]]
"""From a step to the fields that differ there."""


def quiet_step(step: int) -> StepMetrics:
    """A step with which nothing is wrong: 64 responses in 8 groups, all measures level with a little noise."""
    wobble = 0.01 * (step % 3 - 1)
    return replace(
        TEMPLATE,
        step=step,
        reward_mean=0.5 + wobble,
        accuracy=0.5 + wobble,
        component_means={"math": 0.5 + wobble},
        verdict_counts={"correct": 32, "wrong": 32},
        kl_ref=0.02 + wobble / 10,
        entropy=1.0 + wobble,
        grad_norm=1.0 + wobble,
        clip_fraction=0.01,
        learning_rate=1e-4,
        num_completions=64,
        num_groups=8,
        num_degenerate_groups=0,
        degenerate_causes={},
        num_truncated=0,
    )


TEMPLATE = next(event.metrics for _, event in ScriptedRun().step(1) if isinstance(event, StepFinished))


def run(
    steps: int = 20, changes: Changes = lambda _step: {}, *, toml: str = "", evals: Sequence[EvalRecord] = ()
) -> RunState:
    """A run of so many steps."""
    started = RunStarted(time=0.0, run_dir="r", name="r", total_steps=100, finished_steps=0, config_toml=toml)
    history = tuple(replace(quiet_step(step), **changes(step)) for step in range(1, steps + 1))
    return RunState(run=started, history=history, evals=tuple(evals))


def finding(state: RunState, check: str, upto: int | None = None) -> Finding | None:
    """What a check says."""
    return next((f for f in examine(state, upto) if f.check == check), None)


def level(state: RunState, check: str) -> Level:
    """Its level; the check must speak."""
    found = finding(state, check)
    assert found is not None, f"{check} says nothing"
    assert bool(found.advice) == bool(found.level), "advice where something is wrong, and only there"
    return found.level


def evaluation(step: int, right: int, of: int = 200) -> EvalRecord:
    """An evaluation with its Wilson interval."""
    low, high = wilson_interval(right, of)
    return EvalRecord(step=step, accuracy=right / of, low=low, high=high, num_problems=of, seconds=1.0)
