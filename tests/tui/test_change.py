"""A change is called one only where it is more than noise."""

from __future__ import annotations

import math

import pytest

from grpo_tui.tui.change import CLEAR, change, share_change


def test_means_are_compared_by_their_own_scatter() -> None:
    found = change([3.0, 5.0, 4.0], [1.0, 3.0, 2.0])
    assert found is not None
    assert found.by == pytest.approx(2.0)
    assert found.z == pytest.approx(2.0 / math.sqrt(1 / 3 + 1 / 3))
    assert not found.rises, "2.45 standard errors are not 2.5"
    assert (found.num_now, found.num_before) == (3, 3)


def test_the_threshold_belongs_to_a_change() -> None:
    # Variance 2 in four values each: a standard error of exactly 1.
    scatter = [-1.0, -1.0, 1.0, 1.0]
    unit = math.sqrt(2 * (4 / 3) / 4)
    for times, rises in ((CLEAR + 1e-6, True), (CLEAR - 1e-6, False)):
        found = change([v + times * unit for v in scatter], scatter)
        assert found is not None
        assert found.rises is rises
        fallen = change(scatter, [v + times * unit for v in scatter])
        assert fallen is not None
        assert fallen.falls is rises


def test_without_scatter_any_difference_is_one_and_rounding_is_none() -> None:
    up, same = change([2.0, 2.0], [1.0, 1.0]), change([0.1 + 0.2] * 3, [0.3] * 3)
    assert up is not None
    assert up.z == math.inf
    assert same is not None
    assert same.z == 0.0


def test_gaps_do_not_count_and_too_few_say_nothing() -> None:
    assert change([1.0, None, math.nan], [1.0, 2.0]) is None
    found = change([1.0, None, 3.0], [1.0, math.inf, 1.0])
    assert found is not None
    assert (found.now, found.num_now) == (2.0, 2)


def test_shares_are_compared_with_their_n() -> None:
    few, many = share_change(3, 10, 1, 10), share_change(300, 1000, 100, 1000)
    assert few is not None
    assert many is not None
    assert few.by == pytest.approx(many.by)
    assert not few.rises
    assert many.rises
    assert share_change(0, 0, 1, 10) is None
