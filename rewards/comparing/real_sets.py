"""Value → the set of reals it stands for: intervals, solved inequalities, unions, set-builders, finite sets."""

from __future__ import annotations

from collections.abc import Iterable

from rewards.comparing.sets import (
    WHOLE,
    NoOrder,
    NotASet,
    Piece,
    RealSet,
    compare_ends,
    holds_something,
    meet,
    merge,
    without,
)
from rewards.reading.values import (
    Builder,
    Equation,
    Member,
    NamedSet,
    Ordered,
    Region,
    Relation,
    Scalar,
    Unordered,
    Value,
)
from rewards.trees.magnitude import NotANumber, magnitude
from rewards.trees.tree import Apply, Constant, Node, Op, Symbol, negate, symbols

_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}


def real_set(value: Value) -> RealSet:
    """The set that ``value`` stands for.

    Raises:
        NotASet: it is none, or an inequality in it is not solved.
    """
    if isinstance(value, NamedSet):
        return _named(value)
    if isinstance(value, Ordered):
        return RealSet(_interval(value))
    if isinstance(value, Relation):
        return _relation(value)
    if isinstance(value, Equation):
        return _solution(value)
    if isinstance(value, Scalar):
        return RealSet((_point(value.node),))
    if isinstance(value, Unordered) and not any(
        isinstance(item, (NamedSet, Unordered)) for item in value.items
    ):
        return _union([real_set(item) for item in value.items])
    if isinstance(value, Member):
        inner = real_set(value.value)
        return RealSet(inner.pieces, _one_name((inner.variable, value.variable)))
    if isinstance(value, Builder):
        inner = real_set(value.condition)
        if value.variable and inner.variable not in ("", value.variable):
            raise NotASet
        return RealSet(inner.pieces)
    if isinstance(value, Region):
        return _region(value)
    raise NotASet


def _interval(value: Ordered) -> tuple[Piece, ...]:
    if len(value.items) != 2:
        raise NotASet
    ends = [item.node if isinstance(item, Scalar) else None for item in value.items]
    low, high = ends
    if low is None or high is None or _infinite(low) > 0 or _infinite(high) < 0:
        raise NotASet
    if (_infinite(low) and value.opening == "[") or (_infinite(high) and value.closing == "]"):
        raise NotASet  # infinity is no number that an interval could hold
    piece = Piece(
        None if _infinite(low) else low,
        None if _infinite(high) else high,
        value.opening == "[",
        value.closing == "]",
    )
    if _turned(piece):
        raise NotASet
    return (piece,) if holds_something(piece) else ()


def _turned(piece: Piece) -> bool:
    """Tell whether the ends stand in the wrong order, so that it is no interval."""
    if piece.low is None or piece.high is None:
        return False
    try:
        return compare_ends(piece.low, piece.high) > 0
    except NoOrder:
        return False


def _relation(value: Relation) -> RealSet:
    absolute = _absolute(value)
    if absolute is not None:
        return absolute
    places = [index for index, side in enumerate(value.sides) if isinstance(side, Symbol)]
    if not places or len(value.sides) > 3:
        raise NotASet
    places.sort(key=lambda index: _usual_unknown(value.sides[index]))
    unknown = value.sides[places[0]]
    assert isinstance(unknown, Symbol)
    if any(unknown.name in symbols(side) for index, side in enumerate(value.sides) if index != places[0]):
        raise NotASet
    if len(value.sides) == 3 and (places[0] != 1 or {s[0] for s in value.signs} not in ({"<"}, {">"})):
        raise NotASet
    pieces: tuple[Piece, ...] = (WHOLE,)
    for index, sign in enumerate(value.signs):
        bound = value.sides[index] if places[0] == index + 1 else value.sides[index + 1]
        pieces = meet(pieces, _ray(_FLIPPED[sign] if places[0] == index + 1 else sign, bound))
    return RealSet(pieces, unknown.name)


def _usual_unknown(side: Node) -> tuple[bool, str]:
    """Of ``x > a`` x is the unknown: letters that usually are come first."""
    name = side.name if isinstance(side, Symbol) else ""
    return (name[:1] not in "xyztuvwn", name)


def _absolute(value: Relation) -> RealSet | None:
    """``|x| < c`` for a positive number c."""
    if len(value.sides) != 2:
        return None
    (left, right), sign = value.sides, value.signs[0]
    if isinstance(right, Apply) and right.op is Op.ABS:
        left, right, sign = right, left, _FLIPPED[sign]
    if not (isinstance(left, Apply) and left.op is Op.ABS and isinstance(left.args[0], Symbol)):
        return None
    try:
        if magnitude(right) <= 0:
            return None
    except NotANumber:
        return None
    below, above = negate(right), right
    pieces: tuple[Piece, ...]
    if sign in ("<", "<="):
        pieces = (Piece(below, above, sign == "<=", sign == "<="),)
    elif sign == "!=":
        pieces = meet(_ray("!=", below), _ray("!=", above))
    else:
        pieces = (Piece(None, below, False, sign == ">="), Piece(above, None, sign == ">=", False))
    return RealSet(pieces, left.args[0].name)


def _region(value: Region) -> RealSet:
    sets = [real_set(item) for item in value.items]
    if value.joint == "or":
        return _union(sets)
    if value.joint == "and":
        return _meeting(sets)
    if value.joint == "minus":
        first, *others = sets
        rest = without(first.pieces, tuple(piece for other in others for piece in other.pieces))
        return RealSet(rest, _one_name(one.variable for one in sets))
    return _beside(value, sets)


def _beside(value: Region, sets: list[RealSet]) -> RealSet:
    """A bare comma: conditions that bound each other hold together, sets that do not meet are a union."""
    if not any(isinstance(item, (Relation, Member, NamedSet)) for item in value.items):
        return _union(sets)
    met = _meeting(sets)
    if not met.pieces:
        return _union(sets)
    excluding = any(isinstance(item, Relation) and "!=" in item.signs for item in value.items)
    whole = any(one.pieces == (WHOLE,) for one in sets)
    bounded = met.pieces[0].low is not None and met.pieces[-1].high is not None
    if not (excluding or whole or bounded):
        raise NotASet
    return met


def _union(sets: list[RealSet]) -> RealSet:
    pieces = [piece for one in sets for piece in one.pieces]
    return RealSet(merge(pieces), _one_name(one.variable for one in sets))


def _meeting(sets: list[RealSet]) -> RealSet:
    pieces = sets[0].pieces
    for other in sets[1:]:
        pieces = meet(pieces, other.pieces)
    return RealSet(pieces, _one_name(one.variable for one in sets))


def _named(value: NamedSet) -> RealSet:
    if value.name == "R":
        return RealSet((WHOLE,))
    if value.name == "empty":
        return RealSet(())
    raise NotASet


def _solution(value: Equation) -> RealSet:
    """``x = 3`` as the point 3."""
    if len(value.sides) != 2:
        raise NotASet
    left, right = value.sides
    if isinstance(right, Symbol) and not isinstance(left, Symbol):
        left, right = right, left
    if not isinstance(left, Symbol) or symbols(right):
        raise NotASet
    return RealSet((_point(right),), left.name)


def _point(node: Node) -> Piece:
    if _infinite(node):
        raise NotASet
    return Piece(node, node, True, True)


def _ray(sign: str, bound: Node) -> tuple[Piece, ...]:
    """All x with ``x sign bound``."""
    infinite = _infinite(bound)
    if infinite:
        if sign[0] == "!":
            return (WHOLE,)
        return (WHOLE,) if (sign[0] == "<") == (infinite > 0) else ()
    closed = sign.endswith("=")
    if sign == "!=":
        return (Piece(None, bound, False, False), Piece(bound, None, False, False))
    return (Piece(None, bound, False, closed),) if sign[0] == "<" else (Piece(bound, None, closed, False),)


def _infinite(node: Node) -> int:
    """1 for infinity, -1 for minus infinity, 0 for anything else."""
    if isinstance(node, Constant) and node.name == "oo":
        return 1
    if isinstance(node, Apply) and node.op is Op.NEG:
        return -_infinite(node.args[0])
    return 0


def _one_name(names: Iterable[str]) -> str:
    """The one variable among ``names``; two different ones make no set of reals."""
    found = {name for name in names if name}
    if len(found) > 1:
        raise NotASet
    return found.pop() if found else ""
