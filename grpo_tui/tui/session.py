"""What the app needs of a run, live or recorded: a source of events and a door for commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from grpo_tui.events.commands import Command
from grpo_tui.events.records import ProblemRecord, StepDetail
from grpo_tui.events.state import RunState
from grpo_tui.events.types import Event, Preview, Progress

if TYPE_CHECKING:
    from grpo_tui.runs.lines import Visit


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded(Event):
    """What the run file held before this session began: it takes the place of the state. Only for the app."""

    state: RunState


RECORDED, FOLLOWING, ENDED, READING = "recorded", "following", "ended", "reading"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened(Event):
    """A recording as it stands: it takes the place of the whole state. Only for the app."""

    state: RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched(Event):
    """What kind of recording is on screen. Only for the app."""

    status: str
    """``recorded``; ``following`` while a process writes it; ``ended`` when it has stopped since; ``reading`` while
    files of another program are taken in."""
    detail: str = ""
    """More of the same, a few words."""
    imported: bool = False
    """It comes from another program: a number that it did not record is NaN, and shown as unknown."""
    trouble: str = ""
    """Why it cannot be read at present, one line."""


class Session(Protocol):
    """One run as the app sees it. Methods are called from the UI thread and return at once, but where one says otherwise."""

    @property
    def read_only(self) -> bool:
        """True for a recorded run: commands are not obeyed."""
        ...

    def start(self) -> None:
        """Begin delivering events (starts the engine thread, or the replay)."""
        ...

    def drain(self, limit: int) -> Sequence[Event]:
        """Up to ``limit`` structural events, oldest first; empty when there are none waiting."""
        ...

    def gauge(self) -> Progress | None:
        """The latest progress, or None."""
        ...

    def watch(self, group: int | None) -> None:
        """Have a group (counted from 0) shown while it is sampled; None for none, which costs nothing."""
        ...

    def preview(self) -> Preview | None:
        """The watched group as it was seen last, or None."""
        ...

    def send(self, command: Command) -> None:
        """Hand a command to the engine."""
        ...

    def load_step(self, step: int) -> StepDetail | None:
        """A finished step with its groups, from the run file; None if it was never recorded."""
        ...

    def groups_of_problem(self, problem: ProblemRecord) -> Sequence[Visit]:
        """Every group that a prompt had in finished steps, oldest first. Reads the run file, on any thread."""
        ...

    @property
    def alive(self) -> bool:
        """Whether the engine thread is still at work."""
        ...

    def close(self) -> None:
        """Let go of what was opened for reading; a live engine has ended before. May wait for a read. Safe to call twice."""
        ...
