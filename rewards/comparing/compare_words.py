"""Words, multiple-choice letters, times and dates, and families of solutions with a free integer."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from rewards.comparing.outcome import Outcome, right, wrong
from rewards.comparing.tools import Tools, differs, other_kind
from rewards.notation.clock import ClockTime, Date, Ordinal, time_from_parts
from rewards.reading.values import (
    Choice,
    Equation,
    Ordered,
    Parametric,
    Ratio,
    Scalar,
    Text,
    Unordered,
    Value,
)
from rewards.trees.exact import exact
from rewards.trees.magnitude import NotANumber, magnitude
from rewards.trees.tree import Apply, Constant, Node, Number, Op, Symbol, negate, substitute, symbols

_INTEGER = "an integer"
"""Name of the free integer of a family, one that no parsed variable has."""


# -- words and letters


def texts(_: Tools, gold: Text, answer: Text) -> Outcome:
    """Case, articles and punctuation are gone already; blanks do not count."""
    if gold.words.replace(" ", "") == answer.words.replace(" ", ""):
        return right("same words", "the words agree")
    return wrong("different words", "the words differ")


def choices(_: Tools, gold: Choice, answer: Choice) -> Outcome:
    """The letter decides; the text beside it is not judged."""
    if gold.letter == answer.letter:
        return right("same choice", "it is the same letter")
    return wrong("different choice", f"it is the letter {answer.letter}, not {gold.letter}")


def value_for_choice(tools: Tools, gold: Choice, answer: Value) -> Outcome:
    """A letter that was read as a variable, ``x = B``, or the text that the gold gives beside its letter."""
    letter = _letter_of(answer)
    if letter:
        return choices(tools, gold, Choice(letter))
    return tools.values(gold.content, answer) if gold.content is not None else other_kind(gold, answer)


def choice_for_value(tools: Tools, gold: Value, answer: Choice) -> Outcome:
    """``(B) 12`` for 12; a lone letter for a variable, or for one that a gold has in words."""
    if answer.content is not None:
        return tools.values(gold, answer.content)
    if isinstance(gold, Scalar):
        return tools.scalars(gold.node, Symbol(answer.letter))
    return other_kind(gold, answer)


def _letter_of(value: Value) -> str:
    if isinstance(value, Text) and len(value.words) == 1 and value.words in "abcdefghij":
        return value.words.upper()
    if isinstance(value, Equation) and not _letter_of(Scalar(value.sides[0])):
        value = Scalar(value.sides[-1])
    if isinstance(value, Scalar) and isinstance(value.node, (Symbol, Constant)):
        name = value.node.name.upper()
        return name if len(name) == 1 and "A" <= name <= "J" else ""
    return ""


def letters_of(node: Node) -> tuple[Choice, ...]:
    """``ACD`` was read as a product of variables: the letters in it, or nothing."""
    factors = node.args if isinstance(node, Apply) and node.op is Op.MUL else ()
    names = [factor.name for factor in factors if isinstance(factor, Symbol)]
    if len(names) != len(factors) or any(len(name) != 1 or not "A" <= name <= "J" for name in names):
        return ()
    return tuple(Choice(name) for name in names)


# -- moments


def moments(_: Tools, gold: ClockTime | Date | Ordinal, answer: ClockTime | Date | Ordinal) -> Outcome:
    """Times with times, dates with dates, places with places."""
    if type(gold) is not type(answer):
        return other_kind(gold, answer)
    same = gold.agrees(answer)  # type: ignore[arg-type]
    return right("same moment", f"both are {gold}") if same else differs(gold)


def ratio_as_time(tools: Tools, gold: Value, answer: Value) -> Outcome:
    """A bare ``3:45`` is a time where it is compared with one."""
    left, other = (_as_time(value) if isinstance(value, Ratio) else value for value in (gold, answer))
    if isinstance(left, ClockTime) and isinstance(other, ClockTime):
        return moments(tools, left, other)
    return other_kind(gold, answer)


def _as_time(value: Ratio) -> ClockTime | None:
    parts = [part.value for part in value.parts if isinstance(part, Number) and part.places is None]
    if len(parts) != len(value.parts) or any(part.denominator != 1 for part in parts):
        return None
    return time_from_parts([part.numerator for part in parts])


def place_and_number(tools: Tools, gold: Value, answer: Value) -> Outcome:
    """``3rd`` and ``3`` accept each other."""
    numbers = [
        Scalar(Number(Fraction(value.number))) if isinstance(value, Ordinal) else value
        for value in (gold, answer)
    ]
    digits = all(value.in_digits for value in (gold, answer) if isinstance(value, Ordinal))
    return tools.values(numbers[0], numbers[1]) if digits else other_kind(gold, answer)


# -- families


def families(tools: Tools, gold: Value, answer: Value) -> Outcome:
    """``pi/4 + k pi`` for all integers k: the name of the integer is free, and so is where it starts."""
    wanted, given = _bodies(gold, answer), _bodies(answer, gold)
    if wanted is None or given is None or len(wanted) != len(given):
        return differs(gold) if isinstance(gold, Parametric) else other_kind(gold, answer)
    left = list(given)
    for node in wanted:
        partner = next((other for other in left if _same_family(tools, node, other)), None)
        if partner is None:
            return differs(gold)
        left.remove(partner)
    return right("same family of solutions", "both give the same values for all integers")


def _bodies(value: Value, other: Value) -> list[Node] | None:
    """The expressions of ``value`` in the free integer; without its clause the integer is the one extra variable."""
    nodes = _nodes(value.body if isinstance(value, Parametric) else value)
    if nodes is None:
        return None
    if isinstance(value, Parametric):
        name = value.parameter
    else:
        known = (
            frozenset().union(*map(symbols, _nodes(other.body) or ()))
            if isinstance(other, Parametric)
            else frozenset()
        )
        bound = other.parameter if isinstance(other, Parametric) else ""
        extra = frozenset().union(*map(symbols, nodes)) - (known - {bound})
        if len(extra) != 1:
            return None
        name = next(iter(extra))
    return [substitute(node, {name: Symbol(_INTEGER)}) for node in nodes]


def _nodes(value: Value) -> list[Node] | None:
    if isinstance(value, Scalar):
        return [value.node]
    if isinstance(value, Equation) and len(value.sides) == 2 and isinstance(value.sides[0], Symbol):
        return [value.sides[1]]
    if isinstance(value, Unordered):
        found: list[Node] = []
        for item in value.items:
            nodes = _nodes(item)
            if nodes is None:
                return None
            found.extend(nodes)
        return found
    if isinstance(value, Ordered):
        return None
    return None


def _same_family(tools: Tools, wanted: Node, given: Node) -> bool:
    """Equal up to ``k -> k + m`` or ``k -> m - k`` for an integer m."""
    integer = Symbol(_INTEGER)
    if tools.same(wanted, given).correct:
        return True
    try:
        start, step = _at(wanted, 0), _at(wanted, 1) - _at(wanted, 0)
        shift = (_at(given, 0) - start) / step
    except (NotANumber, ArithmeticError):
        return tools.same(wanted, substitute(given, {_INTEGER: negate(integer)})).correct
    offset = Number(Fraction(int(shift.to_integral_value())))
    if abs(shift - shift.to_integral_value()) > Decimal(10) ** -30 or abs(offset.value) > 10**6:
        return False
    return any(
        tools.same(substitute(wanted, {_INTEGER: Apply(Op.ADD, (term, offset))}), given).correct
        for term in (integer, negate(integer))
    )


def _at(node: Node, integer: int) -> Decimal:
    at = substitute(node, {_INTEGER: Number(Fraction(integer))})
    value = exact(at)
    return Decimal(value.numerator) / Decimal(value.denominator) if value is not None else magnitude(at)
