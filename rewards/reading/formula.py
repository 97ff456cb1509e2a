"""One formula: an expression, relation, ratio or matrix, from tokens; a ± in it stands for its values."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rewards.notation.outermost import split
from rewards.reading.expression import ExpressionParser
from rewards.reading.matrices import Grid, lift
from rewards.reading.tokens import Token, tokenize
from rewards.reading.values import (
    Equation,
    LimitExceeded,
    Matrix,
    Ratio,
    Region,
    Relation,
    Scalar,
    Unordered,
    Unreadable,
    Value,
)
from rewards.trees.exact import exact
from rewards.trees.tree import Node, Op, Symbol, operations, shape

_WITHOUT, _COLON = re.compile(r"\\setminus(?![A-Za-z])"), re.compile(r"(?<![:=<>]):(?!=)")
_SIGNS = re.compile(r"\\(pm|mp)(?![A-Za-z])")
_RELATIONS = frozenset(("<", ">", "<=", ">=", "!="))


def formula(text: str) -> Value:
    """A ratio, relation or expression; with ± the values for each sign."""
    parts = split(text, _COLON)
    if len(parts) > 1:
        if len(parts) > 8:
            raise LimitExceeded("a ratio of too many parts")
        return Ratio(tuple(expression_node(part.strip()) for part in parts))
    if not _SIGNS.search(text):
        return relation(tokenize(text))
    values = [relation(tokenize(variant)) for variant in sign_variants(text)]
    if isinstance(values[0], Relation):
        return Region("and" if values[0].signs == ("!=",) else "or", tuple(dict.fromkeys(values)))
    return Unordered(tuple(dict.fromkeys(values)), "list")


def expression_node(text: str) -> Node:
    """The tree of an expression; a relation is refused."""
    value = relation(tokenize(text))
    if not isinstance(value, Scalar):
        raise Unreadable("an expression is missing")
    return value.node


def sign_variants(text: str) -> list[str]:
    r"""``text`` for each sign of each ±; with ∓ in it all signs change together."""
    pieces = _SIGNS.split(text)
    marks = pieces[1::2]
    if not marks:
        return [text]
    if len(marks) > 4:
        raise LimitExceeded("more than four signs ±")
    together = "mp" in marks
    variants: list[str] = []
    for number in range(2 if together else 2 ** len(marks)):
        signs = []
        for index, mark in enumerate(marks):
            flipped = bool(number >> (0 if together else index) & 1)
            signs.append("-" if flipped != (mark == "mp") else "+")
        variants.append(
            pieces[0] + "".join(sign + piece for sign, piece in zip(signs, pieces[2::2], strict=True))
        )
    return variants


def relation(tokens: Sequence[Token]) -> Value:
    """A scalar, equation or inequality."""
    if not tokens:
        raise Unreadable("a part of it is empty")
    sides, signs = ExpressionParser(tokens).relation()
    if Op.MATRIX in operations(sides[-1]):
        return _matrix(sides, signs)
    if not signs:
        return Scalar(sides[0])
    if all(sign == "=" for sign in signs):
        return _chain(sides)
    if "=" in signs or not _RELATIONS.issuperset(signs):
        raise Unreadable("a mixture of equations and inequalities")
    return Relation(sides, signs)


def _matrix(sides: tuple[Node, ...], signs: tuple[str, ...]) -> Value:
    """A matrix worked out to its entries, or what a determinant leaves; ``A = …`` is the matrix."""
    if any(sign != "=" for sign in signs):
        raise Unreadable("an inequality between matrices")
    named = len(sides) > 1 and Op.MATRIX not in operations(sides[0])  # A, A^{-1}, 2A + B
    worked = sides[1:] if named else sides
    lifted = [lift(side) for side in worked]
    if any(_cells(one) != _cells(lifted[-1]) for one in lifted[:-1]):
        raise Unreadable("an equation of matrices whose sides do not agree")
    value = lifted[-1]
    return Matrix(value) if isinstance(value, tuple) else Scalar(value)


def _cells(lifted: Grid | Node) -> list[list[object]]:
    """Entries in a form that is equal for equal numbers."""
    rows = lifted if isinstance(lifted, tuple) else ((lifted,),)
    return [[shape(cell) if (number := exact(cell)) is None else number for cell in row] for row in rows]


def _chain(sides: tuple[Node, ...]) -> Value:
    """``x = y = 2`` is ``x = 2, y = 2``; any other chain stays one."""
    unknowns = sides[:-1]
    if (
        len(sides) > 2
        and all(isinstance(side, Symbol) for side in unknowns)
        and len(set(unknowns)) == len(unknowns)
        and not isinstance(sides[-1], Symbol)
    ):
        return Unordered(tuple(Equation((side, sides[-1])) for side in unknowns), "list")
    return Equation(sides)
