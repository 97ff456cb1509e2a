"""The real program under a real pseudo-terminal, as a person meets it: keys in, a screen out."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyte


class Terminal:
    """A program in a terminal of its own. ``seconds`` counts from the moment it was started."""

    def __init__(self, arguments: Sequence[str], *, columns: int = 120, rows: int = 40, cwd: Path) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "grpo_tui", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)

    @property
    def seconds(self) -> float:
        """Seconds since the program was started."""
        return time.perf_counter() - self.started

    @property
    def text(self) -> str:
        """What stands on the screen."""
        return "\n".join(self.screen.display)

    def send(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def wait_for(self, condition: Callable[[str], object], timeout: float) -> float:
        """Read until the screen satisfies the condition; give the seconds it took.

        Raises:
            TimeoutError: it did not; the message holds the screen.
        """
        started = time.perf_counter()
        while not condition(self.text):
            left = timeout - (time.perf_counter() - started)
            if left <= 0:
                raise TimeoutError(f"not within {timeout:.0f} s:\n{self.text}")
            self._read(min(left, 0.5))
        return time.perf_counter() - started

    def swallow_until(self, *words: bytes, timeout: float) -> None:
        """Take what comes without drawing it, until one of the words does: pyte's drawing costs more than the program's.

        Raises:
            TimeoutError: none came.
        """
        end, kept = time.perf_counter() + timeout, b""
        while not any(word in kept for word in words):
            if time.perf_counter() > end:
                raise TimeoutError(f"none of {words} within {timeout:.0f} s")
            if select.select([self._master], [], [], 0.5)[0]:
                kept = kept[-64:] + os.read(self._master, 1 << 16)

    def idle(self, seconds: float) -> None:
        """Go on reading for a while."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self._read(left)

    def _read(self, timeout: float) -> None:
        ready, _, _ = select.select([self._master], [], [], timeout)
        if ready:
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:
                return
            # pyte does not know the private sequences that ask for modes of newer terminals.
            self._stream.feed(re.sub(rb"\x1b\[[<>=?][0-9;]*[a-zA-Z$]+[a-zA-Z]?", _keep_known, data))

    def close(self) -> None:
        """End the program, gently first."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            end = time.perf_counter() + 15
            while self.process.poll() is None and time.perf_counter() < end:
                self._read(0.1)
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._master)


def _keep_known(match: re.Match[bytes]) -> bytes:
    sequence = match[0]
    return sequence if sequence.startswith(b"\x1b[?") and sequence[-1:] in b"hl" else b""
