"""The order of problems: a pure function of the step, fair over each pass."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo_tui.data import ProblemOrder


@given(
    num_problems=st.integers(1, 40),
    size=st.integers(1, 16),
    seed=st.integers(0, 5),
    shuffle=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_each_pass_holds_every_problem_once_and_no_step_one_twice(
    num_problems: int, size: int, seed: int, shuffle: bool
) -> None:
    order = ProblemOrder(num_problems, seed, shuffle)
    num_steps = 6 * num_problems // size + 2
    steps = [order.for_step(step, size) for step in range(1, num_steps + 1)]
    assert all(len(step) == size for step in steps)
    if size <= num_problems:
        assert all(len(set(step)) == size for step in steps)
    drawn = list(chain.from_iterable(steps))
    for start in range(0, len(drawn) - num_problems, num_problems):
        assert sorted(drawn[start : start + num_problems]) == list(range(num_problems))


@given(num_problems=st.integers(1, 30), size=st.integers(1, 12), step=st.integers(1, 200))
@settings(max_examples=100, deadline=None)
def test_a_step_does_not_depend_on_what_was_asked_before(num_problems: int, size: int, step: int) -> None:
    used = ProblemOrder(num_problems, 3, True)
    for earlier in (1, 7, 2, step + 5):
        used.for_step(earlier, size)
        used.for_step(earlier, size + 1)
    assert used.for_step(step, size) == ProblemOrder(num_problems, 3, True).for_step(step, size)


def test_the_order_is_the_same_on_every_machine() -> None:
    order = ProblemOrder(10, 0)
    steps = [order.for_step(step, 4) for step in (1, 2, 3, 4)]
    assert steps == [[1, 0, 2, 4], [9, 3, 8, 6], [7, 5, 1, 4], [3, 5, 8, 0]]


def test_passes_and_seeds_differ() -> None:
    order = ProblemOrder(50, 1)
    first, second = order.for_step(1, 50), order.for_step(2, 50)
    assert first != second
    assert first != ProblemOrder(50, 2).for_step(1, 50)
    assert first != list(range(50))


def test_without_shuffling_problems_come_as_they_stand() -> None:
    order = ProblemOrder(5, 0, shuffle=False)
    assert [order.for_step(step, 3) for step in (1, 2, 3)] == [[0, 1, 2], [3, 4, 0], [1, 2, 3]]


def test_more_prompts_than_problems() -> None:
    drawn = ProblemOrder(3, 0).for_step(1, 8)
    assert sorted(drawn[:3]) == sorted(drawn[3:6]) == [0, 1, 2]


def test_a_late_step_of_a_short_pass_is_found_at_once() -> None:
    # Far deeper than Python may recurse.
    assert len(set(ProblemOrder(9, 0).for_step(1_000_000, 8))) == 8


def test_many_problems_are_no_trouble() -> None:
    assert len(set(ProblemOrder(200_000, 0).for_step(25_001, 8))) == 8


@pytest.mark.parametrize(("step", "size"), [(0, 8), (1, 0), (-1, 1)])
def test_wrong_questions(step: int, size: int) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        ProblemOrder(3, 0).for_step(step, size)
    with pytest.raises(ValueError, match="num_problems"):
        ProblemOrder(0, 0)
