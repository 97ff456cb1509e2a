"""A session as a script: the settings a run began with, every command that changed its course, and the state after each step.

One JSON object a line, to be read, edited and run again::

    {"script": 1, "config_toml": "…", "steps": 9, "final_hash": "…"}
    {"at": {"step": 4, "phase": "score"}, "do": {"command": "Undo", "steps": 2}}
    {"finished": 3, "hash": "…"}
    {"finished": 4, "hash": "…", "ahead": true}

A command is obeyed at the first boundary ``at`` that comes after the steps finished above it. ``step`` and ``phase`` name
the boundary before that phase; without a phase it is the one before the step. Lines of finished steps are what a
replay is compared with, and say which steps it draws ahead (``sampling.ahead``); a script without ``steps`` runs to the end
of its run.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpo_tui.config.changes import differences
from grpo_tui.config.emit import from_dict
from grpo_tui.events import codec
from grpo_tui.events.commands import Place, Request, StartAgain
from grpo_tui.events.fold import reduce
from grpo_tui.events.state import RunState
from grpo_tui.events.types import (
    BranchStarted,
    CommandObeyed,
    RunStarted,
    SettingsChanged,
    StepFinished,
    WentTo,
)
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import RunFileError, os_error

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedCommand:
    """A request, and where it is obeyed."""

    place: Place
    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedStep:
    """A step that finished, and the state it came to."""

    step: int
    state_hash: str
    ahead: bool = False
    """It had been drawn ahead, by the policy before the last update; a replay draws just such steps ahead."""


Line = ScriptedCommand | ScriptedStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A session from its first step."""

    config_toml: str
    lines: tuple[Line, ...]
    steps: int | None = None
    """Steps to finish in all, those taken more than once counted each time; None: to the end of the run."""
    final_hash: str = ""
    """Of the state in which the session was left."""

    @property
    def commands(self) -> tuple[ScriptedCommand, ...]:
        """Its commands in order."""
        return tuple(line for line in self.lines if isinstance(line, ScriptedCommand))

    @property
    def finished(self) -> tuple[ScriptedStep, ...]:
        """Its finished steps in order."""
        return tuple(line for line in self.lines if isinstance(line, ScriptedStep))


def script_of(run_dir: Path) -> Script:
    """What was done in a run.

    Where a process ended and another resumed the run from an earlier moment than it was left at, or under other settings,
    the script says so with :class:`~grpo_tui.events.commands.StartAgain`.

    Raises:
        RunFileError: the run cannot be read, or it never began.
    """
    with RunReader(run_dir) as reader:
        events = reader.events_of(
            RunStarted, StepFinished, SettingsChanged, CommandObeyed, WentTo, BranchStarted
        )
    lines: list[Line] = []
    state = RunState()
    config_toml = ""
    lost: Place | None = None
    """Where a command was obeyed inside the step in progress, which goes with it if the process dies."""
    for event in events:
        before, state = state, reduce(state, event)
        if isinstance(event, RunStarted):
            if before.run is None:
                config_toml = event.config_toml
            else:
                changes = tuple(_differences(before.config_toml, event.config_toml))
                if lost or changes or event.finished_steps != before.last_step:
                    request = StartAgain(event.finished_steps, before.branch, changes)
                    lines.append(
                        ScriptedCommand(place=lost or Place(step=before.last_step + 1), request=request)
                    )
            lost = None
        elif isinstance(event, StepFinished):
            metrics = event.metrics
            ahead = metrics.num_ahead > 0
            lines.append(ScriptedStep(step=metrics.step, state_hash=metrics.state_hash, ahead=ahead))
            lost = None
        elif isinstance(event, WentTo):
            lost = None
        elif isinstance(event, CommandObeyed):
            place = Place(step=event.step, phase=event.phase, visit=event.visit)
            request_ = codec.decode_request(json.loads(event.command))
            lines.append(ScriptedCommand(place=place, request=request_))
            lost = place if place.phase and place.step == state.last_step + 1 else lost
    if state.run is None:
        raise RunFileError(f"cannot replay {run_dir}: nothing ever began in it")
    steps = sum(isinstance(line, ScriptedStep) for line in lines)
    return Script(config_toml=config_toml, lines=tuple(lines), steps=steps, final_hash=state.state_hash)


def _differences(old_toml: str, new_toml: str) -> Iterator[tuple[str, str]]:
    """Settings that a new process was given otherwise than the one before had them, as ``--set`` takes them."""
    old, new = (from_dict(tomllib.loads(text), where="the run's settings") for text in (old_toml, new_toml))
    for key, _, text in differences(old, new):
        yield key, text


def to_text(script: Script) -> str:
    """The script as JSON lines."""
    head: dict[str, Any] = {"script": VERSION, "config_toml": script.config_toml}
    if script.steps is not None:
        head["steps"] = script.steps
    if script.final_hash:
        head["final_hash"] = script.final_hash
    return "".join(f"{codec.to_json(data)}\n" for data in (head, *map(_line_to_json, script.lines)))


def _line_to_json(line: Line) -> dict[str, Any]:
    if isinstance(line, ScriptedStep):
        return {"finished": line.step, "hash": line.state_hash} | ({"ahead": True} if line.ahead else {})
    place = codec.encode_record(line.place)[0]
    return {"at": place, "do": codec.encode_request(line.request)}


def read_script(path: Path) -> Script:
    """Read a script.

    Raises:
        RunFileError: it cannot be read, or a line of it means nothing.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise os_error("read", path, error) from error
    except UnicodeDecodeError as error:
        raise RunFileError(f"cannot read {path}: it is not UTF-8 text") from error
    lines: list[Line] = []
    head: dict[str, Any] | None = None
    for number, data in _objects(path, text):
        try:
            if head is None:
                head = data
                if int(data["script"]) > VERSION:
                    raise RunFileError(f"cannot read {path}: it was written by a newer grpo-tui; upgrade")
            else:
                lines.append(_line_from_json(data))
        except (codec.CodecError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, RunFileError):
                raise
            reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
            raise RunFileError(f"cannot read {path}, line {number}: {reason}") from error
    if head is None:
        raise RunFileError(f"cannot read {path}: it is empty; its first line must hold the settings")
    steps = head.get("steps")
    return Script(
        config_toml=str(head.get("config_toml", "")),
        lines=tuple(lines),
        steps=None if steps is None else int(steps),
        final_hash=str(head.get("final_hash", "")),
    )


def _objects(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except json.JSONDecodeError as error:
            raise RunFileError(f"cannot read {path}, line {number}: it is not JSON ({error.msg})") from error
        if not isinstance(data, dict):
            raise RunFileError(f"cannot read {path}, line {number}: it is not a JSON object")
        yield number, data


def _line_from_json(data: dict[str, Any]) -> Line:
    if "finished" in data:
        ahead = data.get("ahead", False) is True
        return ScriptedStep(step=int(data["finished"]), state_hash=str(data.get("hash", "")), ahead=ahead)
    return ScriptedCommand(
        place=codec.decode_record(Place, data["at"]), request=codec.decode_request(data["do"])
    )
