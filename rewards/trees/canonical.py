"""A key that trivial rewriting does not change: ``+ 0``, ``* 1``, double signs, order, ``x * x`` for ``x^2``.

It tells whether an answer is a formula of the question handed back with such cosmetics. Nothing is expanded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from rewards.trees.exact import TooLarge, bits_of
from rewards.trees.tree import Apply, Constant, Node, Number, Op, Symbol

_MAX_BITS = 256


@dataclass(frozen=True, slots=True)
class _Term:
    """A number times powers of keys."""

    number: Fraction
    powers: Mapping[str, Fraction] = field(default_factory=dict)

    def key(self) -> str:
        """The powers alone."""
        return "*".join(f"{base}^{power}" for base, power in sorted(self.powers.items()))


def canonical(node: Node) -> str:
    """Key of ``node``; two trees with one key are the same up to trivial rewriting.

    Raises:
        TooLarge: a number in it is large; such a tree is not rewritten.
    """
    return _key(_term(node))


def _key(term: _Term) -> str:
    return f"{term.number}*{term.key()}" if term.powers else str(term.number)


def _term(node: Node) -> _Term:
    if isinstance(node, Number):
        return _bounded(node.value, {})
    if isinstance(node, (Symbol, Constant)):
        return _Term(Fraction(1), {f"{type(node).__name__[0]}{node.name}": Fraction(1)})
    if node.op is Op.NEG:
        return _signed(_term(node.args[0]), -1)
    if node.op is Op.MUL:
        return _product([(_term(arg), 1) for arg in node.args])
    if node.op is Op.DIV:
        return _product([(_term(node.args[0]), 1), (_term(node.args[1]), -1)])
    if node.op is Op.ADD:
        return _sum([_signed(_term(addend), sign) for addend, sign in _addends(node)])
    exponent = node.args[1] if node.op is Op.POW else None
    if isinstance(exponent, Number) and exponent.value.denominator == 1 and abs(exponent.value) <= 32:
        return _power(_term(node.args[0]), exponent.value.numerator)
    inside = ",".join(canonical(arg) for arg in node.args)
    return _Term(Fraction(1), {f"{node.op}({inside})": Fraction(1)})


def _signed(term: _Term, sign: int) -> _Term:
    return _Term(sign * term.number, term.powers)


def _product(factors: list[tuple[_Term, int]]) -> _Term:
    number, powers = Fraction(1), dict[str, Fraction]()
    for term, sign in factors:
        if sign < 0 and term.number == 0:
            raise TooLarge
        number = number * term.number if sign > 0 else number / term.number
        for base, power in term.powers.items():
            powers[base] = powers.get(base, Fraction(0)) + sign * power
    return _bounded(number, powers)


def _power(base: _Term, exponent: int) -> _Term:
    if (exponent < 0 and base.number == 0) or bits_of(base.number) * abs(exponent) > _MAX_BITS * 8:
        raise TooLarge
    return _bounded(base.number**exponent, {key: power * exponent for key, power in base.powers.items()})


def _sum(terms: list[_Term]) -> _Term:
    """Like terms together; the sign of the first one goes before the whole."""
    numbers: dict[str, Fraction] = {}
    by_key: dict[str, _Term] = {}
    for term in terms:
        key = term.key()
        numbers[key] = numbers.get(key, Fraction(0)) + term.number
        by_key[key] = term
    left = {key: number for key, number in sorted(numbers.items()) if number}
    if not left:
        return _Term(Fraction(0))
    if len(left) == 1:
        key, number = next(iter(left.items()))
        return _Term(number, by_key[key].powers)
    sign = 1 if next(iter(left.values())) > 0 else -1
    body = "+".join(f"{sign * number}*{key}" for key, number in left.items())
    return _Term(Fraction(sign), {f"[{body}]": Fraction(1)})


def _addends(node: Node, sign: int = 1) -> list[tuple[Node, int]]:
    """Addends of nested sums with their signs."""
    if isinstance(node, Apply) and node.op is Op.ADD:
        return [addend for arg in node.args for addend in _addends(arg, sign)]
    if isinstance(node, Apply) and node.op is Op.NEG:
        return _addends(node.args[0], -sign)
    return [(node, sign)]


def _bounded(number: Fraction, powers: dict[str, Fraction]) -> _Term:
    if bits_of(number) > _MAX_BITS:
        raise TooLarge
    return _Term(number, {base: power for base, power in powers.items() if power and number})
