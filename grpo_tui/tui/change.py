"""Has it moved, or is it noise? Two runs of numbers, or two shares, compared by their own scatter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CLEAR = 2.5
"""Standard errors from which on a difference is called one. Above the usual 2: many measures are looked at at once,
and their scatter is itself estimated from few steps."""
ROUNDING = 1e-9
"""Differences and scatter below this share of the values are rounding."""


@dataclass(frozen=True, slots=True)
class Change:
    """A level and the one before it. ``z`` is their difference in standard errors, infinite where nothing scatters."""

    now: float
    before: float
    z: float
    num_now: int
    num_before: int

    @property
    def by(self) -> float:
        """The difference."""
        return self.now - self.before

    @property
    def rises(self) -> bool:
        """Whether it went up by more than noise."""
        return self.z >= CLEAR

    @property
    def falls(self) -> bool:
        """Whether it went down by more than noise."""
        return self.z <= -CLEAR


def finite(values: Sequence[float | None]) -> list[float]:
    """Those that are numbers."""
    return [v for v in values if v is not None and math.isfinite(v)]


def change(now: Sequence[float | None], before: Sequence[float | None]) -> Change | None:
    """Compare the means of two runs of values by Welch's z; None where either holds fewer than two numbers."""
    new, old = finite(now), finite(before)
    if min(len(new), len(old)) < 2:
        return None
    (mean_new, square_new), (mean_old, square_old) = _mean_error(new), _mean_error(old)
    return Change(mean_new, mean_old, _z(mean_new, mean_old, square_new + square_old), len(new), len(old))


def share_change(hits: int, of: int, hits_before: int, of_before: int) -> Change | None:
    """Compare two shares by the pooled two-proportion z; None where either is a share of nothing."""
    if of <= 0 or of_before <= 0:
        return None
    now, before = hits / of, hits_before / of_before
    pooled = (hits + hits_before) / (of + of_before)
    return Change(
        now, before, _z(now, before, pooled * (1 - pooled) * (1 / of + 1 / of_before)), of, of_before
    )


def _mean_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and squared standard error of the mean."""
    mean = math.fsum(values) / len(values)
    variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return mean, variance / len(values)


def _z(now: float, before: float, square: float) -> float:
    difference, error = now - before, math.sqrt(square)
    size = max(abs(now), abs(before))
    if abs(difference) <= ROUNDING * size:
        return 0.0
    if error <= ROUNDING * size:
        return math.copysign(math.inf, difference)
    return difference / error
