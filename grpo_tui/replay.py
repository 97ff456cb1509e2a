"""``grpo-tui replay``: a recorded session again without a screen, or its script to read and to change."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from grpo_tui.engine.replay import Replay, replay
from grpo_tui.events.types import Event, Notice, StepFinished
from grpo_tui.runs.schema import RunFileError
from grpo_tui.runs.script import Script, read_script, script_of, to_text

DIFFERS = 1
OTHER_ROUNDING = "on another processor, or with other threads or versions, numbers are rounded otherwise"


def run(arguments: argparse.Namespace) -> int:
    """Write a script, or replay one; give the exit code.

    Raises:
        RunFileError: the run or the script cannot be read, or there is already a run where the replay is to go.
    """
    script = read_script(arguments.from_script) if arguments.from_script else script_of(arguments.run)
    if arguments.script is not None:
        return _write(script, arguments.script)
    if arguments.out is not None:
        return _replay(script, arguments.out)
    with tempfile.TemporaryDirectory(prefix="grpo-tui-replay-") as folder:
        return _replay(script, Path(folder) / "run")


def _write(script: Script, path: Path) -> int:
    try:
        path.write_text(to_text(script), encoding="utf-8")
    except OSError as error:
        raise RunFileError(f"cannot write {path}: {error.strerror}") from error
    _say(f"{len(script.commands)} commands and {len(script.finished)} steps in {path}")
    _say(f"run it with: grpo-tui replay --from-script {path}")
    return 0


def _replay(script: Script, run_dir: Path) -> int:
    if (run_dir / "run.db").exists():
        raise RunFileError(f"cannot replay into {run_dir}: it holds a run; choose another folder")
    result = replay(script, run_dir, _tell)
    _say(verdict(script, result))
    return DIFFERS if result.difference else 0


def verdict(script: Script, result: Replay) -> str:
    """What came of a replay, in one line."""
    done = f"{result.num_steps} steps and {result.num_commands} commands"
    if result.difference:
        return f"differs: {result.difference} (after {done}); {OTHER_ROUNDING}"
    if script.finished:
        return (
            f"the same: {done}, {result.num_compared} states compared, left in state {result.state_hash[:12]}"
        )
    return f"done: {done}, left in state {result.state_hash[:12]}"


def _tell(event: Event) -> None:
    if isinstance(event, StepFinished):
        _say(
            f"step {event.metrics.step}  reward {event.metrics.reward_mean:.3f}  {event.metrics.state_hash[:12]}"
        )
    elif isinstance(event, Notice) and event.level == "error":
        _say(f"{event.source}: {event.message}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
