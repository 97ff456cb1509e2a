"""Pieces of a row: the verdict strip of a group and the advantage bar of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from grpo_tui.events.records import CompletionRecord
from grpo_tui.tui.glyphs import strip_glyph
from grpo_tui.tui.text import Line
from grpo_tui.tui.widgets.charts import centred_bar

AXIS = "│"


def verdict_strip(completions: Sequence[CompletionRecord], width: int) -> Line:
    """One glyph for each answer; ``…`` where there are more than fit."""
    shown = completions if len(completions) <= width else completions[: width - 1]
    glyphs = [strip_glyph(completion) for completion in shown]
    if len(shown) < len(completions):
        glyphs.append(("…", "dim"))
    spans = [
        ("".join(glyph for glyph, _ in run), role) for role, run in groupby(glyphs, key=lambda pair: pair[1])
    ]
    used = len(glyphs)
    return (*spans, (" " * (width - used), "")) if used < width else tuple(spans)


def advantage_bar(advantage: float | None, limit: float, half: int) -> Line:
    """A bar left (pushed down) or right (pushed up) of a zero line."""
    if advantage is None:
        return ((" " * half, ""), (AXIS, "dim"), (" " * half, ""))
    left, right = centred_bar(advantage, limit, half)
    return ((left, "down"), (AXIS, "dim"), (right, "up"))
