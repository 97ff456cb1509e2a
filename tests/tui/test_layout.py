from __future__ import annotations

from itertools import combinations, product

import pytest
from textual.geometry import Region

from grpo_tui.tui.layout import CHAIN, Shape, plan, size_class

SHAPES = [
    Shape(),
    Shape(loading=True),
    Shape(loading=True, failed=4),
    Shape(failed=4, browsing=True),
    *(Shape(drill=drill) for drill in CHAIN),
    Shape(zoom="why"),
    Shape(charting=True),
    Shape(num_groups=64, group_size=64),
    Shape(num_groups=1, group_size=2),
]


WIDTHS = (1, 20, 40, 59, 60, 79, 80, 99, 100, 110, 119, 120, 139, 140, 200, 400)
HEIGHTS = (1, 3, 12, 15, 16, 20, 24, 30, 40, 60, 100)


@pytest.mark.parametrize("shape", SHAPES)
def test_panels_never_overlap_and_never_leave_the_screen(shape: Shape) -> None:
    for width, height in product(WIDTHS, HEIGHTS):
        regions = plan(width, height, shape)
        screen = Region(0, 0, width, height)
        assert all(region.area > 0 and screen.contains_region(region) for region in regions.values())
        assert not any(one.overlaps(other) for one, other in combinations(regions.values(), 2))


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (100, 30), (120, 40), (200, 60)])
def test_every_cell_belongs_to_a_panel(size: tuple[int, int]) -> None:
    regions = plan(*size, Shape())
    assert sum(region.area for region in regions.values()) == size[0] * size[1]


def test_size_classes() -> None:
    assert [size_class(*size) for size in [(59, 40), (120, 15), (60, 16), (99, 60), (100, 16)]] == [
        "tiny", "tiny", "narrow", "narrow", "wide",
    ]  # fmt: skip


def test_wide_shows_everything_at_once() -> None:
    assert set(plan(120, 40, Shape())) == {
        "header", "trends", "chart", "evals", "groups", "answers", "prompt", "response", "why", "health", "events",
        "keys",
    }  # fmt: skip


def test_eight_groups_of_eight_need_no_scrolling_on_common_sizes() -> None:
    wide, narrow = plan(120, 40, Shape()), plan(80, 24, Shape())
    assert wide["groups"].height >= 11
    assert wide["answers"].height >= 11
    assert narrow["groups"].height >= 11


def test_narrow_shows_health_below_the_trends_or_the_curve() -> None:
    trends, curve = plan(80, 24, Shape()), plan(80, 24, Shape(charting=True))
    assert trends["trends"].height >= 7
    assert trends["health"].height >= 4
    assert "chart" not in trends
    assert "trends" not in curve
    assert curve["chart"].height >= 7
    assert curve["health"].height >= 3


def test_health_is_there_on_every_screen_that_is_not_tiny() -> None:
    for width, height in product((60, 80, 99, 100, 120, 200), (16, 20, 24, 30, 40, 60)):
        assert "health" in plan(width, height, Shape()), (width, height)


def test_zoom_gives_one_panel_the_whole_body() -> None:
    assert set(plan(120, 40, Shape(zoom="chart"))) == {"header", "chart", "keys"}
