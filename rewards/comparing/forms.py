"""How an answer is written, apart from its value: worked out or not, decimal or fraction, a restated question."""

from __future__ import annotations

import re
from fractions import Fraction

from rewards.notation.normalize import plain_notation
from rewards.reading.parse import read
from rewards.reading.values import Scalar, Unreadable
from rewards.trees.canonical import canonical
from rewards.trees.exact import TooLarge, exact
from rewards.trees.tree import Apply, Node, Number, Op, same_shape, symbols

_MAX_PROMPT = 4_000
_MAX_FORMULAS = 24
_FORMULA = re.compile(r"(?:\\[A-Za-z]+|(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])|[0-9.+\-*/^_(){}\[\]=!|]|[ \t])+")


def plain_form(node: Node) -> str:
    """``integer``, ``decimal``, ``fraction``, ``mixed``, ``percent`` or ``scientific``; empty for anything else."""
    if isinstance(node, Number):
        return "integer" if node.places is None and node.value.denominator == 1 else "decimal"
    if not isinstance(node, Apply):
        return ""
    first = node.args[0]
    if node.op is Op.NEG:
        return "" if isinstance(first, Number) and first.value < 0 else plain_form(first)
    if node.op is Op.MIXED:
        return "mixed"
    if node.op is Op.PERCENT:
        return "percent" if plain_form(first) else ""
    if node.op is Op.DIV and plain_form(first) == "integer":
        below = node.args[1]
        if plain_form(below) == "integer" or (isinstance(below, Apply) and _is_power_of_ten(below)):
            return "fraction"
    return "scientific" if _is_scientific(node) else ""


def _is_scientific(node: Apply) -> bool:
    """``1.5 * 10^3`` or ``10^3`` alone."""
    if node.op is Op.MUL and len(node.args) == 2 and plain_form(node.args[0]) in ("integer", "decimal"):
        return isinstance(node.args[1], Apply) and _is_power_of_ten(node.args[1])
    return _is_power_of_ten(node)


def _power_of_ten(node: Apply) -> int | None:
    """Exponent of the second factor in ``1.5 * 10^3``."""
    if node.op is not Op.MUL or len(node.args) != 2 or not isinstance(node.args[1], Apply):
        return None
    exponent = exact(node.args[1].args[1]) if _is_power_of_ten(node.args[1]) else None
    return exponent.numerator if exponent is not None and abs(exponent) <= 400 else None


def _is_power_of_ten(node: Apply) -> bool:
    base = node.args[0]
    if node.op is not Op.POW or not isinstance(base, Number):
        return False
    return base.value == 10 and plain_form(node.args[1]) == "integer"


def is_worked_out(gold: Node, answer: Node) -> bool:
    """Tell whether ``answer``, equal in value, is written as far worked out as a plain-number ``gold`` asks."""
    wanted, given = plain_form(gold), plain_form(answer)
    if not wanted:
        return True
    return given not in ("", "fraction", "mixed") if wanted == "integer" else bool(given)


def agrees_to_digits(gold: Node, answer: Fraction) -> bool:
    """Tell whether ``answer`` rounds to the decimal literal ``gold`` at its written digits."""
    literal = decimal_literal(gold)
    if literal is None:
        return False
    value, places = literal
    return bool(abs(answer - value) * 2 * Fraction(10) ** places <= 1)


def decimal_literal(node: Node) -> tuple[Fraction, int] | None:
    """Value and places of a decimal with at least one digit other than zero after the point.

    A percentage has two places more, and in ``6.02 * 10^23`` the power of ten moves them.
    """
    if isinstance(node, Apply):
        inner = decimal_literal(node.args[0])
        if inner is None:
            return None
        if node.op is Op.NEG:
            return -inner[0], inner[1]
        if node.op is Op.PERCENT:
            return inner[0] / 100, inner[1] + 2
        shift = _power_of_ten(node)
        return None if shift is None else (inner[0] * Fraction(10) ** shift, inner[1] - shift)
    if not isinstance(node, Number) or not node.places or node.value.denominator == 1:
        return None
    return node.value, node.places


def restates_question(prompt: str, gold: Node, answer: Node) -> bool:
    """Tell whether ``answer`` is a formula of the question handed back although ``gold`` is written differently."""
    if not prompt or isinstance(answer, Number) or not isinstance(answer, Apply) or same_shape(gold, answer):
        return False
    if not symbols(answer):  # 6/8 is the number 3/4 to the key, and still what the question wrote
        return any(same_shape(formula, answer) for formula in _formulas(prompt))
    try:
        given = canonical(answer)
        if canonical(gold) == given:
            return False
    except TooLarge:
        return any(same_shape(formula, answer) for formula in _formulas(prompt))
    return any(_canonical_or_none(formula) == given for formula in _formulas(prompt))


def _canonical_or_none(formula: Node) -> str | None:
    try:
        return canonical(formula)
    except TooLarge:
        return None


def _formulas(prompt: str) -> list[Node]:
    """Expressions that stand in the question, as far as they can be read."""
    formulas: list[Node] = []
    for found in _FORMULA.finditer(plain_notation(prompt[-_MAX_PROMPT:])):
        text = found[0].strip(" \t.=")
        if len(text) < 3 or len(formulas) >= _MAX_FORMULAS:
            continue
        for part in text.split("="):
            try:
                value = read(part.strip(" \t.")).value
            except Unreadable:
                continue
            if isinstance(value, Scalar):
                formulas.append(value.node)
    return formulas
