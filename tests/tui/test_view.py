"""Rules of browsing, sorting and asking, without any screen."""

from __future__ import annotations

from grpo_tui.events.commands import Pause, Resume, Retry, StepOnce, StepPhase, Stop
from grpo_tui.events.records import Mode, Phase
from grpo_tui.events.types import Event, PhaseStarted, Progress, RunEnded, StepStarted
from grpo_tui.tui.view import RunView
from tests.support.apps import failure, mid_training, paused_after
from tests.support.builders import T0, ScriptedRun
from tests.support.scripted_session import ScriptedSession


def look(events: list[Event], *, read_only: bool = False) -> tuple[RunView, ScriptedSession]:
    session = ScriptedSession(events, read_only=read_only)
    view = RunView(session, now=lambda: T0)
    while view.pump(budget=10.0):
        pass
    return view, session


def asked(view: RunView) -> str:
    return view.request.label if view.request is not None else ""


def test_live_shows_the_step_in_progress_once_it_has_groups() -> None:
    script = ScriptedRun()
    view, session = look(paused_after(script, 3))
    assert view.shown_step == 3
    events = [event for _, event in script.step(4)]
    session.play(events[0])
    view.pump()
    assert (view.training_step, view.shown_step) == (4, 3), "no groups yet: the last step stays"
    session.play(*events[1:6])
    view.pump()
    assert view.shown_step == 4


def test_going_through_time_and_back() -> None:
    view, session = look(mid_training(ScriptedRun()))
    assert view.is_live
    assert not view.move_step(1), "there is nothing after live"
    assert view.move_step(-1)
    assert view.shown_step == 38
    view.move_step(-10)
    assert view.shown_step == 28
    assert session.loaded == [28], "old steps come from the run file, recent ones from memory"
    assert view.metrics is not None
    assert view.metrics.step == 28
    view.move_step(-100)
    assert view.shown_step == 1
    assert not view.move_step(-1)
    view.move_step(37)
    assert (view.shown_step, view.is_live) == (38, False)
    view.move_step(1)
    assert view.is_live


def test_between_steps_the_last_step_is_live() -> None:
    view, _ = look(paused_after(ScriptedRun(), 5))
    view.move_step(-1)
    assert view.shown_step == 4
    view.move_step(1)
    assert view.is_live
    assert view.shown_step == 5


def test_a_step_that_was_never_recorded_has_no_groups() -> None:
    view, session = look(mid_training(ScriptedRun()))
    session.steps.clear()
    view.move_step(-20)
    assert (view.shown_step, view.groups, view.group, view.completion) == (19, [], None, None)
    assert view.metrics is not None, "its metrics are still known"
    view.move_group(1)
    view.move_answer(1)


def test_sorting_keeps_the_picked_group() -> None:
    view, _ = look(mid_training(ScriptedRun()))
    spreads = [group.reward_std or 0.0 for group in view.groups]
    assert spreads == sorted(spreads, reverse=True), "what teaches comes first"
    view.move_group(2)
    picked = view.group
    assert picked is not None
    assert view.cycle_sort() == "order"
    assert view.group is picked
    assert [group.index for group in view.groups] == list(range(8))
    assert view.cycle_sort() == "reward"
    assert view.group is picked
    means = [group.reward_mean or 0.0 for group in view.groups]
    assert means == sorted(means, reverse=True)


def test_moving_stops_at_the_ends() -> None:
    view, _ = look(mid_training(ScriptedRun()))
    view.move_group(-5)
    assert view.row_of(view.groups) == 0
    view.move_group(100)
    assert view.row_of(view.groups) == 7
    view.move_answer(100)
    assert view.completion is not None
    assert view.completion.index == 7
    view.move_group(-1)
    assert view.completion is not None
    assert view.completion.index == 0, "another group starts at its first answer"


def test_asked_is_shown_before_reached() -> None:
    script = ScriptedRun()
    view, session = look([*script.whole(1)])
    assert view.wants_running
    view.ask(Pause())
    assert (asked(view), view.state.mode, view.wants_running) == ("pausing…", Mode.RUNNING, False)
    session.play(script.ready(Mode.PAUSED, "before score"))
    view.pump()
    assert asked(view) == ""
    assert view.state.mode_detail == "before score"
    view.ask(StepPhase())
    session.play(script.ready(Mode.RUNNING, ""), script.ready(Mode.PAUSED, "before advantages"))
    view.pump()
    assert asked(view) == "", "reached and left again within one tick"
    view.ask(StepOnce())
    view.ask(Resume())
    assert session.commands == [Pause(), StepPhase(), StepOnce(), Resume()]


def test_a_failure_ends_the_wait_and_tells_the_log() -> None:
    view, session = look(mid_training(ScriptedRun()))
    view.ask(Pause())
    session.play(failure())
    view.pump()
    assert asked(view) == ""
    assert view.state.mode is Mode.FAILED
    assert any("engine.py" in line.message for line in view.output)
    assert view.ask(Retry())
    assert session.commands == [Pause(), Retry()]


def test_nothing_is_asked_of_a_finished_or_recorded_run() -> None:
    script = ScriptedRun()
    view, session = look([*script.whole(1), RunEnded(time=T0, reason="finished", finished_steps=1)])
    assert not view.ask(Resume())
    recorded, recording = look(list(script.whole(1)), read_only=True)
    assert not recorded.ask(Stop())
    assert session.commands == recording.commands == []


def test_pause_while_loading_means_do_not_start() -> None:
    script = ScriptedRun()
    session = ScriptedSession(script.loading()[:2])
    view = RunView(session, paused=False)
    view.pump()
    seen = [view.wants_running]
    for command in (Pause(), Resume()):
        view.ask(command)
        seen.append(view.wants_running)
    assert seen == [True, False, True]
    assert asked(view) == "will run when loaded"


def test_draining_keeps_to_its_budget() -> None:
    view = RunView(ScriptedSession(mid_training(ScriptedRun())))
    assert view.pump(budget=0.0), "more is waiting"
    while view.pump(budget=0.001):
        pass
    assert view.state.last_step == 38


def test_a_gauge_of_another_phase_is_not_shown() -> None:
    script = ScriptedRun()
    view, session = look(list(script.whole(1)))
    session.play(StepStarted(time=T0, step=2), PhaseStarted(time=T0, step=2, phase=Phase.SAMPLE))
    session.progress = Progress(step=2, phase=Phase.SAMPLE, done=3, total=9, unit="tok")
    view.pump()
    assert view.progress_text == "3/9 tok"
    session.progress = Progress(step=1, phase=Phase.UPDATE, done=3, total=9)
    view.pump()
    assert view.progress_text == ""


def test_groups_per_step_come_from_the_settings() -> None:
    view, _ = look(ScriptedRun(num_groups=4).loading())
    assert view.groups_per_step == 4
