"""Uncertainty of a difference: between two proportions, and of a mean over few seeds. No dependency."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from grpo_tui.ops.intervals import Z_95, wilson_interval


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def newcombe_interval(before: tuple[int, int], after: tuple[int, int]) -> Interval:
    """Difference of two independent proportions, after - before (Newcombe 1998, method 10: from Wilson's intervals).

    Args:
        before: right answers and problems.
        after: the same.
    """
    p1, p2 = before[0] / before[1], after[0] / after[1]
    low1, high1 = wilson_interval(*before)
    low2, high2 = wilson_interval(*after)
    difference = p2 - p1
    return Interval(
        difference,
        difference - math.hypot(p2 - low2, high1 - p1),
        difference + math.hypot(high2 - p2, p1 - low1),
    )


def t_interval(values: Sequence[float]) -> Interval | None:
    """Mean of independent values by Student's t; None for fewer than two, whose spread is not known."""
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    half = t_quantile_975(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


_T_975 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
)  # fmt: skip


def t_quantile_975(degrees: int) -> float:
    """Student's t below which 97.5 % lie: a table to 20 degrees of freedom, then its expansion (error below 1e-4)."""
    if degrees <= len(_T_975):
        return _T_975[degrees - 1]
    z, n = Z_95, degrees
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )
