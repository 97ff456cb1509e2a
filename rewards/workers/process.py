"""One worker process: its pipes, its log, and how it is started and killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

Json = dict[str, Any]
_START_UP_S = 60.0
_LOG_TAIL = 300
_MAX_REPLY = 1 << 20
_MAX_AHEAD = 4
_PIPE_BYTES = 32_768
"""What is sent ahead of the answers; half of what a pipe holds on Linux."""
_KEPT_ENVIRONMENT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "PYTHONHOME",
)


@dataclass(eq=False)
class WorkerProcess:
    """One process with its pipes and what it is working on."""

    process: subprocess.Popen[bytes]
    log: IO[bytes]
    is_starting: bool = True
    deadline: float = 0.0
    """When the request at the head of ``jobs``, or the start, must be done (``time.monotonic``)."""
    head_since: float = 0.0
    jobs: deque[tuple[int, int]] = field(default_factory=deque)
    """Requests sent and not answered, oldest first, with the bytes of each."""
    buffer: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    """What the pipe had no room for yet: a write never waits, so a worker that does not read cannot hold us up."""

    @property
    def output(self) -> int:
        """File descriptor of what the process writes."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    @property
    def input(self) -> int:
        """File descriptor of what the process reads."""
        assert self.process.stdin is not None
        return self.process.stdin.fileno()

    def has_room(self, size: int) -> bool:
        """Whether a request of ``size`` bytes is worth sending ahead of the answers to those before it."""
        return not self.jobs or (
            len(self.jobs) < _MAX_AHEAD and size + sum(size for _, size in self.jobs) <= _PIPE_BYTES
        )

    def send(self, line: bytes) -> None:
        """Write one line as far as the pipe takes it; :meth:`send_rest` does the rest."""
        self.unsent += line
        self.send_rest()

    def send_rest(self) -> None:
        """Write what is left, without waiting. That the process is gone shows at the end of its output."""
        while self.unsent:
            try:
                sent = os.write(self.input, self.unsent[:_PIPE_BYTES])
            except BlockingIOError:
                return
            except OSError:
                self.unsent.clear()
                return
            del self.unsent[:sent]

    def read_messages(self) -> list[Json]:
        """Take in what has come; the messages whose lines are complete. EOFError: the process is gone."""
        chunk = os.read(self.output, 65536)
        if not chunk:
            raise EOFError
        self.buffer += chunk
        *lines, rest = self.buffer.split(b"\n")
        if len(rest) > _MAX_REPLY:
            raise EOFError
        self.buffer = rest
        messages = [json.loads(line) for line in lines]
        if not all(isinstance(message, dict) for message in messages):
            raise EOFError
        return messages

    def kill(self) -> None:
        """Kill the process group, reap the process and close the pipes."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.log):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def abandon(self) -> None:
        """Close our ends of the pipes and forget the process: for a forked child, whose parent it belongs to."""
        self.process.returncode = 0
        for pipe in (self.process.stdin, self.process.stdout, self.log):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def last_words(self) -> str:
        """The tail of what the process wrote to stderr, on one line."""
        try:
            end = self.log.seek(0, os.SEEK_END)
            self.log.seek(max(0, end - _LOG_TAIL))
            lines = self.log.read().decode(errors="replace").split("\n")
        except (OSError, ValueError):
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def start_worker(command: Sequence[str]) -> WorkerProcess:
    """Start ``command`` in a session of its own, its stderr going to a file that nobody sees."""
    log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
    process = subprocess.Popen(
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=_environment(),
        close_fds=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)
    return WorkerProcess(process, log, deadline=time.monotonic() + _START_UP_S)


def _environment() -> dict[str, str]:
    """Only what Python needs to start: no tokens and keys for a process that reads untrusted text."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    package_parent = str(Path(__file__).resolve().parents[2])
    path = [package_parent, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SYMPY_GROUND_TYPES": "python",  # gmpy2 computes in C where even a signal waits
    }
