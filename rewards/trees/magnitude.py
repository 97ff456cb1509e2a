"""Numeric value of a tree of numbers to sixty digits, without sympy: enough to put endpoints in order."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from decimal import Decimal

from rewards.trees.exact import TooLarge, exact
from rewards.trees.tree import Apply, Constant, Node, Number, Op

_CONTEXT = decimal.Context(prec=60, Emax=100_000, Emin=-100_000)
_CONSTANTS = {
    "pi": Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899"),
    "e": Decimal("2.71828182845904523536028747135266249775724709369995957496696762772407663035354759"),
}
_MAX_EXPONENT = 1_000


class NotANumber(ArithmeticError):
    """The tree holds a variable, infinity or a function that has no value here."""


def magnitude(node: Node) -> Decimal:
    """Value of ``node``.

    Raises:
        NotANumber: it has no real value that is computed here.
    """
    try:
        return _value(node)
    except (decimal.DecimalException, TooLarge, ZeroDivisionError) as problem:
        raise NotANumber from problem


def _value(node: Node) -> Decimal:
    if isinstance(node, Constant) and node.name in _CONSTANTS:
        return _CONSTANTS[node.name]
    if not isinstance(node, (Number, Apply)):
        raise NotANumber
    rational = exact(node)
    if rational is not None:
        return _CONTEXT.divide(Decimal(rational.numerator), Decimal(rational.denominator))
    assert isinstance(node, Apply)
    operation = _OPERATIONS.get(node.op)
    if operation is None:
        raise NotANumber(node.op)
    return operation(*(_value(arg) for arg in node.args))


def _sum(*args: Decimal) -> Decimal:
    total = args[0]
    for arg in args[1:]:
        total = _CONTEXT.add(total, arg)
    return total


def _product(*args: Decimal) -> Decimal:
    total = args[0]
    for arg in args[1:]:
        total = _CONTEXT.multiply(total, arg)
    return total


def _log(value: Decimal, base: Decimal | None = None) -> Decimal:
    logarithm = _CONTEXT.ln(value)
    return logarithm if base is None else _CONTEXT.divide(logarithm, _CONTEXT.ln(base))


def _power(base: Decimal, exponent: Decimal) -> Decimal:
    return _CONTEXT.power(base, _small(exponent))


def _root(value: Decimal, degree: Decimal) -> Decimal:
    if degree == 2:
        return _CONTEXT.sqrt(value)
    if value < 0 and degree % 2 == 1:
        return _CONTEXT.minus(_root(_CONTEXT.minus(value), degree))
    return _CONTEXT.power(value, _CONTEXT.divide(Decimal(1), degree))


def _small(exponent: Decimal) -> Decimal:
    if abs(exponent) > _MAX_EXPONENT:
        raise NotANumber
    return exponent


_OPERATIONS: dict[Op, Callable[..., Decimal]] = {
    Op.ADD: _sum,
    Op.MIXED: _sum,
    Op.MUL: _product,
    Op.DIV: _CONTEXT.divide,
    Op.NEG: _CONTEXT.minus,
    Op.ABS: _CONTEXT.abs,
    Op.PERCENT: lambda value: _CONTEXT.divide(value, Decimal(100)),
    Op.EXP: lambda value: _CONTEXT.exp(_small(value)),
    Op.LOG: _log,
    Op.POW: _power,
    Op.ROOT: _root,
}
