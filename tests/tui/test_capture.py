"""Output capture under a real terminal: what is printed, from wherever, goes to the Log and not over the picture."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

PROLOGUE = """
import logging, os, subprocess, sys, time, warnings
from pathlib import Path
from grpo_tui.tui.capture import OutputCapture
capture = OutputCapture()
"""


def under_pty(
    program: str, *, seconds: float = 30.0, keys: list[tuple[str, bytes]] | None = None, hang_up: bool = False
) -> tuple[int, str]:
    """Run a program in a terminal; press keys when a text has appeared; give its status and all it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    waiting = list(keys or [])
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True, start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            ready, _, _ = select.select([ours], [], [], 0.1)
            if ready:
                try:
                    chunk = os.read(ours, 65536)
                except OSError:
                    break
                if not chunk:
                    break
                seen += chunk
            if waiting and waiting[0][0].encode() in seen:
                os.write(ours, waiting.pop(0)[1])
            if not ready and process.poll() is not None:
                break
        status = process.wait(max(1.0, deadline - time.monotonic()))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours)
    return status, seen.decode("utf-8", "replace")


def test_every_way_of_printing_is_caught(tmp_path: Path) -> None:
    program = (
        PROLOGUE
        + f"""
handler_made_early = logging.StreamHandler()
logging.getLogger("early").addHandler(handler_made_early)
capture.start()
os.write(1, b"from descriptor 1\\n")
os.write(2, b"from descriptor 2\\n")
subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
print("from print")
logging.getLogger("early").error("from an old handler")
logging.getLogger("other").error("from logging")
warnings.warn("from warnings")
sys.stderr.write("\\rbar 10%\\rbar 50%\\rbar 100%\\n\\x1b[31mred\\x1b[0m\\n")
time.sleep(0.3)
folder = Path({str(tmp_path)!r})
capture.write_to(folder / "log")
print("after the file is known")
sys.__stderr__.write("DRAWN\\n")
size = os.get_terminal_size(sys.__stdout__.fileno())
time.sleep(0.3)
lines = capture.take()
capture.stop()
print("VISIBLE", size.columns == 100)
(folder / "lines").write_text(repr(lines))
"""
    )
    status, screen = under_pty(program)
    assert status == 0, screen
    assert "DRAWN" in screen, "the app can still draw"
    assert "VISIBLE True" in screen, "and messages after the end reach the terminal"
    caught = [text for text, _ in eval((tmp_path / "lines").read_text())]
    for text in (
        "from descriptor 1",
        "from descriptor 2",
        "from a child",
        "from print",
        "from an old handler",
    ):
        assert text in caught
        assert text not in screen
    assert any("from logging" in text for text in caught)
    assert any("from warnings" in text for text in caught)
    assert "red" in caught, "colours of others are taken off"
    log = (tmp_path / "log").read_text()
    assert "from descriptor 1" in log
    assert "after the file is known" in log
    assert "bar 100%" in log
    assert "bar 10%" not in log, "of a progress bar only the end is kept"


def test_a_redrawn_line_replaces_the_one_before(tmp_path: Path) -> None:
    program = (
        PROLOGUE
        + f"""
capture.start()
for text in ("before\\n", "\\r 10%", "\\r 20%", "\\r 30%\\n", "after\\r\\n", "end\\n"):
    os.write(2, text.encode())
    time.sleep(0.05)
time.sleep(0.3)
lines = capture.take()
capture.stop()
Path({str(tmp_path / "lines")!r}).write_text(repr(lines))
"""
    )
    status, screen = under_pty(program)
    assert status == 0, screen
    assert eval((tmp_path / "lines").read_text()) == [
        ("before", False), (" 10%", False), (" 20%", True), (" 30%", True), ("after", False), ("end", False),
    ]  # fmt: skip


APP = """
import os, sys, time
from pathlib import Path
from grpo_tui.tui import app as app_module, launch
from tests.support.demo import TimedSession

class Noisy(TimedSession):
    def start(self):
        super().start()
        os.write(2, b"NOISE FROM A LIBRARY\\n")
        print("NOISE FROM PRINT")

def factory(config, *, run_dir, resume, paused):
    (run_dir / "run.db").touch()
    return Noisy(history=2)

app_module.live_session = factory
"""
LAUNCH = """
class App(launch.LaunchedApp):
    def __init__(self, **given):
        super().__init__(**{**given, "warm_up": False}, session_factory=factory)
%s
launch.LaunchedApp = App
from grpo_tui.config.presets import PRESETS
from grpo_tui.preferences.values import Preferences
folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(%r)
folder.mkdir(exist_ok=True)
sys.exit(app_module.run_app(config=PRESETS["tiny"](), preferences=Preferences(), run_dir=folder, paused=True))
"""


def launched(tmp_path: Path, extra: str = "") -> str:
    return APP + LAUNCH % (extra, str(tmp_path))


def test_the_app_in_a_terminal_keeps_noise_off_the_picture_and_says_how_to_go_on(tmp_path: Path) -> None:
    status, screen = under_pty(launched(tmp_path), keys=[("PAUSED", b"l"), ("NOISE FROM A LIBRARY", b"q")])
    assert status == 0, screen[-2000:]
    last = screen.split("\x1b[?1049l")[-1]
    assert f"run saved in {tmp_path} · continue with: grpo-tui resume {tmp_path}" in last
    assert "Traceback" not in screen
    assert "NOISE FROM PRINT" in screen, "it is in the Log room"


def test_a_bug_in_the_app_is_a_plain_traceback_and_a_way_back(tmp_path: Path) -> None:
    extra = "    def action_go_room(self, id):\n        secret = 'prompt text'\n        raise RuntimeError('bug')\n"
    status, screen = under_pty(launched(tmp_path, extra), keys=[("PAUSED", b"l")])
    assert status == 1
    last = screen.split("\x1b[?1049l")[-1]
    assert "RuntimeError: bug" in last
    assert "╭" not in last, "no boxes, and no local variables"
    assert last.strip().splitlines()[-1].endswith(f"continue with: grpo-tui resume {tmp_path}")
    assert "RuntimeError: bug" in (tmp_path / "crash.txt").read_text()


def test_sigterm_saves_and_ends(tmp_path: Path) -> None:
    extra = (
        "    def open_session(self, *a, **k):\n"
        "        super().open_session(*a, **k)\n"
        f"        self.set_timer(4, lambda: os.kill(os.getpid(), {int(signal.SIGTERM)}))\n"
    )
    status, screen = under_pty(launched(tmp_path, extra))
    assert status == 143, screen[-2000:]
    assert "run saved in" in screen


def test_a_lost_terminal_saves_and_ends(tmp_path: Path) -> None:
    extra = (
        "    def open_session(self, *a, **k):\n"
        "        super().open_session(*a, **k)\n"
        f"        self.set_timer(4, lambda: os.kill(os.getpid(), {int(signal.SIGHUP)}))\n"
    )
    status, screen = under_pty(launched(tmp_path, extra))
    assert status == 129, screen[-2000:]


def test_without_a_terminal_it_says_so() -> None:
    program = (
        "import sys; from grpo_tui.preferences.values import Preferences; from grpo_tui.tui.app import run_app\n"
        "sys.exit(run_app(config=None, preferences=Preferences(), paused=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
