"""Commands: the one door into a running engine. Frozen values, obeyed at the next boundary."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """Base of all commands."""


@dataclass(frozen=True, slots=True)
class Resume(Command):
    """Run until told otherwise."""


@dataclass(frozen=True, slots=True)
class Pause(Command):
    """Stop at the next boundary (a phase, a microbatch, or a sampled token) and wait."""


@dataclass(frozen=True, slots=True)
class StepOnce(Command):
    """Run to the end of the present step, or through one whole step when between steps; then wait."""


@dataclass(frozen=True, slots=True)
class StepPhase(Command):
    """Run to the end of the present phase; then wait."""


@dataclass(frozen=True, slots=True)
class Stop(Command):
    """Leave the step in progress, save, and end the engine thread."""


@dataclass(frozen=True, slots=True)
class Retry(Command):
    """After a failure: take the failed step again from its start."""


@dataclass(frozen=True, slots=True)
class Request(Command):
    """Base of commands that the engine carries out on its own thread, with the trainer at hand.

    Obeyed at the next boundary between phases, in the order they came, whether the engine is held there or runs
    on. Inside a phase they wait: a half-made gradient is no state to look at or to change. What becomes of one is
    told by events; one that fails is told by :class:`~grpo_tui.events.types.RequestFailed` and harms nothing.
    """


@dataclass(frozen=True, slots=True)
class InspectCompletion(Request):
    """Score one completion again with the present weights and with the adapter off.

    Answered by :class:`~grpo_tui.events.types.CompletionInspected`. The completion may be of the step in progress
    or of any finished one.
    """

    step: int
    group: int
    """Index of the group in its step."""
    completion: int
    """Index of the completion in its group."""
    top: int = 5
    """How many of the likeliest tokens to tell at each position."""


@dataclass(frozen=True, slots=True)
class ChangeSettings(Request):
    """Go on under other settings: ``(key, text)`` pairs, read and checked as ``--set key=text`` is.

    All of them count from the same step: the one in progress where nothing of it has read any of them yet, else the
    next. Answered by :class:`~grpo_tui.events.types.SettingsChanged`.
    """

    changes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class UndoSettings(Request):
    """Take back the last change of settings that was not taken back yet."""


@dataclass(frozen=True, slots=True)
class ProfileSteps(Request):
    """Profile steps ``first`` to ``last``, both among them; a trace of each goes into ``folder``."""

    first: int
    last: int
    folder: str
