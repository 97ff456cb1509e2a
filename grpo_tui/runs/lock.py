"""One writer per run: an advisory lock that dies with its process."""

from __future__ import annotations

import fcntl
import os
import time
import weakref
from pathlib import Path

from grpo_tui.runs.schema import RunFileError, os_error

LOCK = "lock"
_PATIENCE_SECONDS = 0.5
"""A look from :func:`is_locked` holds the lock for an instant; a writer outwaits it."""


class RunLock:
    """Held from construction until :meth:`release` or the end of the process, however it ends."""

    def __init__(self, run_dir: Path) -> None:
        path = run_dir / LOCK
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise os_error("write", path, error) from error
        try:
            self._acquire(run_dir)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(self._descriptor)
            raise os_error("lock", path, error) from error
        except RunFileError:
            os.close(self._descriptor)
            raise
        _held.add(self)

    def _acquire(self, run_dir: Path) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    owner = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
                    process = f"process {owner}" if owner else "another process"
                    raise RunFileError(
                        f"cannot train {run_dir}: {process} is training this run; stop it first, or only view the run"
                    ) from None
                time.sleep(0.02)

    def release(self) -> None:
        """Let go. Safe to call twice."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            _held.discard(self)
            os.close(descriptor)


_held: weakref.WeakSet[RunLock] = weakref.WeakSet()


def _forget_in_child() -> None:
    """A forked worker must not keep the lock alive after its parent's death."""
    for lock in tuple(_held):
        lock.release()


os.register_at_fork(after_in_child=_forget_in_child)


def is_locked(run_dir: Path) -> bool:
    """Whether a process trains this run at this moment."""
    try:
        descriptor = os.open(run_dir / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
