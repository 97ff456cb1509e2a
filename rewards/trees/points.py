"""Where two expressions are evaluated in approximate arithmetic, and how precisely.

All variables are positive first; then each is negative once. What holds only for positive variables is no identity
(``sqrt(x^2)`` and ``x``), while ``sqrt(a) sqrt(b)`` and ``sqrt(ab)`` agree wherever one sign change leaves both defined.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from random import Random

from rewards.trees.tree import Apply, Constant, Node, Number, Op, symbols

_SCALES = (Fraction(2, 5), Fraction(7, 4), Fraction(17, 5))
_POSITIVE = 2
_MAX_FLIPS = 6
_WHOLE_POINTS = 10
_PLAIN_DIGITS = 6
_ONE_POINT: Sequence[Mapping[str, Fraction]] = ({},)


def real_points(gold: Node, answer: Node) -> Sequence[Mapping[str, Fraction]]:
    """Reproducible points for the variables of both."""
    names = symbols(gold) | symbols(answer)
    if not names:
        return _ONE_POINT
    return _points_for(tuple(sorted(names)), whole_variables(gold) | whole_variables(answer))


@lru_cache(maxsize=512)
def _points_for(names: tuple[str, ...], whole: frozenset[str]) -> Sequence[Mapping[str, Fraction]]:
    random = Random(f"grpo-tui real {names}")
    flips = [name for name in names if name not in whole][:_MAX_FLIPS]
    signs: list[str] = [""] * (_WHOLE_POINTS if whole else _POSITIVE) + flips
    points = []
    for index, flipped in enumerate(signs):
        point = {}
        for name in names:
            value = _SCALES[index % 3] * Fraction(random.randint(700, 1300), 1009)
            if name in whole:
                value = Fraction(index + 2 + random.randint(0, 3))
            point[name] = -value if name == flipped else value
        points.append(point)
    return tuple(points)


def whole_variables(node: Node) -> frozenset[str]:
    """Variables that can only be integers: bounds of sums, exponents of a negative base."""
    if not isinstance(node, Apply):
        return frozenset()
    found = frozenset[str]().union(*(whole_variables(arg) for arg in node.args))
    if node.op in (Op.SUM, Op.PRODUCT):
        found |= symbols(node.args[2]) | symbols(node.args[3])
    if node.op is Op.POW and _is_negative(node.args[0]):
        found |= symbols(node.args[1])
    return found


def _is_negative(node: Node) -> bool:
    if isinstance(node, Apply) and node.op is Op.NEG:
        return not symbols(node)
    return isinstance(node, Number) and node.value < 0


def digits_in(node: Node) -> int:
    """Decimal digits by which parts of ``node`` can differ in size: how much more precision a comparison needs."""
    if isinstance(node, Number):
        bits = node.value.numerator.bit_length() + node.value.denominator.bit_length()
        return max(0, int(bits * 0.30103) - _PLAIN_DIGITS)
    if not isinstance(node, Apply):
        return 0
    total = sum(digits_in(arg) for arg in node.args)
    if node.op is Op.POW:
        total += _power_digits(node.args[0], node.args[1])
    elif node.op is Op.EXP:
        total += int(_magnitude(node.args[0]) * 0.4343)
    elif node.op in (Op.FACTORIAL, Op.BINOMIAL, Op.PERMUTATIONS):
        size = _magnitude(node.args[0])
        total += int(size * math.log10(size + 1))
    return total


def _power_digits(base: Node, exponent: Node) -> int:
    size = _magnitude(exponent)
    if size <= 8:
        return 0
    per_unit = 0.4343
    if isinstance(base, Number) and base.value:
        bits = max(base.value.numerator.bit_length(), base.value.denominator.bit_length())
        per_unit = bits * 0.30103
    return int(min(size, 1e6) * per_unit)


def _magnitude(node: Node) -> float:
    """Rough upper size of a constant; 1 for what holds variables."""
    if isinstance(node, Number):
        return float(min(abs(node.value), Fraction(10**6)))
    if isinstance(node, Constant):
        return 4.0
    if not isinstance(node, Apply) or symbols(node):
        return 1.0
    sizes = [_magnitude(arg) for arg in node.args]
    if node.op is Op.POW:
        return float(min(max(sizes[0], 1.0) ** min(sizes[1], 20.0), 1e6))
    if node.op in (Op.MUL, Op.FACTORIAL):
        return float(min(math.prod(max(size, 1.0) for size in sizes), 1e6))
    if node.op is Op.DIV:
        return sizes[0] * (1 / min(sizes[1], 1.0) if sizes[1] else 1.0)
    return float(min(sum(sizes), 1e6))
