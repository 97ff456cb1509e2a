"""Small charts made of characters: sparklines, directions, progress, zero-centred bars, intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from grpo_tui.tui.change import change, finite

BLOCKS = "▁▂▃▄▅▆▇█"
EIGHTHS = " ▏▎▍▌▋▊▉█"
Values = Sequence[float | None]


def averaged(values: Values, bucket: int) -> list[float | None]:
    """Means of ``bucket`` values each, counted from the newest; a bucket without any is None."""
    if bucket <= 1:
        return list(values)
    means: list[float | None] = []
    for end in range(len(values), 0, -bucket):
        known = finite(values[max(0, end - bucket) : end])
        means.append(sum(known) / len(known) if known else None)
    return means[::-1]


def sparkline(values: Values, width: int) -> str:
    """The last ``width`` values as blocks; a gap where a value is missing or not a number."""
    shown = list(values)[-width:] if width > 0 else []
    known = finite(shown)
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    span = high - low
    cells = []
    for value in shown:
        if value is None or not math.isfinite(value):
            cells.append(" ")
        else:
            level = (value - low) / span if span > 0 else 0.0
            cells.append(BLOCKS[min(7, int(level * 8))])
    return "".join(cells)


def direction(values: Values, recent: int = 10) -> str:
    """``↗``, ``↘`` or ``→``: the last few against the few before, where they differ by more than their noise."""
    known = finite(values)
    if len(known) < 4:
        return " "
    recent = min(recent, len(known) // 2)
    moved = change(known[-recent:], known[-2 * recent : -recent])
    if moved is None or not (moved.rises or moved.falls):
        return "→"
    return "↗" if moved.rises else "↘"


def progress_bar(share: float, width: int) -> str:
    """A bar of eighths; the rest is dotted."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, part = divmod(eighths, 8)
    bar = "█" * full + (EIGHTHS[part] if part else "")
    return bar + "·" * (width - len(bar))


def centred_bar(value: float, limit: float, half: int) -> tuple[str, str]:
    """Left and right halves of a bar around zero, each ``half`` cells."""
    share = max(-1.0, min(1.0, value / limit)) if limit > 0 and math.isfinite(value) else 0.0
    size = round(abs(share) * half)
    if size == 0 and share:
        size = 1
    bar = "█" * size
    return (bar.rjust(half), " " * half) if share < 0 else (" " * half, bar.ljust(half))


def interval_bar(low: float, middle: float, high: float, width: int) -> str:
    """An interval on a track from 0 to 1: ``·····├──●──┤····``."""
    last = width - 1
    a, m, b = (max(0, min(last, round(v * last))) for v in (low, middle, high))
    cells = ["·"] * width
    for index in range(a, b + 1):
        cells[index] = "─"
    cells[a], cells[b], cells[m] = "├", "┤", "●"
    return "".join(cells)
