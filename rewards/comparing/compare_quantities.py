"""Quantities in several parts against each other and against one number with a unit."""

from __future__ import annotations

from fractions import Fraction

from rewards.comparing.outcome import Outcome, right, wrong
from rewards.notation.quantities import Compound, in_smallest
from rewards.reading.values import Equation, Reading, Scalar
from rewards.trees.exact import TooLarge, exact

_MONEY = {"dollars": "USD", "pounds": "GBP", "yuan": "CNY"}


def same_quantity(gold: Reading, answer: Reading) -> Outcome | None:
    """Compare where one side has several parts (*5 ft 3 in*): by their totals. None where neither has."""
    if not isinstance(gold.value, Compound) and not isinstance(answer.value, Compound):
        return None
    money = next(
        (_MONEY.get(side.value.dimension, "") for side in (gold, answer) if isinstance(side.value, Compound)),
        "",
    )
    wanted, given = _total(gold, money), _total(answer, money)
    if wanted is None or given is None or wanted[0] != given[0]:
        return wrong("different kind", "one of them is no quantity of the same kind", "unit")
    if wanted == given:
        return right("same quantity", "both come to the same total")
    return wrong("different quantity", "their totals differ")


def _total(side: Reading, money: str) -> tuple[str, Fraction] | None:
    """Dimension and total in its smallest unit; a bare number is taken only for money, in its main unit."""
    if isinstance(side.value, Compound):
        return side.value.dimension, side.value.total
    value = side.value.sides[-1] if isinstance(side.value, Equation) else None
    node = side.value.node if isinstance(side.value, Scalar) else value
    if node is None:
        return None
    try:
        number = exact(node)
    except (TooLarge, ZeroDivisionError):
        return None
    return None if number is None else in_smallest(number, side.unit or money)
