"""Circular and hyperbolic functions and powers as rational functions of a few exponentials.

``sin 3x`` is a polynomial in ``t`` and ``1/t`` with ``t = exp(ix)``; ``4^x`` is ``p^2`` with ``p = 2^x``. Two expressions
made of such functions are equal exactly if the rational functions are, which is decided by multiplying out.
"""

from __future__ import annotations

from math import lcm

import sympy

from rewards.symbolic.to_sympy import Untranslatable

_MAX_DEGREE = 24
_MAX_BASE = 10_000

_CIRCULAR = (sympy.sin, sympy.cos, sympy.tan, sympy.cot, sympy.sec, sympy.csc)
_HYPERBOLIC = (sympy.sinh, sympy.cosh, sympy.tanh, sympy.coth, sympy.sech, sympy.csch)

Terms = list[tuple[sympy.Rational, sympy.Expr]]


def in_exponentials(expression: sympy.Expr) -> sympy.Expr:
    """``expression`` as a rational function of new variables, each of which stands for one exponential.

    Raises:
        Untranslatable: the degree in one of them would be too large.
    """
    return _Rewriter(expression).rewritten(expression)


class _Rewriter:
    """First collects every exponent, so that each variable can stand for the smallest step, then rewrites."""

    def __init__(self, expression: sympy.Expr) -> None:
        self.denominators: dict[sympy.Expr, int] = {}
        self.letters: dict[sympy.Expr, sympy.Symbol] = {}
        for part in sympy.preorder_traversal(expression):
            for coefficient, rest in _exponent_terms(part):
                self.denominators[rest] = lcm(self.denominators.get(rest, 1), int(coefficient.q))

    def rewritten(self, part: sympy.Expr) -> sympy.Expr:
        """``part`` with all its exponentials replaced."""
        if isinstance(part, _CIRCULAR):
            forth, back = self.power(part.args[0], sympy.I)
            return _from_pair(_CIRCULAR.index(part.func), forth, back, sympy.I)
        if isinstance(part, _HYPERBOLIC):
            forth, back = self.power(part.args[0], sympy.S.One)
            return _from_pair(_HYPERBOLIC.index(part.func), forth, back, sympy.S.One)
        if _is_exponential(part):
            return self.exponential(part)
        if not part.args or not isinstance(part, (sympy.Add, sympy.Mul, sympy.Pow)):
            return part
        return part.func(*map(self.rewritten, part.args))

    def power(self, argument: sympy.Expr, unit: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
        """``exp(unit * argument)`` and its reciprocal."""
        forth = sympy.Mul(*(self.step(coefficient, rest) for coefficient, rest in _terms(unit * argument)))
        return forth, 1 / forth

    def exponential(self, part: sympy.Expr) -> sympy.Expr:
        """``exp(...)`` or a power of a positive number."""
        return sympy.Mul(*(self.step(coefficient, rest) for coefficient, rest in _exponent_terms(part)))

    def step(self, coefficient: sympy.Rational, rest: sympy.Expr) -> sympy.Expr:
        """``exp(coefficient * rest)`` as a power of the variable that stands for the smallest step of ``rest``."""
        degree = coefficient * self.denominators[rest]
        if abs(degree) > _MAX_DEGREE:
            raise Untranslatable("a high degree")
        if rest == sympy.I * sympy.pi:
            return sympy.cos(coefficient * sympy.pi) + sympy.I * sympy.sin(coefficient * sympy.pi)
        if rest == 1 or _is_plain_logarithm(rest):
            return sympy.exp(coefficient * rest)  # a number, which sympy keeps in one form
        return self.letters.setdefault(rest, sympy.Dummy()) ** degree


def _from_pair(index: int, forth: sympy.Expr, back: sympy.Expr, unit: sympy.Expr) -> sympy.Expr:
    """sin, cos, tan, cot, sec or csc (circular or hyperbolic) of the argument whose exponentials are given."""
    sine, cosine = (forth - back) / (2 * unit), (forth + back) / 2
    return (sine, cosine, sine / cosine, cosine / sine, 1 / cosine, 1 / sine)[index]


def _is_exponential(part: sympy.Expr) -> bool:
    if isinstance(part, sympy.exp):
        return True
    return isinstance(part, sympy.Pow) and _is_base(part.base) and not part.exp.is_Rational


def _is_base(base: sympy.Expr) -> bool:
    return bool(base.is_Rational and base.is_positive and max(base.p, base.q) <= _MAX_BASE)


def _exponent_terms(part: sympy.Expr) -> Terms:
    """Terms of the natural exponent of ``part``; none if it is no exponential."""
    if isinstance(part, _CIRCULAR):
        return _terms(sympy.I * part.args[0])
    if isinstance(part, _HYPERBOLIC):
        return _terms(part.args[0])
    if not _is_exponential(part):
        return []
    if isinstance(part, sympy.exp):
        return _terms(part.args[0])
    primes = sympy.factorrat(part.base)
    return _terms(sympy.Add(*(count * sympy.log(prime) for prime, count in primes.items())) * part.exp)


def _terms(exponent: sympy.Expr) -> Terms:
    """``exponent`` as terms of a rational coefficient and the rest."""
    return [term.as_coeff_Mul(rational=True) for term in sympy.Add.make_args(exponent.expand())]


def _is_plain_logarithm(rest: sympy.Expr) -> bool:
    return isinstance(rest, sympy.log) and rest.args[0].is_Integer
