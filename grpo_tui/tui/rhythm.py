"""How often the screen looks at the engine: as often as it looks alive, and as seldom as training can bear.

Where training has every core, what the screen computes is taken from it. So the screen may take a small share of one
processor while nobody does anything, and pays no heed to that while somebody does.
"""

from __future__ import annotations

import time
from collections.abc import Callable

TICK = 0.1
"""Seconds between two looks, as a rule."""
LONGEST = 0.5
"""Seconds after which it looks at the latest."""
SHARE = 0.02
"""Of one processor, for the screen's thread."""
LIVELY_SECONDS = 3.0
"""So long after a key or a click the screen keeps its usual rhythm."""


class Rhythm:
    """Decides when to look next. For the screen's thread, whose processor time it reads."""

    def __init__(
        self,
        *,
        spares: bool,
        now: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        """Begin.

        Args:
            spares: keep to the share; else the usual rhythm always.
            now: a clock, seconds.
            spent: processor time of this thread so far, seconds.
        """
        self._spares, self._now, self._spent = spares, now, spent
        self._touched = now()
        self._before = spent()

    def touch(self) -> None:
        """Somebody pressed a key or used the mouse."""
        self._touched = self._now()

    def next_wait(self, *, trains: bool) -> float:
        """Seconds to wait, by what the thread has spent since it was asked last.

        Args:
            trains: whether training runs, which the screen may slow.
        """
        before, self._before = self._before, self._spent()
        if not (self._spares and trains) or self._now() - self._touched < LIVELY_SECONDS:
            return TICK
        return min(LONGEST, max(TICK, (self._before - before) / SHARE))
