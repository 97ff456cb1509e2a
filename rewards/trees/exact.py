"""Exact rational evaluation of trees, within a budget, without sympy.

This decides most verdicts. It never builds a number larger than :data:`MAX_BITS`: a power or factorial whose
result would be larger raises :class:`TooLarge` *before* the work is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

from rewards.trees.tree import OPAQUE_OPS, Apply, Constant, Node, Number, Op, Symbol

MAX_BITS = 32_768
MAX_FACTORIAL = 2_500
MAX_TERMS = 1_000
_WORK_BUDGET = 20_000_000
_STEPS = 10_000
_NOTHING: Mapping[str, Fraction] = {}


class TooLarge(ArithmeticError):
    """The exact value would be too large to compute."""


class _Irrational(ArithmeticError):
    """The value is not rational, or not known to be."""


def exact(node: Node, at: Mapping[str, Fraction] = _NOTHING) -> Fraction | None:
    """Exact value of ``node`` with variables taken from ``at``; None if it is not (evidently) rational.

    Raises:
        TooLarge: the value, or a part of it, has too many bits.
        ZeroDivisionError: a part divides by zero.
    """
    if isinstance(node, Number):
        return node.value
    try:
        return _Evaluator(at).value(node)
    except _Irrational:
        return None


def bits_of(value: Fraction) -> int:
    """Size of the larger of numerator and denominator."""
    return max(value.numerator.bit_length(), value.denominator.bit_length())


class _Evaluator:
    """One evaluation with its own work budget, so that a wide tree of large numbers stops too."""

    def __init__(self, at: Mapping[str, Fraction]) -> None:
        self.at = at
        self.budget = _WORK_BUDGET
        self.steps = _STEPS

    def value(self, node: Node) -> Fraction:
        self.steps -= 1
        if self.steps < 0:
            raise TooLarge
        if isinstance(node, Number):
            return node.value
        if isinstance(node, Symbol):
            if node.name not in self.at:
                raise _Irrational(node.name)
            return self.at[node.name]
        if isinstance(node, Constant):
            raise _Irrational(node.name)
        return self.apply(node)

    def apply(self, node: Apply) -> Fraction:
        if node.op in OPAQUE_OPS:
            raise _Irrational(node.op)
        if node.op in (Op.SUM, Op.PRODUCT):
            return self.repeated(node)
        args = [self.value(arg) for arg in node.args]
        result = args[0]
        if node.op is Op.ADD:
            for arg in args[1:]:
                result = self.checked(result + arg)
        elif node.op is Op.MUL:
            for arg in args[1:]:
                result = self.checked(result * arg)
        else:
            result = self.checked(_apply_exactly(node.op, args))
        return result

    def repeated(self, node: Apply) -> Fraction:
        """A finite sum or product, term by term."""
        body, variable, lower, upper = node.args
        first, last = self.value(lower), self.value(upper)
        if first.denominator != 1 or last.denominator != 1 or not isinstance(variable, Symbol):
            raise _Irrational(node.op)
        if last - first > MAX_TERMS:
            raise TooLarge
        outer, adds = self.at, node.op is Op.SUM
        result = Fraction(0 if adds else 1)
        for index in range(first.numerator, last.numerator + 1):
            self.at = {**outer, variable.name: Fraction(index)}
            term = self.value(body)
            result = self.checked(result + term if adds else result * term)
        self.at = outer
        return result

    def checked(self, value: Fraction) -> Fraction:
        bits = bits_of(value)
        self.budget -= 1 + (bits >> 6) ** 2
        if bits > MAX_BITS or self.budget < 0:
            raise TooLarge
        return value


def _apply_exactly(op: Op, args: list[Fraction]) -> Fraction:
    first = args[0]
    if op is Op.NEG:
        return -first
    if op is Op.DIV:
        return first / args[1]
    if op is Op.POW:
        return _power(first, args[1])
    if op is Op.PERCENT:
        return first / 100
    if op is Op.MIXED:
        return first + args[1]
    if op is Op.ROOT:
        return _root(first, args[1])
    if op is Op.ABS:
        return abs(first)
    if op in _COUNTS:
        return Fraction(_COUNTS[op](*(_small_natural(arg, MAX_FACTORIAL) for arg in args)))
    if op in _WHOLE:
        return Fraction(_WHOLE[op](*(_small_natural(abs(arg), 1 << 64) for arg in args)))
    if op in _ROUNDED:
        return _ROUNDED[op](*args)
    raise _Irrational(op)


def _double_factorial(value: int) -> int:
    return math.prod(range(value, 0, -2))


_COUNTS: dict[Op, Callable[..., int]] = {
    Op.FACTORIAL: math.factorial,
    Op.DOUBLE_FACTORIAL: _double_factorial,
    Op.BINOMIAL: math.comb,
    Op.PERMUTATIONS: math.perm,
}
_WHOLE: dict[Op, Callable[..., int]] = {Op.GCD: math.gcd, Op.LCM: math.lcm}
_ROUNDED: dict[Op, Callable[..., Fraction]] = {
    Op.FLOOR: lambda a: Fraction(math.floor(a)),
    Op.CEILING: lambda a: Fraction(math.ceil(a)),
    Op.MAX: lambda *args: max(args),
    Op.MIN: lambda *args: min(args),
    Op.MODULO: lambda a, b: a - b * math.floor(a / b),
    Op.DETERMINANT: lambda a: a,
}


def _small_natural(value: Fraction, limit: int) -> int:
    if value.denominator != 1 or value < 0:
        raise _Irrational
    if value > limit:
        raise TooLarge
    return value.numerator


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        if base < 0:
            raise _Irrational
        return _power(_root(base, Fraction(exponent.denominator)), Fraction(exponent.numerator))
    if abs(base) == 1 or base == 0:
        return base ** (exponent.numerator % 2 if base == -1 else _sign(exponent))
    if abs(exponent) * bits_of(base) > 2 * MAX_BITS:
        raise TooLarge
    return base**exponent.numerator


def _sign(value: Fraction) -> int:
    return (value > 0) - (value < 0)


def _root(value: Fraction, degree: Fraction) -> Fraction:
    """Real root; an odd root of a negative number is negative."""
    if degree.denominator != 1 or not 1 <= degree <= 64:
        raise _Irrational
    n = degree.numerator
    if value < 0:
        if n % 2 == 0:
            raise _Irrational
        return -_root(-value, degree)
    return Fraction(_integer_root(value.numerator, n), _integer_root(value.denominator, n))


def _integer_root(value: int, n: int) -> int:
    if n == 2:
        guess = math.isqrt(value)
    elif value.bit_length() > 2048:
        raise _Irrational  # the bisection below would be slow; the algebra decides
    else:
        low, high = 0, 1 << (value.bit_length() // n + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**n <= value else (low, middle - 1)
        guess = low
    if guess**n != value:
        raise _Irrational
    return guess
