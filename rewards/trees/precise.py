"""Values of trees to many digits with mpmath, real or complex. Meant for a worker process with a deadline.

Two modes. *Real*: a root or logarithm outside its real domain raises :class:`Undefined`, and an odd root of a negative
number is negative. *Complex*: principal values everywhere. Trees are walked node by node; no text reaches mpmath.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import mpmath  # type: ignore[import-untyped]

from rewards.trees.exact import MAX_TERMS, TooLarge
from rewards.trees.tree import (
    BINDERS,
    OPAQUE_OPS,
    Apply,
    Constant,
    Node,
    Number,
    Op,
    Symbol,
    has_infinity,
    shape,
)

_MAX_LOG2 = 200_000
_WAVE = 10**12
_STEPS = 6_000
_MAX_COUNT, _MAX_GAMMA_DIGITS = 10_000, 200
_COMPLEX_OPS = frozenset((Op.CONJUGATE, Op.REAL_PART, Op.IMAGINARY_PART, Op.ARGUMENT))
_SAMPLES = (0.3137, 1.2719)


class Undefined(ArithmeticError):
    """There is no value here: a pole, or outside the real domain."""


def is_complex(node: Node) -> bool:
    """Tell whether the imaginary unit, or an operation on complex numbers, occurs in ``node``."""
    if isinstance(node, Constant):
        return node.name == "i"
    return isinstance(node, Apply) and (node.op in _COMPLEX_OPS or any(is_complex(arg) for arg in node.args))


class Evaluator:
    """Evaluates trees at one point, at the current precision of mpmath.

    ``has_stand_in`` tells afterwards that something unknown took part: the result is then good for equality only.
    """

    def __init__(self, at: Mapping[str, Any], *, real: bool) -> None:
        self.at = dict(at)
        self.real = real
        self.steps = _STEPS
        self.has_stand_in = False

    def value(self, node: Node) -> Any:
        """Value of ``node``.

        Raises:
            Undefined: it has none here.
            TooLarge: it, or a part of it, has too many digits.
        """
        self.steps -= 1
        if self.steps < 0:
            raise TooLarge
        if isinstance(node, Number):
            return mpmath.mpf(node.value.numerator) / node.value.denominator
        if isinstance(node, Symbol):
            return self.at[node.name]
        if isinstance(node, Constant):
            if node.name == "oo":
                raise Undefined
            return {"pi": +mpmath.pi, "e": +mpmath.e, "logbase": +mpmath.e, "i": mpmath.mpc(0, 1)}[node.name]
        return self.checked(self.apply(node))

    def checked(self, value: Any) -> Any:
        """``value`` if it is finite, real where it must be, and no giant."""
        if not mpmath.isfinite(value):
            raise Undefined
        if self.real and isinstance(value, mpmath.mpc):
            if value.imag != 0:
                raise Undefined
            value = value.real
        if value and abs(mpmath.mag(value)) > _MAX_LOG2:
            raise TooLarge
        return value

    def apply(self, node: Apply) -> Any:
        """Value of an operation."""
        if node.op in OPAQUE_OPS:
            return self.opaque(node)
        if node.op in (Op.SUM, Op.PRODUCT):
            return self.repeated(node)
        if node.op is Op.POW:
            return self.power(node.args[0], node.args[1])
        args = [self.value(arg) for arg in node.args]
        if node.op is Op.ROOT:
            return self.root(*args)
        if node.op in (Op.GCD, Op.LCM) and any(arg != mpmath.nint(mpmath.re(arg)) for arg in args):
            return self.opaque(Apply(node.op, (Symbol(node.op), *sorted(node.args, key=self.fingerprint))))
        try:
            return _NUMERIC[node.op](*args)
        except (ValueError, ZeroDivisionError, TypeError) as problem:
            raise Undefined from problem

    def power(self, base_node: Node, exponent_node: Node) -> Any:
        """A power; with a fractional exponent of odd denominator it is a real root first."""
        base, exponent = self.value(base_node), self.value(exponent_node)
        if base == 0:
            if mpmath.re(exponent) <= 0 and exponent != 0:
                raise Undefined
            return base**exponent
        if abs(exponent) * (abs(mpmath.mag(base)) + 1) > _MAX_LOG2:
            raise TooLarge
        if self.real and base < 0 and exponent != mpmath.nint(exponent):
            fraction = _as_fraction(exponent_node)
            if fraction is None or fraction[1] % 2 == 0:
                raise Undefined
            size = (-base) ** exponent
            return -size if fraction[0] % 2 else size
        return base ** (int(exponent) if self.real and exponent == mpmath.nint(exponent) else exponent)

    def root(self, value: Any, degree: Any) -> Any:
        """A root; of a negative number a real one where the degree is odd."""
        if degree == 0:
            raise Undefined
        if mpmath.im(value) == 0 and mpmath.re(value) < 0:
            if mpmath.im(degree) == 0 and mpmath.re(degree) % 2 == 1:
                return -((-mpmath.re(value)) ** (1 / degree))
            if self.real:
                raise Undefined
        return mpmath.sqrt(value) if degree == 2 else value ** (1 / degree)

    def repeated(self, node: Apply) -> Any:
        """A finite sum or product term by term; any other is opaque."""
        body, variable, lower, upper = node.args
        assert isinstance(variable, Symbol)
        if has_infinity(lower) or has_infinity(upper):
            return self.opaque(node)
        first, last = self.value(lower), self.value(upper)
        if first != mpmath.nint(first) or last != mpmath.nint(last):
            return self.opaque(node)
        if last - first > MAX_TERMS:
            raise TooLarge
        values = []
        for index in range(int(first), int(last) + 1):
            self.at[variable.name] = mpmath.mpf(index)
            values.append(self.value(body))
        self.at.pop(variable.name, None)
        return mpmath.fsum(values) if node.op is Op.SUM else mpmath.fprod(values)

    def opaque(self, node: Apply) -> Any:
        """A number that depends only on what is applied and on the values of its parts: it stands in for the value."""
        self.has_stand_in = True
        if node.op in BINDERS:
            body, variable, *bounds = node.args
            assert isinstance(variable, Symbol)
            parts = []
            for sample in _SAMPLES:
                self.at[variable.name] = mpmath.mpf(sample)
                parts.append(self.fingerprint(body))
            self.at.pop(variable.name, None)
        else:
            head, *bounds = node.args
            parts = [shape(head)]
        parts += [self.fingerprint(part) for part in bounds]
        random = Random(f"{node.op}|{'|'.join(parts)}")
        return mpmath.mpf(random.randint(5_000, 25_000)) / 10_007 + mpmath.mpf(random.random()) / 997

    def fingerprint(self, node: Node) -> str:
        """A key that is equal for parts of equal value."""
        if isinstance(node, Symbol) and node.name not in self.at:
            return node.name
        try:
            value = self.value(node)
        except (Undefined, KeyError):
            return shape(node)
        return f"{_digits(mpmath.re(value))},{_digits(mpmath.im(value))}"


def _digits(value: Any) -> str:
    return "0" if abs(value) < mpmath.mpf(10) ** -18 else str(mpmath.nstr(value, 12))


def _as_fraction(node: Node) -> tuple[int, int] | None:
    """Numerator and denominator of an exponent written as a number or a fraction of integers."""
    if isinstance(node, Number):
        return node.value.numerator, node.value.denominator
    if isinstance(node, Apply) and node.op is Op.NEG:
        inside = _as_fraction(node.args[0])
        return None if inside is None else (-inside[0], inside[1])
    if isinstance(node, Apply) and node.op is Op.DIV:
        top, bottom = node.args
        if isinstance(top, Number) and isinstance(bottom, Number) and bottom.value:
            value = top.value / bottom.value
            return value.numerator, value.denominator
    return None


def _bounded(function: Callable[..., Any], limit: int) -> Callable[..., Any]:
    """Refuse arguments so large that the function would need very many digits."""

    def call(*args: Any) -> Any:
        if any(abs(arg) > limit for arg in args):
            raise TooLarge
        return function(*args)

    return call


def _counting(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the gamma family; between the integers it is slow at many digits."""

    def call(*args: Any) -> Any:
        if any(abs(arg) > _MAX_COUNT for arg in args):
            raise TooLarge
        if mpmath.mp.dps > _MAX_GAMMA_DIGITS and any(arg != mpmath.nint(mpmath.re(arg)) for arg in args):
            raise TooLarge
        return function(*args)

    return call


def _tiny() -> Any:
    return mpmath.mpf(10) ** -(mpmath.mp.dps // 2)


def _whole(value: Any) -> int:
    nearest = mpmath.nint(mpmath.re(value))
    if abs(value - nearest) > _tiny():
        raise Undefined
    return int(nearest)


def _gcd(*values: Any) -> Any:
    result = 0
    for value in values:
        result = _euclid(result, _whole(value))
    return mpmath.mpf(result)


def _euclid(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return abs(a)


def _lcm(*values: Any) -> Any:
    result = 1
    for value in values:
        number = _whole(value)
        result = abs(result * number) // (_euclid(result, number) or 1)
    return mpmath.mpf(result)


def _logarithm(value: Any, base: Any = None) -> Any:
    if value == 0:
        raise Undefined
    if base is None:
        return mpmath.log(value)
    bottom = mpmath.log(base)
    if bottom == 0:
        raise Undefined
    return mpmath.log(value) / bottom


_NUMERIC: dict[Op, Callable[..., Any]] = {
    Op.ADD: lambda *args: mpmath.fsum(args),
    Op.MUL: lambda *args: mpmath.fprod(args),
    Op.DIV: lambda a, b: a / b,
    Op.NEG: lambda a: -a,
    Op.FACTORIAL: _counting(lambda a: mpmath.gamma(a + 1)),
    Op.DOUBLE_FACTORIAL: _counting(mpmath.fac2),
    Op.PERCENT: lambda a: a / 100,
    Op.MIXED: lambda a, b: a + b,
    Op.DEGREES: lambda a: a * mpmath.pi / 180,
    Op.DETERMINANT: lambda a: a,
    Op.ABS: abs,
    Op.BINOMIAL: _counting(mpmath.binomial),
    Op.PERMUTATIONS: _counting(lambda n, k: mpmath.gammaprod([n + 1], [n - k + 1])),
    Op.FLOOR: lambda a: mpmath.floor(a + _tiny()),
    Op.CEILING: lambda a: mpmath.ceil(a - _tiny()),
    Op.MAX: lambda *args: max(args),
    Op.MIN: lambda *args: min(args),
    Op.GCD: _gcd,
    Op.LCM: _lcm,
    Op.MODULO: lambda a, b: a - b * mpmath.floor(a / b + _tiny()),
    Op.CONJUGATE: mpmath.conj,
    Op.REAL_PART: mpmath.re,
    Op.IMAGINARY_PART: mpmath.im,
    Op.ARGUMENT: mpmath.arg,
    Op.LOG: _logarithm,
    Op.EXP: _bounded(mpmath.exp, _MAX_LOG2),
    **{
        op: _bounded(getattr(mpmath, op.value), _WAVE)
        for op in (Op.SIN, Op.COS, Op.TAN, Op.COT, Op.SEC, Op.CSC)
    },
    **{
        op: _bounded(getattr(mpmath, op.value), 100_000)
        for op in (Op.SINH, Op.COSH, Op.TANH, Op.COTH, Op.SECH, Op.CSCH)
    },
    **{
        op: getattr(mpmath, op.value.replace("arc", "a"))
        for op in (
            *(Op.ARCSIN, Op.ARCCOS, Op.ARCTAN, Op.ARCCOT, Op.ARCSEC, Op.ARCCSC),
            *(Op.ARCSINH, Op.ARCCOSH, Op.ARCTANH),
        )
    },
}
