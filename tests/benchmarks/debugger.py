"""What being able to stop, look and go back costs a step that nobody stops: ``python -m tests.benchmarks.debugger``.

Trains as ``grpo-tui train`` does, with a run folder, and holds a clock to all that the debugger does in every step although nobody
asks for anything: the state kept and hashed, the gate at every token and microbatch, breakpoints (none, then three that never
hit), what the preview and the receipt would need. The states' writer is a thread of its own: its processor time is told apart.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from grpo_tui import load_config
from grpo_tui.engine import history, snapshots, step
from grpo_tui.engine.breaking import Breaker
from grpo_tui.engine.control import Control, Gate
from grpo_tui.engine.runner import run_session
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.breakpoints import Breakpoint
from grpo_tui.events.commands import SetBreakpoint
from grpo_tui.events.types import BreakpointsChanged, Event, StepFinished
from grpo_tui.policy.policy import Policy

LIMIT = 0.05
PARTS: dict[str, tuple[tuple[Any, str], ...]] = {
    "state kept": ((history.History, "finished"), (history.History, "_keep_present")),
    "state hashed": ((Trainer, "state_hash"),),
    "gate": ((Gate, "tick"), (Gate, "heed")),
    "breakpoints": ((Breaker, "meets"),),
    "for preview and receipt": (
        (step, "predictions"),
        (step, "remember_update"),
        (step, "emit_token_weights"),
        (Policy, "adapter_state"),
    ),
}
NEVER = ("reward > 7", "any group: sd == 0 and mean_length > 5000", "verdict(unparsed) > 200%")


class Clock:
    """Seconds of this thread inside each part, without those of a part inside another."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inside = 0

    def held_to(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            if self._inside:
                return function(*arguments, **options)
            self._inside += 1
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[part] += time.perf_counter() - started
                self._inside -= 1

        return timed


def measure(num_steps: int, breakpoints: tuple[str, ...]) -> tuple[dict[str, float], float, float]:
    """Milliseconds a step in each part, of the writer's thread, and of the step; medians over steps but the first two."""
    clock, writing = Clock(), 0.0
    rows: list[dict[str, float]] = []
    seconds: list[float] = []
    held: tuple[Breakpoint, ...] = ()
    control = Control(start_paused=False)
    for condition in breakpoints:
        control.send(SetBreakpoint(condition=condition))

    def emit(event: Event) -> None:
        nonlocal held
        if isinstance(event, BreakpointsChanged):
            held = event.breakpoints
        if isinstance(event, StepFinished):
            seconds.append(event.metrics.seconds)
            rows.append(dict(clock.seconds))
            clock.seconds.clear()

    write = snapshots.write_state

    def write_timed(*arguments: Any) -> None:
        nonlocal writing
        started = time.thread_time()
        write(*arguments)
        writing += time.thread_time() - started

    with tempfile.TemporaryDirectory() as folder, ExitStack() as patched:
        for part, places in PARTS.items():
            for owner, name in places:
                timed = clock.held_to(part, getattr(owner, name))
                patched.enter_context(mock.patch.object(owner, name, timed))
        patched.enter_context(mock.patch.object(snapshots, "write_state", write_timed))
        config = load_config(preset="tiny", overrides=[f"run.steps={num_steps}", "eval.every=0"])
        ended = run_session(
            config,
            run_dir=Path(folder) / "run",
            resume=False,
            control=control,
            emit=emit,
            wait_on_failure=False,
        )
        assert ended.reason == "finished", ended
        assert tuple(one.condition for one in held) == breakpoints, held
    kept = rows[2:]
    parts = {part: 1e3 * statistics.median(row.get(part, 0.0) for row in kept) for part in PARTS}
    return parts, 1e3 * writing / num_steps, 1e3 * statistics.median(seconds[2:])


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args(arguments)
    found = {"no breakpoint": measure(options.steps, ()), "three": measure(options.steps, NEVER)}
    print(f"| ms a step | {' | '.join(found)} |")
    print("|---|" + "---|" * len(found))
    for part in PARTS:
        print(f"| {part} | " + " | ".join(f"{parts[part]:.2f}" for parts, _, _ in found.values()) + " |")
    print("| states' writer, its own thread | " + " | ".join(f"{w:.2f}" for _, w, _ in found.values()) + " |")
    print("| the step | " + " | ".join(f"{s:.0f}" for _, _, s in found.values()) + " |")
    shares = [(sum(parts.values()) + writer) / whole for parts, writer, whole in found.values()]
    print("| share of the step | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |")
    print(f"\nlimit {100 * LIMIT:.0f} %: {'kept' if max(shares) <= LIMIT else 'MISSED'}")


if __name__ == "__main__":
    main()
