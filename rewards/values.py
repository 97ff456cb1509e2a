"""What an answer can be: a scalar, an equation, an ordered or unordered collection, a word, a letter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from rewards.tree import Apply as _Apply
from rewards.tree import Constant, Node, Number, Op, clip, show, symbols


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
    """A tuple, point or interval: order and both brackets count."""

    opening: str
    closing: str
    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Unordered:
    """A comma list, a set, or a union of intervals: order does not count."""

    items: tuple[Value, ...]
    kind: str = "list"


@dataclass(frozen=True, slots=True)
class Based:
    """Digits with a base, ``1011_2``."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Choice:
    """A letter of a multiple-choice question."""

    letter: str


@dataclass(frozen=True, slots=True)
class Text:
    """A word or phrase, already lower-cased and stripped of articles."""

    words: str


Value: TypeAlias = Scalar | Equation | Relation | Ordered | Unordered | Based | Choice | Text


@dataclass(frozen=True, slots=True)
class Reading:
    """One side of a comparison after reading: the text as given, as normalised, its unit and its value."""

    raw: str
    text: str
    unit: str
    value: Value


def describe(value: Value) -> str:
    """Type and short printed form, for example ``fraction 3/4``."""
    return clip(f"{kind_of(value)} {show_value(value)}")


def kind_of(value: Value) -> str:
    """Name of the type of ``value`` as a person would say it."""
    if isinstance(value, Scalar):
        return _kind_of_node(value.node)
    if isinstance(value, Ordered):
        if value.closing == "ratio":
            return "ratio"
        return "interval" if value.opening + value.closing in ("[)", "(]") else "tuple"
    if isinstance(value, Unordered):
        return value.kind
    if isinstance(value, Based):
        return "based number"
    return type(value).__name__.lower()


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
    if isinstance(value, Scalar):
        return show(value.node)
    if isinstance(value, Equation):
        return clip(" = ".join(show(side) for side in value.sides))
    if isinstance(value, Relation):
        pairs = zip(value.signs, value.sides[1:], strict=True)
        return clip(show(value.sides[0]) + "".join(f" {sign} {show(side)}" for sign, side in pairs))
    if isinstance(value, Ordered):
        if value.closing == "ratio":
            return clip(":".join(show_value(item) for item in value.items))
        return clip(value.opening + ", ".join(show_value(item) for item in value.items) + value.closing)
    if isinstance(value, Unordered):
        joint = " ∪ " if value.kind == "union" else ", "
        inside = joint.join(show_value(item) for item in value.items)
        return clip(f"{{{inside}}}" if value.kind == "set" else inside)
    if isinstance(value, Based):
        return f"{clip(value.digits, 60)}_{value.base}"
    return value.letter if isinstance(value, Choice) else clip(value.words)
