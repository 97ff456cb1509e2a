"""A run on disk as a session: opened whole, then followed for as long as it is looked at. Never imports torch.

A thread of its own reads the file (every read is one consistent moment of it, whoever writes) and queues events, as
an engine would: first the state so far, then what comes after it. Past steps are read by the app's thread through a
second connection, so that neither waits for the other.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from grpo_tui.events.commands import Command
from grpo_tui.events.records import Mode, ProblemRecord, StepDetail
from grpo_tui.events.state import RunState
from grpo_tui.events.types import Event, ModeChanged, Preview, Progress, RunEnded
from grpo_tui.runs.lines import Visit
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import DATABASE, RunFileError
from grpo_tui.tui.session import ENDED, FOLLOWING, RECORDED, Opened, Watched

POLL_SECONDS = 0.5
PAGE = 256
"""Events taken from the file at once."""
AT_REST = (Mode.FINISHED, Mode.STOPPED, Mode.FAILED)


class RecordedSession:
    """A run file, read-only.

    Raises:
        RunFileError: there is no run, or it cannot be read; one line for the user.
    """

    read_only = True
    alive = False
    """There is no engine to wait for when leaving."""

    def __init__(self, run_dir: Path, *, poll_seconds: float = POLL_SECONDS) -> None:
        self.run_dir = run_dir
        self._poll_seconds = poll_seconds
        self._reader = RunReader(run_dir)
        self._events: deque[Event] = deque()
        self._closing = threading.Event()
        self._wanted_branch: int | None = None
        self._branch: int | None = None
        """None: the run as it goes; a number: that branch, which does not grow."""
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="run-file", daemon=True)

    # --- the app's side -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin reading."""
        self._thread.start()

    def drain(self, limit: int) -> Sequence[Event]:
        """Up to ``limit`` events, oldest first."""
        taken: list[Event] = []
        while self._events and len(taken) < limit:
            taken.append(self._events.popleft())
        return taken

    def watch(self, group: int | None) -> None:
        """Nothing is sampled here."""

    def preview(self) -> Preview | None:
        """Another process may sample, but its tokens are not told."""
        return None

    def gauge(self) -> Progress | None:
        """A file has no gauges."""
        return None

    def send(self, command: Command) -> None:
        """Commands are not obeyed."""

    def load_step(self, step: int) -> StepDetail | None:
        """A finished step of the branch that is shown; None where it cannot be read."""
        try:
            return self._reader.load_step(step)
        except RunFileError:
            return None

    def groups_of_problem(self, problem: ProblemRecord) -> Sequence[Visit]:
        """Every group that a prompt had in the branch that is shown. May be called from any thread."""
        return self._reader.groups_of_problem(problem)

    def show_branch(self, branch: int | None) -> None:
        """Show another line of steps; None for the run as it goes."""
        self._reader.show_branch(branch)
        self._wanted_branch = branch
        self._wake.set()

    @property
    def branch(self) -> int | None:
        """The branch that is shown; None for the run as it goes."""
        return self._wanted_branch

    def close(self) -> None:
        """Stop reading. Safe to call twice."""
        self._closing.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(5.0)
        self._reader.close()

    # --- the reading thread -------------------------------------------------------------------------------

    def _emit(self, event: Event) -> None:
        self._events.append(event)

    def _run(self) -> None:
        follower = _Follower(self._emit)
        while not self._closing.is_set():
            try:
                with RunReader(self.run_dir) as reader:
                    self._follow(reader, follower)
            except RunFileError as error:
                follower.trouble(str(error))
                self._closing.wait(2.0)

    def _follow(self, reader: RunReader, follower: _Follower) -> None:
        follower.open(reader, self._status(reader), self._branch)
        while not self._closing.is_set():
            if not follower.busy:
                self._wake.wait(self._poll_seconds)
                self._wake.clear()
            if self._branch != self._wanted_branch:
                self._branch = self._wanted_branch
                follower.open(reader, self._status(reader), self._branch)
            elif self._branch is None:
                follower.read_on(reader, self._status(reader))

    def _status(self, reader: RunReader) -> Watched:
        """Whether more is to come; asked before the events are read, so that none is missed at the end."""
        return Watched(time=time.time(), status=FOLLOWING if reader.being_trained else RECORDED)


class _Follower:
    """Where the reading of one run stands."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._seq = 0
        self._mode = Mode.LOADING
        self._status = Watched(time=0.0, status="")
        self._was_following = False
        self.busy = False
        """More events are waiting in the file."""

    def open(self, reader: RunReader, status: Watched, branch: int | None) -> None:
        """Say the whole state."""
        reader.show_branch(None)
        state, self._seq = reader.snapshot(lean=True)
        if branch is not None:
            reader.show_branch(branch)
            state = _of_branch(state, reader)
        self._mode = state.mode
        self._emit(Opened(time=time.time(), state=state))
        self._tell(status)

    def read_on(self, reader: RunReader, status: Watched) -> None:
        """Say what came since."""
        page = reader.events(after_seq=self._seq, limit=PAGE)
        for seq, event in page:
            self._seq = seq
            if isinstance(event, ModeChanged):
                self._mode = event.mode
            elif isinstance(event, RunEnded):
                self._mode = Mode.STOPPED
            self._emit(event)
        self.busy = len(page) == PAGE
        if not self.busy:
            self._tell(status)

    def trouble(self, message: str) -> None:
        """Say that the file cannot be read now."""
        self._change(Watched(time=time.time(), status=self._status.status or RECORDED, trouble=message))

    def _tell(self, status: Watched) -> None:
        following = status.status == FOLLOWING
        self._was_following = self._was_following or following
        if status.status == RECORDED and self._was_following:
            status = replace(status, status=ENDED)
        self._change(status)
        if not following and self._mode not in AT_REST:
            # The process was killed, or left while it waited: nothing in the file says so.
            self._mode = Mode.STOPPED
            self._emit(ModeChanged(time=time.time(), mode=Mode.STOPPED, detail="its process is gone"))

    def _change(self, status: Watched) -> None:
        if replace(status, time=0.0) != replace(self._status, time=0.0):
            self._status = status
            self._emit(status)


def _of_branch(state: RunState, reader: RunReader) -> RunState:
    """The state with another branch's steps in the place of its own."""
    history = reader.history(lean=True)
    return replace(
        state,
        history=history,
        evals=reader.evals(),
        checkpoints=reader.checkpoints(),
        recent=(),
        current=None,
        phase=None,
        failure=None,
        mode=Mode.STOPPED,
    )


def open_recording(path: Path) -> RecordedSession:
    """A session over whatever stands at a path: a run, by its folder or its ``run.db``, or completions that TRL logged.

    Raises:
        RunFileError: neither, or it cannot be read.
    """
    if path.name == DATABASE and path.is_file():
        path = path.parent
    if not (path / DATABASE).exists() and path.is_dir():
        from grpo_tui.runs.trl import completions_folder

        folder = completions_folder(path)
        if folder is None:
            raise RunFileError(
                f"cannot open {path}: there is neither {DATABASE} nor completions_*.parquet in it; give the folder of "
                "a run, or of completions that TRL logged"
            )
        from grpo_tui.tui.trl_session import TrlSession

        return TrlSession(folder)
    return RecordedSession(path)
