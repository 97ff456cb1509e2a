"""Each run as a process of its own: its peak memory is its own, and its crash harms no other."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

from grpo_tui.compare.plan import PlannedRun
from grpo_tui.config.emit import to_toml


class Exit(NamedTuple):
    """How a process ended. ``message`` is the last error it told, or its last line on stderr."""

    code: int
    message: str


class Pace(NamedTuple):
    """How far a run is, after one of its steps."""

    step: int
    tokens: int
    reward: float


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_for(jobs: int) -> int:
    """Threads that each of so many runs at once gets; OMP_NUM_THREADS where it is set."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else max(1, num_cores() // jobs)


class Processes:
    """Starts runs, from any thread, and stops them all at once.

    Args:
        out: the comparison's folder; what runs say on stderr goes to ``logs`` in it.
        num_threads: OMP_NUM_THREADS of each.
        on_step: told after each step of each run, from the thread that waits for it.
    """

    def __init__(
        self,
        out: Path,
        num_threads: int,
        on_step: Callable[[PlannedRun, Pace], None] = lambda _run, _pace: None,
    ) -> None:
        self._logs = out / "logs"
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(num_threads), "PYTHONUNBUFFERED": "1"}
        self._on_step = on_step
        self._guard = threading.Lock()
        self._alive: set[subprocess.Popen[str]] = set()
        self._stops = 0

    def is_stopping(self) -> bool:
        """Whether :meth:`stop` was called: nothing new is to be started."""
        return self._stops > 0

    def stop(self) -> None:
        """Ask every process to save and stop, as ctrl-C does; asked again, they stop at once."""
        self._stops += 1
        for process in tuple(self._alive):
            self._signal(process)

    def run(self, planned: PlannedRun, *, resume: bool) -> Exit:
        """Run to its end, or go on with one that was begun, and wait for it."""
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{planned.run_dir.parent.name}-{planned.name}.txt"
        command = _command(planned, resume=resume)
        with log.open("w", encoding="utf-8") as errors, self._start(command, errors) as process:
            try:
                assert process.stdout is not None
                self._follow(planned, process.stdout)
                code = process.wait()
            finally:
                self._alive.discard(process)
        return Exit(code, last_complaint(log.read_text(encoding="utf-8", errors="replace")))

    def _start(self, command: list[str], errors: IO[str]) -> subprocess.Popen[str]:
        with self._guard:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                env=self._environment,
                process_group=0,  # the terminal's ctrl-C is for us alone, or a run would get it twice
            )
            self._alive.add(process)
        if self.is_stopping():
            self._signal(process)
        return process

    def _signal(self, process: subprocess.Popen[str]) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL if self._stops > 2 else signal.SIGINT)

    def _follow(self, planned: PlannedRun, lines: IO[str]) -> None:
        tokens = 0
        for line in lines:
            try:
                data = json.loads(line)
                if "eval" not in data:
                    tokens += data["num_sampled_tokens"] or data["num_completion_tokens"]
                    self._on_step(planned, Pace(data["step"], tokens, data["reward_mean"]))
            except (ValueError, KeyError, TypeError):
                continue  # only what is shown on the way comes from here


def _command(planned: PlannedRun, *, resume: bool) -> list[str]:
    program = [sys.executable, "-m", "grpo_tui"]
    if resume:
        return [*program, "resume", str(planned.run_dir), "--headless", "--json"]
    planned.config_file.parent.mkdir(parents=True, exist_ok=True)
    planned.config_file.write_text(to_toml(planned.config), encoding="utf-8")
    return [*program, "train", "--config", str(planned.config_file), "--out", str(planned.run_dir), "--json"]


def last_complaint(text: str) -> str:
    """The last error in what a process said; failing that its last line."""
    prefix = "grpo-tui: error: "
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
    return (told or lines or ["it said nothing"])[-1]
