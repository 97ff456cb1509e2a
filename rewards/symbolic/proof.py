"""Proves with sympy that two trees are equal, and says how. Confirms only: numbers refute first, elsewhere.

A ladder of steps, cheapest first, each applied only where the functions it is about occur and where what it multiplies
out is of bounded size; the first that brings the difference to zero is the proof. No proof means nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy
from sympy.functions.combinatorial.factorials import CombinatorialFunction
from sympy.functions.elementary.hyperbolic import HyperbolicFunction
from sympy.functions.elementary.trigonometric import TrigonometricFunction

from rewards.symbolic.exponentials import in_exponentials
from rewards.symbolic.to_sympy import Translator, Untranslatable, num_terms
from rewards.trees.tree import Node, size

MAX_SIZE = 120
_MAX_TERMS = 400

Rewrite = Callable[[sympy.Expr], sympy.Expr]


@dataclass(frozen=True, slots=True)
class Proof:
    """``rule`` names the step that proved it; ``because`` is its clause."""

    rule: str
    because: str


@dataclass(frozen=True, slots=True)
class _Step:
    """``rewrite`` brings a difference of equal expressions to zero, where one of ``about`` occurs in it."""

    how: str
    rewrite: Rewrite
    about: tuple[type, ...] = ()

    def concerns(self, difference: sympy.Expr) -> bool:
        return not self.about or difference.has(*self.about)


def prove(gold: Node, answer: Node) -> Proof | None:
    """The proof that both are equal, or None if there is none within the bounds."""
    if size(gold) + size(answer) > MAX_SIZE:
        return None
    try:
        translator = Translator(gold, answer)
        left, right = translator.expression(gold), translator.expression(answer)
        if left == right:
            return Proof("same after evaluating", "both come to one expression when worked out")
        if num_terms(gold) + num_terms(answer) > _MAX_TERMS:
            return None
        difference = left - right
        for step in _STEPS:
            if step.concerns(difference) and _is_zero(step.rewrite, difference):
                return Proof(f"same after {step.how}", f"their difference is zero after {step.how}")
    except Untranslatable:
        return None
    return None


def _is_zero(rewrite: Rewrite, difference: sympy.Expr) -> bool:
    try:
        return bool(rewrite(difference) == 0)
    except Exception:  # sympy raises of all kinds for what it cannot do; a step that fails proves nothing
        return False


# -- the steps


def _expand(difference: sympy.Expr) -> sympy.Expr:
    return difference.expand(log=False)


def _expand_logarithms(difference: sympy.Expr) -> sympy.Expr:
    return sympy.expand_log(difference.expand(), factor=True).expand()


def _combine_logarithms(difference: sympy.Expr) -> sympy.Expr:
    return sympy.logcombine(sympy.expand_log(difference)).expand()


def _expand_waves(difference: sympy.Expr) -> sympy.Expr:
    return difference.expand(trig=True)


def _as_exponentials(difference: sympy.Expr) -> sympy.Expr:
    return _over_one_denominator(in_exponentials(difference))


def _over_one_denominator(difference: sympy.Expr) -> sympy.Expr:
    top, _ = sympy.fraction(sympy.together(difference))
    return top.expand()


def _simplify_roots(difference: sympy.Expr) -> sympy.Expr:
    denested = difference.replace(lambda part: _is_square_root(part), sympy.sqrtdenest)
    return sympy.radsimp(denested, max_terms=3).expand()


def _is_square_root(part: sympy.Expr) -> bool:
    return isinstance(part, sympy.Pow) and part.exp == sympy.S.Half and part.is_number


def _simplify_factorials(difference: sympy.Expr) -> sympy.Expr:
    return sympy.gammasimp(difference)


def _combine_powers(difference: sympy.Expr) -> sympy.Expr:
    return sympy.powsimp(sympy.powdenest(difference).expand()).expand()


def _write_absolute_values(difference: sympy.Expr) -> sympy.Expr:
    return difference.rewrite(sympy.Abs).expand()


def _write_arccosines(difference: sympy.Expr) -> sympy.Expr:
    return difference.replace(sympy.acos, lambda value: sympy.pi / 2 - sympy.asin(value)).expand()


def _work_out_sums(difference: sympy.Expr) -> sympy.Expr:
    return _over_one_denominator(difference.doit())


def _separate_parts(difference: sympy.Expr) -> sympy.Expr:
    return difference.expand(complex=True)


_WAVES = (TrigonometricFunction,)
_POWERS = (sympy.exp, sympy.Pow)
_STEPS = (
    _Step("expanding", _expand),
    _Step("working out the sum", _work_out_sums, (sympy.Sum, sympy.Product)),
    _Step("expanding trigonometric functions", _expand_waves, _WAVES),
    _Step("writing trigonometric functions as exponentials", _as_exponentials, _WAVES),
    _Step("writing hyperbolic functions as exponentials", _as_exponentials, (HyperbolicFunction,)),
    _Step("expanding logarithms", _expand_logarithms, (sympy.log,)),
    _Step("writing absolute values", _write_absolute_values, (sympy.Max, sympy.Min)),
    _Step("writing arccosines as arcsines", _write_arccosines, (sympy.acos,)),
    _Step("bringing it over one denominator", _over_one_denominator),
    _Step("simplifying factorials", _simplify_factorials, (CombinatorialFunction,)),
    _Step("combining powers", _as_exponentials, _POWERS),
    _Step("combining powers", _combine_powers, _POWERS),
    _Step("simplifying roots", _simplify_roots, (sympy.Pow,)),
    _Step("combining logarithms", _combine_logarithms, (sympy.log,)),
    _Step(
        "separating real and imaginary parts",
        _separate_parts,
        (sympy.re, sympy.im, sympy.conjugate, sympy.Abs),
    ),
)
