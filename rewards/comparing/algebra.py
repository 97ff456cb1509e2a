"""Expressions up to identity by values to many digits, with mpmath. Meant for a worker process with a deadline.

Exact arithmetic decides first. Else both sides are evaluated at several points, to so many digits that values which
differ in any digit of a part written down differ visibly; what agrees to half of them at every point is one expression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import mpmath  # type: ignore[import-untyped]

from rewards.comparing.forms import decimal_literal
from rewards.comparing.near_miss import near_miss_of_ratio
from rewards.comparing.oracle import NeedsAlgebra, decide_exactly
from rewards.comparing.outcome import Outcome, right, undecided, wrong
from rewards.comparing.readings import through_readings
from rewards.trees.exact import TooLarge
from rewards.trees.points import digits_in, real_points
from rewards.trees.precise import Evaluator, Undefined, is_complex
from rewards.trees.tree import Node, size, symbols

AGREES = "agrees at test points"
AGREES_SO_FAR = "agrees to many digits"
"""The rules of what only agrees, for good or for want of more digits: :mod:`rewards.symbolic.sympy_oracle` looks for a proof."""
_BASE_DIGITS = 60
_MAX_EXTRA_DIGITS = 600
_LARGE = 60
_MAX_GIANTS = 2


def same_by_algebra(gold: Node, answer: Node) -> Outcome:
    """Decide whether two trees have one value, under every reading of an ambiguous notation; never imports sympy."""
    return through_readings(gold, answer, same_by_values)


def same_by_values(gold: Node, answer: Node) -> Outcome:
    """Decide under the plain reading, by exact arithmetic where that is enough and at test points where not."""
    try:
        return decide_exactly(gold, answer)
    except NeedsAlgebra:
        pass
    literal = decimal_literal(gold)
    if literal is not None and not symbols(answer):
        return _against_decimal(literal, answer)
    extra = digits_in(gold) + digits_in(answer)
    with mpmath.workdps(_BASE_DIGITS + 2 * min(extra, _MAX_EXTRA_DIGITS)):
        outcome = _compare(gold, answer)
    if outcome.correct and extra > _MAX_EXTRA_DIGITS:
        return undecided(AGREES_SO_FAR, "they agree to many digits, but their parts have many more")
    return outcome


def _against_decimal(literal: tuple[Fraction, int], answer: Node) -> Outcome:
    value, places = literal
    try:
        with mpmath.workdps(_BASE_DIGITS):
            evaluator = Evaluator({}, real=not is_complex(answer))
            given = evaluator.value(answer)
            if evaluator.has_stand_in:
                return wrong("not worked out", "something in it has no known value")
            gap = abs(given - mpmath.mpf(value.numerator) / value.denominator)
            agrees = gap * 2 * mpmath.mpf(10) ** places <= 1
            shown = mpmath.nstr(given, 8)
    except (ArithmeticError, ValueError):
        return undecided("not decided", "it has no numeric value")
    if agrees:
        return right("agrees to the gold's digits", f"it is {shown}, which rounds to the gold")
    return wrong("different number", f"it is about {shown}")


def _compare(gold: Node, answer: Node) -> Outcome:
    """Compare at real points; where no real value exists on either side at any of them, at complex ones."""
    seen = None
    points = real_points(gold, answer)
    if size(gold) + size(answer) > _LARGE:
        points = points[:: 2 if len(points) > 4 else 1]
    if not is_complex(gold) and not is_complex(answer):
        seen = _at_points(gold, answer, points, real=True)
    if seen is None:
        seen = _at_points(gold, answer, points, real=False)
    return seen or undecided("not decided", "it has no value that can be computed")


def _at_points(
    gold: Node, answer: Node, points: Sequence[Mapping[str, Fraction]], *, real: bool
) -> Outcome | None:
    """Outcome of all points, or None if both sides are undefined, or one is too large, at every one."""
    ratios: list[Any] = []
    one_sided = False
    giants = 0
    for point in points:
        if giants == _MAX_GIANTS:
            break
        at = {name: mpmath.mpf(value.numerator) / value.denominator for name, value in point.items()}
        try:
            left, given = _value(gold, at, real), _value(answer, at, real)
        except TooLarge:
            giants += 1
            continue
        if left is None or given is None:
            one_sided = one_sided or (left is None) != (given is None)
        elif _agree(left, given) or (_vanishing(left, given) and _vanishes(gold, answer, point, real)):
            ratios.append(mpmath.mpf(1))
        else:
            ratios.append(given / left if left else mpmath.inf)
            if len(ratios) > 2:
                break
    if any(ratio != 1 for ratio in ratios):
        return wrong("different expression", "they differ at a test point", _slip(ratios))
    if one_sided:
        if not real or not ratios:
            return wrong("different expression", "only one of them has a value there")
        return wrong("different domain", "they agree only where both are defined")
    if not ratios:
        return None
    digits = mpmath.mp.dps // 2
    return right(AGREES, f"they agree to {digits} digits at every test point")


def _value(node: Node, at: Mapping[str, Any], real: bool) -> Any:
    try:
        return Evaluator(at, real=real).value(node)
    except (Undefined, ZeroDivisionError, ValueError, KeyError):
        return None


def _agree(left: Any, given: Any) -> bool:
    largest = max(abs(left), abs(given))
    return bool(abs(left - given) <= largest * mpmath.mpf(10) ** -(mpmath.mp.dps // 2))


def _vanishing(left: Any, given: Any) -> bool:
    """Tell whether both are so small that they may be rounding noise around zero."""
    return bool(max(abs(left), abs(given)) < mpmath.mpf(10) ** -(mpmath.mp.dps // 3))


def _vanishes(gold: Node, answer: Node, point: Mapping[str, Fraction], real: bool) -> bool:
    """Tell whether the difference shrinks with every digit of precision, as that of equal values does."""
    gaps = []
    for factor in (1, 2):
        with mpmath.workdps(mpmath.mp.dps * factor):
            at = {name: mpmath.mpf(value.numerator) / value.denominator for name, value in point.items()}
            try:
                left, given = _value(gold, at, real), _value(answer, at, real)
            except TooLarge:
                return False
            if left is None or given is None:
                return False
            gaps.append(abs(left - given))
    return bool(gaps[1] <= gaps[0] * mpmath.mpf(10) ** -(mpmath.mp.dps // 3))


def _slip(ratios: list[Any]) -> str:
    """The near miss of two expressions in a constant proportion."""
    first, near = ratios[0], mpmath.mpf(10) ** -20
    if not mpmath.isfinite(first) or any(abs(ratio - first) > near for ratio in ratios[1:]):
        return ""
    real, twelfths = mpmath.re(first), mpmath.re(first) * 12
    if abs(mpmath.im(first)) > near or abs(twelfths - mpmath.nint(twelfths)) > near or abs(real) > 1000:
        return ""
    return near_miss_of_ratio(Fraction(int(mpmath.nint(twelfths)), 12))
