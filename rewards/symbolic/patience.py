"""A time limit on one step inside a worker, far below the deadline at which the worker would be killed.

Only :mod:`rewards.workers.worker` installs the alarm: a worker has one thread and belongs to us. The caller's process is never
interrupted.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = 0.2
"""Seconds after which the alarm rings once more: Python drops what is raised inside a ``__del__`` or a hook of the garbage
collector, and a block whose only alarm fell there would never end."""


class OutOfPatience(BaseException):
    """The step took too long. No :class:`Exception`, so that no library takes it for a failure of its own."""


def install() -> None:
    """Let :func:`limited` interrupt this process. Call it once, in the main thread of a worker."""
    signal.signal(signal.SIGPROF, _ring)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise :class:`OutOfPatience` once the block has used ``seconds`` of processor time. Wants :func:`install` before.

    Processor time, not the clock: what sympy gets done must not depend on what else the machine does.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds, AGAIN)
    try:
        try:
            yield
        finally:
            _silence()
    except OutOfPatience:
        # It may have rung inside the line above, which then did nothing.
        _silence()
        raise


def _silence() -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)


def _ring(_number: int, _frame: FrameType | None) -> None:
    raise OutOfPatience
