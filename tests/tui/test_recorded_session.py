"""Recordings as sessions: finished, being written, cut off, and of other branches."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from grpo_tui.events.commands import Pause
from grpo_tui.events.records import Mode
from grpo_tui.events.types import RunEnded, StepFinished
from grpo_tui.runs.schema import MIGRATIONS, RunFileError
from grpo_tui.runs.writer import RunWriter
from grpo_tui.tui.recorded_session import RecordedSession, open_recording
from grpo_tui.tui.view import RunView
from tests.events.builders import fingerprint, fold, opening, run_events, step_events


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    with RunWriter.create(tmp_path / "run", "") as writer:
        for event in run_events(6):
            writer.write(event)
    return tmp_path / "run"


class Watch:
    """A view over a recording, pumped by hand."""

    def __init__(self, run_dir: Path) -> None:
        self.session = RecordedSession(run_dir, poll_seconds=0.01)
        self.view = RunView(self.session)
        self.session.start()

    def until(self, condition: Callable[[RunView], object], seconds: float = 20.0) -> RunView:
        deadline = time.monotonic() + seconds
        while True:
            self.view.pump()
            if condition(self.view):
                return self.view
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.005)

    def finished(self, step: int) -> RunView:
        return self.until(lambda view: view.state.last_step == step)

    def status(self, name: str) -> RunView:
        return self.until(lambda view: view.watched is not None and view.watched.status == name)


@pytest.fixture
def watch() -> Iterator[Callable[[Path], Watch]]:
    opened: list[Watch] = []

    def begin(run_dir: Path) -> Watch:
        opened.append(Watch(run_dir))
        return opened[-1]

    yield begin
    for it in opened:
        it.session.close()


def test_a_finished_run_is_all_there(finished: Path, watch: Callable[[Path], Watch]) -> None:
    view = watch(finished).status("recorded")
    wanted = fold(run_events(6))
    assert view.state.history == wanted.history
    assert view.state.mode is Mode.FINISHED
    assert fingerprint(view.state) == fingerprint(wanted)
    assert (view.grows, view.over, view.is_live) == (False, True, True)
    assert view.detail is not None
    assert view.detail.step == 6


def test_past_steps_come_from_the_file(finished: Path, watch: Callable[[Path], Watch]) -> None:
    view = watch(finished).status("recorded")
    view.look_at(1, group_index=1, answer=1)
    assert view.detail is not None
    assert (view.detail.step, view.detail.metrics) == (1, view.state.history[0])
    assert view.group is not None
    assert view.group.index == 1
    assert view.completion is view.group.completions[1]


def test_commands_are_refused(finished: Path, watch: Callable[[Path], Watch]) -> None:
    it = watch(finished)
    it.status("recorded")
    assert it.view.ask(Pause()) is False
    it.session.send(Pause())
    assert it.session.gauge() is None
    assert not it.session.alive


def test_a_writer_in_another_thread_is_followed_step_by_step(
    tmp_path: Path, watch: Callable[[Path], Watch]
) -> None:
    run_dir = tmp_path / "run"
    may_write, done = threading.Semaphore(0), threading.Event()

    def train() -> None:
        with RunWriter.create(run_dir, "") as writer:
            for event in opening():
                writer.write(event)
            for step in range(1, 5):
                may_write.acquire()
                for event in step_events(step):
                    writer.write(event)
            may_write.acquire()
            writer.write(RunEnded(time=9.0, reason="finished", finished_steps=4))
        done.set()

    thread = threading.Thread(target=train)
    thread.start()
    while not (run_dir / "run.db").exists():
        time.sleep(0.005)
    it = watch(run_dir)
    it.status("following")
    assert it.view.grows
    for step in range(1, 5):
        may_write.release()
        view = it.finished(step)
        assert view.detail is not None
        assert view.detail.step == step
        assert view.detail.groups
    may_write.release()
    it.status("ended")
    thread.join()
    assert done.is_set()
    assert it.view.state.mode is Mode.FINISHED
    wanted = fold([*opening(), *(e for s in range(1, 5) for e in step_events(s))])
    assert it.view.state.history == wanted.history
    assert [fingerprint(d) for d in it.view.state.recent] == [fingerprint(d) for d in wanted.recent]


def test_groups_of_the_step_in_progress_are_seen(tmp_path: Path, watch: Callable[[Path], Watch]) -> None:
    with RunWriter.create(tmp_path / "run", "") as writer:
        for event in [*opening(), *step_events(1)]:
            writer.write(event)
        it = watch(tmp_path / "run")
        it.until(lambda view: view.state.last_step == 1)
        for event in step_events(2):
            if isinstance(event, StepFinished):
                break
            writer.write(event)
        writer.flush()
        view = it.until(lambda view: view.state.current is not None and view.state.current.groups)
        assert view.shown_step == 2
        assert view.group is not None
        assert view.group.rewards


def test_a_killed_run_is_told_from_a_running_one(tmp_path: Path, watch: Callable[[Path], Watch]) -> None:
    with RunWriter.create(tmp_path / "run", "") as writer:
        for event in [*opening(), *step_events(1)]:
            writer.write(event)
    it = watch(tmp_path / "run")
    view = it.status("recorded")
    it.until(lambda view: view.state.mode is Mode.STOPPED)
    assert view.state.mode_detail == "its process is gone"


def test_a_run_that_is_resumed_is_followed_again(finished: Path, watch: Callable[[Path], Watch]) -> None:
    it = watch(finished)
    it.status("recorded")
    with RunWriter.open(finished, truncate_after=3) as writer:
        it.status("following")
        for event in [*opening(3), *step_events(4, seed=5)]:
            writer.write(event)
        it.until(lambda view: view.state.last_step == 4)
    it.status("ended")


def test_another_branch_can_be_shown_and_left(finished: Path, watch: Callable[[Path], Watch]) -> None:
    with RunWriter.open(finished, truncate_after=2) as writer:
        for event in [*opening(2), *step_events(3, seed=5)]:
            writer.write(event)
    it = watch(finished)
    view = it.status("recorded")
    assert view.state.last_step == 3
    it.session.show_branch(0)
    it.until(lambda view: view.state.last_step == 6)
    assert view.state.history == fold(run_events(6)).history
    view.look_at(3)
    assert view.detail is not None
    assert fingerprint(view.detail) == fingerprint(fold(step_events(3)).recent[-1])
    it.session.show_branch(None)
    it.until(lambda view: view.state.last_step == 3)
    assert view.detail is not None
    assert fingerprint(view.detail) == fingerprint(fold(step_events(3, seed=5)).recent[-1])


def test_a_cursor_on_a_step_that_is_not_there_any_more_goes_live(
    finished: Path, watch: Callable[[Path], Watch]
) -> None:
    with RunWriter.open(finished, truncate_after=2) as writer:
        for event in [*opening(2), *step_events(3, seed=5)]:
            writer.write(event)
    it = watch(finished)
    it.status("recorded")
    it.session.show_branch(0)
    it.until(lambda view: view.state.last_step == 6)
    it.view.look_at(5)
    it.session.show_branch(None)
    it.until(lambda view: view.state.last_step == 3)
    assert it.view.is_live


def test_closing_twice_is_safe_and_ends_the_thread(finished: Path) -> None:
    it = Watch(finished)
    it.status("recorded")
    it.session.close()
    it.session.close()
    assert not it.session._thread.is_alive()


def _foreign(path: Path) -> None:
    path.unlink()
    sqlite3.connect(path).execute("CREATE TABLE t (x)").connection.close()


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")


def _damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 4000)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: shutil.rmtree(path.parent), "no such directory"),
        (lambda path: path.unlink(), "neither run.db nor"),
        (_foreign, "not a grpo-tui run file"),
        (lambda path: path.write_text("hello " * 100), "not a grpo-tui run file"),
        (_newer, "newer grpo-tui"),
        (_damaged, "damaged|not a grpo-tui"),
    ],
)
def test_what_cannot_be_opened_is_one_line(
    finished: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(finished / "run.db")
    with pytest.raises(RunFileError, match=message) as caught:
        open_recording(finished)
    assert "\n" not in str(caught.value)


def test_a_locked_file_is_one_line(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpo_tui.runs.reader.PATIENCE_SECONDS", 0.1)
    other = sqlite3.connect(finished / "run.db", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RunFileError, match="another program holds the file"):
        open_recording(finished)
    other.close()


def test_the_file_itself_may_be_named(finished: Path) -> None:
    session = open_recording(finished / "run.db")
    assert session.run_dir == finished
    session.close()


def test_damage_that_shows_only_later_is_told_and_does_not_end_the_view(
    finished: Path, watch: Callable[[Path], Watch]
) -> None:
    with sqlite3.connect(finished / "run.db") as connection:
        connection.execute("UPDATE steps SET metrics = '{' WHERE step = 2")
    view = watch(finished).until(lambda view: view.watched is not None and view.watched.trouble)
    assert view.watched is not None
    assert "run.db" in view.watched.trouble
    assert "\n" not in view.watched.trouble
