"""A line chart of braille dots with axes, the spread of each step, points of another series, marks and a cursor."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from grpo_tui.tui.change import finite
from grpo_tui.tui.text import Line, clean, clip, compact, fit, line_width
from grpo_tui.tui.widgets.charts import Values

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille cell, by row and column."""
ROUND_SPANS = (10, 20, 40, 60, 100, 150, 200, 300, 400, 600, 1000, 2000, 3000, 5000, 10_000)
POINT, MARK, CURSOR = "○", "┊", "▲"
MARK_LABEL = 16
"""Most cells of a mark's word."""
BAND_EVERY = 2
"""The edges of the spread have a dot in every second column, so that they read as dotted without colour too."""

Cell = tuple[str, str]
Grid = list[list[int]]


class Trend:
    """Values by step. Nothing is drawn where a value is missing or not a number."""

    AXIS = 5
    """Cells of the labels on the left; one more holds the axis."""

    def __init__(
        self,
        steps: Sequence[int],
        values: Values,
        *,
        low: float | None = None,
        high: float | None = None,
        spread: Values = (),
        points: Mapping[int, float] | None = None,
        marks: Mapping[int, str] | None = None,
    ) -> None:
        """Take the series.

        Args:
            steps: increasing step numbers.
            values: one for each step.
            low: bottom of the axis; the smallest value where None.
            high: least top of the axis; a larger value raises it.
            spread: distance of the band's edges from the value, one for each step, or none at all.
            points: another series at some steps, drawn as circles on the same axis.
            marks: steps at which something changed, drawn as dashed columns, with a word for each that is written
                beside it where nothing else is drawn.
        """
        self.steps, self.values, self.marks = steps, values, marks or {}
        self.points = {s: v for s, v in (points or {}).items() if math.isfinite(v)}
        self.upper = self._edge(spread, 1)
        self.lower = self._edge(spread, -1)
        known = [*finite(values), *self.points.values()]
        edges = finite(self.upper) + finite(self.lower)
        self.low = min([*known, *edges], default=0.0) if low is None else min([low, *known])
        self.high = max([*known, *edges], default=1.0) if high is None else max([high, *known, *edges])
        if self.high <= self.low:
            self.high = self.low + 1.0

    def _edge(self, spread: Values, sign: int) -> Values:
        if len(spread) != len(self.values):
            return ()
        return [
            v + sign * s if v is not None and s is not None else None
            for v, s in zip(self.values, spread, strict=True)
        ]

    # --- places ------------------------------------------------------------------------------------------

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

    def _column_near(self, step: int, width: int) -> int:
        """Column of the last entry that is not after a step: evaluations also come before the first."""
        return self._x(max(0, bisect_right(self.steps, step) - 1), width) // 2

    def step_at(self, column: int, width: int) -> int | None:
        """The step drawn nearest to a character column of a chart ``width`` cells wide, axis included."""
        if not self.steps or column < 0:
            return None
        inner, at = max(1, width - self.AXIS - 1), column - self.AXIS - 1
        # Columns never decrease with the index, so the middle of those that share one is found by bisection.
        indices = range(len(self.steps))
        first = bisect_left(indices, at, key=lambda i: self._x(i, inner) // 2)
        after = bisect_right(indices, at, key=lambda i: self._x(i, inner) // 2)
        if first < after:
            return self.steps[(first + after - 1) // 2]
        near = [i for i in (first - 1, first) if 0 <= i < len(self.steps)]
        return self.steps[min(near, key=lambda i: abs(self._x(i, inner) // 2 - at))]

    def _dot_row(self, value: float, dots_high: int) -> int:
        share = (value - self.low) / (self.high - self.low)
        return max(0, min(dots_high - 1, round((1 - share) * (dots_high - 1))))

    # --- dots --------------------------------------------------------------------------------------------

    def _draw(self, values: Values, width: int, height: int, every: int = 1) -> Grid:
        """Braille bits of a line; with ``every`` above 1 only in each such column."""
        grid = [[0] * width for _ in range(height)]
        previous: tuple[int, int] | None = None
        for index, value in enumerate(values):
            if value is None or not math.isfinite(value):
                previous = None
                continue
            point = (self._x(index, width), self._dot_row(value, height * 4))
            for x, y in _line(previous or point, point):
                if x % every == 0:
                    grid[y // 4][x // 2] |= DOTS[y % 4][x % 2]
            previous = point
        return grid

    def plot(self, width: int, height: int) -> list[str]:
        """Rows of braille of the line alone, top first."""
        return [
            "".join(chr(0x2800 + cell) if cell else " " for cell in row)
            for row in self._draw(self.values, width, height)
        ]

    def _cells(self, width: int, height: int, role: str, cursor: int | None) -> list[list[Cell]]:
        """The plot as characters with roles: points over the line, the line over its band, that over the marks."""
        line = self._draw(self.values, width, height)
        edges = [self._draw(edge, width, height, BAND_EVERY) for edge in (self.upper, self.lower) if edge]
        marked = {c for step in self.marks if (c := self.column_of(step, width)) is not None}
        cells: list[list[Cell]] = []
        for y in range(height):
            row: list[Cell] = []
            for x in range(width):
                bits, band = line[y][x], 0
                for edge in edges:
                    band |= edge[y][x]
                if bits:
                    row.append((chr(0x2800 + (bits | band)), "warn" if x == cursor else role))
                elif x == cursor:
                    row.append((MARK, "warn"))
                elif band:
                    row.append((chr(0x2800 + band), "dim"))
                else:
                    row.append((MARK, "info") if x in marked else (" ", ""))
            cells.append(row)
        for step, value in self.points.items():
            if self.low <= value <= self.high and self.steps:
                y = self._dot_row(value, height * 4) // 4
                cells[y][self._column_near(step, width)] = (POINT, "bold")
        for step, label in self.marks.items():
            column = self.column_of(step, width)
            if column is not None:
                _write(cells, column + 1, label)
        return cells

    def lines(self, width: int, height: int, *, role: str, cursor: int | None = None) -> list[Line]:
        """The chart with its axes, ``height`` rows in all (the last two are the x axis)."""
        inner = max(1, width - self.AXIS - 1)
        rows = max(1, height - 2)
        labels = {0: compact(self.high), rows - 1: compact(self.low)}
        if rows >= 5:
            labels[rows // 2] = compact(self.high - (self.high - self.low) * (rows // 2) / (rows - 1))
        at = self.column_of(cursor, inner) if cursor is not None else None
        result: list[Line] = []
        for index, row in enumerate(self._cells(inner, rows, role, at)):
            label = fit(labels.get(index, ""), self.AXIS, right=True)
            tick = "┤" if index in labels else "│"
            result.append(((label + tick, "dim"), *_spans(row)))
        result.append(((" " * self.AXIS + "└" + "─" * inner, "dim"),))
        result.append(self._ticks(inner, at))
        return result

    def _ticks(self, inner: int, cursor: int | None) -> Line:
        cells = [" "] * inner
        if self.steps:
            first, last = str(self.steps[0]), str(self.steps[-1])
            cells[: len(first)] = first
            end = min(inner, max(self._x(len(self.steps) - 1, inner) // 2 + 1, len(first) + 1 + len(last)))
            if len(self.steps) > 1 and end - len(last) > len(first):
                cells[end - len(last) : end] = last
        row = [(char, "dim") for char in "".join(cells)[:inner]]
        if cursor is not None:
            row[cursor] = (CURSOR, "warn")
        return ((" " * (self.AXIS + 1), ""), *_spans(row))


def _write(cells: list[list[Cell]], start: int, label: str) -> None:
    """Write a word into the first row that is empty there, shortened to what is left of the row; else not at all."""
    for row in cells:
        word = clip(clean(label), min(MARK_LABEL, len(row) - start))
        place = range(start, start + line_width(((word, ""),)))
        if len(place) > 1 and len(word) == len(place) and all(row[x] == (" ", "") for x in place):
            for x, char in zip(place, word, strict=True):
                row[x] = (char, "info")
            return


def _spans(cells: Sequence[Cell]) -> Iterator[Cell]:
    """Neighbours of one role as one span."""
    for role, run in groupby(cells, key=lambda cell: cell[1]):
        yield "".join(char for char, _ in run), role


def _line(start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Every dot on the way from ``start`` to ``end``."""
    (x0, y0), (x1, y1) = start, end
    count = max(abs(x1 - x0), abs(y1 - y0))
    for i in range(count + 1):
        share = i / count if count else 0.0
        yield round(x0 + (x1 - x0) * share), round(y0 + (y1 - y0) * share)
