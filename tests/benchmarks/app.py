"""How the app feels while it trains, and what it costs: ``python -m tests.benchmarks.app [--model FILE.gguf]``.

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
LAG = re.compile(r"loop lag p95 (\d+) ms, worst (\d+) ms")
KEY_LIMIT, GAP_LIMIT, COST_LIMIT = 0.100, 0.250, 1.03
"""p95 of key to paint; longest time without a frame, seconds; seconds with the app open over those without."""
ANY_KEYS = "nnpjkjkog[[]Lhv"
"""Pressed at random in between: they move, open and sort, and none of them stops the run."""


def measure_start(cwd: Path) -> tuple[float, float]:
    """Seconds from launch to the first paint, and to the first scored group of a run started with r."""
    terminal = Terminal([], cwd=cwd)
    try:
        terminal.wait_for(lambda text: "New run" in text, 20)
        paint = terminal.seconds
        terminal.send("r")
        terminal.wait_for(lambda text: re.search(r"[✓✗≈ø?]{8}", text), 120)
        return paint, terminal.seconds
    finally:
        terminal.close()


def measure_keys(cwd: Path, count: int, arguments: Sequence[str]) -> tuple[list[float], float]:
    """Seconds from each key to the screen that shows it, while training runs flat out, and the worst gap of the loop.

    Between two measured keys others are pressed at random. The gap is what the app measures of itself, as the palette's
    "Debug: loop lag" shows it: over the last minute, so a longer run is asked every half of one.
    """
    terminal = Terminal(["run", *arguments], cwd=cwd)
    spread = random.Random(0)
    latencies: list[float] = []
    try:
        terminal.wait_for(lambda text: "PAUSED" in text, 180)
        terminal.send(" ")
        terminal.wait_for(lambda text: RESPONSE.search(text) and "RUN" in text, 600)
        show_lag(terminal)
        worst, asked = 0.0, time.perf_counter()
        for turn in range(count):
            for key in spread.choices(ANY_KEYS, k=2):
                terminal.send(key)
                terminal.idle(spread.uniform(0.05, 0.3))
                if key in "hv":
                    terminal.send("\x1b")
                    terminal.idle(0.3)
            terminal.send("L")
            latencies.append(press(terminal, turn))
            if time.perf_counter() - asked > 30 or turn == count - 1:
                terminal.wait_for(LAG.search, 20)
                found = LAG.search(terminal.text)
                worst = max(worst, int(found[2]) / 1e3 if found else 0.0)
                asked = time.perf_counter()
        return latencies, worst
    finally:
        terminal.close()


def show_lag(terminal: Terminal) -> None:
    """Turn the app's own gauge on, by the palette."""
    terminal.send("\x10")
    terminal.wait_for(lambda text: "Search for commands" in text, 20)
    terminal.send("loop lag")
    terminal.wait_for(lambda text: "p95 and worst" in text, 20)
    terminal.send("\r")
    terminal.wait_for(LAG.search, 20)


def press(terminal: Terminal, turn: int) -> float:
    """Seconds until the screen shows the response that j or k selects."""
    terminal.wait_for(RESPONSE.search, 20)
    match = RESPONSE.search(terminal.text)
    before = int(match[1]) if match else 1
    down = before == 1 or (turn % 2 == 0 and before < 8)
    wanted = before + 1 if down else before - 1
    terminal.send("j" if down else "k")

    def shown(text: str) -> bool:
        found = RESPONSE.search(text)
        return found is not None and int(found[1]) == wanted

    return terminal.wait_for(shown, 20)


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
        terminal.swallow_until(b"FINISHED", b"DONE", timeout=900)
    finally:
        terminal.close()
    with RunReader(cwd / name) as reader:
        return list(reader.history())


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of all values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def verdict(value: float, limit: float) -> str:
    """Whether a limit is kept."""
    return "kept" if value <= limit else "MISSED"


def main() -> None:
    """Measure all and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=120)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--model", default="", help="another model than the bundled one: an id, a folder, a .gguf file"
    )
    options = parser.parse_args()
    model = (
        ["--set", f"model.source={Path(options.model).resolve()}"] if Path(options.model).is_file() else []
    )
    if options.model and not model:
        model = ["--set", f"model.source={options.model}"]
    base = ["--preset", "tiny", *model]
    with tempfile.TemporaryDirectory() as folder:
        cwd = Path(folder)
        if not model:
            starts = [measure_start(cwd) for _ in range(3)]
            paint, scored = (statistics.median(s[i] for s in starts) for i in (0, 1))
            print(f"first paint         {paint:7.2f} s   (3 launches, median)")
            print(f"first scored group  {scored:7.2f} s   (r at first paint)")
        keys, gap = measure_keys(cwd, options.keys, [*base, "--set", "run.steps=4000"])
        p95 = percentile(keys, 0.95)
        print(
            f"key to paint        p50 {1e3 * percentile(keys, 0.5):.0f} ms  p95 {1e3 * p95:.0f} ms  "
            f"max {1e3 * max(keys):.0f} ms  (n={len(keys)}, training; limit {1e3 * KEY_LIMIT:.0f} ms: "
            f"{verdict(p95, KEY_LIMIT)})"
        )
        print(
            f"worst frame gap     {1e3 * gap:.0f} ms  (limit {1e3 * GAP_LIMIT:.0f} ms: {verdict(gap, GAP_LIMIT)})"
        )
        arguments = [*base, "--set", f"run.steps={options.steps}", "--set", "eval.every=0"]
        headless, app = [], []
        for turn in range(options.rounds):
            headless.append(train_headless(cwd, f"headless{turn}", arguments))
            app.append(train_in_app(cwd, f"app{turn}", arguments))
        # The first step warms caches and is left out of both.
        seconds = [[sum(m.seconds for m in run[1:]) for run in runs] for runs in (headless, app)]
        ratio = min(seconds[1]) / min(seconds[0])
        print(
            f"{options.steps - 1} steps             headless {min(seconds[0]):.2f} s, app {min(seconds[1]):.2f} s, "
            f"app / headless = {ratio:.3f}   (best of {options.rounds}, in turns; limit {COST_LIMIT}: "
            f"{verdict(ratio, COST_LIMIT)})"
        )
        same = headless[0][-1].state_hash == app[0][-1].state_hash
        print(f"same weights        {'yes' if same else 'NO'}")
        print(f"at                  {time.strftime('%Y-%m-%d %H:%M')}")


if __name__ == "__main__":
    main()
