from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from grpo_tui.events.fold import reduce
from grpo_tui.events.records import Mode, Phase
from grpo_tui.events.state import LOG_LINES, RECENT_STEPS, RunState
from grpo_tui.events.types import (
    ActTaken,
    BranchStarted,
    Event,
    GroupSampled,
    ModeChanged,
    Notice,
    PhaseFinished,
    PhaseStarted,
    RunEnded,
    StepFinished,
    StepStarted,
    TrainerFailed,
    WentTo,
)
from rewards.base import Verdict
from tests.events.builders import (
    checkpoint,
    ending,
    evaluation,
    fingerprint,
    fold,
    group,
    metrics,
    opening,
    run_events,
    step_events,
)

FAILURE = TrainerFailed(
    time=5.0,
    step=2,
    kind="OutOfMemory",
    message="no memory",
    advice="use less",
    traceback="…",
    can_retry=True,
)


def until(events: list[Event], kind: type[Event], count: int = 1) -> list[Event]:
    """The events up to the ``count``-th of a kind, that one included."""
    places = [place for place, event in enumerate(events) if isinstance(event, kind)]
    return events[: places[count - 1] + 1]


def test_equal_events_give_equal_states() -> None:
    assert fingerprint(fold(run_events(5))) == fingerprint(fold(run_events(5)))


def test_no_event_changes_the_state_it_is_given() -> None:
    state, seen = RunState(), []
    for event in run_events(3):
        seen.append((state, fingerprint(state)))
        state = reduce(state, event)
    assert all(fingerprint(before) == print_ for before, print_ in seen)


def test_an_unknown_event_changes_nothing() -> None:
    state = fold(run_events(1))
    assert reduce(state, Event(time=1.0)) is state


def test_opening() -> None:
    state = fold(opening())
    assert state.run is not None
    assert (state.run.name, state.mode) == ("r", Mode.RUNNING)
    assert [stage.name for stage in state.loading] == ["importing torch", "loading the model"]
    assert state.model is not None
    assert state.model.num_trainable == 10
    assert state.data is not None
    assert state.data.rejected
    assert [line.source for line in state.log] == ["run", "data"]


def test_a_step_fills_in_as_it_goes_on() -> None:
    events = step_events(1)
    state = fold(until(events, GroupSampled))
    assert state.phase is Phase.SAMPLE
    assert state.current is not None
    assert len(state.current.groups) == 1
    assert state.current.groups[0].completions[0].reward is None
    assert list(state.phase_seconds) == [Phase.PROBLEMS]

    state = fold(until(events, PhaseFinished, count=5))
    assert state.current is not None
    assert state.current.metrics is None
    for item in state.current.groups:
        for completion in item.completions:
            assert completion.reward is not None
            assert completion.advantage is not None
            assert completion.kl_ref_T is not None
            assert completion.verdict is Verdict.CORRECT


def test_a_finished_step_moves_to_recent_and_history() -> None:
    state = fold(step_events(1))
    assert (state.current, state.phase, state.last_step) == (None, None, 1)
    assert [detail.step for detail in state.recent] == [1]
    assert state.recent[0].metrics == state.history[0]
    assert state.detail(1) is state.recent[0]
    assert state.detail(2) is None
    assert "step 1: reward" in state.log[-1].message


def test_only_the_last_steps_keep_their_groups() -> None:
    state = fold(run_events(RECENT_STEPS + 2))
    assert [detail.step for detail in state.recent] == [3, 4, 5, 6]
    assert all(detail.groups for detail in state.recent)
    assert [entry.step for entry in state.history] == [1, 2, 3, 4, 5, 6]


def test_groups_stand_in_order_and_a_repeated_one_replaces() -> None:
    rng = np.random.default_rng(0)
    second, first, again = group(rng, 1), group(rng, 0), group(rng, 1)
    sampled = [GroupSampled(time=1.0, step=1, group=item) for item in (second, first, again)]
    state = fold([StepStarted(time=1.0, step=1), *sampled])
    assert state.current is not None
    assert state.current.groups == (first, again)


def test_events_of_another_step_do_not_touch_the_groups() -> None:
    state = fold([StepStarted(time=1.0, step=2)])
    for event in step_events(1):
        if not isinstance(event, StepStarted | StepFinished | PhaseStarted | PhaseFinished):
            state = reduce(state, event)
    assert state.current is not None
    assert state.current.groups == ()


def test_a_retried_step_forgets_its_first_attempt() -> None:
    first = [*step_events(1), *until(step_events(2, seed=7), PhaseFinished, count=3)]
    second = step_events(2)
    retried = fold([*first, FAILURE, ModeChanged(time=6.0, mode=Mode.RUNNING), *second])
    straight = fold([*step_events(1), *second])
    assert fingerprint(replace(retried, log=(), mode=straight.mode)) == fingerprint(replace(straight, log=()))


def test_a_failure_stays_until_the_engine_goes_on() -> None:
    state = fold([*opening(), *step_events(1), StepStarted(time=4.0, step=2), FAILURE])
    assert (state.mode, state.failure) == (Mode.FAILED, FAILURE)
    assert state.log[-1].level == "error"
    state = reduce(state, ModeChanged(time=5.5, mode=Mode.FAILED, detail="waiting"))
    assert state.failure is FAILURE
    assert state.mode_detail == "waiting"
    state = reduce(state, ModeChanged(time=6.0, mode=Mode.RUNNING))
    assert (state.failure, state.mode_detail) == (None, "")


def test_a_resumed_run_leaves_what_came_after() -> None:
    state = fold(opening(finished_steps=3), fold(run_events(6)))
    assert [entry.step for entry in state.history] == [1, 2, 3]
    assert [result.step for result in (entry for entry in state.evals)] == [0, 2]
    assert [saved.step for saved in state.checkpoints] == [2]
    assert [detail.step for detail in state.recent] == [3]
    assert (state.ended, state.failure, state.current, state.phase) == (None, None, None, None)
    assert not state.phase_seconds
    assert "resumed after step 3" in fold(opening(finished_steps=3)).log[0].message


def test_loading_starts_over_on_resume() -> None:
    assert len(fold(opening(finished_steps=1), fold(opening())).loading) == 2


def test_a_finished_step_taken_again_goes_back() -> None:
    state = fold(step_events(2, seed=9), fold(run_events(4)))
    assert [entry.step for entry in state.history] == [1, 2]
    assert [result.step for result in state.evals] == [0]
    assert [detail.step for detail in state.recent] == [1, 2]


def test_metrics_without_their_step_are_kept_without_groups() -> None:
    state = fold(
        [StepFinished(time=1.0, metrics=metrics(1)), StepFinished(time=2.0, metrics=metrics(1, loss=9.0))]
    )
    assert [entry.loss for entry in state.history] == [9.0]
    assert state.recent[-1].groups == ()


def test_metrics_of_another_step_do_not_take_the_groups() -> None:
    state = fold([*step_events(1)[:-1], StepFinished(time=1.0, metrics=metrics(2))])
    assert state.recent[-1].step == 2
    assert state.recent[-1].groups == ()


def test_measuring_again_replaces() -> None:
    state = fold([evaluation(0), evaluation(2, 0.1), evaluation(2, 0.9), checkpoint(2), checkpoint(2)])
    assert [(entry.step, entry.accuracy) for entry in state.evals] == [(0, 0.5), (2, 0.9)]
    assert len(state.checkpoints) == 1


@pytest.mark.parametrize(
    ("reason", "mode"), [("finished", Mode.FINISHED), ("failed", Mode.FAILED), ("stopped", Mode.STOPPED)]
)
def test_the_end(reason: str, mode: Mode) -> None:
    state = fold(ending(3, reason))
    assert state.mode is mode
    assert isinstance(state.ended, RunEnded)


def test_a_skipped_update_is_said_in_the_log() -> None:
    state = fold([StepFinished(time=1.0, metrics=metrics(1, update_skipped="all groups are degenerate"))])
    assert state.log[-1].message.endswith("no update: all groups are degenerate")


def test_the_log_is_bounded() -> None:
    state = fold(
        [
            Notice(time=float(i), level="warning", message=str(i), source="reward")
            for i in range(LOG_LINES + 5)
        ]
    )
    assert len(state.log) == LOG_LINES
    assert (state.log[-1].message, state.log[-1].level) == (str(LOG_LINES + 4), "warning")


def test_acts_stay_with_the_line_on_which_they_were_taken() -> None:
    """Seen to fail with: an act of a step that was undone shown on the step taken in its place."""
    first, second = acted(2, "verdict"), acted(2, "exclude")
    state = fold([*opening(), finished(1), first, second, finished(2), acted(3, "reroll")])
    assert [act.act for act in state.acts] == ["verdict", "exclude", "reroll"]
    back = reduce(state, gone(1))
    assert not back.acts
    assert reduce(back, gone(2)).acts == (first, second)
    other = reduce(back, BranchStarted(time=0.0, branch=1, parent=0, fork_step=1))
    other = reduce(reduce(other, acted(2, "reward")), finished(2))
    assert [act.act for act in other.acts] == ["reward"]
    assert reduce(other, gone(2)).acts == (first, second)
    # Step 3 was not finished: what was done to it is gone, also once it is taken again and left for a while.
    again = reduce(reduce(back, gone(2)), finished(3))
    for step in (2, 3):
        again = reduce(again, gone(step))
        assert again.acts == (first, second)


def acted(step: int, act: str) -> ActTaken:
    return ActTaken(time=0.0, step=step, act=act, group=0, completion=1, sentence="changed")


def finished(step: int) -> StepFinished:
    return StepFinished(time=0.0, metrics=metrics(step))


def gone(step: int) -> WentTo:
    return WentTo(time=0.0, step=step, branch=0, state_hash="0" * 64, how="go to", from_step=2)
