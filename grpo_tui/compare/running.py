"""Runs to be made, some of them made already: what is finished is kept, what was begun goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Protocol

from grpo_tui.compare.plan import PlannedRun
from grpo_tui.compare.processes import Exit
from grpo_tui.config.errors import ConfigError
from grpo_tui.config.load import load_config
from grpo_tui.config.settings import all_settings, value_of
from grpo_tui.events.types import RunEnded
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import DATABASE, RunFileError

NEW, BEGUN, FINISHED = "new", "begun", "finished"
"""States of a run's folder."""


class Launcher(Protocol):
    """Makes one run and waits for it; :class:`~grpo_tui.compare.processes.Processes`, or a test's own."""

    def is_stopping(self) -> bool:
        """Nothing new is to be started."""

    def stop(self) -> None:
        """End what is running, gently, and start nothing new."""

    def run(self, planned: PlannedRun, *, resume: bool) -> Exit:
        """From the start, or on from where it stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a planned run."""

    run: PlannedRun
    state: str
    """``finished``, ``stopped`` (it can go on) or ``failed``."""
    message: str = ""
    """Of a failure."""
    code: int = 0
    """Its process's exit code."""
    reused: bool = False
    """It was finished before."""


def state_of(planned: PlannedRun) -> str:
    """Whether a run is still to be begun, was begun, or is finished.

    Raises:
        ConfigError: its folder holds a run with other settings.
        RunFileError: its folder holds a run that cannot be read.
    """
    if not (planned.run_dir / DATABASE).is_file():
        return NEW
    _demand_same_settings(planned)
    with RunReader(planned.run_dir) as reader:
        ended = reader.last_event(RunEnded)
    return FINISHED if ended is not None and ended.reason == "finished" else BEGUN


def _demand_same_settings(planned: PlannedRun) -> None:
    stored = load_config(file=planned.run_dir / "config.toml")
    for key in sorted(all_settings(), key=_FOLLOWING.__contains__):
        was, is_now = value_of(stored, key), value_of(planned.config, key)
        if was != is_now:
            message = f"was run with {was}, and would now be run with {is_now}; repeat the options, or choose another --out"
            raise ConfigError(f"{planned.run_dir}", key, message)


_FOLLOWING = ("run.steps", "run.checkpoint_every", "eval.every")
"""Settings that follow from others, which are to be named first where both differ."""


def run_all(runs: Sequence[PlannedRun], launcher: Launcher, *, jobs: int) -> Iterator[Outcome]:
    """Bring every run to its end, so many at once, and tell each as it gets there.

    Raises:
        ConfigError: a folder holds a run with other settings; nothing was started then.
        RunFileError: a folder holds a run that cannot be read; likewise.
    """
    states = {run: state_of(run) for run in runs}
    for run, state in states.items():
        if state == FINISHED:
            yield Outcome(run=run, state="finished", reused=True)
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        waiting = [
            pool.submit(_make, run, state, launcher) for run, state in states.items() if state != FINISHED
        ]
        for future in as_completed(waiting):
            yield future.result()


def _make(run: PlannedRun, state: str, launcher: Launcher) -> Outcome:
    if launcher.is_stopping():
        return Outcome(run=run, state="stopped")
    try:
        code, message = launcher.run(run, resume=state == BEGUN)
        finished = code == 0 and state_of(run) == FINISHED
    except (OSError, RunFileError) as error:
        return Outcome(run=run, state="failed", message=str(error))
    if finished:
        return Outcome(run=run, state="finished")
    if launcher.is_stopping():
        return Outcome(run=run, state="stopped")
    return Outcome(run=run, state="failed", message=f"{message} (exit {code})", code=code)
