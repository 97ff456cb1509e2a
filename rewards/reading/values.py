"""What an answer can be: a scalar, an equation, a collection, a set of reals, a word, a letter and more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from rewards.notation.clock import ClockTime, Date, Ordinal
from rewards.notation.quantities import Compound
from rewards.trees.tree import Apply as _Apply
from rewards.trees.tree import Constant, Node, Number, Op, clip, show, symbols


class Unreadable(ValueError):
    """The text cannot be read as an answer; the message says why in one line."""


class LimitExceeded(Unreadable):
    """The text is larger or deeper than this verifier is willing to read."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number or an expression."""

    node: Node


@dataclass(frozen=True, slots=True)
class Equation:
    """``a = b``, or a chain ``a = b = c``."""

    sides: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """An inequality or a chain of them: ``1 < x <= 3``. Signs are ``<``, ``>``, ``<=``, ``>=``, ``!=``."""

    sides: tuple[Node, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ordered:
    """A tuple, point or interval: order and both brackets count. ``name`` is that of a point, ``A(1, 2)``."""

    opening: str
    closing: str
    items: tuple[Value, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix or column vector, worked out to its entries."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """``a : b`` or ``a : b : c``, equal up to a common factor."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Unordered:
    """A comma list (kind ``list``), a set in braces (``set``) or one solution by names (``system``), in any order."""

    items: tuple[Value, ...]
    kind: str = "list"


@dataclass(frozen=True, slots=True)
class NamedSet:
    """``R``, ``Q``, ``Z``, ``N``, ``C`` or ``empty``."""

    name: str


@dataclass(frozen=True, slots=True)
class Region:
    """Sets or conditions joined by ``or`` (union), ``and`` (intersection), ``minus`` or a bare ``comma``."""

    joint: str
    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """``x in S``: the set, and the variable whose values it holds."""

    variable: str
    value: Value


@dataclass(frozen=True, slots=True)
class Builder:
    """``{x | condition}``: the name of the variable is bound and does not count."""

    variable: str
    condition: Value


@dataclass(frozen=True, slots=True)
class Parametric:
    """A value with a free integer: ``pi/2 + k pi, k in Z``. The name of the integer does not count."""

    parameter: str
    body: Value


@dataclass(frozen=True, slots=True)
class Congruence:
    """``x = 3 (mod 7)``; ``unknown`` is None for a bare ``3 (mod 7)``."""

    unknown: Node | None
    residues: tuple[Node, ...]
    modulus: Node


@dataclass(frozen=True, slots=True)
class Based:
    """Digits with a base, ``1011_2``."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Choice:
    """A letter of a multiple-choice question, and what stands beside it: ``(B) 12``."""

    letter: str
    content: Value | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A word or phrase, already lower-cased and stripped of articles."""

    words: str


Value: TypeAlias = (
    Scalar
    | Equation
    | Relation
    | Ordered
    | Matrix
    | Ratio
    | Unordered
    | NamedSet
    | Region
    | Member
    | Builder
    | Parametric
    | Congruence
    | Based
    | Choice
    | Text
    | ClockTime
    | Date
    | Ordinal
    | Compound
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One side of a comparison after reading: the text as given, as normalised, its unit and its value.

    ``others`` are other spellings of the same text, which count where the gold is of their kind: ``3,5`` is a list, and
    against a number it is ``3.5``.
    """

    raw: str
    text: str
    unit: str
    value: Value
    others: tuple[str, ...] = ()


def describe(value: Value) -> str:
    """Type and short printed form, for example ``fraction 3/4``."""
    return clip(f"{kind_of(value)} {show_value(value)}")


def kind_of(value: Value) -> str:
    """Name of the type of ``value`` as a person would say it."""
    if isinstance(value, Scalar):
        return _kind_of_node(value.node)
    if isinstance(value, Ordered):
        return "interval" if value.opening + value.closing in ("[)", "(]") else "tuple"
    if isinstance(value, Unordered):
        return value.kind
    return _KINDS.get(type(value)) or type(value).__name__.lower()


_KINDS: dict[type, str] = {
    NamedSet: "set",
    Region: "set of numbers",
    Member: "set of numbers",
    Builder: "set of numbers",
    Relation: "inequality",
    Parametric: "family of solutions",
    Based: "based number",
    ClockTime: "time",
    Ordinal: "place in an order",
    Compound: "quantity",
}


def _kind_of_node(node: Node) -> str:
    if isinstance(node, Number):
        return "integer" if node.places is None and node.value.denominator == 1 else "decimal"
    if isinstance(node, Constant) or not isinstance(node, _Apply):
        return "expression"
    if node.op is Op.NEG:
        return _kind_of_node(node.args[0])
    names = {Op.PERCENT: "percent", Op.MIXED: "mixed number", Op.DIV: "fraction"}
    return "expression" if symbols(node) else names.get(node.op, "expression")


def show_value(value: Value) -> str:
    """Short printed form of any value."""
    return clip(_SHOW[type(value)](value))


def _show_relation(value: Relation) -> str:
    pairs = zip(value.signs, value.sides[1:], strict=True)
    return show(value.sides[0]) + "".join(f" {sign} {show(side)}" for sign, side in pairs)


def _show_ordered(value: Ordered) -> str:
    inside = ", ".join(show_value(item) for item in value.items)
    return f"{value.name}{value.opening}{inside}{value.closing}"


def _show_unordered(value: Unordered) -> str:
    inside = ", ".join(show_value(item) for item in value.items)
    return f"{{{inside}}}" if value.kind == "set" else inside


def _show_matrix(value: Matrix) -> str:
    return "[" + "; ".join(", ".join(show(cell) for cell in row) for row in value.rows) + "]"


def _show_region(value: Region) -> str:
    conditions = any(isinstance(item, (Relation, Equation, Member)) for item in value.items)
    joints = _WORD_JOINTS if conditions else _SIGN_JOINTS
    return joints[value.joint].join(show_value(item) for item in value.items)


def _show_congruence(value: Congruence) -> str:
    residues = ", ".join(show(node) for node in value.residues)
    unknown = "" if value.unknown is None else f"{show(value.unknown)} ≡ "
    return f"{unknown}{residues} (mod {show(value.modulus)})"


_WORD_JOINTS = {"or": " or ", "and": " and ", "minus": " without ", "comma": ", "}
_SIGN_JOINTS = {"or": " ∪ ", "and": " ∩ ", "minus": " ∖ ", "comma": ", "}
_SHOW: dict[type, Callable[[Any], str]] = {
    Scalar: lambda value: show(value.node),
    Equation: lambda value: " = ".join(show(side) for side in value.sides),
    Relation: _show_relation,
    Ordered: _show_ordered,
    Matrix: _show_matrix,
    Ratio: lambda value: ":".join(show(part) for part in value.parts),
    Unordered: _show_unordered,
    NamedSet: lambda value: {"R": "ℝ", "Q": "ℚ", "Z": "ℤ", "N": "ℕ", "C": "ℂ", "empty": "∅"}[value.name],
    Region: _show_region,
    Member: lambda value: f"{value.variable} ∈ {show_value(value.value)}",
    Builder: lambda value: f"{{{value.variable} | {show_value(value.condition)}}}",
    Parametric: lambda value: f"{show_value(value.body)}, {value.parameter} an integer",
    Congruence: _show_congruence,
    Based: lambda value: f"{clip(value.digits, 60)}_{value.base}",
    Choice: lambda value: (
        value.letter if value.content is None else f"({value.letter}) {show_value(value.content)}"
    ),
    Text: lambda value: value.words,
    ClockTime: str,
    Date: str,
    Ordinal: str,
    Compound: str,
}
