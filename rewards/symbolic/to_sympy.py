"""Trees ↔ sympy objects, node by node from a fixed table. No text reaches sympy: variables get numbers for names.

Everything is bounded before it is built, since sympy works out powers and factorials of numbers on construction.
Variables are real (whole where :func:`~rewards.trees.points.whole_variables` says so), never assumed positive: what holds for
positive variables only is no identity. Imported by workers only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction

import sympy

from rewards.trees.points import whole_variables
from rewards.trees.tree import BINDERS, Apply, Constant, Node, Number, Op, Symbol, shape, size, symbols

MAX_NODES = 160
_MAX_BITS = 8_192
_MAX_EXPONENT_BITS = 12.0
_MAX_COUNT_BITS = 9.0
_MAX_ROOT_BITS = 256
_MAX_VARIABLES = 12


class Untranslatable(Exception):
    """There is no sympy object for this tree, or none of bounded size; or no tree for this sympy object."""


class Translator:
    """Translates trees that share their variables. Refuses what is too large before building it."""

    def __init__(self, *trees: Node) -> None:
        names = sorted(frozenset().union(*map(symbols, trees)))
        if len(names) > _MAX_VARIABLES or sum(map(size, trees)) > MAX_NODES:
            raise Untranslatable("too large")
        whole = frozenset().union(*map(whole_variables, trees))
        self.variables: dict[str, sympy.Symbol] = {
            name: sympy.Symbol(f"v{index}", real=True, integer=name in whole or None)
            for index, name in enumerate(names)
        }
        self.bound_names: dict[str, int] = {}
        self.unknown: dict[str, sympy.FunctionClass] = {}

    def expression(self, tree: Node) -> sympy.Expr:
        """The sympy object for ``tree``.

        Raises:
            Untranslatable: something in it is not in the table, or too large.
        """
        reach(tree)
        return self._build(tree)

    def _build(self, node: Node) -> sympy.Expr:
        if isinstance(node, Number):
            return sympy.Rational(node.value.numerator, node.value.denominator)
        if isinstance(node, Symbol):
            return self.variables[node.name]
        if isinstance(node, Constant):
            return self._constant(node)
        if node.op in BINDERS:
            return self._repeated(node)
        if node.op in _UNKNOWN:
            return self._applied(node)
        if node.op not in _TABLE:
            raise Untranslatable(node.op)
        return _TABLE[node.op](*map(self._build, node.args))

    def _constant(self, node: Constant) -> sympy.Expr:
        if node.name not in _CONSTANTS:
            raise Untranslatable(node.name)
        return _CONSTANTS[node.name]

    def _repeated(self, node: Apply) -> sympy.Expr:
        """A finite sum or product, left standing; other structures with a bound variable are not translated."""
        if node.op not in (Op.SUM, Op.PRODUCT):
            raise Untranslatable(node.op)
        body, variable, lower, upper = node.args
        assert isinstance(variable, Symbol)
        bounds = self._build(lower), self._build(upper)
        kind = sympy.Sum if node.op is Op.SUM else sympy.Product
        with self.bound(variable, integer=True) as index:
            return kind(self._build(body), (index, *bounds))

    @contextmanager
    def bound(self, variable: Symbol, *, integer: bool = False) -> Iterator[sympy.Symbol]:
        """A variable that stands for itself only inside the block: that of a sum, integral or limit."""
        number = self.bound_names.setdefault(variable.name, len(self.bound_names))
        outer = self.variables.get(variable.name)
        self.variables[variable.name] = sympy.Symbol(f"b{number}", real=True, integer=integer or None)
        try:
            yield self.variables[variable.name]
        finally:
            if outer is None:
                del self.variables[variable.name]
            else:
                self.variables[variable.name] = outer

    def _applied(self, node: Apply) -> sympy.Expr:
        """A function of which nothing is known; a rounding too, since sympy would compute all digits that it takes."""
        key, written = str(node.op), node.args
        if node.op in (Op.CALL, Op.OPAQUE):
            key, written = f"{node.op} {shape(node.args[0])}", node.args[1:]
        arguments = [self._build(arg) for arg in written]
        if node.op in (Op.GCD, Op.LCM):
            arguments.sort(key=sympy.default_sort_key)
        return self.unknown.setdefault(key, sympy.Function(f"f{len(self.unknown)}", real=True))(*arguments)

    def tree(self, expression: sympy.Expr) -> Node:
        """The tree for ``expression``.

        Raises:
            Untranslatable: it holds something outside the table, such as a case distinction.
        """
        names = {symbol: name for name, symbol in self.variables.items()}
        return _tree(expression, names)


def reach(node: Node) -> float:
    """Upper bound of the bits that a constant in ``node`` may take when sympy works it out.

    Raises:
        Untranslatable: it is too large to be built.
    """
    bits = _reach(node)
    if bits > _MAX_BITS:
        raise Untranslatable("too large")
    return bits


def _reach(node: Node) -> float:
    if isinstance(node, Number):
        return float(max(node.value.numerator.bit_length(), node.value.denominator.bit_length()))
    if not isinstance(node, Apply):
        return 2.0
    parts = [reach(arg) for arg in node.args]
    if node.op is Op.POW:
        return _power_bits(parts[0], parts[1], node.args[1])
    if node.op is Op.EXP:
        return _power_bits(2.0, parts[0], node.args[0])
    if node.op is Op.ROOT and parts[0] > _MAX_ROOT_BITS:
        raise Untranslatable("a root of a large number")
    if node.op in _COUNTING:
        if max(parts) > _MAX_COUNT_BITS:
            raise Untranslatable("a factorial of a large number")
        return float(2 ** parts[0] * parts[0])
    if node.op in (Op.ADD, Op.MUL, Op.DIV, Op.MIXED):
        return sum(parts)
    return max(parts)


def _power_bits(base: float, exponent: float, written: Node) -> float:
    if exponent > _MAX_EXPONENT_BITS:
        raise Untranslatable("a large exponent")
    if base > _MAX_ROOT_BITS and not (isinstance(written, Number) and written.value.denominator == 1):
        raise Untranslatable("a root of a large number")
    size_of_exponent = float(abs(written.value)) if isinstance(written, Number) else 2.0**exponent
    return base * max(1.0, size_of_exponent)


def num_terms(node: Node) -> int:
    """Upper bound of the number of terms of ``node`` multiplied out."""
    if not isinstance(node, Apply) or node.op in BINDERS:
        return 1
    if node.op is Op.POW and isinstance(node.args[1], Number):
        exponent = abs(node.args[1].value)
        terms = num_terms(node.args[0])
        if terms == 1 or exponent.denominator != 1:
            return terms
        return math.comb(terms + min(int(exponent), 1000) - 1, terms - 1) if terms < 40 else 10**9
    if node.op is Op.ADD:
        return sum(map(num_terms, node.args))
    return min(10**9, math.prod(map(num_terms, node.args)))


# -- the table


def _root(value: sympy.Expr, degree: sympy.Expr) -> sympy.Expr:
    """A root; the odd root of a negative number is negative, as everywhere in this package."""
    if degree == 0:
        raise Untranslatable("a root of degree zero")
    if value.is_negative and degree.is_odd:
        return -((-value) ** (1 / degree))
    return value ** (1 / degree)


def _logarithm(value: sympy.Expr, base: sympy.Expr | None = None) -> sympy.Expr:
    if value == 0 or base in (0, 1):
        raise Untranslatable("no logarithm")
    return sympy.log(value) if base is None else sympy.log(value) / sympy.log(base)


def _divide(top: sympy.Expr, bottom: sympy.Expr) -> sympy.Expr:
    if bottom == 0:
        raise Untranslatable("a division by zero")
    return top / bottom


def _power(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    if base == 0 and not exponent.is_positive:
        raise Untranslatable("a power of zero")
    if exponent.is_Rational and exponent.q % 2 and exponent.q > 1 and exponent.p % 2 == 0 and base.is_real:
        return abs(base) ** exponent  # an odd root of a square is real here
    return base**exponent


_CONSTANTS: Mapping[str, sympy.Expr] = {
    "pi": sympy.pi,
    "e": sympy.E,
    "logbase": sympy.E,
    "i": sympy.I,
    "oo": sympy.oo,
}
_UNKNOWN = frozenset((Op.CALL, Op.OPAQUE, Op.GCD, Op.LCM, Op.FLOOR, Op.CEILING, Op.MODULO))
_COUNTING = frozenset((Op.FACTORIAL, Op.DOUBLE_FACTORIAL, Op.BINOMIAL, Op.PERMUTATIONS))
_SAME_NAME: Mapping[Op, sympy.FunctionClass] = {
    Op.SIN: sympy.sin,
    Op.COS: sympy.cos,
    Op.TAN: sympy.tan,
    Op.COT: sympy.cot,
    Op.SEC: sympy.sec,
    Op.CSC: sympy.csc,
    Op.ARCSIN: sympy.asin,
    Op.ARCCOS: sympy.acos,
    Op.ARCTAN: sympy.atan,
    Op.ARCCOT: sympy.acot,
    Op.ARCSEC: sympy.asec,
    Op.ARCCSC: sympy.acsc,
    Op.SINH: sympy.sinh,
    Op.COSH: sympy.cosh,
    Op.TANH: sympy.tanh,
    Op.COTH: sympy.coth,
    Op.SECH: sympy.sech,
    Op.CSCH: sympy.csch,
    Op.ARCSINH: sympy.asinh,
    Op.ARCCOSH: sympy.acosh,
    Op.ARCTANH: sympy.atanh,
    Op.ABS: sympy.Abs,
    Op.FACTORIAL: sympy.factorial,
    Op.BINOMIAL: sympy.binomial,
    Op.CONJUGATE: sympy.conjugate,
    Op.REAL_PART: sympy.re,
    Op.IMAGINARY_PART: sympy.im,
    Op.ARGUMENT: sympy.arg,
    Op.EXP: sympy.exp,
    Op.MAX: sympy.Max,
    Op.MIN: sympy.Min,
}
_TABLE: Mapping[Op, Callable[..., sympy.Expr]] = {
    **_SAME_NAME,
    Op.ADD: sympy.Add,
    Op.MUL: sympy.Mul,
    Op.DIV: _divide,
    Op.POW: _power,
    Op.NEG: lambda a: -a,
    Op.ROOT: _root,
    Op.LOG: _logarithm,
    Op.PERCENT: lambda a: a / 100,
    Op.MIXED: lambda a, b: a + b,
    Op.DEGREES: lambda a: a * sympy.pi / 180,
    Op.DETERMINANT: lambda a: a,
    Op.DOUBLE_FACTORIAL: sympy.factorial2,
    Op.PERMUTATIONS: lambda n, k: sympy.factorial(n) / sympy.factorial(n - k),
}
_BACK: Mapping[sympy.FunctionClass, Op] = {kind: op for op, kind in _SAME_NAME.items()}
_BACK_CONSTANTS: Mapping[sympy.Expr, Node] = {
    sympy.pi: Constant("pi"),
    sympy.E: Constant("e"),
    sympy.I: Constant("i"),
    sympy.oo: Constant("oo"),
    -sympy.oo: Apply(Op.NEG, (Constant("oo"),)),
}


def _tree(expression: sympy.Expr, names: Mapping[sympy.Symbol, str]) -> Node:
    if isinstance(expression, sympy.Rational) and expression.q != 0:
        return Number(Fraction(int(expression.p), int(expression.q)))
    if expression in _BACK_CONSTANTS:
        return _BACK_CONSTANTS[expression]
    if expression in names:
        return Symbol(names[expression])
    if isinstance(expression, sympy.log) and len(expression.args) == 1:
        op = Op.LOG
    elif isinstance(expression, (sympy.Add, sympy.Mul)):
        op = Op.ADD if isinstance(expression, sympy.Add) else Op.MUL
    elif isinstance(expression, sympy.Pow):
        op = Op.POW
    elif expression.func in _BACK:
        op = _BACK[expression.func]
    else:
        raise Untranslatable("no tree for this")
    return Apply(op, tuple(_tree(arg, names) for arg in expression.args))
