"""Make the recorded session in ``sample_data/session``: ``python sample_data/make_session.py [--out FOLDER]``.

A person at the debugger, as a script: stop at the first dead group, see its cause, correct a verdict before the update, look
at the gradient before it is applied, apply it, read the receipt; go on for some steps, go back, try another advantage on a
branch of its own, compare both lines, and go on with the better one. It takes about a minute on two CPU cores.
"""

from __future__ import annotations

import argparse
import queue
import shutil
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from grpo_tui.config.load import load_config
from grpo_tui.engine.control import Control
from grpo_tui.engine.runner import run_session
from grpo_tui.events.commands import (
    ChangeSettings,
    Command,
    GoTo,
    MakeReceipt,
    OverrideVerdict,
    PreviewUpdate,
    RemoveBreakpoint,
    SetBreakpoint,
    StepOnce,
    Stop,
)
from grpo_tui.events.types import (
    ActTaken,
    BreakpointHit,
    BreakpointsChanged,
    Event,
    ModeChanged,
    PreviewComputed,
    ReceiptComputed,
    RequestFailed,
    RunEnded,
    SettingsChanged,
    StepFinished,
    TrainerFailed,
    WentTo,
)

HERE = Path(__file__).resolve().parent
SETTINGS = ("run.name=session", "run.seed=3", "run.steps=40", "eval.every=0", "reward.canaries=false")
LINE_STEPS = 5
"""Steps taken on each of the two lines after the fork."""
PATIENCE = 300.0

_E = TypeVar("_E", bound=Event)


class Person:
    """Sends commands and waits for what comes of them."""

    def __init__(self, run_dir: Path) -> None:
        self.control = Control(start_paused=True)
        self._events: queue.Queue[Event] = queue.Queue()
        config = load_config(preset="tiny", overrides=list(SETTINGS))
        self._thread = threading.Thread(
            target=run_session,
            args=(config,),
            kwargs={
                "run_dir": run_dir,
                "resume": False,
                "control": self.control,
                "emit": self._events.put,
                "wait_on_failure": False,
            },
        )
        self._thread.start()

    def does(self, command: Command) -> None:
        """Send a command."""
        self.control.send(command)

    def sees(self, kind: type[_E], such: Callable[[_E], bool] = lambda _event: True) -> _E:
        """Wait for an event."""
        while True:
            event = self._events.get(timeout=PATIENCE)
            if isinstance(event, RequestFailed | TrainerFailed):
                raise SystemExit(f"the session failed: {event}")
            if isinstance(event, kind) and such(event):
                return event

    def steps(self, count: int) -> float:
        """Take whole steps; give the mean reward over them."""
        rewards = []
        for _ in range(count):
            self.does(StepOnce())
            rewards.append(self.sees(StepFinished).metrics.reward_mean)
            self.sees(ModeChanged, lambda event: event.mode == "paused")
        return sum(rewards) / len(rewards)

    def leaves(self) -> None:
        """End the run and wait for it."""
        self.does(Stop())
        self.sees(RunEnded)
        self._thread.join()


def play(run_dir: Path) -> None:
    """The session."""
    person = Person(run_dir)
    person.sees(ModeChanged, lambda event: event.mode == "paused")
    person.does(SetBreakpoint(condition="any group: dead and accuracy = 1"))
    person.sees(BreakpointsChanged)
    hit = None
    for _ in range(20):
        person.does(StepOnce())
        event = person.sees(Event, lambda event: isinstance(event, BreakpointHit | StepFinished))
        person.sees(ModeChanged, lambda event: event.mode == "paused")
        if isinstance(event, BreakpointHit):
            hit = event.hit
            break
    if hit is None:
        raise SystemExit("no dead group in 20 steps; take another seed")
    match = hit.matches[0]
    say(f"stopped in step {hit.step} before {hit.phase}: {match.sentence}")
    assert match.group is not None
    person.does(
        OverrideVerdict(hit.step, match.group, 0, "wrong", note="right by luck: the working is wrong")
    )
    say(person.sees(ActTaken).sentence)
    person.does(SetBreakpoint(phase="update", once=True))
    person.does(StepOnce())
    person.sees(BreakpointHit)
    person.sees(ModeChanged, lambda event: event.mode == "paused")
    person.does(PreviewUpdate(hit.step))
    say(f"preview: {person.sees(PreviewComputed)!r:.300}")
    person.does(RemoveBreakpoint(1))
    person.steps(1)
    person.does(MakeReceipt(hit.step))
    say(f"receipt: {person.sees(ReceiptComputed)!r:.300}")
    fork = hit.step
    first = person.steps(LINE_STEPS)
    person.does(GoTo(fork))
    went = person.sees(WentTo)
    say(f"back at step {went.step}, state {went.state_hash[:12]}")
    person.does(ChangeSettings((("algorithm.advantage", "mean"), ("algorithm.aggregation", "token_mean"))))
    person.sees(SettingsChanged)
    second = person.steps(LINE_STEPS)
    say(f"mean reward over {LINE_STEPS} steps: {first:.3f} on the first line, {second:.3f} on the second")
    if first > second:
        person.does(GoTo(fork + LINE_STEPS, 0))
        person.sees(WentTo)
    person.steps(2)
    person.leaves()


def keep(run_dir: Path, out: Path) -> None:
    """The run file and its config; weights stay out, they can be made again by ``grpo-tui replay``."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with sqlite3.connect(run_dir / "run.db") as source, sqlite3.connect(out / "run.db") as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")
    target.execute("VACUUM")
    target.close()
    shutil.copy(run_dir / "config.toml", out / "config.toml")
    say(f"{out}: {(out / 'run.db').stat().st_size / 1e6:.1f} MB")


def say(line: str) -> None:
    """A line for whoever makes it."""
    sys.stderr.write(line + "\n")


def main() -> None:
    """Play the session and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "session")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "session"
        play(run_dir)
        keep(run_dir, arguments.out)


if __name__ == "__main__":
    main()
