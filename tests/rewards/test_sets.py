"""Sets of reals: their algebra against membership at points, and their many notations against each other."""

from fractions import Fraction
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.base import Verdict
from rewards.comparing.equivalence import decide_exactly, equal_values
from rewards.comparing.outcome import Outcome
from rewards.comparing.real_sets import real_set
from rewards.comparing.sets import Piece, complement, meet, merge, without
from rewards.judging import decide_fully
from rewards.reading.parse import read
from rewards.trees.tree import Node, Number

HALVES = [Fraction(n, 2) for n in range(-13, 14)]


def number(value: int) -> Number:
    return Number(Fraction(value))


@st.composite
def pieces(draw: st.DrawFn) -> Piece:
    low, high = sorted(draw(st.lists(st.integers(-5, 5), min_size=2, max_size=2)))
    if low == high:
        return Piece(number(low), number(high), True, True)
    left = number(low) if draw(st.booleans()) else None
    right = number(high) if draw(st.booleans()) else None
    return Piece(
        left, right, left is not None and draw(st.booleans()), right is not None and draw(st.booleans())
    )


rows = st.lists(pieces(), max_size=4).map(merge)


def holds(row: tuple[Piece, ...], x: Fraction) -> bool:
    return any(_inside(piece, x) for piece in row)


def _inside(piece: Piece, x: Fraction) -> bool:
    low = piece.low.value if isinstance(piece.low, Number) else None
    high = piece.high.value if isinstance(piece.high, Number) else None
    above = low is None or x > low or (x == low and piece.low_closed)
    return above and (high is None or x < high or (x == high and piece.high_closed))


@given(st.lists(pieces(), max_size=4))
def test_merging_changes_no_membership_and_leaves_gaps(row: list[Piece]) -> None:
    merged = merge(row)
    assert all(holds(merged, x) == holds(tuple(row), x) for x in HALVES)
    assert merge(merged) == merged
    assert all(merge(list(order)) == merged for order in permutations(row))


@given(rows, rows)
def test_intersection_difference_and_complement_agree_with_membership(
    left: tuple[Piece, ...], right: tuple[Piece, ...]
) -> None:
    assert all(holds(meet(left, right), x) == (holds(left, x) and holds(right, x)) for x in HALVES)
    assert all(holds(without(left, right), x) == (holds(left, x) and not holds(right, x)) for x in HALVES)
    assert all(holds(complement(left), x) != holds(left, x) for x in HALVES)
    assert meet(left, right) == meet(right, left)


def shown(end: Node | None) -> str:
    assert end is None or isinstance(end, Number)
    return "" if end is None else str(end.value)


def as_interval(piece: Piece) -> str:
    if piece.low is not None and piece.low == piece.high:
        return f"\\{{{shown(piece.low)}\\}}"
    low, high = shown(piece.low) or "-\\infty", shown(piece.high) or "\\infty"
    return f"{'[' if piece.low_closed else '('}{low}, {high}{']' if piece.high_closed else ')'}"


def as_condition(piece: Piece) -> str:
    if piece.low is not None and piece.low == piece.high:
        return f"x = {shown(piece.low)}"
    low = "" if piece.low is None else shown(piece.low) + (" <= " if piece.low_closed else " < ")
    high = "" if piece.high is None else (" <= " if piece.high_closed else " < ") + shown(piece.high)
    return f"{low}x{high}" if low or high else "x \\in \\mathbb{R}"


@given(st.lists(pieces(), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_every_notation_of_one_set_is_the_same_set(row: list[Piece], random: Random) -> None:
    shuffled = list(row)
    random.shuffle(shuffled)
    spellings = [
        " \\cup ".join(map(as_interval, row)),
        " \\cup ".join(map(as_interval, shuffled)),
        " \\text{ or } ".join(map(as_condition, shuffled)),
        "\\{x \\mid " + " \\text{ or } ".join(map(as_condition, row)) + "\\}",
    ]
    for gold in spellings:
        for answer in spellings:
            assert judged(gold, answer).correct, (gold, answer)


@given(pieces(), pieces())
def test_comparison_of_intervals_is_symmetric_and_exact(left: Piece, right: Piece) -> None:
    one, other = as_interval(left), as_interval(right)
    same = merge([left]) == merge([right])
    assert judged(one, other).correct == judged(other, one).correct == same
    assert equal_values(read(one).value, read(other).value) == same


def judged(gold: str, answer: str) -> Outcome:
    left, right = read(gold), read(answer)
    return decide_exactly(left, right) or decide_fully(left, right)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("x > 3", "(3, \\infty)"),
        ("x > 3", "3 < x"),
        ("x > 3", "{t : t > 3}"),
        ("[-2, 5)", "-2 ≤ x and x < 5"),
        ("\\mathbb{R} \\setminus \\{2\\}", "x ≠ 2"),
        ("x \\neq \\pm 1", "(-\\infty,-1) \\cup (-1,1) \\cup (1,\\infty)"),
        ("\\emptyset", "no solution"),
        ("\\mathbb{R}", "all real numbers"),
        ("(-\\infty, \\infty)", "x ∈ ℝ"),
        ("(0, \\infty)", "all positive real numbers"),
        ("[3, \\infty)", "all real numbers greater than or equal to 3"),
        ("[0, \\sqrt{2}]", "0 \\le x \\le \\frac{2}{\\sqrt{2}}"),
        ("(1, 2]", "]1; 2]"),
        ("|x| > 1", "x < -1 or x > 1"),
        ("(a, \\infty)", "x > a"),
        ("2x > 6", "-4x < -12"),
        ("y > 2x + 1", "2x - y + 1 < 0"),
        ("x > 0, y > 0", "y > 0, x > 0"),
        ("x \\ge 0, x \\ne 1", "[0,1) \\cup (1,\\infty)"),
        ("\\mathbb{Z}", "all integers"),
    ],
)
def test_notations_that_mean_the_same(gold: str, answer: str) -> None:
    assert judged(gold, answer).correct
    assert judged(answer, gold).correct


@pytest.mark.parametrize(
    ("gold", "answer", "slip"),
    [
        ("x > 3", "x \\ge 3", "brackets"),
        ("[1, 2)", "[1, 2]", "brackets"),
        ("x > 3", "t > 3", ""),
        ("x > 3", "2x > 6", "unsimplified"),
        ("2x > 6", "x > 3", "unsimplified"),
        ("x > 3", "x > 5", "subset"),
        ("x > 3", "x > 1", "superset"),
        ("x < 1 or x > 3", "x < 1 and x > 3", "subset"),
        ("(-1, 4)", "(1, 4)", "sign"),
        ("\\mathbb{R}", "\\mathbb{Z}", ""),
        ("\\mathbb{R}", "(-\\infty, \\infty]", ""),
        ("(-\\infty, 4]", "(-\\infty, -4]", "sign"),
        ("\\emptyset", "\\{0\\}", "superset"),
        ("\\emptyset", "\\{\\emptyset\\}", ""),
    ],
)
def test_sets_that_differ_and_how(gold: str, answer: str, slip: str) -> None:
    outcome = judged(gold, answer)
    assert outcome.verdict is Verdict.WRONG
    assert outcome.near_miss == slip, outcome
    assert not judged(answer, gold).correct


def test_a_set_that_is_none_is_not_forced_into_one() -> None:
    assert real_set(read("(1, 3)").value).pieces
    assert not judged("(3, 1)", "1 < x < 3").correct
    assert not judged("(1, 2)", "\\{1, 2\\}").correct
