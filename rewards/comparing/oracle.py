"""The oracle without sympy: have two trees one value, as far as exact arithmetic can tell."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from rewards.comparing.forms import agrees_to_digits, decimal_literal, plain_form
from rewards.comparing.near_miss import near_miss, near_miss_of_ratio
from rewards.comparing.outcome import Outcome, right, wrong
from rewards.comparing.readings import through_readings
from rewards.trees.estimates import Unknown, clearly_differ, estimate
from rewards.trees.exact import TooLarge, exact
from rewards.trees.magnitude import NotANumber, magnitude
from rewards.trees.points import digits_in, real_points
from rewards.trees.probe import probe
from rewards.trees.tree import (
    Node,
    Number,
    has_infinity,
    same_shape,
    show_fraction,
    size,
    substitute,
    symbols,
)

_ESTIMATES = 3
_MAX_DIGITS, _MAX_SIZE = 8, 80
_CLOSE, _TINY = Decimal("1e-40"), Decimal("1e-12")


class NeedsAlgebra(Exception):
    """The exact oracle cannot decide this pair."""


Oracle = Callable[[Node, Node], Outcome]
"""Decides whether two trees have one value, by value alone; how they are written is judged here."""


def same_exactly(gold: Node, answer: Node) -> Outcome:
    """The oracle without sympy or mpmath, under every reading of an ambiguous notation."""
    if same_shape(gold, answer):
        if is_undefined(gold):
            raise ZeroDivisionError
        return _alike(gold)
    return through_readings(gold, answer, decide_exactly)


def _alike(gold: Node) -> Outcome:
    kind = "number" if isinstance(gold, Number) else "expression"
    return right(f"same {kind}", f"both are the same {kind}")


def is_undefined(node: Node) -> bool:
    """Tell ``1/0`` and the like; what is too large to work out counts as defined."""
    try:
        exact(node)
    except TooLarge:
        return False
    except ZeroDivisionError:
        return True
    return False


def decide_exactly(gold: Node, answer: Node) -> Outcome:
    """Identical trees, exact numbers, rational points, and refutation in floating point.

    Raises:
        NeedsAlgebra: none of these decides.
    """
    if same_shape(gold, answer):
        return _alike(gold)
    left, right_value = exact(gold), exact(answer)
    if left is not None and right_value is not None:
        return compare_numbers(gold, left, right_value)
    if left is not None and plain_form(gold) and symbols(answer):
        return wrong("not a plain number", "the gold is a plain number and this has variables in it")
    if has_infinity(gold) or has_infinity(answer):
        return wrong("different expression", "only one of them is infinite or they differ in sign")
    seen = probe(gold, answer)
    if seen.points and not seen.agree:
        return wrong("different expression", "they differ at a test point", near_miss_of_ratio(seen.ratio))
    if seen.decides:
        return right("same at exact points", f"they have one value at {seen.points} exact points")
    decided = None if seen.points else _refuted(gold, answer) or _agreed(gold, answer)
    if decided is None:
        raise NeedsAlgebra
    return decided


def _refuted(gold: Node, answer: Node) -> Outcome | None:
    """An outcome if floating point shows that both differ, by far more than its error."""
    literal = decimal_literal(gold)
    ratios: list[float] = []
    for at in real_points(gold, answer)[:_ESTIMATES]:
        try:
            left, given = estimate(gold, at), estimate(answer, at)
        except Unknown:
            continue
        if literal is not None and not symbols(answer):
            gap, tolerance = abs(given[0] - left[0]), 0.5 * 10.0 ** -literal[1]
            sure = abs(gap - tolerance) > 8 * (left[1] + given[1]) + 1e-12 * abs(left[0])
            return _against_digits(gap < tolerance, given[0]) if sure else None
        if clearly_differ(left, given):
            ratios.append(given[0] / left[0] if left[0] else 0.0)
        elif ratios:
            ratios.append(1.0)
    if not ratios:
        return None
    steady = all(abs(ratio - ratios[0]) < 1e-9 for ratio in ratios)
    twelfths = round(ratios[0] * 12)
    exactly = abs(ratios[0] * 12 - twelfths) < 1e-7 and 0 < abs(ratios[0]) < 1000
    slip = near_miss_of_ratio(Fraction(twelfths, 12)) if steady and exactly and twelfths else ""
    return wrong("different expression", "they differ at a test point", slip)


def _agreed(gold: Node, answer: Node) -> Outcome | None:
    """An outcome if both are sums of roots, powers and logarithms that agree to many digits wherever they are real."""
    if digits_in(gold) + digits_in(answer) > _MAX_DIGITS or size(gold) + size(answer) > _MAX_SIZE:
        return None
    agreed = 0
    for at in real_points(gold, answer):
        values: dict[str, Node] = {name: Number(value) for name, value in at.items()}
        left, given = _magnitude(substitute(gold, values)), _magnitude(substitute(answer, values))
        if left is None and given is None:
            if not agreed:
                return None
        elif left is None or given is None or not _close(left, given):
            return None
        else:
            agreed += 1
    return right("agrees at test points", f"they agree to {-_CLOSE.adjusted()} digits at every test point")


def _magnitude(node: Node) -> Decimal | None:
    try:
        return magnitude(node)
    except NotANumber:
        return None


def _close(left: Decimal, given: Decimal) -> bool:
    largest = max(abs(left), abs(given))
    return largest > _TINY and abs(left - given) <= largest * _CLOSE


def _against_digits(agrees: bool, given: float) -> Outcome:
    if agrees:
        return right("agrees to the gold's digits", f"it is {given:.8g}, which rounds to the gold")
    return wrong("different number", f"it is about {given:.8g}")


def compare_numbers(gold: Node, wanted: Fraction, given: Fraction) -> Outcome:
    """Compare exact values; a decimal gold also accepts what rounds to its digits."""
    if wanted == given:
        return right("same number", "both are the same number")
    if agrees_to_digits(gold, given):
        return right("agrees to the gold's digits", f"it rounds to {show_fraction_as_written(gold)}")
    return wrong("different number", f"it is {show_fraction(given)}", near_miss(wanted, given))


def show_fraction_as_written(gold: Node) -> str:
    """Print a decimal gold with its own digits."""
    literal = decimal_literal(gold)
    return f"{float(literal[0]):.{max(0, min(literal[1], 15))}f}" if literal else "the gold"
