"""The oracle without sympy: have two trees one value, as far as exact arithmetic can tell."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from rewards.exact import exact
from rewards.forms import agrees_to_digits, decimal_literal, plain_form
from rewards.near_miss import near_miss, near_miss_of_ratio
from rewards.outcome import Outcome, right, wrong
from rewards.probe import probe
from rewards.tree import Node, has_infinity, same_shape, show_fraction, symbols


class NeedsAlgebra(Exception):
    """The exact oracle cannot decide this pair."""


Oracle = Callable[[Node, Node], Outcome]
"""Decides whether two trees have one value, by value alone; how they are written is judged here."""


def same_exactly(gold: Node, answer: Node) -> Outcome:
    """The oracle without sympy: identical trees, exact numbers, and refutation at rational points."""
    if same_shape(gold, answer):
        return right("same expression", "both are the same expression")
    left, right_value = exact(gold), exact(answer)
    if left is not None and right_value is not None:
        return compare_numbers(gold, left, right_value)
    if left is not None and plain_form(gold) and (symbols(answer) or not decimal_literal(gold)):
        return wrong("not a plain number", "the gold is a plain number and this is not one worked out")
    if has_infinity(gold) or has_infinity(answer):
        return wrong("different expression", "only one of them is infinite or they differ in sign")
    seen = probe(gold, answer)
    if seen.points and not seen.agree:
        return wrong("different expression", "they differ at a test point", near_miss_of_ratio(seen.ratio))
    raise NeedsAlgebra


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
    return f"{float(literal[0]):.{min(literal[1], 15)}f}" if literal else "the gold"
