from __future__ import annotations

import math
import random
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grpo_tui.events.fold import reduce
from grpo_tui.events.records import Mode
from grpo_tui.events.state import RunState
from grpo_tui.events.types import (
    AdvantagesComputed,
    CheckpointSaved,
    Event,
    GroupSampled,
    ModeChanged,
    Notice,
    PhaseStarted,
    StepFinished,
    StepStarted,
    TrainerFailed,
)
from grpo_tui.runs import schema
from grpo_tui.runs.checkpoints import atomic_directory, checkpoint_name, latest
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import RunFileError
from grpo_tui.runs.writer import RunWriter
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
from tests.runs.conftest import CONFIG


def write_all(writer: RunWriter, events: list[Event]) -> None:
    for event in events:
        writer.write(event)


def replayed(run_dir: Path) -> RunState:
    with RunReader(run_dir) as reader:
        return reader.load_state()


def test_layout_of_a_run(finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == ["config.toml", "lock", "log", "run.db"]
    assert (finished / "config.toml").read_text() == CONFIG


def test_steps_come_back_exactly(finished: Path) -> None:
    with RunReader(finished) as reader:
        for step in range(1, 7):
            assert fingerprint(reader.load_step(step)) == fingerprint(fold(step_events(step)).recent[-1])


def test_events_come_back_exactly(finished: Path) -> None:
    with RunReader(finished) as reader:
        stored = [event for _, event in reader.events()]
    assert [fingerprint(event) for event in stored] == [fingerprint(event) for event in run_events(6)]


def test_the_file_agrees_with_the_screen_after_every_event(writer: RunWriter, run_dir: Path) -> None:
    state = RunState()
    for event in run_events(2):
        writer.write(event)
        writer.flush()
        state = reduce(state, event)
        with RunReader(run_dir) as reader:
            assert fingerprint(reader.load_state()) == fingerprint(state)
            assert fingerprint(fold(event for _, event in reader.events())) == fingerprint(state)


def adventure(rng: random.Random) -> Iterator[Event]:
    """Steps, pauses at odd places, failures and retries, notices, steps taken again, resumptions."""
    step = 0
    yield from opening()
    for number in range(12):
        clock = float(number)
        events = step_events(step + 1, seed=number)
        for event in events[: rng.randrange(len(events))]:
            yield event
            if rng.random() < 0.05:
                yield ModeChanged(time=clock, mode=rng.choice([Mode.PAUSED, Mode.RUNNING]))
            if rng.random() < 0.05:
                yield Notice(time=clock, level="warning", message=f"odd {number}")
        match rng.randrange(6):
            case 0:
                yield TrainerFailed(
                    time=clock,
                    step=step + 1,
                    kind="E",
                    message="m",
                    advice="a",
                    traceback="t",
                    can_retry=True,
                )
            case 1:
                yield from ending(step, "stopped")
                step = rng.randint(max(0, step - 2), step)
                yield from opening(finished_steps=step)
            case 2 if step > 1:
                step = rng.randint(1, step - 1)
        yield from step_events(step + 1, seed=number + 100)
        step += 1
        if rng.random() < 0.3:
            yield checkpoint(step)
            yield evaluation(step, rng.random())


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_the_replay_is_the_live_state(writer: RunWriter, run_dir: Path, seed: int) -> None:
    rng = random.Random(seed)
    state = RunState()
    with RunReader(run_dir) as reader:
        for event in adventure(rng):
            writer.write(event)
            state = reduce(state, event)
            if rng.random() < 0.03:
                writer.flush()
                assert fingerprint(reader.load_state()) == fingerprint(state)
        writer.flush()
        assert fingerprint(reader.load_state()) == fingerprint(state)
        assert fingerprint(fold(event for _, event in reader.events())) == fingerprint(state)
        assert reader.history() == state.history
        assert reader.evals() == state.evals
        assert reader.checkpoints() == state.checkpoints
        for detail in state.recent:
            assert fingerprint(reader.load_step(detail.step)) == fingerprint(detail)


def test_nothing_is_written_before_it_must_be(writer: RunWriter, run_dir: Path) -> None:
    write_all(writer, opening())
    events = step_events(1)
    write_all(writer, events[:-1])
    assert writer.num_pending == len(events) - 1
    assert replayed(run_dir).current is None
    writer.write(events[-1])
    assert writer.num_pending == 0
    assert replayed(run_dir).last_step == 1


def test_a_pause_inside_a_step_shows_the_step_so_far(writer: RunWriter, run_dir: Path) -> None:
    events = [*opening(), *step_events(1)[:6], ModeChanged(time=1.0, mode=Mode.PAUSED)]
    write_all(writer, events)
    assert fingerprint(replayed(run_dir)) == fingerprint(fold(events))
    current = replayed(run_dir).current
    assert current is not None
    assert current.groups


def test_a_retried_step_leaves_no_trace_of_its_rows(writer: RunWriter, run_dir: Path) -> None:
    pause = ModeChanged(time=1.0, mode=Mode.PAUSED)
    write_all(writer, [*opening(), *step_events(1, seed=5)[:-1], pause, *step_events(1)])
    database = sqlite3.connect(run_dir / "run.db")
    try:
        counts = [
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("steps", "groups", "completions")
        ]
    finally:
        database.close()
    assert counts == [1, 2, 4]


def test_what_a_dead_process_left_of_a_step_is_dropped_on_opening(run_dir: Path) -> None:
    with RunWriter.create(run_dir, CONFIG) as writer:
        write_all(writer, [*opening(), *step_events(1), *step_events(2)[:8]])
    assert replayed(run_dir).current is not None
    with RunWriter.open(run_dir) as writer:
        assert writer.last_step == 1
        assert replayed(run_dir).current is None
        write_all(writer, [*opening(finished_steps=1), *step_events(2)])
    with RunReader(run_dir) as reader:
        assert fingerprint(reader.load_step(2)) == fingerprint(fold(step_events(2)).recent[-1])


def test_abandoned_futures_stay_out_of_sight_and_are_kept(finished: Path) -> None:
    with RunWriter.open(finished, truncate_after=3) as writer:
        assert (writer.last_step, writer.branch) == (3, 1)
        write_all(writer, [*opening(finished_steps=3), *step_events(4, seed=1)])
    with RunReader(finished) as reader:
        assert [entry.step for entry in reader.history()] == [1, 2, 3, 4]
        assert [entry.step for entry in reader.evals()] == [0, 2]
        assert [entry.step for entry in reader.checkpoints()] == [2]
        assert reader.load_step(5) is None
        assert fingerprint(reader.load_step(4)) == fingerprint(fold(step_events(4, seed=1)).recent[-1])
        for step in (4, 5, 6):
            old = reader.load_step(step, branch=0)
            assert fingerprint(old) == fingerprint(fold(step_events(step)).recent[-1])
        assert {hit.step for hit in reader.search("0 1 2 3 4 5 6 7 8 9")} <= {1, 2, 3, 4}


def test_going_back_twice(finished: Path) -> None:
    for after, seed in ((4, 1), (2, 2)):
        with RunWriter.open(finished, truncate_after=after) as writer:
            write_all(writer, [*opening(finished_steps=after), *step_events(after + 1, seed=seed)])
    with RunReader(finished) as reader:
        assert [entry.step for entry in reader.history()] == [1, 2, 3]
        assert fingerprint(reader.load_step(3)) == fingerprint(fold(step_events(3, seed=2)).recent[-1])
        assert fingerprint(reader.load_step(5, branch=1)) == fingerprint(
            fold(step_events(5, seed=1)).recent[-1]
        )


def test_resuming_where_it_stopped_makes_no_branch(finished: Path) -> None:
    with RunWriter.open(finished, truncate_after=6) as writer:
        assert writer.branch == 0


def test_a_run_that_starts_earlier_than_the_file_goes_back_by_itself(finished: Path) -> None:
    with RunWriter.open(finished) as writer:
        write_all(writer, opening(finished_steps=2))
        assert (writer.branch, writer.last_step) == (1, 2)


def test_checkpoints_of_an_abandoned_future_are_set_aside(finished: Path) -> None:
    for step in (2, 4, 6):
        with atomic_directory(finished / "checkpoints" / checkpoint_name(step)) as directory:
            (directory / "x").write_text(str(step))
    with RunWriter.open(finished, truncate_after=4):
        pass
    found = latest(finished / "checkpoints")
    assert found is not None
    assert found.name == checkpoint_name(4)
    assert (finished / "checkpoints" / f"branch-0-{checkpoint_name(6)}" / "x").read_text() == "6"


def test_an_evaluation_measured_again_replaces(writer: RunWriter, run_dir: Path) -> None:
    write_all(writer, [*opening(), evaluation(0, 0.1), *opening(), evaluation(0, 0.2)])
    with RunReader(run_dir) as reader:
        assert [entry.accuracy for entry in reader.evals()] == [0.2]


def test_a_group_that_comes_with_its_rewards_loses_nothing(writer: RunWriter, run_dir: Path) -> None:
    scored = fold(step_events(1)).recent[-1].groups[0]
    events: list[Event] = [StepStarted(time=1.0, step=1), GroupSampled(time=1.0, step=1, group=scored)]
    write_all(writer, events)
    writer.flush()
    assert fingerprint(replayed(run_dir)) == fingerprint(fold(events))
    with RunReader(run_dir) as reader:
        assert fingerprint(reader.events()[-1][1]) == fingerprint(events[-1])


def test_events_of_no_step_are_kept_as_they_are(writer: RunWriter, run_dir: Path) -> None:
    rng = np.random.default_rng(0)
    events: list[Event] = [
        GroupSampled(time=1.0, step=3, group=group(rng, 0, 2, 4)),
        AdvantagesComputed(time=1.0, step=3, advantages_P_G=((1.0, -1.0),)),
        StepFinished(time=2.0, metrics=metrics(1)),
        StepStarted(time=3.0, step=2),
        StepFinished(time=4.0, metrics=metrics(3)),
    ]
    write_all(writer, events)
    assert fingerprint(replayed(run_dir)) == fingerprint(fold(events))


def test_numbers_and_texts_that_databases_dislike(writer: RunWriter, run_dir: Path) -> None:
    rng = np.random.default_rng(0)
    odd = group(rng, 0, 2, 4)
    texts = ["nul \0 and \ud800 half a pair", "𝔘nicode − \r\n\t"]
    odd = replace(
        odd,
        completions=tuple(
            replace(c, text=t, finish_reason=t) for c, t in zip(odd.completions, texts, strict=True)
        ),
    )
    odd = replace(odd, problem=replace(odd.problem, prompt="\udfff", answer="\0"))
    events: list[Event] = [
        StepStarted(time=1.0, step=1),
        GroupSampled(time=1.0, step=1, group=odd),
        AdvantagesComputed(time=1.0, step=1, advantages_P_G=((math.nan, -0.0),)),
        StepFinished(time=2.0, metrics=metrics(1, loss=math.nan, grad_norm=math.inf)),
        Notice(time=3.0, level="info", message="\ud800"),
        CheckpointSaved(time=4.0, step=1, path="folder \udcff of other bytes", num_bytes=1),
    ]
    write_all(writer, events)
    assert fingerprint(replayed(run_dir)) == fingerprint(fold(events))
    with RunReader(run_dir) as reader:
        assert [fingerprint(event) for _, event in reader.events()] == [
            fingerprint(event) for event in events
        ]
        assert reader.search("nul")[0].completion_index == 0


def test_problems_are_stored_once(writer: RunWriter, run_dir: Path) -> None:
    same = group(np.random.default_rng(0), 0, 2, 4)
    for step in (1, 2, 3):
        write_all(
            writer,
            [
                StepStarted(time=1.0, step=step),
                GroupSampled(time=1.0, step=step, group=same),
                StepFinished(time=2.0, metrics=metrics(step)),
            ],
        )
    database = sqlite3.connect(run_dir / "run.db")
    try:
        assert database.execute("SELECT count(*) FROM problems").fetchone() == (1,)
    finally:
        database.close()


def test_the_text_log(writer: RunWriter, run_dir: Path) -> None:
    failure = TrainerFailed(
        time=5.0,
        step=2,
        kind="OutOfMemory",
        message="no memory",
        advice="use less",
        traceback="Traceback:\n  file",
        can_retry=True,
    )
    write_all(writer, [*opening(), *step_events(1), failure])
    lines = (run_dir / "log").read_text().splitlines()
    assert len(lines) == 6
    assert "error   engine: step 2: OutOfMemory: no memory" in lines[3]
    assert lines[-1] == "      file"


def test_a_log_that_cannot_be_written_stops_nothing(writer: RunWriter, run_dir: Path) -> None:
    (run_dir / "log").mkdir()
    write_all(writer, opening())
    assert replayed(run_dir).run is not None


def test_creating_over_a_run_is_refused(finished: Path) -> None:
    with pytest.raises(RunFileError, match="it holds a run; resume it"):
        RunWriter.create(finished, "")
    assert (finished / "config.toml").read_text() == CONFIG
    with RunWriter.open(finished):  # the lock was let go
        pass


def test_creating_where_nothing_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFileError, match="cannot create"):
        RunWriter.create(tmp_path / "file" / "run", "")


def test_writing_to_a_closed_run(finished: Path) -> None:
    writer = RunWriter.open(finished)
    writer.close()
    writer.close()
    with pytest.raises(RunFileError, match="closed"):
        writer.write(evaluation(1))


def test_closing_writes_the_step_in_progress(run_dir: Path) -> None:
    events = [*opening(), *step_events(1)[:9]]
    with RunWriter.create(run_dir, CONFIG) as writer:
        write_all(writer, events)
    assert fingerprint(replayed(run_dir)) == fingerprint(fold(events))


def test_opening_while_a_reader_is_in_the_middle(finished: Path) -> None:
    """A reader's transaction is short; the writer waits for it rather than fail."""
    database = sqlite3.connect(finished / "run.db", isolation_level=None, check_same_thread=False)
    database.execute("BEGIN")
    database.execute("SELECT count(*) FROM steps").fetchall()
    release = threading.Timer(0.3, database.rollback)
    release.start()
    try:
        with RunWriter.open(finished) as writer:
            writer.write(Notice(time=1.0, level="info", message="here"))
    finally:
        release.join()
        database.close()
    assert replayed(finished).log[-1].message == "here"


def test_a_run_closed_while_it_is_read_can_still_be_read(finished: Path, tmp_path: Path) -> None:
    with RunReader(finished) as reader:
        before = fingerprint(reader.load_state())
        with RunWriter.open(finished) as writer:
            writer.write(evaluation(6, 0.75))
        assert fingerprint(reader.load_state()) != before
        shutil.copy(finished / "run.db", tmp_path / "run.db")
        before = fingerprint(reader.load_state())
    assert fingerprint(replayed(tmp_path)) == before  # the file alone has it all
    assert fingerprint(replayed(finished)) == before


def test_rows_can_be_queried_without_this_program(finished: Path) -> None:
    database = sqlite3.connect(finished / "run.db")
    try:
        row = database.execute(
            "SELECT s.step, c.verdict, c.reward, json_extract(s.metrics, '$.reward_mean') FROM live_steps s "
            "JOIN groups g ON g.step_id = s.id JOIN completions c ON c.group_id = g.id WHERE s.step = 2 LIMIT 1"
        ).fetchone()
    finally:
        database.close()
    assert row[:2] == (2, "correct")
    assert row[3] == metrics(2).reward_mean


def test_a_phase_outside_any_step(writer: RunWriter, run_dir: Path) -> None:
    events: list[Event] = [PhaseStarted(time=1.0, step=1, phase=step_events(1)[1].phase)]  # type: ignore[attr-defined]
    write_all(writer, events)
    writer.flush()
    assert fingerprint(replayed(run_dir)) == fingerprint(fold(events))


def test_pending_events_survive_a_locked_file(writer: RunWriter, run_dir: Path) -> None:
    writer._connection.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(run_dir / schema.DATABASE, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RunFileError, match="another program holds the file"):
            writer.write(opening()[0])
        other.execute("ROLLBACK")
    finally:
        other.close()
    assert writer.num_pending == 1
    writer.flush()
    assert replayed(run_dir).run is not None
