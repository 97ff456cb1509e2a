"""What the Probes room knows apart from its widgets: differences of two texts, and what a row of readings says."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from grpo_tui.events.probes import ProbePoint
from grpo_tui.events.state import RunState
from grpo_tui.events.types import ProbesRead
from grpo_tui.tui.text import Line, Span, clean, wrap

SAME, GONE, NEW = "same", "gone", "new"
MOST = 3000
"""Characters of a text that are compared; a longer one is cut, and says so."""
_PIECE = re.compile(r"\s+|\w+|[^\w\s]")

Piece = tuple[str, str]
"""Text, and :data:`SAME`, :data:`GONE` or :data:`NEW`."""


def differences(before: str, after: str) -> list[Piece]:
    """Two texts word by word: what both have, what is gone, what is new."""
    old, new = _PIECE.findall(before[:MOST]), _PIECE.findall(after[:MOST])
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    pieces: list[Piece] = []
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            pieces.append(("".join(new[c:d]), SAME))
            continue
        pieces += [("".join(old[a:b]), GONE)] if b > a else []
        pieces += [("".join(new[c:d]), NEW)] if d > c else []
    if len(after) > MOST:
        pieces.append((f" … {len(after) - MOST} characters more are not compared", SAME))
    return pieces


def diff_lines(before: str, after: str, width: int) -> list[Line]:
    """The later text, with what is gone as ``[-…-]`` and what is new as ``{+…+}``: signs first, colour beside them."""
    marks = {SAME: ("", "", ""), GONE: ("[-", "-]", "bad"), NEW: ("{+", "+}", "good bold")}
    spans: list[Span] = []
    for text, kind in differences(before, after):
        left, right, role = marks[kind]
        body = "\n".join(clean(part) for part in text.split("\n"))
        spans.append((f"{left}{body}{right}", role))
    return _wrapped_spans(spans, width)


def _wrapped_spans(spans: Iterable[Span], width: int) -> list[Line]:
    """Wrap styled text as one."""
    whole = "".join(text for text, _ in spans)
    edges: list[tuple[int, str]] = []
    at = 0
    for text, role in spans:
        edges.append((at, role))
        at += len(text)
    lines: list[Line] = []
    for low, high in wrap(whole, max(1, width)):
        line: list[Span] = []
        for place, (start, role) in enumerate(edges):
            end = edges[place + 1][0] if place + 1 < len(edges) else len(whole)
            a, b = max(low, start), min(high, end)
            if a < b:
                line.append((whole[a:b], role))
        lines.append(tuple(line))
    return lines


def last_cost(state: RunState) -> ProbesRead | None:
    """The newest reading that came with a step."""
    return next((read for read in reversed(state.probes_read) if read.step), None)


def change_of(points: tuple[ProbePoint, ...]) -> float | None:
    """How the gold's log-prob moved with the last reading."""
    if len(points) < 2:
        return None
    before, after = points[-2].reading.gold_logprob, points[-1].reading.gold_logprob
    return None if before is None or after is None else after - before
