"""How `grpo-tui view` feels on a long run: ``python -m tests.benchmarks.view``.

Makes a run of 2,000 steps of 64 answers in a temporary folder, opens it in a pseudo-terminal of 120x40, and prints first
paint, first content, any step, full-text search and memory beside their limits.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import random
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from grpo_tui.runs.query import parse
from grpo_tui.runs.reader import RunReader
from tests.support.long_run import write_long_run


class Viewer:
    """The real program in a terminal of its own; what it writes is kept as bytes."""

    def __init__(self, run_dir: Path) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self._started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "grpo_tui", "view", str(run_dir)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self._seen = b""

    def send(self, keys: str) -> None:
        """Type; what was seen before no longer counts."""
        self._seen = b""
        os.write(self._master, keys.encode())

    def wait_for(self, words: str, timeout: float = 60.0) -> float:
        """Read until these words have been written; give the seconds since the start of the program."""
        wanted = words.encode()
        while wanted not in self._seen:
            ready, _, _ = select.select([self._master], [], [], 0.5)
            if ready:
                self._seen += os.read(self._master, 1 << 16)
            if time.perf_counter() - self._started > timeout:
                raise TimeoutError(f"{words!r} did not come within {timeout:.0f} s")
        return time.perf_counter() - self._started

    def processor_seconds(self) -> float:
        """What the program has used of a processor so far: what a busy machine does not lengthen much."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_memory(self) -> float:
        """Highest resident memory so far, MB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(text.split("VmHWM:")[1].split()[0]) / 1024

    def close(self) -> None:
        """Quit."""
        self.send("q")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._master)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument(
        "--rounds", type=int, default=3, help="openings; the best counts, the others say how noisy"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        write_long_run(run_dir, steps=arguments.steps)
        size = (run_dir / "run.db").stat().st_size / 1e6
        print(f"run: {arguments.steps} steps of 64 answers, {size:.0f} MB")
        _app(run_dir, arguments.steps, arguments.rounds)
        _reader(run_dir, arguments.steps)


def _app(run_dir: Path, steps: int, rounds: int) -> None:
    paints, contents, used, memory = [], [], [], 0.0
    for _ in range(rounds):
        viewer = Viewer(run_dir)
        try:
            paints.append(viewer.wait_for("grpo-tui"))
            contents.append(viewer.wait_for(f"{steps}/{steps}"))
            used.append(viewer.processor_seconds())
            for step in range(steps - 1, steps - 11, -1):
                viewer.send("[")
                viewer.wait_for(f"step {step}")
            viewer.send("4")
            viewer.wait_for("History")
            viewer.send("/")
            viewer.wait_for("Search")
            viewer.send("fraction\r")
            viewer.wait_for("there may be more")
            memory = max(memory, viewer.peak_memory())
        finally:
            viewer.close()
    _say("first paint", min(paints), 1.0, "s", paints)
    _say("first paint of the run itself", min(contents), 1.0, "s", contents)
    _say("processor until then", min(used), 1.0, "s", used)
    _say("memory, after ten steps, History and a search", memory, 150.0, "MB")


def _reader(run_dir: Path, steps: int) -> None:
    chance = random.Random(0)
    with RunReader(run_dir) as reader:
        loads = [_timed(lambda: reader.load_step(chance.randint(1, steps))) for _ in range(60)]
        _say("any step", max(loads) * 1000, 100.0, "ms, worst of 60", [1000 * statistics.median(loads)])
        words = ("zebra", "fraction", "apples week", "n77", "frac", "a", "nothing-of-the-kind")
        searches = [_timed(lambda word=word: reader.search(word, 500)) for word in words]
        _say("full-text search", max(searches) * 1000, 300.0, f"ms, worst of {len(words)}")
        for text in (
            "reward<1",
            'len>140 & prompt~"of 77 "',
            "verdict=unparsed",
            "math<0",
            "kl_ref>1",
            "entropy>9",
        ):
            query = parse(text, ("math",))
            print(
                f"filter {text}: {1000 * _timed(lambda query=query: reader.matching(query)):.0f} ms (no limit)"
            )


def _timed(work: object) -> float:
    started = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - started


def _say(what: str, value: float, limit: float, unit: str, every: list[float] | None = None) -> None:
    verdict = "ok" if value <= limit else "OVER"
    rest = f"  ({', '.join(f'{v:.2f}' for v in every)})" if every else ""
    print(f"{what}: {value:.2f} {unit}, limit {limit:g}: {verdict}{rest}")


if __name__ == "__main__":
    main()
