"""How the app feels while it trains, and what it costs: ``python -m tests.benchmarks.app``.

Drives the real program in a pseudo-terminal of 120x40: first paint, first scored group, key to paint, and the seconds
a step takes with the app open against the same steps without a screen, in turns in one run.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from grpo_tui.events.records import StepMetrics
from grpo_tui.runs.reader import RunReader
from tests.benchmarks.terminal import Terminal

RESPONSE = re.compile(r"Response g\d+·r(\d+)")


def measure_start(cwd: Path) -> tuple[float, float]:
    """Seconds from launch to the first paint, and to the first scored group after Enter."""
    terminal = Terminal([], cwd=cwd)
    try:
        terminal.wait_for(lambda text: "New run" in text, 20)
        paint = terminal.seconds
        terminal.send("\r")
        terminal.wait_for(lambda text: re.search(r"[✓✗≈ø?]{8}", text), 120)
        return paint, terminal.seconds
    finally:
        terminal.close()


def measure_keys(cwd: Path, count: int, arguments: Sequence[str]) -> list[float]:
    """Seconds from each key to the screen that shows it, while training runs flat out."""
    terminal = Terminal(["run", *arguments], cwd=cwd)
    spread = random.Random(0)
    latencies = []
    try:
        terminal.wait_for(lambda text: "PAUSED" in text, 180)
        terminal.send(" ")
        terminal.wait_for(lambda text: RESPONSE.search(text) and "RUN" in text, 300)
        for turn in range(count):
            terminal.idle(spread.uniform(0.05, 0.35))
            match = RESPONSE.search(terminal.text)
            before = match[1] if match else "1"
            down = turn % 2 == 0
            wanted = str(int(before) + 1) if down else str(int(before) - 1)
            terminal.send("j" if down else "k")

            def shown(text: str, wanted: str = wanted) -> bool:
                found = RESPONSE.search(text)
                return found is not None and found[1] == wanted

            latencies.append(terminal.wait_for(shown, 20))
    finally:
        terminal.close()
    return latencies


def train_headless(cwd: Path, name: str, arguments: Sequence[str]) -> list[StepMetrics]:
    """The same steps without a screen."""
    command = [sys.executable, "-m", "grpo_tui", "train", "--json", "--out", name, *arguments]
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)
    with RunReader(cwd / name) as reader:
        return list(reader.history())


def train_in_app(cwd: Path, name: str, arguments: Sequence[str]) -> list[StepMetrics]:
    """The same steps with the app open and running."""
    terminal = Terminal(["run", "--out", name, *arguments], cwd=cwd)
    try:
        terminal.wait_for(lambda text: "PAUSED" in text, 180)
        terminal.send(" ")
        terminal.wait_for(lambda text: re.search(r"FINISHED|DONE", text), 900)
    finally:
        terminal.close()
    with RunReader(cwd / name) as reader:
        return list(reader.history())


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of all values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    """Measure all and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=120)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cwd = Path(folder)
        starts = [measure_start(cwd) for _ in range(3)]
        print(f"first paint         {statistics.median(s[0] for s in starts):7.2f} s   (3 launches, median)")
        print(
            f"first scored group  {statistics.median(s[1] for s in starts):7.2f} s   (Enter at first paint)"
        )
        keys = measure_keys(cwd, options.keys, ["--preset", "tiny", "--set", "run.steps=400"])
        print(
            f"key to paint        p50 {1e3 * percentile(keys, 0.5):.0f} ms  p95 {1e3 * percentile(keys, 0.95):.0f} ms  "
            f"max {1e3 * max(keys):.0f} ms  (n={len(keys)}, training)"
        )
        arguments = ["--preset", "tiny", "--set", f"run.steps={options.steps}", "--set", "eval.every=0"]
        headless, app = [], []
        for turn in range(options.rounds):
            headless.append(train_headless(cwd, f"headless{turn}", arguments))
            app.append(train_in_app(cwd, f"app{turn}", arguments))
        # The first step warms caches and is left out of both.
        seconds = [[sum(m.seconds for m in run[1:]) for run in runs] for runs in (headless, app)]
        ratio = min(seconds[1]) / min(seconds[0])
        print(
            f"{options.steps - 1} steps             headless {min(seconds[0]):.2f} s, app {min(seconds[1]):.2f} s, "
            f"app / headless = {ratio:.3f}   (best of {options.rounds}, in turns)"
        )
        same = headless[0][-1].state_hash == app[0][-1].state_hash
        print(f"same weights        {'yes' if same else 'NO'}")
        print(f"at                  {time.strftime('%Y-%m-%d %H:%M')}")


if __name__ == "__main__":
    main()
