"""Tokens as pieces of text: units, rows, splits. No screen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo_tui.events.records import CompletionRecord
from grpo_tui.tui.text import cells, clean
from grpo_tui.tui.tokens import (
    END,
    Unit,
    counterparts,
    first_split,
    layout_of,
    text_before,
    text_from,
    token_label,
    units_of,
)
from tests.tui.hostile import HOSTILE


def made(text: str, offsets: list[int], ids: list[int] | None = None, index: int = 0) -> CompletionRecord:
    size = len(offsets)
    return CompletionRecord(
        index=index,
        text=text,
        finish_reason="stop",
        token_ids_T=np.array(ids if ids is not None else range(size), dtype=np.int32),
        token_offsets_T=np.array(offsets, dtype=np.int32),
        logprobs_T=np.zeros(size, dtype=np.float32),
        entropies_T=np.zeros(size, dtype=np.float32),
    )


def shown(completion: CompletionRecord, width: int) -> list[str]:
    return ["".join(piece.text for piece in row) for row in layout_of(completion, width).rows]


def test_each_token_has_its_text() -> None:
    completion = made("6/8 is", [0, 1, 2, 3])
    assert units_of(completion) == (Unit(0, 0, 0, 1), Unit(1, 1, 1, 2), Unit(2, 2, 2, 3), Unit(3, 3, 3, 6))


def test_a_character_of_three_tokens_is_one_unit() -> None:
    completion = made("a漢b", [0, 1, 1, 1, 2])
    assert units_of(completion) == (Unit(0, 0, 0, 1), Unit(1, 3, 1, 2), Unit(4, 4, 2, 3))
    assert token_label(completion, 2) == "'漢' (part 2 of 3)"
    assert layout_of(completion, 20).unit_of(2) == 1
    assert layout_of(completion, 20).unit_of(4) == 2


def test_the_end_token_stands_by_itself() -> None:
    completion = made("ab", [0, 1, 2])
    assert units_of(completion)[-1] == Unit(2, 2, 2, 2)
    assert shown(completion, 20) == ["ab" + END]
    assert token_label(completion, 2) == "end of the response"


def test_a_completion_without_text_or_tokens() -> None:
    assert units_of(made("", [])) == ()
    assert layout_of(made("", []), 10).rows in ((), ((),))
    assert shown(made("", [0]), 10) == [END]


def test_line_breaks_are_seen_and_break() -> None:
    completion = made("a\n\nb", [0, 1, 2, 3])
    assert shown(completion, 20) == ["a⏎", "⏎", "b"]
    layout = layout_of(completion, 20)
    assert layout.row_of_unit == (0, 0, 1, 2)


def test_the_space_at_a_break_belongs_to_its_token() -> None:
    completion = made("one two three", [0, 3, 7])
    rows = shown(completion, 9)
    assert rows == ["one two ", "three"]
    assert "".join(rows) == completion.text


def test_moving_by_rows_keeps_the_column() -> None:
    completion = made("aa bb cc dd ee ff", [0, 2, 5, 8, 11, 14])
    layout = layout_of(completion, 7)
    assert [piece.text for row in layout.rows for piece in row] == [
        "aa",
        " bb",
        " ",
        "cc",
        " dd",
        " ",
        "ee",
        " ff",
    ]
    assert layout.above(1, 1) == 3, "from bb to dd, which stands below it"
    assert layout.above(3, -1) == 1
    assert layout.above(1, -5) == 1, "there is no row above the first"
    assert layout.above(0, 99) == 4, "the last row, however far"
    assert layout.unit_at(0, 0) == 0
    assert layout.unit_at(0, 50) == 2, "beyond the end: the last of the row"
    assert layout.unit_at(9, 0) is None


TEXTS = st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from(
    [t for t in HOSTILE if len(t) < 200]
)


@given(text=TEXTS, width=st.integers(1, 40), data=st.data())
def test_no_text_is_lost_and_no_row_too_wide(text: str, width: int, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text) + 3), max_size=20).map(sorted))
    completion = made(text, [0, *cuts])
    units = units_of(completion)
    assert [t for unit in units for t in range(unit.first, unit.last + 1)] == list(range(len(cuts) + 1))
    assert "".join(text[unit.start : unit.end] for unit in units) == text
    layout = layout_of(completion, width)
    painted = "".join(piece.text for row in layout.rows for piece in row)
    wanted = clean(text)
    assert painted.replace(END, "").replace(" ", "") == wanted.replace(END, "").replace(" ", "")
    for row in layout.rows:
        assert sum(piece.width for piece in row) <= max(2, width) + 1, "one wide character may not fit at all"
        assert all(piece.width == cells(piece.text) for piece in row)
    assert all(0 <= row < max(1, len(layout.rows)) for row in layout.row_of_unit)
    assert list(layout.row_of_unit) == sorted(layout.row_of_unit)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_laid_out_clean(text: str) -> None:
    completion = made(text, [0, *range(2, len(text) + 2, 3)])
    for row in shown(completion, 30):
        assert clean(row) == row
        assert "\n" not in row


def test_layouts_are_kept_for_a_response_and_width() -> None:
    completion = made("some text to lay out", [0, 4, 9, 12, 16])
    assert layout_of(completion, 9) is layout_of(replace(completion, reward=1.0), 9)
    assert layout_of(completion, 9) is not layout_of(completion, 10)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1, 2, 3], [1, 2, 4], 2),
        ([1, 2, 3], [9, 2, 3], 0),
        ([1, 2, 3], [1, 2, 3], None),
        ([1, 2], [1, 2, 3], 2),
        ([], [1], 0),
        ([], [], None),
    ],
)
def test_first_split(one: list[int], other: list[int], expected: int | None) -> None:
    a, b = (made("abcdef", list(range(len(ids))), ids) for ids in (one, other))
    assert first_split(a, b) == expected
    assert first_split(b, a) == expected


def test_text_before_and_from_a_token() -> None:
    completion = made("6/8 is 3/4", [0, 3, 6, 10])
    assert (text_before(completion, 1), text_from(completion, 1)) == ("6/8", " is 3/4")
    assert (text_before(completion, 3), text_from(completion, 9)) == ("6/8 is 3/4", "")


def test_counterparts_with_another_reward_come_first() -> None:
    rewards = [0.0, 0.1, 1.1, 0.0, 1.0]
    group = [replace(made("x", [0], index=i), reward=reward) for i, reward in enumerate(rewards)]
    assert [c.index for c in counterparts(group, group[0])] == [2, 4, 1, 3]
    unscored = [made("x", [0], index=i) for i in range(3)]
    assert [c.index for c in counterparts(unscored, unscored[1])] == [0, 2]
