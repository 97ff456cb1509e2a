from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo_tui.tui.text import line_width
from grpo_tui.tui.widgets.charts import (
    averaged,
    centred_bar,
    direction,
    interval_bar,
    progress_bar,
    sparkline,
)
from grpo_tui.tui.widgets.strips import advantage_bar, verdict_strip
from grpo_tui.tui.widgets.trend import Trend
from tests.support.builders import make_completion

VALUES = st.lists(
    st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(math.nan), st.just(math.inf)), max_size=300
)


def test_sparkline_spans_its_own_range() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, 5, 5], 3) == "▁▁▁"
    assert sparkline([1, None, math.nan, 2], 4) == "▁  █"
    assert sparkline([1, 2, 3], 2) == "▁█"
    assert sparkline([], 4) == ""


def test_buckets_are_counted_from_the_newest() -> None:
    assert averaged([1, 2, 3, 4, 5], 2) == [1, 2.5, 4.5]
    assert averaged([None, None, 4.0], 1) == [None, None, 4.0]
    assert averaged([None, None, 4.0, 6.0], 2) == [None, 5.0]


@pytest.mark.parametrize(
    ("values", "arrow"),
    [
        ([1, 2, 3, 4, 5, 6], "↗"),
        ([6, 5, 4, 3, 2, 1], "↘"),
        ([1, 2, 1, 2, 1, 2, 1, 2], "→"),
        ([1, 1, 1, 1], "→"),
        ([1, 2], " "),
    ],
)
def test_direction(values: list[float], arrow: str) -> None:
    assert direction(values) == arrow


def test_progress_bar_has_eighths() -> None:
    assert progress_bar(0, 4) == "····"
    assert progress_bar(1, 4) == "████"
    assert progress_bar(0.375, 4) == "█▌··"
    assert progress_bar(7, 2) == "██"


def test_bars_around_zero() -> None:
    assert centred_bar(1.0, 2.0, 4) == ("    ", "██  ")
    assert centred_bar(-2.0, 2.0, 4) == ("████", "    ")
    assert centred_bar(0.0, 2.0, 2) == ("  ", "  ")
    assert centred_bar(0.001, 2.0, 4) == ("    ", "█   "), "a small advantage is still seen"
    assert centred_bar(math.nan, 2.0, 2) == ("  ", "  ")


def test_interval_on_a_track() -> None:
    assert interval_bar(0.0, 0.5, 1.0, 11) == "├────●────┤"
    assert interval_bar(0.4, 0.5, 0.6, 11) == "····├●┤····"


def test_a_curve_rises_from_bottom_left_to_top_right() -> None:
    rows = Trend(list(range(1, 11)), [float(n) for n in range(10)]).plot(5, 2)
    assert rows[0][0] == " "
    assert rows[1][0] != " "
    assert rows[0][-1] != " "
    assert rows[1][-1] == " "


def test_a_gap_stays_a_gap() -> None:
    values = [1.0, 1.0, 1.0, None, None, None, None, 1.0, 1.0, 1.0]
    row = Trend(list(range(1, 11)), values, low=0.0, high=1.0).plot(10, 1)[0]
    assert " " in row.strip()


def test_the_step_looked_at_is_marked() -> None:
    lines = Trend(list(range(1, 11)), [0.5] * 10, low=0, high=1).lines(20, 6, role="good", cursor=5)
    assert any(text == "▲" for text, _ in lines[-1])
    assert not any(
        text == "▲" for line in Trend([1], [0.5]).lines(20, 6, role="good", cursor=9) for text, _ in line
    )


@given(VALUES, st.integers(8, 60), st.integers(3, 12))
def test_charts_keep_their_size_whatever_comes(values: list[float | None], width: int, height: int) -> None:
    steps = list(range(1, len(values) + 1))
    lines = Trend(steps, values).lines(width, height, role="", cursor=len(values) // 2)
    assert len(lines) == height
    assert {line_width(line) for line in lines} == {width}


def test_strips_have_one_sign_for_each_answer() -> None:
    completions = [make_completion(k, "x") for k in range(12)]
    assert "".join(t for t, _ in verdict_strip(completions[:4], 8)) == "░░░░    "
    assert "".join(t for t, _ in verdict_strip(completions, 8)) == "░░░░░░░…"
    assert line_width(advantage_bar(None, 2.0, 5)) == line_width(advantage_bar(1.3, 2.0, 5)) == 11
