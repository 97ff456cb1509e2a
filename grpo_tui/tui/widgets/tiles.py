"""Texts side by side in a grid of tiles, each with a head; of a text that does not fit, the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grpo_tui.tui.text import Line, clean, clip_line, fit, line_width, wrap

LEAST_WIDTH, LEAST_HEIGHT = 36, 4
"""Cells of a tile: fewer columns rather than narrower ones; more rows than fit are scrolled to."""
SEPARATOR = " │ "


@dataclass(frozen=True, slots=True)
class Tile:
    """One text. ``end`` is a sign put behind it, while it grows."""

    head: Line
    text: str
    end: str = ""
    role: str = ""


def tiles(shown: Sequence[Tile], width: int, height: int) -> list[Line]:
    """Lay tiles out row by row, in as many columns as are wide enough."""
    if not shown:
        return []
    across = max(1, min(len(shown), (width + len(SEPARATOR)) // (LEAST_WIDTH + len(SEPARATOR))))
    down = -(-len(shown) // across)
    across = -(-len(shown) // down)  # as even as they go: 8 in 3 rows are 3, 3, 2
    wide = max(1, (width - len(SEPARATOR) * (across - 1)) // across)
    high = max(LEAST_HEIGHT, height // down)
    lines: list[Line] = []
    for start in range(0, len(shown), across):
        columns = [_column(tile, wide, high) for tile in shown[start : start + across]]
        for parts in zip(*columns, strict=True):
            row: list[tuple[str, str]] = []
            for part in parts:
                row += [(SEPARATOR, "dim"), *part] if row else [*part]
            lines.append(tuple(row))
    return lines


def _column(tile: Tile, width: int, height: int) -> list[Line]:
    """One tile as ``height`` lines, the last one blank."""
    room = height - 2
    # No more than can be shown is wrapped: a text may be long, and this is done five times a second.
    text = tile.text[-(width * (room + 1)) :]
    body = "\n".join(clean(part) for part in text.split("\n")) + tile.end
    rows = [body[low:high] for low, high in wrap(body, width)][-room:]
    lines: list[Line] = [_fitted(tile.head, width)]
    lines += [((fit(row, width), tile.role),) for row in rows]
    return lines + [((" " * width, ""),)] * (height - len(lines))


def _fitted(line: Line, width: int) -> Line:
    """The line at exactly this width."""
    kept = clip_line(line, width)
    return (*kept, (" " * (width - line_width(kept)), ""))
