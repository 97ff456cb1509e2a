"""Everything the libraries print goes to the Log, at the level of file descriptors.

Textual draws on ``sys.__stderr__``. Import-time log handlers, C and CUDA code and child processes write to
descriptors 1 and 2, over the picture. So the terminal is moved to a descriptor of its own, and 1 and 2 become
the writing end of a pipe that a thread reads line by line. POSIX only; elsewhere nothing is captured.
"""

from __future__ import annotations

import codecs
import contextlib
import logging
import os
import re
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TextIO

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


class OutputCapture:
    """Redirects descriptors 1 and 2 into a queue of lines, and back."""

    def __init__(self) -> None:
        self.lines: deque[tuple[str, bool]] = deque(maxlen=5000)
        """(text, replaces the line before): a carriage return redraws the same line."""
        self.active = False
        self._thread: threading.Thread | None = None
        self._saved: list[tuple[int, int]] = []
        self._before: tuple[TextIO | None, TextIO | None, TextIO, TextIO] | None = None
        self._terminal: list[TextIO] = []
        self.streams: tuple[TextIO, TextIO] | None = None
        """Python-level streams into the pipe, for whoever replaced ``sys.stdout`` meanwhile."""
        self._handler: logging.Handler | None = None
        self._file: TextIO | None = None
        self._early: list[str] = []
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin. The terminal stays reachable through ``sys.__stdout__`` and ``sys.__stderr__``."""
        quiet_libraries()
        if os.name != "posix" or self.active:
            return
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        self._saved = [(fd, os.dup(fd)) for fd in (1, 2)]
        self._before = (sys.__stdout__, sys.__stderr__, sys.stdout, sys.stderr)
        reading, writing = os.pipe()
        self._terminal = [
            os.fdopen(os.dup(saved), "w", encoding="utf-8", errors="replace", buffering=1)
            for _, saved in self._saved
        ]
        sys.__stdout__, sys.__stderr__ = self._terminal  # type: ignore[misc, assignment]
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.close(writing)
        for fd in (1, 2):
            os.set_inheritable(fd, True)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)
        self.streams = (sys.stdout, sys.stderr)
        self._handler = logging.StreamHandler(sys.stderr)
        self._handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        logging.getLogger().addHandler(self._handler)
        self.active = True
        self._thread = threading.Thread(
            target=self._read, args=(reading,), name="output-capture", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Give the descriptors back; what is printed from now on reaches the terminal."""
        if not self.active:
            return
        self.active = False
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        for fd, saved in self._saved:
            os.dup2(saved, fd)
            os.close(saved)
        if self._before is not None:
            sys.__stdout__, sys.__stderr__ = self._before[:2]  # type: ignore[misc, assignment]
            sys.stdout, sys.stderr = self._before[2:]
        for stream in self._terminal:
            with contextlib.suppress(OSError, ValueError):
                stream.close()
        if self._thread is not None:
            self._thread.join(1.0)
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def write_to(self, path: Path) -> None:
        """Also append lines to this file, those captured so far included."""
        with self._lock:
            if self._file is not None or not path.parent.is_dir():
                return
            self._file = path.open("a", encoding="utf-8", errors="replace", buffering=1)
            self._file.writelines(self._early)
            self._early.clear()

    def end_run(self) -> None:
        """The run is left: its file is closed, and what nobody took of its lines is not the next run's."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
            self._early.clear()
        self.lines.clear()

    def take(self) -> list[tuple[str, bool]]:
        """Lines captured since the last call."""
        taken = []
        while self.lines:
            taken.append(self.lines.popleft())
        return taken

    def _read(self, reading: int) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pending, drawn = "", False
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            while chunk := pipe.read(65536):
                pending += decoder.decode(chunk)
                held = "\r" if pending.endswith("\r") else ""
                *parts, pending = re.split(r"(\r\n|\n|\r)", pending[: len(pending) - len(held)])
                pending += held
                for text, end in zip(parts[::2], parts[1::2], strict=True):
                    drawn = self._line(text, replaces=drawn, redrawn=end == "\r")
        self._line(pending, replaces=drawn, redrawn=False)

    def _line(self, text: str, *, replaces: bool, redrawn: bool) -> bool:
        """Keep a line; return whether the next one is drawn over it."""
        text = _ANSI.sub("", text).rstrip()
        if not text:
            return replaces and redrawn
        self.lines.append((text, replaces))
        if not redrawn:
            self._store(text)
        return redrawn

    def _store(self, text: str) -> None:
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} info    output: {text}\n"
        with self._lock:
            if self._file is not None:
                self._file.write(line)
            elif len(self._early) < 5000:
                self._early.append(line)


def quiet_libraries() -> None:
    """Tell libraries not to draw progress bars, and send warnings to logging."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    logging.captureWarnings(True)
