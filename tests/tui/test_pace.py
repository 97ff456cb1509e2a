"""Progress inside a phase and time left, by the median of recent steps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from grpo_tui.events.records import Mode, Phase
from grpo_tui.events.types import Event, PhaseStarted, Progress, StepFinished
from grpo_tui.tui.loop_lag import KEEP_SECONDS, LoopLag
from grpo_tui.tui.pace import evaluation, phase_share, run_left, step_left
from grpo_tui.tui.view import RunView
from tests.support.apps import stage
from tests.support.builders import PHASE_SECONDS, ScriptedRun
from tests.support.scripted_session import ScriptedSession


def view_at(phase: Phase, gauge: Progress | None = None, slow: int = 0) -> RunView:
    """After ten steps, in a phase of the eleventh; step ``slow`` took a hundred times as long."""
    script = ScriptedRun()
    events: list[Event] = [slowed(event, slow) for event in script.whole(10)]
    for _, event in script.step(11):
        events.append(event)
        if isinstance(event, PhaseStarted) and event.phase is phase:
            break
    return pumped(events, gauge)


def pumped(events: list[Event], gauge: Progress | None) -> RunView:
    session = ScriptedSession(events)
    session.progress = gauge
    view = RunView(session)
    while view.pump():
        pass
    return view


def slowed(event: Event, step: int) -> Event:
    if not isinstance(event, StepFinished) or event.metrics.step != step:
        return event
    phases = {name: 100 * s for name, s in event.metrics.seconds_by_phase.items()}
    return replace(
        event, metrics=replace(event.metrics, seconds=100 * event.metrics.seconds, seconds_by_phase=phases)
    )


def gauge(phase: Phase, done: int, total: int, num_tokens: int = 0) -> Progress:
    return Progress(step=11, phase=phase, done=done, total=total, num_tokens=num_tokens)


def test_share_of_a_phase_is_what_is_counted() -> None:
    assert phase_share(view_at(Phase.UPDATE, gauge(Phase.UPDATE, 3, 8))) == 3 / 8
    assert phase_share(view_at(Phase.UPDATE, gauge(Phase.SCORE, 3, 8))) == 0.0, "a gauge of another phase"
    assert phase_share(view_at(Phase.UPDATE)) == 0.0


def test_sampling_is_measured_by_tokens_against_recent_steps() -> None:
    view = view_at(Phase.SAMPLE)
    expected = sorted(m.num_completion_tokens for m in view.state.history)[4:6]
    half = sum(expected) // 4
    early = view_at(Phase.SAMPLE, gauge(Phase.SAMPLE, 0, 64, half))
    assert phase_share(early) == pytest.approx(0.5, abs=0.01), "although no response has ended yet"
    assert phase_share(view_at(Phase.SAMPLE, gauge(Phase.SAMPLE, 0, 64, 100 * half))) == 0.99
    assert phase_share(view_at(Phase.SAMPLE, gauge(Phase.SAMPLE, 64, 64, half))) == 1.0


def test_step_left_counts_what_is_to_come_and_the_rest_of_this_phase() -> None:
    update, emit = PHASE_SECONDS[5], PHASE_SECONDS[6]
    assert step_left(view_at(Phase.UPDATE, gauge(Phase.UPDATE, 1, 4))) == pytest.approx(0.75 * update + emit)
    assert step_left(view_at(Phase.UPDATE)) == pytest.approx(update + emit)


def test_run_left_is_not_moved_by_one_slow_step() -> None:
    usual = run_left(view_at(Phase.UPDATE))
    assert usual == pytest.approx(49 * sum(PHASE_SECONDS) + PHASE_SECONDS[5] + PHASE_SECONDS[6])
    assert run_left(view_at(Phase.UPDATE, slow=7)) == pytest.approx(usual)


def test_run_left_includes_evaluations_to_come() -> None:
    view = view_at(Phase.UPDATE)
    assert view.state.run is not None
    plain = run_left(view)
    assert plain is not None
    toml = "[eval]\nevery = 20\n"
    view.state = replace(view.state, run=replace(view.state.run, config_toml=toml))
    assert run_left(view) == pytest.approx(plain + 3 * 1.3), "at 20, 40 and 60"


def test_nothing_is_told_before_a_step_was_timed() -> None:
    script = ScriptedRun()
    view = pumped([*script.loading(), script.ready()], None)
    assert run_left(view) is None
    assert step_left(view) is None


def test_an_evaluation_shows_between_steps_and_only_while_it_runs() -> None:
    script = ScriptedRun()
    events = [*script.whole(10), script.ready(Mode.RUNNING, "")]
    at = Progress(step=10, phase=Phase.EMIT, done=12, total=64, unit="held-out problems")
    assert evaluation(pumped(events, at)) is at
    assert evaluation(pumped(events, replace(at, done=64))) is None
    assert evaluation(pumped(events, replace(at, step=9))) is None
    assert evaluation(view_at(Phase.UPDATE, replace(at, step=11))) is None


def test_lag_is_told_of_the_last_minute() -> None:
    lag = LoopLag()
    assert (lag.p95, lag.worst) == (0.0, 0.0)
    lag.record(5.0, 0.0)
    for n in range(100):
        lag.record(n / 1000, KEEP_SECONDS + 1 + n / 100)
    assert lag.worst == 0.099, "what is older is forgotten"
    assert lag.p95 == 0.095
    assert lag.text == "loop lag p95 95 ms, worst 99 ms"


async def test_the_header_shows_an_evaluation_and_the_lag_that_was_asked_for() -> None:
    script = ScriptedRun()
    async with stage([*script.whole(10), script.ready(Mode.RUNNING, "")], script=script) as it:
        it.session.progress = Progress(step=10, phase=Phase.EMIT, done=16, total=64, unit="held-out problems")
        await it.settle()
        assert "▸EVALUATION ██▌······· 16/64 held out" in it.text("header")
        assert "loop lag" not in it.text("header")
        command = next(c for c in it.app.get_system_commands(it.app.screen) if c.title == "Debug: loop lag")
        command.callback()
        await it.settle()
        assert "loop lag p95" in it.text("header")
        command.callback()
        await it.settle()
        assert "loop lag" not in it.text("header")


async def test_the_header_says_what_was_reached_and_what_was_asked_for() -> None:
    async with stage() as it:
        assert "to go" in it.text("header")
        await it.press("space")
        assert "● RUN → pausing…" in it.text("header")
