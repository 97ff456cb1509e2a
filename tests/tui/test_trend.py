"""The line chart: its places, its spread, points, marks and gaps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo_tui.tui.text import line_width
from grpo_tui.tui.widgets.trend import CURSOR, MARK, POINT, Trend

STEPS = list(range(1, 11))


def rows(trend: Trend, width: int = 26, height: int = 10, cursor: int | None = None) -> list[str]:
    """The chart as plain text."""
    lines = trend.lines(width, height, role="good", cursor=cursor)
    assert {line_width(line) for line in lines} == {width}
    return ["".join(text for text, _ in line) for line in lines]


def roles(trend: Trend, width: int = 26, height: int = 10) -> set[str]:
    return {role for line in trend.lines(width, height, role="good") for _, role in line}


@given(st.integers(1, 400), st.integers(8, 90))
def test_a_click_on_a_step_goes_to_a_step_of_that_column(count: int, width: int) -> None:
    steps = [3 * n for n in range(1, count + 1)]
    trend = Trend(steps, [0.0] * count)
    inner = width - Trend.AXIS - 1
    for step in steps:
        column = trend.column_of(step, inner)
        assert column is not None
        found = trend.step_at(column + Trend.AXIS + 1, width)
        assert found is not None
        assert trend.column_of(found, inner) == column


def test_a_click_beside_the_curve_goes_to_its_nearest_end() -> None:
    trend = Trend(STEPS, [0.0] * 10)
    assert trend.step_at(0, 40) == 1, "on the axis"
    assert trend.step_at(39, 40) == 10
    assert Trend(STEPS[:3], [0.0] * 3).step_at(39, 40) == 3, "where no step is drawn yet"
    assert trend.step_at(-1, 40) is None
    assert Trend([], []).step_at(5, 40) is None


def test_a_click_between_two_steps_goes_to_the_nearer() -> None:
    trend = Trend([1, 2], [0.0, 0.0])
    inner = 40 - Trend.AXIS - 1
    second = trend.column_of(2, inner)
    assert second is not None
    assert second > 2
    assert trend.step_at(Trend.AXIS + 2, 40) == 1
    assert trend.step_at(Trend.AXIS + second, 40) == 2


def test_the_spread_is_drawn_on_both_sides_and_widens_the_axis() -> None:
    bare, banded = Trend(STEPS, [0.5] * 10), Trend(STEPS, [0.5] * 10, spread=[0.2] * 10)
    assert banded.low == pytest.approx(0.3)
    assert banded.high == pytest.approx(0.7)
    assert sum(row[6:].strip(" ") != "" for row in rows(bare)[:8]) == 1
    drawn = [row[6:].strip(" ") != "" for row in rows(banded)[:8]]
    assert drawn[0], "the upper edge"
    assert drawn[7], "the lower edge"
    assert sum(drawn) == 3, "edges and line, not a block"
    assert roles(bare) == {"dim", "good", ""}


def test_the_line_stays_the_line_where_the_spread_is_nothing() -> None:
    plain, banded = (
        Trend(STEPS, [0.5] * 10, low=0, high=1),
        Trend(STEPS, [0.5] * 10, low=0, high=1, spread=[0.0] * 10),
    )
    assert rows(plain) == rows(banded)


def test_a_spread_of_another_length_is_left_out() -> None:
    assert rows(Trend(STEPS, [0.5] * 10, spread=[0.1])) == rows(Trend(STEPS, [0.5] * 10))


def test_gaps_have_no_spread_either() -> None:
    values = [0.5, 0.5, 0.5, math.nan, None, math.nan, None, 0.5, 0.5, 0.5]
    for row in rows(Trend(STEPS, values, spread=[0.2] * 10, low=0, high=1))[:8]:
        assert row[6 + 8 : 6 + 12].strip() == ""


def test_points_of_another_series_stand_at_their_steps() -> None:
    trend = Trend(STEPS, [0.0] * 10, low=0.0, points={0: 1.0, 10: 0.5, 7: math.nan})
    drawn = rows(trend)
    assert sum(row.count(POINT) for row in drawn) == 2
    assert drawn[0][6] == POINT, "before the first step: at the left"
    inner = 26 - Trend.AXIS - 1
    column = trend.column_of(10, inner)
    assert column is not None
    assert any(row[6 + column] == POINT for row in drawn[2:6])
    assert trend.high == 1.0, "the axis reaches the highest point"


def test_marks_are_columns_behind_the_line() -> None:
    trend = Trend(STEPS, [0.5] * 10, low=0, high=1, marks={5: "", 99: "never drawn"})
    column = trend.column_of(5, 20)
    assert column is not None
    drawn = rows(trend)[:8]
    assert sum(row[6 + column] == MARK for row in drawn) == 7, "all rows but that of the line"
    assert sum(row.count(MARK) for row in drawn) == 7, "a step that is not drawn has no mark"


def test_a_mark_has_its_word_beside_it_where_there_is_room() -> None:
    trend = Trend(STEPS, [0.9] * 10, low=0, high=1, marks={3: "lr 1e-5"})
    column = trend.column_of(3, 20)
    assert column is not None
    drawn = rows(trend)[:8]
    assert [row[6 + column :].rstrip() for row in drawn if "lr" in row] == [f"{MARK}lr 1e-5"]
    late = Trend(STEPS, [0.9] * 10, low=0, high=1, marks={9: "group_size 16"})
    assert any("…" in row for row in rows(late)[:8]), "cut at the edge"
    full = Trend(STEPS, [0.0, 1.0] * 5, low=0, high=1, marks={3: "lr 1e-5"})
    assert not any("lr" in row for row in rows(full)), "never over the line"


def test_the_cursor_is_marked_on_the_plot_and_below_it() -> None:
    trend = Trend(STEPS, [0.5] * 10, low=0, high=1)
    drawn = rows(trend, cursor=5)
    column = drawn[-1].index(CURSOR)
    assert trend.step_at(column, 26) == 5
    assert drawn[0][column] == MARK


NUMBERS = st.lists(
    st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(math.nan), st.just(math.inf)), max_size=120
)


@given(NUMBERS, st.integers(8, 60), st.integers(3, 12))
def test_everything_together_keeps_its_size_whatever_comes(
    values: list[float | None], width: int, height: int
) -> None:
    steps = list(range(1, len(values) + 1))
    points = {n: v for n, v in enumerate(values) if v is not None and n % 7 == 0}
    trend = Trend(
        steps, values, spread=values, points=points, marks=dict.fromkeys(steps[::9], "lr 漢字 1e-5")
    )
    lines = trend.lines(width, height, role="", cursor=len(values) // 2)
    assert len(lines) == height
    assert {line_width(line) for line in lines} == {width}
