"""The one module that reaches the engine: a session over a daemon thread, which imports torch by itself."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grpo_tui.config.schema import RunConfig
from grpo_tui.events.commands import Command
from grpo_tui.events.records import ProblemRecord, StepDetail
from grpo_tui.events.types import Event, LoadingStage, Preview, Progress, RunEnded, TrainerFailed
from grpo_tui.heap import give_back_freed_memory
from grpo_tui.tui.session import Recorded

if TYPE_CHECKING:
    from grpo_tui.engine.control import Control
    from grpo_tui.runs.lines import Visit
    from grpo_tui.runs.reader import RunReader


ENGINE_MODULES = (
    "grpo_tui.engine.runner",
    "grpo_tui.engine.trainer",
    "grpo_tui.engine.step",
    "transformers",
    "peft",
)
"""What a run imports anyway; torch comes with the second."""


class LiveSession:
    """Runs the engine on its own thread. Events queue without loss; of progress only the latest is kept.

    A plain daemon thread and not a Textual worker: workers live in an executor that the process waits for at
    exit, and a step can take minutes.
    """

    read_only = False

    def __init__(self, config: RunConfig, *, run_dir: Path, resume: bool, paused: bool) -> None:
        from grpo_tui.engine.control import Control
        from grpo_tui.engine.watching import Watch

        self._config = config
        self._run_dir = run_dir
        self._resume = resume
        self._control: Control = Control(start_paused=paused)
        self._watch = Watch()
        self._events: deque[Event] = deque()
        self._progress: Progress | None = None
        self._reader: RunReader | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="grpo-engine", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the engine thread is still at work."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the engine thread."""
        self._thread.start()

    def drain(self, limit: int) -> Sequence[Event]:
        """Up to ``limit`` events, oldest first."""
        taken: list[Event] = []
        while self._events and len(taken) < limit:
            taken.append(self._events.popleft())
        return taken

    def gauge(self) -> Progress | None:
        """The latest progress."""
        return self._progress

    def watch(self, group: int | None) -> None:
        """Have a group shown while it is sampled; None for none."""
        self._watch.group = group

    def preview(self) -> Preview | None:
        """The watched group as it was seen last."""
        return self._watch.latest

    def send(self, command: Command) -> None:
        """Hand a command to the engine."""
        self._control.send(command)

    def load_step(self, step: int) -> StepDetail | None:
        """A finished step with its groups, from the run file."""
        return self._open_reader().load_step(step)

    def groups_of_problem(self, problem: ProblemRecord) -> Sequence[Visit]:
        """Every group that a prompt had, from the run file. May be called from any thread."""
        return self._open_reader().groups_of_problem(problem)

    def _open_reader(self) -> RunReader:
        from grpo_tui.runs.reader import RunReader

        if self._reader is None:
            self._reader = RunReader(self._run_dir)
        return self._reader

    def join(self, timeout: float) -> bool:
        """Wait for the engine thread; return whether it is done."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Let the run file go. Safe to call twice."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _emit(self, event: Event) -> None:
        self._ended = self._ended or isinstance(event, RunEnded)
        self._events.append(event)

    def _report(self, progress: Progress) -> None:
        self._progress = progress

    def _recall(self) -> None:
        """Begin with what was recorded; if that cannot be read, the engine will say why."""
        from grpo_tui.runs.reader import RunReader

        with contextlib.suppress(OSError, ValueError), RunReader(self._run_dir) as reader:
            self._emit(Recorded(time=time.time(), state=reader.load_state()))

    def _run(self) -> None:
        try:
            self._emit(LoadingStage(time=time.time(), name="importing the engine"))
            if self._resume:
                self._recall()
            from grpo_tui.engine.runner import run_session

            ended = run_session(
                self._config,
                run_dir=self._run_dir,
                resume=self._resume,
                control=self._control,
                emit=self._emit,
                progress=self._report,
                watch=self._watch,
            )
            if not self._ended:
                self._emit(ended)
        except BaseException as error:
            self._emit(_as_failure(error))
            self._emit(RunEnded(time=time.time(), reason="failed", finished_steps=0))


def import_engine() -> None:
    """Import what a run will need; any error waits for the real start, which tells it properly."""
    with contextlib.suppress(Exception):
        for name in ENGINE_MODULES:
            importlib.import_module(name)


def free_memory() -> None:
    """Give back what an engine that has ended leaves behind; holds up every thread for a moment.

    Its objects refer to each other in circles, and on a GPU the allocator keeps what it once had.
    """
    gc.unfreeze()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    give_back_freed_memory()


def _as_failure(error: BaseException) -> TrainerFailed:
    missing = isinstance(error, ImportError)
    return TrainerFailed(
        time=time.time(),
        step=0,
        kind=type(error).__name__,
        message=str(error) or type(error).__name__,
        advice="The engine could not be imported: reinstall grpo-tui with its dependencies."
        if missing
        else "See the Log for details.",
        traceback="".join(traceback.format_exception(error)),
        can_retry=False,
    )
