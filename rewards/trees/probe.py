"""Compare two expressions at exact rational points: refutes, and decides quotients of polynomials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from random import Random

from rewards.trees.exact import TooLarge, exact
from rewards.trees.tree import Node, Op, operations, symbols

_POINTS = 6
_RATIONAL = frozenset((Op.ADD, Op.MUL, Op.DIV, Op.POW, Op.NEG, Op.PERCENT, Op.MIXED, Op.DETERMINANT))


@dataclass(frozen=True, slots=True)
class Probe:
    """What the points showed. ``ratio`` is answer/gold where it is the same at every point."""

    points: int
    agree: bool
    ratio: Fraction | None
    decides: bool = False
    """Both are quotients of polynomials, and enough points agree that they are the same."""


@lru_cache(maxsize=512)
def _points_for(names: tuple[str, ...]) -> Sequence[Mapping[str, Fraction]]:
    """The same reproducible points for every call with the same variables."""
    random = Random(f"grpo-tui {names}")
    return tuple(
        {name: Fraction(random.randint(-9973, 9973) or 1, random.randint(7, 97)) for name in names}
        for _ in range(_POINTS)
    )


def probe(gold: Node, answer: Node) -> Probe:
    """Evaluate both at a few points; ``points`` is 0 where they cannot be evaluated exactly."""
    pairs: list[tuple[Fraction, Fraction]] = []
    for at in _points_for(tuple(sorted(symbols(gold) | symbols(answer)))):
        try:
            left, right = exact(gold, at), exact(answer, at)
        except (ZeroDivisionError, TooLarge):
            continue
        if left is None or right is None:
            return Probe(0, False, None)
        pairs.append((left, right))
        if len(pairs) == 2 and _scaled(pairs) is None:
            break  # they differ, and by no constant factor: more points tell nothing
    agree = all(left == right for left, right in pairs)
    decides = agree and len(pairs) == _POINTS and _RATIONAL.issuperset(operations(gold) | operations(answer))
    return Probe(len(pairs), agree, _scaled(pairs) if len(pairs) > 1 else None, decides)


def _scaled(pairs: list[tuple[Fraction, Fraction]]) -> Fraction | None:
    """The common quotient answer/gold, if there is one."""
    ratios = {right / left for left, right in pairs if left}
    return ratios.pop() if len(ratios) == 1 else None
