"""Equations up to a non-zero factor and inequalities up to a positive one."""

from __future__ import annotations

from fractions import Fraction

from rewards.comparing.compare_scalars import assigned
from rewards.comparing.forms import plain_form
from rewards.comparing.outcome import Outcome, right, wrong
from rewards.comparing.tools import Tools, differs, other_kind
from rewards.reading.values import Equation, Relation, Scalar
from rewards.trees.probe import probe
from rewards.trees.tree import (
    Apply,
    Node,
    Number,
    Op,
    Symbol,
    is_named_quantity,
    negate,
    show,
    substitute,
    symbols,
)

_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}


def solved(equation: Equation) -> tuple[str, Node] | None:
    """Variable and value of ``x = v`` or ``v = x``."""
    first, last = equation.sides[0], equation.sides[-1]
    if isinstance(first, Symbol) and first.name not in symbols(last):
        return first.name, last
    if isinstance(last, Symbol) and len(equation.sides) == 2 and last.name not in symbols(first):
        return last.name, first
    if is_named_quantity(first) and not is_named_quantity(last):
        return show(first), last
    return None


def value_for_equation(tools: Tools, gold: Equation, answer: Scalar) -> Outcome:
    """``5`` for ``x = 5``."""
    assignment = solved(gold)
    if assignment is None:
        return other_kind(gold, answer)
    return tools.scalars(assignment[1], answer.node)


def equations(tools: Tools, gold: Equation, answer: Equation) -> Outcome:
    """A solved gold asks for a solved answer in the same variable; any other is compared up to a factor."""
    if gold == answer:
        return right("same equation", "it is the same equation")
    assignment = solved(gold)
    if assignment is not None and (plain_form(assignment[1]) or not symbols(assignment[1])):
        theirs = solved(answer)
        if theirs is None:
            return wrong("not solved", "the equation is not solved", "unsimplified")
        if theirs[0] != assignment[0]:
            return wrong("different variable", f"it gives {theirs[0]}, not {assignment[0]}")
        return assigned(tools, Scalar(assignment[1]), answer)
    if len(gold.sides) != len(answer.sides):
        return differs(gold)
    if len(gold.sides) > 2:
        return _chains(tools, gold, answer)
    return _proportional(tools, gold, *(_difference(one.sides) for one in (gold, answer)))


def _chains(tools: Tools, gold: Equation, answer: Equation) -> Outcome:
    """``a = b = c`` with the same sides, from either end."""
    for sides in (answer.sides, answer.sides[::-1]):
        if all(tools.same(left, other).correct for left, other in zip(gold.sides, sides, strict=True)):
            return right("same equation", "all sides agree")
    return differs(gold)


def _proportional(tools: Tools, gold: Equation | Relation, wanted: Node, given: Node) -> Outcome:
    """Equal up to a constant: the quotient at the test points proposes the constant to prove."""
    directed = isinstance(gold, Relation) and gold.signs != ("!=",)
    kind = "inequality" if isinstance(gold, Relation) else "equation"
    seen = probe(wanted, given)
    if not seen.points:
        for candidate in (given,) if directed else (given, negate(given)):
            if tools.same(wanted, candidate).correct:
                return right(f"same {kind}", f"it is the same {kind}")
        if not directed and _in_proportion(tools, wanted, given):
            return right(f"same {kind}", f"it is the same {kind} up to a constant factor")
        return differs(gold)
    if seen.ratio is None or seen.ratio == 0:
        return differs(gold)
    if directed and seen.ratio < 0:
        return differs(gold, "sign")
    scaled = wanted if seen.ratio == 1 else Apply(Op.MUL, (Number(seen.ratio), wanted))
    if tools.same(scaled, given).correct:
        return right(f"same {kind}", f"it is the same {kind} up to a constant factor")
    return differs(gold)


def _in_proportion(tools: Tools, wanted: Node, given: Node) -> bool:
    """Tell whether the quotient is everywhere what it is at one point: an irrational factor, say."""
    names = sorted(symbols(wanted) | symbols(given))
    if not names or symbols(wanted) != symbols(given):
        return False
    at: dict[str, Node] = {name: Number(Fraction(17 + 5 * index, 11)) for index, name in enumerate(names)}
    here, there = substitute(wanted, at), substitute(given, at)
    if tools.same(Number(Fraction(0)), here).correct:
        return False
    return tools.same(Apply(Op.MUL, (wanted, there)), Apply(Op.MUL, (given, here))).correct


def _difference(sides: tuple[Node, ...]) -> Node:
    return Apply(Op.ADD, (sides[0], negate(sides[1])))


def inequalities(tools: Tools, gold: Relation, answer: Relation) -> Outcome:
    """The same sides, from either end, or the same difference up to a positive factor."""
    for sides, signs in (
        (answer.sides, answer.signs),
        (answer.sides[::-1], tuple(_FLIPPED[sign] for sign in answer.signs[::-1])),
    ):
        pairs = list(zip(gold.sides, sides, strict=False))
        if signs == gold.signs and all(tools.same(left, other).correct for left, other in pairs):
            return right("same inequality", "it is the same inequality")
    if len(gold.sides) != 2 or len(answer.sides) != 2:
        return differs(gold)
    (wanted, strict), (given, as_strict) = _above_zero(gold), _above_zero(answer)
    if strict != as_strict:
        return differs(gold, "brackets" if "!=" not in (strict, as_strict) else "")
    return _proportional(tools, gold, wanted, given)


def _above_zero(relation: Relation) -> tuple[Node, str]:
    """The difference that is above zero, and the sign."""
    sign = relation.signs[0]
    if sign[0] == "<":
        return _difference(relation.sides[::-1]), _FLIPPED[sign]
    return _difference(relation.sides), sign
