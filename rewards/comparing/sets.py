"""Sets of real numbers as sorted rows of disjoint pieces with exact endpoints: union, intersection, difference.

Endpoints are put in order by their numeric value to sixty digits. With a variable in an endpoint (``x > a``) there is
no order: such pieces are kept as they are written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from rewards.trees.magnitude import NotANumber, magnitude
from rewards.trees.tree import Node, Number

_CLOSE = Decimal(10) ** -40
MAX_PIECES = 64


class NotASet(Exception):
    """The value is no set of real numbers, or not one that is written as solved."""


class NoOrder(Exception):
    """Two endpoints cannot be put in order."""


@dataclass(frozen=True, slots=True)
class Piece:
    """From ``low`` to ``high``; None is infinite. A single point is closed on both sides."""

    low: Node | None
    high: Node | None
    low_closed: bool
    high_closed: bool


@dataclass(frozen=True, slots=True)
class RealSet:
    """Pieces in order, and the variable they were written for (empty if none)."""

    pieces: tuple[Piece, ...]
    variable: str = ""


WHOLE = Piece(None, None, False, False)


def merge(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """Sorted and disjoint pieces with the same union; as they are if they have no order."""
    row = list(pieces)
    if len(row) > MAX_PIECES:
        raise NotASet
    try:
        return _merged(row)
    except NoOrder:
        return tuple(row)


def _merged(row: list[Piece]) -> tuple[Piece, ...]:
    done: list[Piece] = []
    for piece in _sorted(row):
        if not done or not _touches(done[-1], piece):
            done.append(piece)
            continue
        last = done[-1]
        done[-1] = _hull(last, piece)
    return tuple(done)


def _sorted(row: list[Piece]) -> list[Piece]:
    """Insertion sort by the lower end: the rows are short, and an order that fails must raise."""
    done: list[Piece] = []
    for piece in row:
        place = len(done)
        while place and _lower(piece, done[place - 1]) < 0:
            place -= 1
        done.insert(place, piece)
    return done


def _lower(left: Piece, right: Piece) -> int:
    """Order of two lower ends; a closed one comes first."""
    if left.low is None or right.low is None:
        return (left.low is not None) - (right.low is not None)
    return compare_ends(left.low, right.low) or int(right.low_closed) - int(left.low_closed)


def _touches(left: Piece, right: Piece) -> bool:
    if left.high is None or right.low is None:
        return True
    gap = compare_ends(left.high, right.low)
    return gap > 0 or (gap == 0 and (left.high_closed or right.low_closed))


def _hull(left: Piece, right: Piece) -> Piece:
    """The union of two pieces that touch; ``left`` begins first."""
    if left.high is None or right.high is None:
        return Piece(left.low, None, left.low_closed, False)
    further = compare_ends(left.high, right.high)
    if further == 0:
        return Piece(left.low, left.high, left.low_closed, left.high_closed or right.high_closed)
    end = left if further > 0 else right
    return Piece(left.low, end.high, left.low_closed, end.high_closed)


def meet(left: tuple[Piece, ...], right: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """Intersection."""
    if len(left) * len(right) > MAX_PIECES:
        raise NotASet
    try:
        found = [_meet(one, other) for one in left for other in right]
        return _merged([piece for piece in found if holds_something(piece)])
    except NoOrder:
        raise NotASet from None


def _meet(one: Piece, other: Piece) -> Piece:
    low, low_closed = one.low, one.low_closed
    if low is None or (other.low is not None and _later_start(other, one)):
        low, low_closed = other.low, other.low_closed
    high, high_closed = one.high, one.high_closed
    if high is None or (other.high is not None and _earlier_end(other, one)):
        high, high_closed = other.high, other.high_closed
    return Piece(low, high, low_closed, high_closed)


def _later_start(one: Piece, other: Piece) -> bool:
    assert one.low is not None
    assert other.low is not None
    order = compare_ends(one.low, other.low)
    return order > 0 or (order == 0 and not one.low_closed)


def _earlier_end(one: Piece, other: Piece) -> bool:
    assert one.high is not None
    assert other.high is not None
    order = compare_ends(one.high, other.high)
    return order < 0 or (order == 0 and not one.high_closed)


def holds_something(piece: Piece) -> bool:
    """Tell whether ``piece`` is not empty; with variables in its ends it counts as not empty."""
    if piece.low is None or piece.high is None:
        return True
    try:
        order = compare_ends(piece.low, piece.high)
    except NoOrder:
        return True
    return order < 0 or (order == 0 and piece.low_closed and piece.high_closed)


def without(pieces: tuple[Piece, ...], removed: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """Difference."""
    for piece in removed:
        pieces = meet(pieces, complement((piece,)))
    return pieces


def complement(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """Everything that is not in ``pieces``, which are in order."""
    if not pieces:
        return (WHOLE,)
    gaps: list[Piece] = []
    first, last = pieces[0], pieces[-1]
    if first.low is not None:
        gaps.append(Piece(None, first.low, False, not first.low_closed))
    for left, right in pairwise(pieces):
        gaps.append(Piece(left.high, right.low, not left.high_closed, not right.low_closed))
    if last.high is not None:
        gaps.append(Piece(last.high, None, not last.high_closed, False))
    return tuple(gaps)


def compare_ends(left: Node, right: Node) -> int:
    """Sign of ``left - right``.

    Raises:
        NoOrder: one of them is no number.
    """
    if left == right:
        return 0
    if isinstance(left, Number) and isinstance(right, Number):
        return (left.value > right.value) - (left.value < right.value)
    try:
        one, other = magnitude(left), magnitude(right)
    except NotANumber:
        raise NoOrder from None
    if abs(one - other) <= _CLOSE * max(abs(one), abs(other), Decimal(1)):
        return 0
    return 1 if one > other else -1
