"""How far the step is and how long it and the run will take, by the median of recent steps: one slow step moves nothing."""

from __future__ import annotations

import statistics

from grpo_tui.events.records import PHASES, Mode, Phase
from grpo_tui.events.types import Progress
from grpo_tui.tui.run_settings import settings_of
from grpo_tui.tui.view import RunView

PACE_STEPS = 10
"""Steps that the median is over."""
ALMOST = 0.99
"""As far as an estimate goes: a phase is done when the engine says so."""


def phase_share(view: RunView) -> float:
    """How much of the present phase is done, from 0 to 1.

    While sampling, responses end late and together; tokens tell more, against those of recent steps.
    """
    gauge = view.phase_gauge
    if gauge is None:
        return 0.0
    share = gauge.done / gauge.total if gauge.total > 0 else 0.0
    recent = view.state.history[-PACE_STEPS:]
    if gauge.phase is Phase.SAMPLE and recent and share < 1:
        expected = statistics.median(m.num_sampled_tokens or m.num_completion_tokens for m in recent)
        if expected > 0:
            share = max(share, min(ALMOST, gauge.num_tokens / expected))
    return min(1.0, share)


def step_left(view: RunView) -> float | None:
    """Seconds to the end of the step in progress; None where none is, or where no step was timed before."""
    state, recent = view.state, view.state.history[-PACE_STEPS:]
    if state.current is None or not recent:
        return None
    left = 0.0
    for phase in PHASES:
        if phase in state.phase_seconds:
            continue
        seconds = statistics.median(m.seconds_by_phase.get(phase.value, 0.0) for m in recent)
        left += seconds * (1 - phase_share(view)) if phase is state.phase else seconds
    return left


def run_left(view: RunView) -> float | None:
    """Seconds to the end of the run, evaluations included; None where it cannot be told."""
    state, recent = view.state, view.state.history[-PACE_STEPS:]
    run = state.run
    if run is None or not recent or not run.total_steps or not view.grows:
        return None
    pace = statistics.median(m.seconds for m in recent)
    whole = max(0, run.total_steps - state.last_step)
    now = step_left(view)
    steps = pace * whole if now is None else pace * max(0, whole - 1) + now
    return steps + _evaluations_left(view, run.total_steps)


def _evaluations_left(view: RunView, total: int) -> float:
    every, evals = settings_of(view.state).eval.every, view.state.evals
    if every <= 0 or not evals:
        return 0.0
    last = view.state.last_step
    count = total // every - last // every + (1 if total % every and total > last else 0)
    return count * statistics.median(e.seconds for e in evals)


def evaluation(view: RunView) -> Progress | None:
    """The gauge of an evaluation in progress: it runs between steps and belongs to no phase."""
    gauge, state = view.gauge, view.state
    between = state.current is None and state.mode in (Mode.RUNNING, Mode.PAUSED)
    if (
        gauge is None
        or not between
        or gauge.of
        or gauge.phase is not Phase.EMIT
        or gauge.step != state.last_step
    ):
        return None
    return gauge if gauge.done < gauge.total else None
