"""Compare two expressions at exact rational points. Refutes cheaply and without sympy; proves nothing."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from random import Random

from rewards.exact import TooLarge, exact
from rewards.tree import Node, symbols

_POINTS = 4


@dataclass(frozen=True, slots=True)
class Probe:
    """What the points showed. ``ratio`` is answer/gold where it is the same at every point."""

    points: int
    agree: bool
    ratio: Fraction | None


def points_for(left: Node, right: Node, count: int) -> list[dict[str, Fraction]]:
    """The same reproducible points for every call with the same variables."""
    names = sorted(symbols(left) | symbols(right))
    random = Random(f"grpo-tui {names}")
    return [
        {name: Fraction(random.randint(-9973, 9973) or 1, random.randint(7, 97)) for name in names}
        for _ in range(count)
    ]


def probe(gold: Node, answer: Node) -> Probe:
    """Evaluate both at a few points; ``points`` is 0 where they cannot be evaluated exactly."""
    pairs: list[tuple[Fraction, Fraction]] = []
    for at in points_for(gold, answer, _POINTS):
        try:
            left, right = exact(gold, at), exact(answer, at)
        except (ZeroDivisionError, TooLarge):
            continue
        if left is None or right is None:
            return Probe(0, False, None)
        pairs.append((left, right))
    ratios = {right / left for left, right in pairs if left}
    agree = all(left == right for left, right in pairs)
    return Probe(len(pairs), agree, ratios.pop() if len(ratios) == 1 and len(pairs) > 1 else None)
