"""Works out the integrals, limits, derivatives and infinite sums of a tree with sympy: what numbers cannot decide.

The results are trees again, so that everything else (test points, proofs, how it is written) sees plain expressions.
Sympy may search long for an integral: this runs in a worker, under its alarm, and only where the gold holds one too.
"""

from __future__ import annotations

import re

import sympy

from rewards.symbolic.to_sympy import Translator, Untranslatable
from rewards.trees.tree import Apply, Constant, Node, Op, Symbol, has_infinity, size

_MAX_SIZE = 60
_MAX_ORDER = 9
_DERIVATIVE = re.compile(
    r"(?:d|\\partial)(?:\^\{?(?P<order>\d)\}?)?/(?:d|\\partial)(?P<variable>[A-Za-z]|\\[a-z]+)(?:\^\{?(?P<times>\d)\}?)?"
)
_NAMES = {Op.INTEGRAL: "an integral", Op.LIMIT: "a limit", Op.SUM: "an infinite sum"}
_NAMES |= {Op.PRODUCT: "an infinite product", Op.OPAQUE: "a derivative"}


def standing(node: Node) -> frozenset[Op]:
    """What of this kind stands in ``node``; finite sums and products are plain arithmetic."""
    if not isinstance(node, Apply):
        return frozenset()
    inside = frozenset[Op]().union(*map(standing, node.args))
    return inside | {node.op} if _is_workable(node) else inside


def name_of(kind: Op) -> str:
    """How a sentence calls it."""
    return _NAMES[kind]


def _is_workable(node: Apply) -> bool:
    if node.op in (Op.SUM, Op.PRODUCT):
        return has_infinity(node.args[2]) or has_infinity(node.args[3])
    return node.op in (Op.INTEGRAL, Op.LIMIT) or _derivative(node) is not None


def _derivative(node: Apply) -> tuple[str, int] | None:
    r"""Variable and order of ``\frac{d^2}{dx^2} body``."""
    if node.op is not Op.OPAQUE or len(node.args) != 2 or not isinstance(node.args[0], Symbol):
        return None
    found = _DERIVATIVE.fullmatch(node.args[0].name)
    if not found or found["order"] != found["times"]:
        return None
    return found["variable"].lstrip("\\"), int(found["order"] or 1)


def work_out(node: Node) -> Node:
    """``node`` with everything worked out that sympy can; the rest is left standing."""
    if not isinstance(node, Apply):
        return node
    args = tuple(map(work_out, node.args))
    node = node if args == node.args else Apply(node.op, args)
    if not _is_workable(node) or size(node) > _MAX_SIZE:
        return node
    try:
        return _worked_out(node)
    except Exception:  # sympy raises of all kinds for what it cannot do
        return node


def _worked_out(node: Apply) -> Node:
    translator = Translator(node)
    derivative = _derivative(node)
    if derivative is not None:
        name, order = derivative
        if name not in translator.variables or not 1 <= order <= _MAX_ORDER:
            raise Untranslatable("no such derivative")
        body = translator.expression(node.args[1])
        return translator.tree(sympy.diff(body, translator.variables[name], order))
    body, variable, *bounds = node.args
    assert isinstance(variable, Symbol)
    if node.op is Op.LIMIT:
        return translator.tree(_limit(translator, body, variable, bounds))
    lower, upper = map(translator.expression, bounds)
    with translator.bound(variable, integer=node.op is not Op.INTEGRAL) as index:
        inside = translator.expression(body)
        if node.op is Op.INTEGRAL:
            value = sympy.integrate(inside, (index, lower, upper))
        elif node.op is Op.SUM:
            value = sympy.summation(inside, (index, lower, upper))
        else:
            value = sympy.product(inside, (index, lower, upper))
    return translator.tree(value)


def _limit(translator: Translator, body: Node, variable: Symbol, bounds: list[Node]) -> sympy.Expr:
    place, side = bounds
    assert isinstance(side, Symbol)
    target = translator.expression(place)
    direction = side.name.removeprefix("side") or ("-" if isinstance(place, Constant) else "+-")
    with translator.bound(variable) as index:
        return sympy.limit(translator.expression(body), index, target, direction)
