from __future__ import annotations

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from grpo_tui.tui import text
from grpo_tui.tui.glyphs import DEAD, MODES, NEAR_MISS, PENDING, VERDICTS
from tests.tui.hostile import HOSTILE


@given(st.text())
def test_cleaning_keeps_every_offset(value: str) -> None:
    assert len(text.clean(value)) == len(value)


@given(st.text())
def test_clean_text_holds_nothing_a_terminal_obeys(value: str) -> None:
    for char in text.clean(value):
        assert ord(char) >= 0x20
        assert not 0x7F <= ord(char) < 0xA0
        assert not 0xD800 <= ord(char) <= 0xDFFF


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31m", "␛[31m"),
        ("a\tb\nc", "a⇥b⏎c"),
        ("\u202egnp", "⇄gnp"),
        ("1\u200b2", "1◌2"),
        ("\x9b2J", "␦2J"),
        ("\ud800", "\ufffd"),
        ("[red]x[/red]", "[red]x[/red]"),
    ],
)
def test_dangerous_characters_are_shown(raw: str, shown: str) -> None:
    assert text.clean(raw) == shown


@given(st.text(), st.integers(0, 30))
def test_fit_gives_exactly_the_width(value: str, width: int) -> None:
    assert text.cells(text.fit(text.clean(value), width)) == width


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs", "Mn", "Me", "Cf"])), st.integers(2, 30))
def test_wrapping_loses_nothing_but_spaces_at_breaks(value: str, width: int) -> None:
    rows = text.wrap(value, width)
    kept = "".join(value[low:high] for low, high in rows)
    assert kept.replace(" ", "") == value.replace(" ", "").replace("\n", "")


@given(st.text(alphabet="ab 漢字\n"), st.integers(2, 30))
def test_wrapped_rows_fit(value: str, width: int) -> None:
    assert all(cell_len(value[low:high]) <= width for low, high in text.wrap(value, width))


@pytest.mark.parametrize("value", HOSTILE)
def test_wrapped_lines_hold_no_controls(value: str) -> None:
    for line in text.wrapped(value, 20):
        assert all(ord(char) >= 0x20 for part, _ in line for char in part)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.021, "0.021"), (1.3249, "1.32"), (86.42, "86.4"), (-0.5, "−0.500"), (None, "–"), (math.nan, "nan"),
     (math.inf, "+∞"), (123456.0, "1.2e5"), (0.0, "0.000"), (0.00003, "3e−5")],
)  # fmt: skip
def test_compact_numbers(value: float | None, shown: str) -> None:
    assert text.compact(value) == shown


def test_a_line_is_clipped_by_cells_and_keeps_its_roles() -> None:
    line: text.Line = (("ab", "bold"), ("漢字", "dim"), ("end", ""))
    assert text.clip_line(line, 9) == line
    assert text.clip_line(line, 6) == (("ab", "bold"), ("漢字", "dim"))
    for width in range(10):
        assert text.line_width(text.clip_line(line, width)) <= width


def test_a_label_stands_before_the_first_row_alone() -> None:
    rows = text.labelled("gold", "one two", 12, "bold", room=6)
    assert rows == [(("gold  ", "dim"), ("one", "bold")), (("      ", ""), ("two", "bold"))]
    assert len(text.labelled("gold", "", 12, room=6)) == 1


def test_numbers_use_a_true_minus_sign() -> None:
    assert text.number(-1.5, 2, sign=True) == "−1.50"
    assert text.number(1.5, 2, sign=True) == "+1.50"


def test_durations_and_sizes() -> None:
    assert text.duration(12.34) == "12.3 s"
    assert text.duration(2830) == "0:47:10"
    assert text.duration(math.nan) == "–"
    assert text.memory(812_000_000) == "812 MB"
    assert text.memory(9_800_000_000) == "9.8 GB"
    assert [text.count(n) for n in (512, 98_304, 1_213_440, 135_000_000)] == ["512", "98k", "1.2M", "135M"]


def test_every_sign_takes_one_cell() -> None:
    signs = [glyph for glyph, _ in VERDICTS.values()] + [PENDING[0], NEAR_MISS[0], DEAD]
    signs += [glyph for glyph, _, _ in MODES.values()] + list("↗↘→▸▲◂█▌│┤├●─┊·✓✗␛⇄◌⏎⇥")
    assert [sign for sign in signs if not (cell_len(sign) == 1 and unicodedata.category(sign) != "Cf")] == []


def test_signs_differ_without_colour() -> None:
    signs = [glyph for glyph, _ in VERDICTS.values()] + [PENDING[0], NEAR_MISS[0]]
    assert len(set(signs)) == len(signs)
