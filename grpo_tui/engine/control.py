"""Commands go in from any thread; the engine asks at its boundaries whether to go on. Needs no torch."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum

from grpo_tui.events.commands import (
    Command,
    Pause,
    Place,
    Request,
    Resume,
    Retry,
    StepOnce,
    StepPhase,
    Stop,
    Withdraw,
)
from grpo_tui.events.records import Mode, Phase
from grpo_tui.events.types import Event, ModeChanged, PhaseFinished, PhaseStarted

BESIDE_SECONDS = 0.05
"""How soon work on another thread sees that the engine goes on."""


class StopRequested(Exception):
    """Raised inside the engine when it was told to stop."""


class Withdrawn(Exception):
    """Raised inside a request's handler when the request is not wanted any more."""


class StepLeft(Exception):
    """Raised inside a phase where a request waits that leaves the step in progress anyway."""


class Target(StrEnum):
    """How far the engine may run."""

    HERE = "here"
    PHASE_END = "phase end"
    STEP_END = "step end"
    FREE = "free"


_TARGETS: dict[type[Command], Target] = {
    Resume: Target.FREE,
    Pause: Target.HERE,
    StepOnce: Target.STEP_END,
    StepPhase: Target.PHASE_END,
}


class Control:
    """The mailbox between the one who watches and the engine. All methods may be called from any thread."""

    def __init__(self, start_paused: bool = True) -> None:
        self._changed = threading.Condition()
        self._target = Target.HERE if start_paused else Target.FREE
        self._resume_as = self._target
        self._stop = False
        self._retry = False
        self._requests: deque[Request] = deque()
        self._serving: Request | None = None
        self._withdrawn = False

    def send(self, command: Command) -> None:
        """Take a command; it is obeyed at the engine's next boundary."""
        with self._changed:
            if isinstance(command, Stop):
                self._stop = True
            elif isinstance(command, Retry):
                self._retry = True
            elif isinstance(command, Request):
                self._requests.append(command)
            elif isinstance(command, Withdraw):
                if command.request in self._requests:
                    self._requests.remove(command.request)
                elif command.request == self._serving:
                    self._withdrawn = True
            else:
                self._target = _TARGETS[type(command)]
            self._changed.notify_all()

    @property
    def stop_requested(self) -> bool:
        """Whether a Stop was sent."""
        return self._stop

    @property
    def target(self) -> Target:
        """How far the engine may run now."""
        return self._target

    def reached(self, boundary: Target) -> None:
        """The engine reached the end of a phase or step: what was to run up to there is done."""
        with self._changed:
            if self._target is boundary:
                self._target = Target.HERE

    @property
    def withdrawn(self) -> bool:
        """Whether the request being carried out is not wanted any more."""
        return self._withdrawn

    @property
    def leaves_step(self) -> bool:
        """Whether the request that waits longest leaves the step in progress."""
        return bool(self._requests) and self._requests[0].leaves_step

    def next_request(self, place: Place) -> Request | None:  # noqa: ARG002
        """Take the oldest request that waits; the one before is done. ``place`` is where it would be obeyed."""
        with self._changed:
            self._withdrawn = False
            self._serving = self._requests.popleft() if self._requests else None
            return self._serving

    def wait_while_held(self, serving: bool = False) -> bool:
        """Block until the engine may go on, or until a request waits that can be obeyed; return whether it may.

        Where it is not ``serving``, that is one which leaves the step.

        Raises:
            StopRequested: a Stop came.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._stop
                    or self._target is not Target.HERE
                    or (bool(self._requests) if serving else self.leaves_step)
                )
            )
            if self._stop:
                raise StopRequested
            return self._target is not Target.HERE

    def hold_for_failure(self) -> None:
        """Go no further after an error. Called before the error is told, so that no answer to it is missed."""
        with self._changed:
            self._resume_as, self._target, self._retry = self._target, Target.HERE, False

    def wait_after_failure(self) -> None:
        """Block until someone asks to try again (Retry, or any command to run), or for anything else.

        Raises:
            StopRequested: a Stop came.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._stop or self._retry or self._target is not Target.HERE or bool(self._requests)
            )
            if self._stop:
                raise StopRequested
            if self._retry and self._target is Target.HERE:
                self._target = self._resume_as
            self._retry = False


class Gate:
    """The engine's side of :class:`Control`: boundaries, and the seconds of each phase without its pauses."""

    def __init__(
        self,
        control: Control,
        emit: Callable[[Event], None],
        obey: Callable[[Request], None] = lambda _request: None,
    ) -> None:
        self._control = control
        self._emit = emit
        self.obey = obey
        """Carries out a request; called between phases only."""
        self.breaks: Callable[[int, Phase, bool], bool] = lambda _step, _phase, _after: False
        """Whether a breakpoint stops the run before a phase (or after it, where the last argument is True)."""
        self.mark: Callable[[str], AbstractContextManager[object]] = nullcontext
        """Put around each phase; a profiler's marks."""
        self.paused_seconds = 0.0
        """Held so far, in all."""
        self.seconds_by_phase: dict[Phase, float] = {}
        self.place = Place()
        """The last boundary at which requests are obeyed."""
        self._visits: dict[Phase, int] = {}

    def stand_before(self, next_step: int) -> None:
        """No step is in progress."""
        self.seconds_by_phase = {}
        self._visits = {}
        self.place = Place(step=next_step)

    def between_steps(self, next_step: int) -> None:
        """The boundary before a step. Blocks while paused."""
        self.stand_before(next_step)
        self._hold(f"before step {next_step}", serving=True)

    def at_end(self, last_step: int) -> None:
        """The boundary after the last step, where a run that is paused can still go back."""
        self.stand_before(last_step + 1)
        self._hold("after the last step", serving=True)

    def after_step(self) -> None:
        """A whole step is done."""
        self._control.reached(Target.STEP_END)

    @contextmanager
    def phase(self, step: int, phase: Phase) -> Iterator[None]:
        """One of the seven calls: held before it, timed through it."""
        visit = self._visits.get(phase, 0)
        self.place = Place(step=step, phase=phase, visit=visit)
        if self.breaks(step, phase, False):
            self._control.send(Pause())
        self._hold(f"before {phase}", serving=True)
        self._visits[phase] = visit + 1
        self._emit(PhaseStarted(time=time.time(), step=step, phase=phase))
        started, paused_before = time.perf_counter(), self.paused_seconds
        with self.mark(phase):
            yield
        seconds = time.perf_counter() - started - (self.paused_seconds - paused_before)
        # A phase can come several times in a step: sampling and scoring do, where groups grow or are replaced.
        seconds += self.seconds_by_phase.get(phase, 0.0)
        self.seconds_by_phase[phase] = seconds
        self._emit(PhaseFinished(time=time.time(), step=step, phase=phase, seconds=seconds))
        self._control.reached(Target.PHASE_END)
        if self.breaks(step, phase, True):
            self._control.send(Pause())

    @contextmanager
    def telling(self, step: int) -> Iterator[None]:
        """The last phase: timed like the others, but neither held nor left, for the weights are already new."""
        self._emit(PhaseStarted(time=time.time(), step=step, phase=Phase.EMIT))
        started = time.perf_counter()
        with self.mark(Phase.EMIT):
            yield
        seconds = self.seconds_by_phase[Phase.EMIT] = time.perf_counter() - started
        self._emit(PhaseFinished(time=time.time(), step=step, phase=Phase.EMIT, seconds=seconds))
        self._control.reached(Target.PHASE_END)
        if self.breaks(step, Phase.EMIT, True):
            self._control.send(Pause())

    def tick(self, where: str) -> None:
        """A boundary inside a phase: a sampled token, a scored group, a microbatch.

        Raises:
            StopRequested: a Stop came.
            StepLeft: a request came that leaves the step: see :meth:`serve_left`.
        """
        # The common case must cost nothing: three attribute reads, no lock.
        if self._control.stop_requested:
            raise StopRequested
        if self._control.leaves_step:
            raise StepLeft
        if self._control.target is Target.HERE:
            self._hold(where)

    def beside(self, left: threading.Event) -> None:
        """A boundary of work on another thread: held while the engine is to stand still, but tells nothing and leaves no step.

        Args:
            left: set where the work is not wanted any more; ends the wait, and whoever set it goes on from there.

        Raises:
            StopRequested: a Stop came.
        """
        while self._control.target is Target.HERE and not self._control.stop_requested:
            if left.wait(BESIDE_SECONDS):
                return
        if self._control.stop_requested:
            raise StopRequested

    def serve_left(self) -> None:
        """Carry out what a step was left for, as if it had come before the phase that was left."""
        request = self._control.next_request(self.place)
        if request is not None:
            self.obey(request)

    def leave_if_stopped(self) -> None:
        """A boundary in what is told after a step: it is left when the run ends, but a pause waits for its end.

        Raises:
            StopRequested: a Stop came.
        """
        if self._control.stop_requested:
            raise StopRequested

    def heed(self) -> None:
        """A boundary inside a request: whoever holds the engine has asked for it, so it is left but never held.

        Raises:
            StopRequested: a Stop came.
            Withdrawn: the request is not wanted any more.
        """
        if self._control.stop_requested:
            raise StopRequested
        if self._control.withdrawn:
            raise Withdrawn

    def _serve(self) -> None:
        """Carry out what was asked. Its time is not the phase's."""
        started = time.perf_counter()
        try:
            while (request := self._control.next_request(self.place)) is not None:
                self.obey(request)
        finally:
            self.paused_seconds += time.perf_counter() - started
        if self._control.stop_requested:
            raise StopRequested

    def _hold(self, where: str, *, serving: bool = False) -> None:
        if self._control.stop_requested:
            raise StopRequested
        if serving:
            self._serve()
        if self._control.target is not Target.HERE:
            return
        self._emit(ModeChanged(time=time.time(), mode=Mode.PAUSED, detail=where))
        while not self._wait(serving):
            if not serving:
                raise StepLeft
            self._serve()
        if serving:  # what was asked together with going on was asked of this place
            self._serve()
        self._emit(ModeChanged(time=time.time(), mode=Mode.RUNNING))

    def _wait(self, serving: bool) -> bool:
        started = time.perf_counter()
        try:
            return self._control.wait_while_held(serving)
        finally:
            self.paused_seconds += time.perf_counter() - started


class HeedingGate(Gate):
    """For the engine's calls inside a request: never holds, for who holds the run has asked for it, but can be left."""

    def __init__(self, heed: Callable[[], None]) -> None:
        super().__init__(Control(start_paused=False), lambda _event: None)
        self._heed = heed

    def tick(self, where: str) -> None:  # noqa: ARG002
        """A boundary between two pieces of work."""
        self._heed()
