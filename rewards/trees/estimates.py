"""Real values of trees in floating point, each with a bound of its error: refutes cheaply, without sympy or mpmath.

Two expressions whose values differ by far more than their errors are different. Nothing is ever proved equal here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TypeAlias

from rewards.trees.tree import Constant, Node, Number, Op, Symbol

Estimate: TypeAlias = tuple[float, float]
"""A value and a bound of its absolute error."""

_EPSILON = 4e-16
_LARGEST = 1e150
_CLEAR = 1e-9


class Unknown(ArithmeticError):
    """No real value can be estimated here."""


def estimate(node: Node, at: Mapping[str, Fraction]) -> Estimate:
    """Value and error of ``node`` where its variables have the values ``at``.

    Raises:
        Unknown: it is not real there, too large, or of a kind that is not estimated.
    """
    try:
        value, error = _estimate(node, at)
    except (ValueError, OverflowError, ZeroDivisionError) as problem:
        raise Unknown from problem
    if not error < 1e-3 * abs(value) + 1e-9:
        raise Unknown
    return value, error


def clearly_differ(left: Estimate, right: Estimate) -> bool:
    """Tell whether two estimates cannot be of one value."""
    gap = abs(left[0] - right[0])
    return gap > 8 * (left[1] + right[1]) and gap > _CLEAR * max(abs(left[0]), abs(right[0]))


def _estimate(node: Node, at: Mapping[str, Fraction]) -> Estimate:
    if isinstance(node, Number):
        return _rounded(float(node.value), 0.0)
    if isinstance(node, Symbol):
        if node.name not in at:
            raise Unknown
        return _rounded(float(at[node.name]), 0.0)
    if isinstance(node, Constant):
        if node.name not in _CONSTANTS:
            raise Unknown
        return _rounded(_CONSTANTS[node.name], 0.0)
    args = [_estimate(arg, at) for arg in node.args]
    if node.op in _ARITHMETIC:
        return _ARITHMETIC[node.op](args)
    if node.op not in _UNARY or len(args) != 1:
        raise Unknown
    return _apply(_UNARY[node.op], args[0])


def _rounded(value: float, error: float) -> Estimate:
    if not abs(value) < _LARGEST:
        raise Unknown
    return value, error + _EPSILON * abs(value)


def _apply(function: Callable[[float], float], argument: Estimate) -> Estimate:
    """A function of an estimate; its error is how far the function moves within the error of the argument."""
    value, error = argument
    middle = function(value)
    moved = max(abs(function(value + error) - middle), abs(function(value - error) - middle))
    return _rounded(middle, 2 * moved + _EPSILON * abs(middle))


def _add(args: list[Estimate]) -> Estimate:
    return _rounded(
        math.fsum(value for value, _ in args),
        sum(error for _, error in args) + _EPSILON * max(abs(value) for value, _ in args),
    )


def _multiply(args: list[Estimate]) -> Estimate:
    value, error = args[0]
    for other, slack in args[1:]:
        value, error = _rounded(value * other, abs(value) * slack + abs(other) * error + error * slack)
    return value, error


def _divide(args: list[Estimate]) -> Estimate:
    (top, above), (bottom, below) = args
    if abs(bottom) <= 2 * below:
        raise Unknown
    quotient = top / bottom
    return _rounded(quotient, (above + abs(quotient) * below) / (abs(bottom) - below))


def _power(args: list[Estimate]) -> Estimate:
    (base, slack), (exponent, error) = args
    if base <= slack and not (exponent.is_integer() and error < 1e-13 and base < -2 * slack):
        raise Unknown
    if base < 0:
        size, loose = _power([(-base, slack), (exponent, error)])
        return (-size if exponent % 2 else size), loose
    logarithm, loose = _apply(math.log, (base, slack))
    return _apply(math.exp, _multiply([(logarithm, loose), (exponent, error)]))


def _root(args: list[Estimate]) -> Estimate:
    (value, error), (degree, slack) = args
    if value < 0 and degree % 2 == 1:
        size, loose = _root([(-value, error), (degree, slack)])
        return -size, loose
    if degree == 2 and slack < 1e-12:
        return _apply(math.sqrt, (value, error))
    return _power([(value, error), _divide([(1.0, 0.0), (degree, slack)])])


def _logarithm(args: list[Estimate]) -> Estimate:
    logarithms = [_apply(math.log, arg) for arg in args]
    return logarithms[0] if len(logarithms) == 1 else _divide(logarithms)


_CONSTANTS = {"pi": math.pi, "e": math.e}
_ARITHMETIC: dict[Op, Callable[[list[Estimate]], Estimate]] = {
    Op.ADD: _add,
    Op.MIXED: _add,
    Op.MUL: _multiply,
    Op.DIV: _divide,
    Op.POW: _power,
    Op.ROOT: _root,
    Op.LOG: _logarithm,
}
_UNARY: dict[Op, Callable[[float], float]] = {
    Op.NEG: lambda a: -a,
    Op.ABS: abs,
    Op.PERCENT: lambda a: a / 100,
    Op.DEGREES: math.radians,
    Op.DETERMINANT: lambda a: a,
    Op.EXP: math.exp,
    Op.SIN: math.sin,
    Op.COS: math.cos,
    Op.TAN: math.tan,
    Op.COT: lambda a: 1 / math.tan(a),
    Op.SEC: lambda a: 1 / math.cos(a),
    Op.CSC: lambda a: 1 / math.sin(a),
    Op.SINH: math.sinh,
    Op.COSH: math.cosh,
    Op.TANH: math.tanh,
    Op.ARCSIN: math.asin,
    Op.ARCCOS: math.acos,
    Op.ARCTAN: math.atan,
    Op.ARCSINH: math.asinh,
    Op.ARCTANH: math.atanh,
}
