"""Run the app over the scripted run, on a timer: ``python -m tests.support.demo [steps of history]``.

Commands are obeyed well enough to try every key by hand; nothing is trained.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from grpo_tui.events.commands import Command, Pause, Resume, Retry, StepOnce, StepPhase, Stop
from grpo_tui.events.records import Mode, Phase
from grpo_tui.events.types import ModeChanged, PhaseStarted, Progress, RunEnded, TrainerFailed
from grpo_tui.tui.app import GrpoApp
from grpo_tui.tui.launch import LaunchedApp
from tests.support.builders import ScriptedRun
from tests.support.scripted_session import ScriptedSession


class TimedSession(ScriptedSession):
    """Plays the script in real time on a thread and obeys commands."""

    def __init__(self, *, history: int, fail_at: int = 0) -> None:
        super().__init__()
        self._script = ScriptedRun(steps=60)
        self._history, self._fail_at = history, fail_at
        self._run = threading.Event()
        self._stop = threading.Event()
        self._until = ""
        self._thread = threading.Thread(target=self._play, daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        super().start()
        self._thread.start()

    def send(self, command: Command) -> None:
        super().send(command)
        self._until = (
            "step" if isinstance(command, StepOnce) else "phase" if isinstance(command, StepPhase) else ""
        )
        if isinstance(command, (Resume, StepOnce, StepPhase, Retry)):
            self._run.set()
        elif isinstance(command, Pause):
            self._run.clear()
        elif isinstance(command, Stop):
            self._stop.set()
            self._run.set()

    def _boundary(self, what: str) -> None:
        if self._until == what:
            self._run.clear()
        if not self._run.is_set():
            self.play(ModeChanged(time=time.time(), mode=Mode.PAUSED, detail=f"before {what}"))
            self._run.wait()
            self.play(ModeChanged(time=time.time(), mode=Mode.RUNNING))

    def _play(self) -> None:
        for event in self._script.loading():
            self.play(event)
            time.sleep(0.3)
        self.play(
            ModeChanged(time=time.time(), mode=Mode.PAUSED, detail="before step 1"),
            self._script.evaluation(0),
        )
        for step in range(1, self._history + 1):
            self.play(*(event for _, event in self._script.step(step)))
        for step in range(self._history + 1, 61):
            self._boundary("step")
            if step == self._fail_at:
                self.play(
                    TrainerFailed(
                        time=time.time(),
                        step=step,
                        kind="OutOfMemoryError",
                        message="CUDA out of memory. [red]Tried[/] to allocate 2.0 GiB",
                        advice="Make the group smaller, or completions shorter.",
                        traceback="Traceback…\n  line 1\n  line 2",
                        can_retry=True,
                    )
                )
                self._run.clear()
                self._run.wait()
                self.play(ModeChanged(time=time.time(), mode=Mode.RUNNING))
            self._play_step(step)
            if self._stop.is_set():
                time.sleep(1.0)
                self.play(RunEnded(time=time.time(), reason="stopped", finished_steps=step))
                return
        self.play(RunEnded(time=time.time(), reason="finished", finished_steps=60))

    def _play_step(self, step: int) -> None:
        for _, event in self._script.step(step):
            if isinstance(event, PhaseStarted) and not self._stop.is_set():
                self._boundary("phase")
            self.play(event)
            if isinstance(event, PhaseStarted) and event.phase in (Phase.SAMPLE, Phase.UPDATE):
                for done in range(0, 65, 4):
                    self.progress = Progress(
                        step=step, phase=event.phase, done=done, total=64, unit="tok", tokens_per_second=492.0
                    )
                    if self._stop.wait(0.08):
                        return
            elif isinstance(event, PhaseStarted):
                time.sleep(0.15)


def make_app(history: int, fail_at: int = 0) -> GrpoApp:
    """An app whose every session is the timed script."""

    class Demo(LaunchedApp):
        def open_first(self) -> None:
            self.open_session(TimedSession(history=history, fail_at=fail_at), None, paused=True)

    return Demo(runs_root=Path("runs"))


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]] or [40]
    app = make_app(*numbers)
    app.run()
    os._exit(0)
