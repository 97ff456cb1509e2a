"""A session script run again without a screen: the same commands at the same boundaries, the same states after each step."""

from __future__ import annotations

import tomllib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from grpo_tui.config.emit import from_dict
from grpo_tui.config.schema import RunConfig
from grpo_tui.engine.control import Control
from grpo_tui.engine.runner import run_session
from grpo_tui.events.commands import Place, Request, Stop
from grpo_tui.events.types import Event, RequestFailed, StepFinished, TrainerFailed, WentTo
from grpo_tui.runs.schema import RunFileError
from grpo_tui.runs.script import Script, ScriptedCommand


@dataclass(slots=True, kw_only=True)
class Replay:
    """What came of a replay."""

    num_steps: int = 0
    num_commands: int = 0
    num_compared: int = 0
    """Steps whose state the script knows."""
    state_hash: str = ""
    """Of the last state."""
    difference: str = ""
    """Where the replay first left the script, in words; empty where it never did."""


@dataclass(slots=True)
class _Due:
    command: ScriptedCommand
    after: int
    """Steps that finish before it."""


class ScriptControl(Control):
    """Lets a run go on freely, hands out each command of a script at its place, and stops after its last step."""

    def __init__(self, script: Script) -> None:
        super().__init__(start_paused=False)
        self._steps = script.steps
        self._ahead = [step.ahead for step in script.finished]
        self._due: deque[_Due] = deque()
        self.num_finished = 0
        self.num_obeyed = 0
        finished = 0
        for line in script.lines:
            if isinstance(line, ScriptedCommand):
                self._due.append(_Due(line, finished))
            else:
                finished += 1

    @property
    def next_command(self) -> ScriptedCommand | None:
        """The command that waits for its place."""
        return self._due[0].command if self._due else None

    @property
    def draws_ahead(self) -> bool:
        """Whether the step that finished after the one in progress had been drawn ahead in the recording."""
        return any(self._ahead[self.num_finished + 1 : self.num_finished + 2])

    def next_request(self, place: Place) -> Request | None:
        """The script's next command if this is where it was obeyed."""
        if self._due and self._due[0].command.place == place and self.num_finished >= self._due[0].after:
            self.num_obeyed += 1
            return self._due.popleft().command.request
        if not self._due and self._steps is not None and self.num_finished >= self._steps:
            self.send(Stop())
        return super().next_request(place)


@dataclass(slots=True)
class _Comparison:
    script: Script
    control: ScriptControl
    outside: Callable[[Event], None]
    result: Replay = field(default_factory=Replay)

    def emit(self, event: Event) -> None:
        if isinstance(event, StepFinished):
            self._compare(event)
        elif isinstance(event, WentTo):
            self.result.state_hash = event.state_hash
        elif isinstance(event, RequestFailed):
            self.differ(f"{event.request} failed: {event.message}")
        elif isinstance(event, TrainerFailed):
            self.differ(f"step {event.step} failed: {event.message}")
        self.outside(event)

    def _compare(self, event: StepFinished) -> None:
        number, metrics = self.control.num_finished, event.metrics
        self.control.num_finished += 1
        self.result.num_steps += 1
        self.result.state_hash = metrics.state_hash
        if number >= len(self.script.finished):
            return
        expected = self.script.finished[number]
        if expected.step != metrics.step:
            self.differ(
                f"step {expected.step} was to be the {number + 1}. to finish, and step {metrics.step} was"
            )
        elif expected.state_hash and expected.state_hash != metrics.state_hash:
            self.differ(
                f"step {metrics.step} came to state {metrics.state_hash[:12]}, recorded was {expected.state_hash[:12]}"
            )
        else:
            self.result.num_compared += 1

    def differ(self, message: str) -> None:
        """Leave off at the first difference: everything after it differs too."""
        if not self.result.difference:
            self.result.difference = message
            self.control.send(Stop())


def replay(script: Script, run_dir: Path, emit: Callable[[Event], None] = lambda _event: None) -> Replay:
    """Run a script from its first step, in a new folder.

    On a CPU the states are those recorded, bitwise, on the same machine and versions.

    Args:
        script: what to do.
        run_dir: the new run's folder.
        emit: takes every event.

    Raises:
        RunFileError: its settings cannot be read.
    """
    control = ScriptControl(script)
    comparison = _Comparison(script, control, emit)
    run_session(
        config_of(script),
        run_dir=run_dir,
        resume=False,
        control=control,
        emit=comparison.emit,
        wait_on_failure=False,
        unattended=lambda: control.draws_ahead,
    )
    result, waits = comparison.result, control.next_command
    result.num_commands = control.num_obeyed
    if waits is not None:
        place = (
            f"{waits.place.phase} of step {waits.place.step}"
            if waits.place.phase
            else f"step {waits.place.step}"
        )
        comparison.differ(f"{type(waits.request).__name__} waits for a place that never came: before {place}")
    if script.steps is not None and result.num_steps < script.steps:
        comparison.differ(f"{result.num_steps} steps finished, recorded were {script.steps}")
    if script.final_hash and result.state_hash and result.state_hash != script.final_hash:
        comparison.differ(
            f"it was left in state {result.state_hash[:12]}, recorded was {script.final_hash[:12]}"
        )
    return result


def config_of(script: Script) -> RunConfig:
    """The settings that a script begins with.

    Raises:
        RunFileError: they cannot be read.
    """
    try:
        return from_dict(tomllib.loads(script.config_toml), where="the script's settings")
    except tomllib.TOMLDecodeError as error:
        raise RunFileError(f"the script's settings are not TOML: {error}") from error
