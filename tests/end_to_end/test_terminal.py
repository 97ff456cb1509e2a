"""The installed program in a real terminal, from Welcome to a finished run, as a person would have it over two days."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from grpo_tui.runs.reader import RunReader
from grpo_tui.tui.suspending import NOTE

PATIENCE = 180.0
"""Seconds for any one thing to appear: two cores may be busy with other tests."""

pytestmark = [
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]


class Terminal:
    """A shell in tmux, on a server of its own."""

    def __init__(self, folder: Path) -> None:
        self._server = f"grpo-{uuid.uuid4().hex[:8]}"
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "110", "-y", "32", "-c", str(folder), "sh")

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._server, *words], capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout

    @property
    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        for key in keys:
            self._tmux("send-keys", key)

    def wait(self, pattern: str, seconds: float = PATIENCE) -> str:
        """Wait until a pattern is on screen; give the screen."""
        deadline = time.monotonic() + seconds
        while True:
            screen = self.screen
            if re.search(pattern, screen):
                return screen
            assert time.monotonic() < deadline, f"waited for {pattern!r} in vain:\n{screen}"
            time.sleep(0.15)

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self._server, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    yield made
    made.close()


def program(*words: str) -> str:
    """The command line of the installed program, with this checkout first."""
    script = Path(sys.executable).with_name("grpo-tui")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "grpo_tui"]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    settings = {
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "XDG_CONFIG_HOME": "/nonexistent",
    }
    return shlex.join(["env", *(f"{name}={value}" for name, value in settings.items()), *command, *words])


def test_two_days_with_a_tiny_run(terminal: Terminal, tmp_path: Path) -> None:
    # The first day: start from Welcome, paused; one step.
    terminal.type(program())
    terminal.press("Enter")
    terminal.wait(r"New run")
    terminal.wait(r"none yet")
    terminal.press("Enter")
    terminal.wait(r"PAUSED")
    terminal.press("s")
    terminal.wait(r"step 1/40.*PAUSED|1/40 ‖ PAUSED")
    # Look at a wrong answer, and read why.
    terminal.press("Enter")
    for _ in range(24):
        if re.search(r"Why g\d+·r\d+\s+[✗≈?ø]", terminal.screen):
            break
        terminal.press("j")
        time.sleep(0.4)
        if re.search(r"r8\b.*✓", terminal.screen):
            terminal.press("n")
    why = terminal.wait(r"Why g\d+·r\d+\s+[✗≈?ø]")
    assert re.search(r"gold", why)
    # To the shell and back: the process stands still, and says so.
    terminal.press("C-z")
    terminal.wait(re.escape(NOTE))
    terminal.type("fg")
    terminal.press("Enter")
    terminal.wait(r"Why g\d+·r\d+")
    # Run on, and quit while a step is in progress: it asks, saves, and tells how to go on.
    terminal.press("Space")
    terminal.wait(r"● RUN")
    terminal.press("q")
    terminal.wait(r"Step \d+ is running")
    terminal.press("s")
    terminal.wait(r"run saved in")
    terminal.type("echo left $?")
    terminal.press("Enter")
    screen = terminal.wait(r"left 0")
    assert "continue with: grpo-tui resume" in screen.replace("\n", "")
    [run_dir] = (tmp_path / "runs").iterdir()
    with RunReader(run_dir) as reader:
        kept = reader.last_step()
    assert kept >= 1
    # The next day: go on where it stopped, to the end.
    last = kept + 2
    terminal.press("C-l")
    terminal.type(f"clear; {program('resume', str(run_dir), '--steps', str(last))}; echo ended $?")
    terminal.press("Enter")
    terminal.wait(r"PAUSED")
    terminal.press("Space")
    terminal.wait(r"■ DONE")
    terminal.press("q")
    terminal.wait(r"ended 0")
    with RunReader(run_dir) as reader:
        assert [metrics.step for metrics in reader.history()] == list(range(1, last + 1))
