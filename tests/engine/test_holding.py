"""Every command at every boundary of a real session, sent from another thread than the engine's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from grpo_tui.events.commands import Pause, Resume, StepOnce, StepPhase, Stop
from grpo_tui.events.records import PHASES, Mode, Phase
from grpo_tui.events.types import (
    CheckpointSaved,
    Event,
    GroupSampled,
    GroupScored,
    ModeChanged,
    PhaseFinished,
    PhaseStarted,
    RunEnded,
    StepFinished,
    StepStarted,
)
from tests.engine.support import (
    ALTERNATING,
    Background,
    expect_quiet,
    history_hashes,
    run_small,
    small_config,
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """State hashes of a run nobody touched."""
    ended, events = run_small(small_config("run.steps=3"), tmp_path_factory.mktemp("undisturbed") / "run")
    assert ended.reason == "finished"
    return events.hashes


def test_phase_by_phase(tmp_path: Path, undisturbed: dict[int, str]) -> None:
    with Background(small_config("run.steps=2"), tmp_path / "run") as session:
        session.wait_for_mode("paused before step 1")
        places = [f"before {phase}" for phase in PHASES[1:6]] + ["before step 2"]
        for number, place in enumerate(places, start=1):
            expect_quiet(session, 0.02)
            session.send(StepPhase())
            session.wait_for_mode(f"paused {place}")
            finished = [event.phase for event in session.events.of(PhaseFinished)]
            # The weights are new once the update is done, so telling them is no stop of its own.
            assert finished == list(PHASES[:number] if number < 6 else PHASES)
        session.send(Resume())
        assert session.join().reason == "finished"
    running = [mode for mode in session.modes() if mode != "running"]
    assert running == [f"paused {place}" for place in ["before step 1", *places]]
    assert history_hashes(tmp_path / "run") == {step: undisturbed[step] for step in (1, 2)}


def test_one_step_between_steps_and_the_rest_of_one_within(
    tmp_path: Path, undisturbed: dict[int, str]
) -> None:
    with Background(small_config("run.steps=3"), tmp_path / "run") as session:
        session.wait_for_mode("paused before step 1")
        session.send(StepOnce())
        session.wait_for_mode("paused before step 2")
        assert len(session.events.of(StepFinished)) == 1
        session.send(StepPhase())
        session.wait_for_mode("paused before sample")
        session.send(StepPhase())
        session.wait_for_mode("paused before score")
        session.send(StepOnce())
        session.wait_for_mode("paused before step 3")
        assert len(session.events.of(StepFinished)) == 2
        session.send(StepOnce())
        session.wait_for_mode("paused after the last step")
        session.send(Resume())
        assert session.join().reason == "finished"
    assert session.events.hashes == undisturbed


def pause_when(session: Background, kind: type[Event], number: int) -> None:
    """Have the engine's own thread send Pause at a certain event."""

    def on_event(event: Event) -> None:
        if isinstance(event, kind) and len(session.events.of(kind)) == number:
            session.send(Pause())

    session.on_event = on_event


@pytest.mark.parametrize(
    ("kind", "number", "place"),
    [
        (StepStarted, 1, "paused before problems"),
        (PhaseStarted, 2, "paused in sample, after 8 tokens"),
        (PhaseStarted, 3, "paused in score, after 0 groups"),
        (GroupScored, 1, "paused in score, after 1 groups"),
        (PhaseStarted, 4, "paused before reference"),
        (PhaseStarted, 5, "paused in reference, after 0 microbatches"),
        (PhaseStarted, 6, "paused in update, microbatch 1 of "),
        (PhaseStarted, 7, "paused before step 2"),
        (CheckpointSaved, 1, "paused before step 2"),
    ],
)
def test_pause_anywhere_and_go_on(
    tmp_path: Path, undisturbed: dict[int, str], kind: type[Event], number: int, place: str
) -> None:
    session = Background(
        small_config("run.steps=2", "run.checkpoint_every=1"), tmp_path / "run", paused=False
    )
    pause_when(session, kind, number)
    with session:
        session.wait_for(lambda: any(mode.startswith(place) for mode in session.modes()))
        expect_quiet(session, 0.05)
        session.send(Resume())
        assert session.join().reason == "finished"
    assert session.events.hashes == {step: undisturbed[step] for step in (1, 2)}


def test_paused_in_the_middle_of_sampling_counts_as_no_time(tmp_path: Path) -> None:
    session = Background(small_config("run.steps=1"), tmp_path / "run", paused=False)
    pause_when(session, PhaseStarted, 2)
    with session:
        session.wait_for_mode("paused in sample, after 8 tokens")
        expect_quiet(session, 0.8)
        assert not session.events.of(GroupSampled)
        session.send(Resume())
        session.join()
    [paused, resumed] = [e for e in session.events.of(ModeChanged) if e.detail or e.mode is Mode.RUNNING][1:3]
    assert resumed.time - paused.time > 0.7
    metrics = session.events.of(StepFinished)[0].metrics
    wall = session.events.of(StepFinished)[0].time - session.events.of(StepStarted)[0].time
    assert metrics.seconds < wall - 0.7
    assert metrics.seconds_by_phase[Phase.SAMPLE] < wall - 0.7
    [finished] = [event for event in session.events.of(PhaseFinished) if event.phase is Phase.SAMPLE]
    assert finished.seconds == metrics.seconds_by_phase[Phase.SAMPLE]
    assert metrics.tokens_per_second == pytest.approx(metrics.num_completion_tokens / finished.seconds)
    # The gauge is no slower for having been held either.
    last = [gauge for gauge in session.gauges if gauge.phase is Phase.SAMPLE][-1]
    assert last.tokens_per_second > metrics.num_completion_tokens / (wall - 0.7)


def test_paused_evaluation_counts_as_no_time(tmp_path: Path) -> None:
    config = small_config("run.steps=1", "eval.every=1", "eval.num_problems=4", reward=ALTERNATING)
    session = Background(config, tmp_path / "run", paused=True)
    with session:
        session.wait_for_mode("paused before step 1")
        session.send(Resume())
        session.wait_for(lambda: bool(session.gauges))
        session.send(Pause())
        session.wait_for(lambda: any(mode.startswith("paused in evaluation") for mode in session.modes()))
        expect_quiet(session, 0.8)
        session.send(Resume())
        session.join()
    from grpo_tui.events.types import EvalFinished

    first = session.events.of(EvalFinished)[0]
    assert first.result.seconds < first.time - session.events.of(ModeChanged)[1].time - 0.7


@pytest.mark.parametrize(
    ("kind", "number"),
    [(StepStarted, 2), (GroupScored, 3), (PhaseStarted, 13)],
)
def test_stopped_while_paused_then_resumed(
    tmp_path: Path, undisturbed: dict[int, str], kind: type[Event], number: int
) -> None:
    """In the second step, at three places inside it: it is left, what was finished is saved."""
    config = small_config("run.steps=3")
    session = Background(config, tmp_path / "run", paused=False)
    pause_when(session, kind, number)
    with session:
        session.wait_for(lambda: any(mode.startswith("paused") for mode in session.modes()))
        session.send(Stop())
        ended = session.join()
    assert (ended.reason, ended.finished_steps) == ("stopped", 1)
    assert session.events.names()[-2:] == ["CheckpointSaved", "RunEnded"]
    ended, events = run_small(config, tmp_path / "run", resume=True)
    assert (ended.reason, ended.finished_steps) == ("finished", 3)
    assert set(events.hashes) == {2, 3}
    assert history_hashes(tmp_path / "run") == undisturbed


@pytest.mark.parametrize("number", [6, 7])
def test_a_stop_once_the_weights_are_new_keeps_the_step(tmp_path: Path, number: int) -> None:
    config = small_config("run.steps=3")
    session = Background(config, tmp_path / "run", paused=False)
    kind = PhaseFinished if number == 6 else PhaseStarted

    def on_event(event: Event) -> None:
        if isinstance(event, kind) and len(session.events.of(kind)) == number:
            session.send(Stop())

    session.on_event = on_event
    with session:
        ended = session.join()
    assert (ended.reason, ended.finished_steps) == ("stopped", 1)
    assert set(history_hashes(tmp_path / "run")) == {1}


def test_a_stop_before_the_first_step_still_leaves_a_run_to_resume(
    tmp_path: Path, undisturbed: dict[int, str]
) -> None:
    config = small_config("run.steps=3")
    with Background(config, tmp_path / "run") as session:
        session.wait_for_mode("paused before step 1")
        session.send(Stop())
        assert session.join() == RunEnded(time=0, reason="stopped", finished_steps=0)
    ended, events = run_small(config, tmp_path / "run", resume=True)
    assert ended.reason == "finished"
    assert events.hashes == undisturbed


def test_a_stop_while_loading(tmp_path: Path) -> None:
    session = Background(small_config(), tmp_path / "run", paused=False)
    session.on_event = lambda event: session.send(Stop())
    with session:
        ended = session.join()
    assert (ended.reason, ended.finished_steps) == ("stopped", 0)
    assert not session.events.of(StepStarted)


def test_resumed_paused(tmp_path: Path, undisturbed: dict[int, str]) -> None:
    """The app resumes a run paused: nothing is computed before it is told so."""
    config = small_config("run.steps=3")
    run_small(replace(config, run=replace(config.run, steps=1)), tmp_path / "run")
    with Background(config, tmp_path / "run", resume=True) as session:
        session.wait_for_mode("paused before step 2")
        expect_quiet(session)
        session.send(StepOnce())
        session.wait_for_mode("paused before step 3")
        session.send(Resume())
        assert session.join().finished_steps == 3
    assert history_hashes(tmp_path / "run") == undisturbed
