"""The small expression tree that every answer is read into, free of sympy.

Numbers keep their exact value (and, for a decimal, how many digits were written), so that most verdicts
need nothing but :class:`fractions.Fraction`. Trees are immutable, hashable and bounded by the parser.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import TypeAlias


class Op(StrEnum):
    """Everything a tree node may do. The parser builds nothing outside this table."""

    ADD = "+"
    MUL = "*"
    DIV = "/"
    POW = "^"
    NEG = "-"
    FACTORIAL = "!"
    PERCENT = "%"
    MIXED = "mixed"
    ROOT = "root"
    ABS = "abs"
    BINOMIAL = "binomial"
    SIN = "sin"
    COS = "cos"
    TAN = "tan"
    COT = "cot"
    SEC = "sec"
    CSC = "csc"
    ARCSIN = "arcsin"
    ARCCOS = "arccos"
    ARCTAN = "arctan"
    SINH = "sinh"
    COSH = "cosh"
    TANH = "tanh"
    LOG = "log"
    EXP = "exp"
    COTH = "coth"
    SECH = "sech"
    CSCH = "csch"
    ARCCOT = "arccot"
    ARCSEC = "arcsec"
    ARCCSC = "arccsc"
    ARCSINH = "arcsinh"
    ARCCOSH = "arccosh"
    ARCTANH = "arctanh"
    FLOOR = "floor"
    CEILING = "ceil"
    GCD = "gcd"
    LCM = "lcm"
    MAX = "max"
    MIN = "min"
    MODULO = "mod"
    DOUBLE_FACTORIAL = "!!"
    PERMUTATIONS = "permutations"
    DEGREES = "degrees"
    REAL_PART = "Re"
    IMAGINARY_PART = "Im"
    CONJUGATE = "conjugate"
    ARGUMENT = "arg"
    RESIDUE = "pmod"
    SUM = "sum"
    PRODUCT = "prod"
    INTEGRAL = "integral"
    LIMIT = "limit"
    CALL = "call"
    OPAQUE = "opaque"
    MATRIX = "matrix"
    ROW = "row"
    DETERMINANT = "det"


OPAQUE_OPS = frozenset((Op.INTEGRAL, Op.LIMIT, Op.CALL, Op.OPAQUE))
"""What is never worked out: equal only to the same thing, up to the value of its parts."""
BINDERS = frozenset((Op.SUM, Op.PRODUCT, Op.INTEGRAL, Op.LIMIT))
"""Operations whose second argument is the variable they bind in the first."""


@dataclass(frozen=True, slots=True)
class Number:
    """A literal. ``places`` counts the digits written after the point; None when there was no point."""

    value: Fraction
    places: int | None = None


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable such as ``x`` or ``x_1``."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """``pi``, ``e``, ``i`` or ``oo`` (infinity)."""

    name: str


@dataclass(frozen=True, slots=True)
class Apply:
    """An operation on one or more trees."""

    op: Op
    args: tuple[Node, ...]


Node: TypeAlias = Number | Symbol | Constant | Apply

ONE = Number(Fraction(1))
TWO = Number(Fraction(2))


def negate(node: Node) -> Node:
    """Return ``-node``, folding the sign into a literal."""
    if isinstance(node, Number):
        return Number(-node.value, node.places)
    return Apply(Op.NEG, (node,))


def symbols(node: Node) -> frozenset[str]:
    """Names of all free variables in ``node``."""
    if isinstance(node, Symbol):
        return frozenset((node.name,))
    if not isinstance(node, Apply):
        return frozenset()
    if node.op is Op.CALL:  # its first argument is the name of the function
        return frozenset().union(*(symbols(arg) for arg in node.args[1:]))
    inside = frozenset().union(*(symbols(arg) for arg in node.args))
    bound = node.args[1] if node.op in BINDERS else None
    return inside - {bound.name} if isinstance(bound, Symbol) else inside


def operations(node: Node) -> frozenset[Op]:
    """All operations that occur in ``node``."""
    if not isinstance(node, Apply):
        return frozenset()
    return frozenset((node.op,)).union(*(operations(arg) for arg in node.args))


def substitute(node: Node, values: Mapping[str, Node]) -> Node:
    """``node`` with the variables in ``values`` replaced; a tree without them is returned as it is."""
    if isinstance(node, Symbol):
        return values.get(node.name, node)
    if not isinstance(node, Apply):
        return node
    args = tuple(substitute(arg, values) for arg in node.args)
    return node if args == node.args else Apply(node.op, args)


_UNKNOWNS = frozenset("xytnmk")


_OF_ANGLES = frozenset((Op.SIN, Op.COS, Op.TAN, Op.COT, Op.SEC, Op.CSC))
"""Of an angle (``A``, ``\\theta``, ``\\angle ABC``, no unknown ``x``) they name a quantity."""


def is_named_quantity(node: Node) -> bool:
    r"""Tell a side that only names what is asked for: ``f(2)``, ``\int_0^2 x\,dx``, ``\lim …``, ``|v|``."""
    if isinstance(node, Symbol):
        return True
    if not isinstance(node, Apply):
        return False
    if node.op is Op.ABS:  # |v| is a length; |x| = 5 has two solutions
        return isinstance(node.args[0], Symbol) and node.args[0].name not in _UNKNOWNS
    if node.op is Op.DETERMINANT:
        return isinstance(node.args[0], Symbol)
    if node.op in _OF_ANGLES:
        names = symbols(node.args[0])
        return bool(names) and all(name[:1].isupper() or len(name) > 1 for name in names)
    return node.op in OPAQUE_OPS


def has_infinity(node: Node) -> bool:
    """Tell whether infinity occurs in ``node``, other than as a bound of a sum or the like."""
    if isinstance(node, Apply):
        return any(has_infinity(arg) for arg in (node.args[:1] if node.op in BINDERS else node.args))
    return isinstance(node, Constant) and node.name == "oo"


def size(node: Node) -> int:
    """Number of nodes in the tree."""
    return 1 + sum(size(arg) for arg in node.args) if isinstance(node, Apply) else 1


def same_shape(left: Node, right: Node) -> bool:
    """Tell whether two trees are one and the same up to the order of sums and products."""
    return left == right or shape(left) == shape(right)


def shape(node: Node) -> str:
    """A key that is equal for trees which differ only in the order of terms and factors."""
    if isinstance(node, Number):
        return f"{node.value.numerator:x}|{node.value.denominator:x}"
    if isinstance(node, Symbol):
        return node.name
    if isinstance(node, Constant):
        return f"\\{node.name}"
    if node.op is Op.NEG and isinstance(node.args[0], Number):
        return shape(negate(node.args[0]))
    keys = [shape(arg) for arg in node.args]
    if node.op in (Op.ADD, Op.MUL):
        keys.sort()
    return f"{node.op}({','.join(keys)})"


_PRECEDENCE = {Op.ADD: 1, Op.NEG: 2, Op.MUL: 3, Op.DIV: 3, Op.POW: 5}
_PRECEDENCE |= {Op.FACTORIAL: 6, Op.DOUBLE_FACTORIAL: 6, Op.PERCENT: 6}
SHOWN_CHARS = 120
"""Longest printed form of a tree or value: a person reads it, nothing parses it."""


def clip(text: str, limit: int = SHOWN_CHARS) -> str:
    """Cut ``text`` to ``limit`` characters with an ellipsis, and blank out control characters."""
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def show(node: Node) -> str:
    """Short printed form for a person. Bounded in length and in work."""
    return clip(_show(node, 0)) if size(node) <= 200 else "(a large expression)"


def show_fraction(value: Fraction) -> str:
    """Print an exact value; a huge one by its size, since printing it all would be slow and unread."""
    bits = max(value.numerator.bit_length(), value.denominator.bit_length())
    return clip(str(value)) if bits <= 600 else f"(a number of {bits} bits)"


def _show(node: Node, outer: int) -> str:
    if isinstance(node, Number):
        return _show_number(node, outer)
    if isinstance(node, (Symbol, Constant)):
        return node.name
    inner = _PRECEDENCE.get(node.op, 9)
    text = _show_operation(node, inner)
    return f"({text})" if inner < outer else text


def _show_number(node: Number, outer: int) -> str:
    value = node.value
    if node.places is not None and value.denominator.bit_length() < 600:
        text = f"{float(value):.{min(node.places, 15)}f}" if abs(value) < 10**15 else show_fraction(value)
    else:
        text = show_fraction(value)
    return f"({text})" if value < 0 and outer > 1 else text


def _show_operation(node: Apply, inner: int) -> str:
    args = node.args
    if node.op is Op.ADD:
        head, *tail = (_show(arg, inner) for arg in args)
        return head + "".join(f" - {t[1:]}" if t.startswith("-") else f" + {t}" for t in tail)
    if node.op is Op.MUL:
        return "*".join(_show(arg, inner) for arg in args)
    if node.op is Op.DIV:
        return f"{_show(args[0], inner)}/{_show(args[1], inner + 1)}"
    if node.op is Op.POW:
        return f"{_show(args[0], inner + 1)}^{_show(args[1], inner)}"
    if node.op is Op.NEG:
        return f"-{_show(args[0], inner + 1)}"
    if node.op in (Op.FACTORIAL, Op.DOUBLE_FACTORIAL, Op.PERCENT):
        return f"{_show(args[0], inner)}{node.op}"
    if node.op is Op.MIXED:
        return f"{_show(args[0], 0)} {_show(args[1], 0)}"
    if node.op is Op.ROOT and args[1] == TWO:
        return f"sqrt({_show(args[0], 0)})"
    if node.op in (Op.CALL, Op.OPAQUE):
        return f"{_show(args[0], 0)}({', '.join(_show(arg, 0) for arg in args[1:])})"
    if node.op is Op.DEGREES:
        return f"{_show(args[0], 9)}°"
    if node.op in (Op.MATRIX, Op.ROW):
        return f"[{', '.join(_show(arg, 0) for arg in args)}]"
    return f"{node.op}({', '.join(_show(arg, 0) for arg in args)})"
