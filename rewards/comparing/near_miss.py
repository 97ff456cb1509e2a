"""Classes of near miss: what kind of slip would turn the wrong answer into the right one."""

from __future__ import annotations

from fractions import Fraction

from rewards.trees.exact import bits_of

_FACTORS = frozenset(
    Fraction(factor) for factor in (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 24, 30, 60, 365, 1000, 3600)
)
_CLOSE = Fraction(1, 100)
_MAX_BITS = 512


def near_miss(gold: Fraction, answer: Fraction) -> str:
    """Name the slip between two unequal numbers, or return an empty string."""
    if max(bits_of(gold), bits_of(answer)) > _MAX_BITS:
        return ""
    if answer == -gold:
        return "sign"
    if gold and answer:
        ratio = answer / gold
        if gold * answer == 1:
            return "reciprocal"
        if ratio in (100, Fraction(1, 100)):
            return "percent"
    if abs(answer - gold) == 1:
        return "off by one"
    if gold and answer:
        if ratio in _FACTORS or 1 / ratio in _FACTORS:
            return "factor"
        if abs(ratio - 1) < _CLOSE:
            return "rounding"
    return ""


def near_miss_of_integers(gold: int, answer: int) -> str:
    """The same as :func:`near_miss` for integers, where most numbers in training are neither equal nor near."""
    if answer == -gold:
        return "sign"
    between = abs(answer - gold)
    small, large = sorted((abs(gold), abs(answer)))
    if between == 1 or (small and (large % small == 0 or between * 100 < abs(gold))):
        return near_miss(Fraction(gold), Fraction(answer))
    return ""


def near_miss_of_ratio(ratio: Fraction | None) -> str:
    """Name the slip between two expressions whose quotient is ``ratio`` everywhere."""
    if ratio is None or ratio == 1:
        return ""
    return "sign" if ratio == -1 else "factor"
