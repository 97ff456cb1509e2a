"""Charts made of characters: sparklines, braille lines with an axis, and zero-centred bars."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from grpo_tui.tui.text import Line, compact, fit

BLOCKS = "▁▂▃▄▅▆▇█"
EIGHTHS = " ▏▎▍▌▋▊▉█"
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
ROUND_SPANS = (10, 20, 40, 60, 100, 150, 200, 300, 400, 600, 1000, 2000, 3000, 5000, 10_000)
Values = Sequence[float | None]


def _known(values: Values) -> list[float]:
    return [v for v in values if v is not None and math.isfinite(v)]


def averaged(values: Values, bucket: int) -> list[float | None]:
    """Means of ``bucket`` values each, counted from the newest; a bucket without any is None."""
    if bucket <= 1:
        return list(values)
    means: list[float | None] = []
    for end in range(len(values), 0, -bucket):
        known = _known(values[max(0, end - bucket) : end])
        means.append(sum(known) / len(known) if known else None)
    return means[::-1]


def sparkline(values: Values, width: int) -> str:
    """The last ``width`` values as blocks; a gap where a value is missing or not a number."""
    shown = list(values)[-width:] if width > 0 else []
    known = _known(shown)
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


def direction(values: Values, recent: int = 5) -> str:
    """``↗``, ``↘`` or ``→``: the last few against the few before, judged by their own scatter."""
    known = _known(values)
    if len(known) < 4:
        return " "
    recent = min(recent, len(known) // 2)
    new, old = known[-recent:], known[-2 * recent : -recent]
    change = sum(new) / len(new) - sum(old) / len(old)
    both = new + old
    mean = sum(both) / len(both)
    scatter = math.sqrt(sum((v - mean) ** 2 for v in both) / len(both))
    if scatter == 0 or abs(change) < 0.7 * scatter:
        return "→"
    return "↗" if change > 0 else "↘"


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


class Trend:
    """A braille line chart with a y axis, step ticks, a cursor column, and gaps where values are missing."""

    AXIS = 5

    def __init__(
        self, steps: Sequence[int], values: Values, *, low: float | None = None, high: float | None = None
    ) -> None:
        self.steps = steps
        self.values = values
        known = _known(values)
        self.low = min(known, default=0.0) if low is None else low
        self.high = max(known, default=1.0) if high is None else max([high, *known])
        if self.high <= self.low:
            self.high = self.low + 1.0

    def _x(self, index: int, width: int) -> int:
        """Dot column of the entry at ``index``; the axis ends at a round number of steps, so it seldom moves."""
        span = next((n for n in ROUND_SPANS if n >= len(self.steps)), len(self.steps))
        return min(2 * width - 1, index * (2 * width - 1) // max(1, span - 1))

    def column_of(self, step: int, width: int) -> int | None:
        """Character column of a step in a plot ``width`` cells wide."""
        index = bisect_left(self.steps, step)
        if index == len(self.steps) or self.steps[index] != step:
            return None
        return self._x(index, width) // 2

    def plot(self, width: int, height: int) -> list[str]:
        """Rows of braille, top first."""
        dots_high = height * 4
        grid = [[0] * width for _ in range(height)]
        previous: tuple[int, int] | None = None
        for index, value in enumerate(self.values):
            if value is None or not math.isfinite(value):
                previous = None
                continue
            point = (self._x(index, width), self._dot_row(value, dots_high))
            for x, y in _line(previous or point, point):
                grid[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
            previous = point
        return ["".join(chr(0x2800 + cell) if cell else " " for cell in row) for row in grid]

    def _dot_row(self, value: float, dots_high: int) -> int:
        share = (value - self.low) / (self.high - self.low)
        return max(0, min(dots_high - 1, round((1 - share) * (dots_high - 1))))

    def lines(self, width: int, height: int, *, role: str, cursor: int | None = None) -> list[Line]:
        """The chart with its axes, ``height`` rows in all (the last two are the x axis)."""
        inner = max(1, width - self.AXIS - 1)
        rows = max(1, height - 2)
        labels = {0: compact(self.high), rows - 1: compact(self.low)}
        if rows >= 5:
            labels[rows // 2] = compact(self.high - (self.high - self.low) * (rows // 2) / (rows - 1))
        mark = self.column_of(cursor, inner) if cursor is not None else None
        result: list[Line] = []
        for index, row in enumerate(self.plot(inner, rows)):
            label = fit(labels.get(index, ""), self.AXIS, right=True)
            tick = "┤" if index in labels else "│"
            axis = (label + tick, "dim")
            if mark is None:
                result.append((axis, (row, role)))
            else:
                at = "┊" if row[mark] == " " else row[mark]
                result.append((axis, (row[:mark], role), (at, "warn"), (row[mark + 1 :], role)))
        result.append(((" " * self.AXIS + "└" + "─" * inner, "dim"),))
        result.append(self._ticks(inner, mark))
        return result

    def _ticks(self, inner: int, mark: int | None) -> Line:
        cells = [" "] * inner
        if self.steps:
            first, last = str(self.steps[0]), str(self.steps[-1])
            cells[: len(first)] = first
            end = min(inner, max(self._x(len(self.steps) - 1, inner) // 2 + 1, len(first) + 1 + len(last)))
            if len(self.steps) > 1 and end - len(last) > len(first):
                cells[end - len(last) : end] = last
        text = "".join(cells)[:inner]
        lead = (" " * (self.AXIS + 1), "")
        if mark is None:
            return (lead, (text, "dim"))
        return (lead, (text[:mark], "dim"), ("▲", "warn"), (text[mark + 1 :], "dim"))


def _line(start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Every dot on the way from ``start`` to ``end``."""
    (x0, y0), (x1, y1) = start, end
    count = max(abs(x1 - x0), abs(y1 - y0))
    for i in range(count + 1):
        share = i / count if count else 0.0
        yield round(x0 + (x1 - x0) * share), round(y0 + (y1 - y0) * share)
