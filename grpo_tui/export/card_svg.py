"""A card as SVG for a paper or an issue: black on white, fixed width, no scripts, fonts or links from elsewhere.

Every row is placed by terminal cells, and each run of text is told how wide it is, so that marks lie under the right
characters whatever fixed-width font the reader has.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from grpo_tui.export.card import Card
from grpo_tui.visible import cells, clean, clip, wrap
from rewards.base import Span, Verdict

COLUMNS = 84
CELL, ROW, SIZE = 7.8, 18, 13
"""Width of a cell, height of a row, size of the font, in pixels."""
MARGIN = 24
MAX_PROMPT, MAX_RESPONSE = 10, 28
"""Rows of the prompt, and of the response around its judged span."""
LONGEST = 12_000
"""Characters of a text that are looked at; longer ones are cut around the span."""
INK, SOFT, RULE, MARK, TRACK = "#1b1f24", "#656d76", "#d0d7de", "#fff1b8", "#f3f4f6"
GOOD, BAD, UNSURE = "#1a7f37", "#cf222e", "#9a6700"
BARS = 14
"""Half the width of the advantage bar, in cells; it is full at an advantage of 2."""


class _Page:
    """Rows of SVG from the top down."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = MARGIN

    def text(
        self, column: float, text: str, *, fill: str = INK, bold: bool = False, end: bool = False
    ) -> None:
        """Write on the present row; ``end`` means that the text ends at the column."""
        text = clean(text)
        width = cells(text) * CELL
        if not text.strip():
            return
        x = MARGIN + column * CELL - (width if end else 0)
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{self.y + SIZE}" fill="{fill}"{weight} textLength="{width:.1f}" '
            f'lengthAdjust="spacingAndGlyphs" xml:space="preserve">{escape(text, quote=True)}</text>'
        )

    def box(self, column: float, width: float, fill: str, *, top: float = 2, height: float = ROW) -> None:
        """A filled box on the present row, in cells."""
        self.parts.append(
            f'<rect x="{MARGIN + column * CELL:.1f}" y="{self.y + top - 1:.1f}" width="{width * CELL:.1f}" '
            f'height="{height:.1f}" fill="{fill}"/>'
        )

    def next(self, rows: float = 1) -> None:
        """Go down."""
        self.y += round(rows * ROW)

    def rule(self) -> None:
        """A thin line across."""
        y = self.y + ROW / 2
        self.parts.append(
            f'<line x1="{MARGIN}" x2="{MARGIN + COLUMNS * CELL:.1f}" y1="{y}" y2="{y}" stroke="{RULE}"/>'
        )
        self.next()

    def heading(self, text: str) -> None:
        """A small title."""
        self.text(0, text, fill=SOFT)
        self.next(1.1)


def card_svg(card: Card) -> str:
    """The card as one SVG document."""
    page = _Page()
    color = GOOD if card.verdict is Verdict.CORRECT else BAD if card.verdict is Verdict.WRONG else UNSURE
    judged = clip(clean(f"{card.sign} {card.judged}"), COLUMNS // 2)
    page.text(0, clip(clean(f"{card.run} · {card.title}"), COLUMNS - cells(judged) - 2), fill=SOFT)
    page.text(COLUMNS, judged, fill=color, bold=True, end=True)
    page.next()
    page.rule()
    page.heading("prompt")
    _body(page, card.prompt, None, MAX_PROMPT)
    page.next(0.6)
    page.heading("response")
    _body(page, card.text, card.span, MAX_RESPONSE)
    page.rule()
    for low, high in wrap(clean(card.sentence), COLUMNS)[:4]:
        page.text(0, clean(card.sentence)[low:high], fill=color, bold=True)
        page.next()
    page.next(0.5)
    _facts(page, card)
    return _document(page)


def _body(page: _Page, text: str, span: Span | None, most: int) -> None:
    """A wrapped text with its span marked; rows far from the span are left out, and counted."""
    text, span, cut = _window(text, span)
    body = "\n".join(clean(part) for part in text.split("\n"))
    rows = wrap(body, COLUMNS)
    first = 0
    if span is not None and len(rows) > most:
        at = max((n for n, (low, _) in enumerate(rows) if low <= span.start), default=0)
        first = max(0, min(at - most // 2, len(rows) - most))
    last = min(len(rows), first + most)
    if first or cut[0]:
        page.text(0, "⋯" if cut[0] else f"⋯ {first} rows above", fill=SOFT)
        page.next()
    for low, high in rows[first:last]:
        _row(page, body, low, high, span)
    if not body.strip():
        page.text(0, "(empty)", fill=SOFT)
        page.next()
    if last < len(rows) or cut[1]:
        page.text(0, "⋯" if cut[1] else f"⋯ {len(rows) - last} rows below", fill=SOFT)
        page.next()


def _window(text: str, span: Span | None) -> tuple[str, Span | None, tuple[bool, bool]]:
    """At most :data:`LONGEST` characters around the span, the span in them, and what was cut (before, after)."""
    if len(text) <= LONGEST:
        return text, span, (False, False)
    start = 0 if span is None else max(0, min(span.start - LONGEST // 2, len(text) - LONGEST))
    end = start + LONGEST
    moved = None if span is None else Span(span.start - start, min(span.end, end) - start)
    return text[start:end], moved, (start > 0, end < len(text))


def _row(page: _Page, body: str, low: int, high: int, span: Span | None) -> None:
    start, end = (
        (min(high, max(low, span.start)), min(high, max(low, span.end))) if span is not None else (high, high)
    )
    column = 0
    for part, marked in ((body[low:start], False), (body[start:end], True), (body[end:high], False)):
        width = cells(part)
        if marked and width:
            page.box(column, width, MARK)
            page.box(column, width, UNSURE, top=ROW - 0.5, height=1.5)
        page.text(column, part, bold=marked)
        column += width
    page.next()


def _facts(page: _Page, card: Card) -> None:
    for name, value in card.facts:
        page.text(0, clip(clean(name), 11), fill=SOFT)
        shown = clip(clean(value.replace("\n", "⏎")), COLUMNS - 12)
        page.text(12, shown)
        if name == "advantage" and card.advantage is not None:
            _bar(page, 22, card.advantage)
        page.next()


def _bar(page: _Page, column: int, advantage: float) -> None:
    """A bar about zero: right and green pushes up, left and red down."""
    size = min(1.0, abs(advantage) / 2) * BARS
    middle = column + BARS
    page.box(column, 2 * BARS, TRACK, top=5, height=10)
    page.box(
        middle if advantage > 0 else middle - size, size, GOOD if advantage > 0 else BAD, top=5, height=10
    )
    page.box(middle - 0.06, 0.12, SOFT)
    page.text(column + 2 * BARS + 1, "−2 … +2", fill=SOFT)


def _document(page: _Page) -> str:
    width, height = round(COLUMNS * CELL) + 2 * MARGIN, page.y + MARGIN - 4
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="{_FONTS}" font-size="{SIZE}">',
            f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" fill="#ffffff" stroke="{RULE}"/>',
            *_drawable(page.parts),
            "</svg>",
            "",
        ]
    )


_FONTS = "'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"


def _drawable(parts: Sequence[str]) -> list[str]:
    """Without what XML cannot hold even escaped: noncharacters that cleaning leaves."""
    return [part.translate({0xFFFE: "�", 0xFFFF: "�"}) for part in parts]
