"""The oracle with sympy: expressions up to algebraic identity. Meant for a worker process with a deadline.

Numbers at high precision refute first; then sympy proves by expanding or by cancelling a common denominator. Where
sympy cannot prove it and every test point agrees to many digits, that agreement decides. Trees are turned into
sympy objects node by node from a fixed table; no text ever reaches sympy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import mpmath  # type: ignore[import-untyped]
import sympy

from rewards.exact import TooLarge
from rewards.forms import decimal_literal
from rewards.near_miss import near_miss_of_ratio
from rewards.oracle import NeedsAlgebra, same_exactly
from rewards.outcome import Outcome, right, undecided, wrong
from rewards.probe import points_for
from rewards.tree import Apply, Constant, Node, Number, Op, Symbol, size, symbols

_DIGITS = 60
_AGREEMENT = mpmath.mpf(10) ** -45
_POINTS = 6
_MAX_LOG2 = 200_000
_PROOF_NODES = 160
_PROOF_DEGREE = 24


def same_by_algebra(gold: Node, answer: Node) -> Outcome:
    """Decide whether two trees have one value, by exact arithmetic where that is enough and by algebra where not."""
    try:
        return same_exactly(gold, answer)
    except NeedsAlgebra:
        pass
    literal = decimal_literal(gold)
    if literal is not None:
        return _against_decimal(literal, answer)
    seen = _compare_numerically(gold, answer)
    if seen is None:  # also sympy would drown in what no number can hold
        return undecided("not decided", "it has no value that can be computed")
    agree, slip = seen
    if not agree:
        return wrong("different expression", "they differ at a test point", slip)
    proof = _prove(gold, answer)
    return proof or right("agrees at test points", f"they agree to {_DIGITS - 15} digits at every test point")


# -- by numbers


def _against_decimal(literal: tuple[Fraction, int], answer: Node) -> Outcome:
    value, places = literal
    try:
        with mpmath.workdps(_DIGITS):
            given = evaluate(answer, {})
            gap = abs(given - mpmath.mpf(value.numerator) / value.denominator)
            agrees = gap * 2 * mpmath.mpf(10) ** places <= 1
            shown = mpmath.nstr(given, 8)
    except (ArithmeticError, ValueError):
        return undecided("not decided", "it has no numeric value")
    if agrees:
        return right("agrees to the gold's digits", f"it is {shown}, which rounds to the gold")
    return wrong("different number", f"it is about {shown}")


def _compare_numerically(gold: Node, answer: Node) -> tuple[bool, str] | None:
    """Whether both agree at every point, and the slip; None if no point can be evaluated."""
    count = _POINTS if symbols(gold) | symbols(answer) else 1
    ratios: list[Any] = []
    with mpmath.workdps(_DIGITS):
        for at in _real_points(gold, answer, count):
            try:
                left, given = evaluate(gold, at), evaluate(answer, at)
            except (ArithmeticError, ValueError):  # TooLarge is one of them
                continue
            if left != given:
                ratios.append(given / left if left else mpmath.inf)
            else:
                ratios.append(mpmath.mpf(1))
    if not ratios:
        return None
    return all(abs(ratio - 1) < _AGREEMENT for ratio in ratios), _slip(ratios)


def _slip(ratios: list[Any]) -> str:
    first = ratios[0]
    if any(abs(ratio - first) > _AGREEMENT for ratio in ratios[1:]) or not mpmath.isfinite(first):
        return ""
    real, imaginary = mpmath.re(first), mpmath.im(first)
    twelfths = real * 12
    if abs(imaginary) > _AGREEMENT or abs(twelfths - mpmath.nint(twelfths)) > _AGREEMENT or abs(real) > 1000:
        return ""
    return near_miss_of_ratio(Fraction(int(mpmath.nint(twelfths)), 12))


def _real_points(gold: Node, answer: Node, count: int) -> list[dict[str, Any]]:
    """All positive, all negative and mixed: what holds only for positive variables is no identity."""
    points: list[dict[str, Any]] = []
    for index, at in enumerate(points_for(gold, answer, count)):
        point = {}
        for name, value in at.items():
            number = mpmath.mpf(value.numerator) / value.denominator / 50
            point[name] = (abs(number), -abs(number), number)[index % 3]
        points.append(point)
    return points


def evaluate(node: Node, at: Mapping[str, Any]) -> Any:
    """Numeric value at the current precision of mpmath."""
    if isinstance(node, Number):
        return mpmath.mpf(node.value.numerator) / node.value.denominator
    if isinstance(node, Symbol):
        return at[node.name]
    if isinstance(node, Constant):
        if node.name == "oo":
            raise ValueError("infinity has no numeric value")
        return {"pi": +mpmath.pi, "e": +mpmath.e, "i": mpmath.mpc(0, 1)}[node.name]
    value = _NUMERIC[node.op](*(evaluate(arg, at) for arg in node.args))
    if not mpmath.isfinite(value):
        raise ZeroDivisionError
    if value and abs(mpmath.mag(value)) > _MAX_LOG2:
        raise TooLarge
    return value


def _numeric_power(base: Any, exponent: Any) -> Any:
    if base and abs(exponent) * abs(mpmath.mag(base)) > _MAX_LOG2:
        raise TooLarge
    return base**exponent


def _numeric_root(value: Any, degree: Any) -> Any:
    if (
        mpmath.im(value) == 0
        and mpmath.re(value) < 0
        and degree == int(mpmath.re(degree))
        and int(degree) % 2
    ):
        return -((-value) ** (1 / degree))
    return value ** (1 / degree)


def _bounded(function: Callable[..., Any], limit: int) -> Callable[..., Any]:
    """Refuse arguments so large that the function would need very many digits."""

    def call(*args: Any) -> Any:
        if any(abs(arg) > limit for arg in args):
            raise TooLarge
        return function(*args)

    return call


_WAVE = 10**12
_NUMERIC: dict[Op, Callable[..., Any]] = {
    Op.ADD: lambda *args: mpmath.fsum(args),
    Op.MUL: lambda *args: mpmath.fprod(args),
    Op.DIV: lambda a, b: a / b,
    Op.POW: _numeric_power,
    Op.NEG: lambda a: -a,
    Op.FACTORIAL: _bounded(mpmath.factorial, 10_000),
    Op.PERCENT: lambda a: a / 100,
    Op.MIXED: lambda a, b: a + b,
    Op.ROOT: _numeric_root,
    Op.ABS: abs,
    Op.BINOMIAL: _bounded(mpmath.binomial, 10_000),
    Op.LOG: lambda a, *base: mpmath.log(a, *base),
    Op.EXP: _bounded(mpmath.exp, _MAX_LOG2),
    **{
        op: _bounded(getattr(mpmath, op.value), _WAVE)
        for op in (Op.SIN, Op.COS, Op.TAN, Op.COT, Op.SEC, Op.CSC)
    },
    **{op: _bounded(getattr(mpmath, op.value), 100_000) for op in (Op.SINH, Op.COSH, Op.TANH)},
    Op.ARCSIN: mpmath.asin,
    Op.ARCCOS: mpmath.acos,
    Op.ARCTAN: mpmath.atan,
}


# -- by sympy


def _prove(gold: Node, answer: Node) -> Outcome | None:
    """Prove the identity by expanding or cancelling; None if sympy does not see it or it would be too much work."""
    if size(gold) + size(answer) > _PROOF_NODES or max(_degree(gold), _degree(answer)) > _PROOF_DEGREE:
        return None
    try:
        difference = to_sympy(gold) - to_sympy(answer)
        if difference == 0 or sympy.expand(difference) == 0:
            return right("same after expanding", "the difference expands to zero")
        if sympy.cancel(sympy.together(difference)) == 0:
            return right("same after cancelling", "the difference cancels to zero")
    except (
        ArithmeticError,
        ValueError,
        TypeError,
        AttributeError,
        NotImplementedError,
        sympy.PolynomialError,
    ):
        return None
    return None


def _degree(node: Node) -> int:
    """Upper bound of the size to which ``node`` expands, in powers."""
    if not isinstance(node, Apply):
        return 1 if isinstance(node, Symbol) else 0
    inner = [_degree(arg) for arg in node.args]
    if node.op is Op.POW:
        exponent = node.args[1]
        if isinstance(exponent, Number):
            magnitude = min(abs(exponent.value), Fraction(10**6))
            return max(1, inner[0]) * max(1, int(magnitude))
        return sum(inner) + 1
    return sum(inner) if node.op in (Op.MUL, Op.DIV) else max(inner)


def to_sympy(node: Node) -> sympy.Expr:
    """Build the sympy object of ``node``."""
    if isinstance(node, Number):
        return sympy.Rational(node.value.numerator, node.value.denominator)
    if isinstance(node, Symbol):
        return sympy.Symbol(node.name)
    if isinstance(node, Constant):
        return {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "oo": sympy.oo}[node.name]
    return _SYMPY[node.op](*(to_sympy(arg) for arg in node.args))


_SYMPY: dict[Op, Callable[..., sympy.Expr]] = {
    Op.ADD: sympy.Add,
    Op.MUL: sympy.Mul,
    Op.DIV: lambda a, b: a / b,
    Op.POW: sympy.Pow,
    Op.NEG: lambda a: -a,
    Op.FACTORIAL: sympy.factorial,
    Op.PERCENT: lambda a: a / 100,
    Op.MIXED: sympy.Add,
    Op.ROOT: lambda a, n: sympy.real_root(a, n) if a.is_negative and n.is_odd else sympy.root(a, n),
    Op.ABS: sympy.Abs,
    Op.BINOMIAL: sympy.binomial,
    Op.LOG: lambda a, *base: sympy.log(a, *base),
    Op.EXP: sympy.exp,
    **{op: getattr(sympy, op.value) for op in (Op.SIN, Op.COS, Op.TAN, Op.COT, Op.SEC, Op.CSC)},
    **{op: getattr(sympy, op.value) for op in (Op.SINH, Op.COSH, Op.TANH)},
    Op.ARCSIN: sympy.asin,
    Op.ARCCOS: sympy.acos,
    Op.ARCTAN: sympy.atan,
}
