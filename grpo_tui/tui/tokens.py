"""Tokens as pieces of text: which characters are whose, how they wrap, and where two completions part.

Plain functions over :class:`~grpo_tui.events.records.CompletionRecord`; no widget, no style.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from grpo_tui.events.records import CompletionRecord
from grpo_tui.tui.text import cells, clean, wrap

END = "∎"
"""Stands for tokens without text at the end: the end-of-sequence token."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Tokens that share their text: one, or several that hold parts of the same character.

    ``first`` to ``last`` (inclusive) are tokens; ``start`` to ``end`` (exclusive) characters of the completion's text.
    """

    first: int
    last: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a unit on one row: ready to be painted, ``width`` cells wide."""

    unit: int
    text: str
    width: int
    start: int
    """Its first character in the completion's text."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A completion laid out in rows of a width."""

    units: tuple[Unit, ...]
    rows: tuple[tuple[Piece, ...], ...]
    row_of_unit: tuple[int, ...]
    """The row on which each unit begins."""

    def unit_of(self, token: int) -> int:
        """The unit that a token belongs to."""
        return max(0, bisect_right([unit.first for unit in self.units], token) - 1)

    def column_of(self, unit: int) -> int:
        """The column at which a unit begins."""
        column = 0
        for piece in self.rows[self.row_of_unit[unit]]:
            if piece.unit == unit:
                break
            column += piece.width
        return column

    def unit_at(self, row: int, column: int) -> int | None:
        """The unit in a cell, or the nearest on that row; None where the row has none."""
        if not 0 <= row < len(self.rows) or not self.rows[row]:
            return None
        at = 0
        for piece in self.rows[row]:
            at += piece.width
            if column < at:
                return piece.unit
        return self.rows[row][-1].unit

    def above(self, unit: int, by: int) -> int:
        """The unit ``by`` rows further down, nearly straight below (above where negative); rows without any are skipped."""
        column, row = self.column_of(unit), self.row_of_unit[unit]
        step = 1 if by > 0 else -1
        found = unit
        for _ in range(abs(by)):
            row += step
            while 0 <= row < len(self.rows) and not self.rows[row]:
                row += step
            there = self.unit_at(row, column)
            if there is None:
                break
            found = there
        return found


def units_of(completion: CompletionRecord) -> tuple[Unit, ...]:
    """Units of a completion in order; together they cover all its tokens and all its text."""
    size = len(completion.text)
    starts = [min(max(0, offset), size) for offset in completion.token_offsets_T.tolist()]
    if not starts:
        return ()
    starts[0] = 0
    units: list[Unit] = []
    first = 0
    for token in range(1, len(starts) + 1):
        end = starts[token] if token < len(starts) else size
        # Tokens without a text of their own go with what follows them, those at the end stay by themselves.
        if token == len(starts) or end > starts[first]:
            units.append(Unit(first, token - 1, starts[first], max(end, starts[first])))
            first = token
    return tuple(units)


def unit_text(completion: CompletionRecord, unit: Unit) -> str:
    """The text of a unit, as it stands in the completion."""
    return completion.text[unit.start : unit.end]


def token_label(completion: CompletionRecord, token: int) -> str:
    """A token's text, quoted and safe; what it is where it has none."""
    units = units_of(completion)
    place = bisect_right([unit.first for unit in units], token) - 1
    if place < 0:
        return ""
    unit = units[place]
    text = unit_text(completion, unit)
    if not text:
        return "end of the response" if unit.last == completion.num_tokens - 1 else "no text"
    part = (
        f" (part {token - unit.first + 1} of {unit.last - unit.first + 1})" if unit.last > unit.first else ""
    )
    return quoted(text) + part


def quoted(text: str) -> str:
    """A short text between quotes, every character visible and in its place."""
    return f"'{clean(text)}'"


LONGEST_TOKEN, CUT = 1000, "⋯"
"""Characters of one token that are drawn, and the sign for the rest: no vocabulary has longer ones, a file might."""


def layout_of(completion: CompletionRecord, width: int) -> Layout:
    """Lay a completion out in rows of at most ``width`` cells; kept for each completion and width."""
    return _layout(completion.text, units_of(completion), max(2, width))


@lru_cache(maxsize=64)
def _layout(text: str, units: tuple[Unit, ...], width: int) -> Layout:
    shown: list[str] = []
    owner: list[int] = []
    origin: list[int] = []
    for place, unit in enumerate(units):
        piece = text[unit.start : unit.end]
        if not piece:
            shown.append(END)
            owner.append(place)
            origin.append(unit.end)
        for at, char in enumerate(piece[:LONGEST_TOKEN], unit.start):
            # A line break is a character that the model chose: it is seen, and it breaks the row.
            drawn = "⏎\n" if char == "\n" else clean(char)
            shown.append(drawn)
            owner.extend([place] * len(drawn))
            origin.extend([at] * len(drawn))
        if len(piece) > LONGEST_TOKEN:
            shown.append(CUT)
            owner.append(place)
            origin.append(unit.start + LONGEST_TOKEN)
    body = "".join(shown)
    rows: list[tuple[Piece, ...]] = []
    row_of_unit = [-1] * len(units)
    for low, high in wrap(body, width - 1):
        # The space that a row breaks at is a token's too; the spare column is for it.
        if high < len(body) and body[high] == " ":
            high += 1
        pieces: list[Piece] = []
        start = low
        for at in range(low, high + 1):
            if at < high and owner[at] == owner[start]:
                continue
            if at > start:
                part = body[start:at]
                pieces.append(Piece(owner[start], part, cells(part), origin[start]))
                if row_of_unit[owner[start]] < 0:
                    row_of_unit[owner[start]] = len(rows)
            start = at
        rows.append(tuple(pieces))
    if len(rows) > 1 and not rows[-1]:
        rows.pop()
    for place, row in enumerate(row_of_unit):
        if row < 0:  # nothing of it could be drawn: it stands where its neighbour does
            row_of_unit[place] = max(0, row_of_unit[place - 1] if place else 0)
    return Layout(units, tuple(rows), tuple(row_of_unit))


def first_split(one: CompletionRecord, other: CompletionRecord) -> int | None:
    """The first token at which two completions differ; None where they are the same tokens throughout.

    Where one is the beginning of the other, it is the first token that the shorter one does not have.
    """
    mine, theirs = one.token_ids_T, other.token_ids_T
    shared = min(mine.shape[0], theirs.shape[0])
    differs = (mine[:shared] != theirs[:shared]).nonzero()[0]
    if differs.size:
        return int(differs[0])
    return None if mine.shape == theirs.shape else shared


def text_before(completion: CompletionRecord, token: int) -> str:
    """The text up to a token."""
    return completion.text[: text_start(completion, token)]


def text_from(completion: CompletionRecord, token: int) -> str:
    """The text from a token on."""
    return completion.text[text_start(completion, token) :]


def text_start(completion: CompletionRecord, token: int) -> int:
    """The character at which a token begins; the end of the text for one beyond the last."""
    offsets = completion.token_offsets_T
    size = len(completion.text)
    return min(size, int(offsets[token])) if token < offsets.shape[0] else size


def counterparts(completions: Sequence[CompletionRecord], chosen: CompletionRecord) -> list[CompletionRecord]:
    """The others of a group to hold a completion against, most telling first.

    Those whose reward differs come first, the farthest before the nearer; then those that are like it.
    """

    def rank(other: CompletionRecord) -> tuple[float, int]:
        if other.reward is None or chosen.reward is None:
            return (0.0, other.index)
        return (-abs(other.reward - chosen.reward), other.index)

    return sorted((c for c in completions if c is not chosen), key=rank)
