"""How late the screen's event loop is: what stands between a key and its paint when something holds the interpreter."""

from __future__ import annotations

import asyncio
from collections import deque

PROBE_SECONDS = 0.05
"""A timer is set so often; how late it fires is the lag."""
KEEP_SECONDS = 60.0


class LoopLag:
    """Lags of the last minute. Costs twenty timer calls a second."""

    def __init__(self) -> None:
        self._lags: deque[tuple[float, float]] = deque()
        self._handle: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to measure."""
        due = loop.time() + PROBE_SECONDS
        self._handle = loop.call_at(due, self._probe, loop, due)

    def stop(self) -> None:
        """Measure no more. Safe to call twice."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _probe(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        self.record(now - due, now)
        self.start(loop)

    def record(self, lag: float, at: float) -> None:
        """Add a lag, and forget those of more than a minute ago."""
        self._lags.append((at, max(0.0, lag)))
        while self._lags[0][0] < at - KEEP_SECONDS:
            self._lags.popleft()

    @property
    def p95(self) -> float:
        """Seconds that 95 of 100 lags do not exceed; 0 before the first."""
        lags = sorted(lag for _, lag in self._lags)
        return lags[min(len(lags) - 1, int(0.95 * len(lags)))] if lags else 0.0

    @property
    def worst(self) -> float:
        """The longest."""
        return max((lag for _, lag in self._lags), default=0.0)

    @property
    def text(self) -> str:
        """Both in milliseconds."""
        return f"loop lag p95 {1e3 * self.p95:.0f} ms, worst {1e3 * self.worst:.0f} ms"
