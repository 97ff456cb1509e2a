"""Gold reading and answer reading → a decision with its reason.

One table of (kind of gold, kind of answer) serves two oracles for "are these two trees equal": the exact one, which
needs no sympy and raises :class:`NeedsAlgebra` where it cannot tell, and :mod:`rewards.comparing.algebra`, which runs in a worker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rewards.comparing import compare_collections as collections
from rewards.comparing import compare_equations as equations
from rewards.comparing import compare_scalars as numbers
from rewards.comparing import compare_sets as sets
from rewards.comparing import compare_words as words
from rewards.comparing.compare_matrices import as_matrices
from rewards.comparing.compare_quantities import same_quantity
from rewards.comparing.oracle import NeedsAlgebra, Oracle, same_exactly
from rewards.comparing.outcome import Outcome, right, undecided, wrong
from rewards.comparing.tools import Tools, other_kind
from rewards.notation.clock import ClockTime, Date, Ordinal
from rewards.notation.units import units_differ
from rewards.reading.parse import alternate_values
from rewards.reading.values import (
    Based,
    Builder,
    Choice,
    Congruence,
    Equation,
    Matrix,
    Member,
    NamedSet,
    Ordered,
    Parametric,
    Ratio,
    Reading,
    Region,
    Relation,
    Scalar,
    Text,
    Unordered,
    Value,
)
from rewards.trees.exact import TooLarge
from rewards.trees.tree import Apply, Node, Number

Rule = Callable[[Tools, Any, Any], Outcome]


def decide_exactly(gold: Reading, answer: Reading) -> Outcome | None:
    """Decide without sympy, or return None where algebra is needed."""
    try:
        return decide(gold, answer, same_exactly)
    except NeedsAlgebra:
        return None


def decide(gold: Reading, answer: Reading, same: Oracle) -> Outcome:
    """Compare two readings with the oracle ``same``. Never raises on any reading, except what ``same`` raises."""
    quantity = same_quantity(gold, answer)
    if quantity is not None:
        return quantity
    outcome = _guarded(gold.value, answer.value, same)
    if not outcome.correct:
        outcome = _otherwise(gold.value, answer, same) or outcome
    if outcome.correct and units_differ(gold.unit, answer.unit):
        return wrong("different unit", f"the unit is {answer.unit}, not {gold.unit}", "unit")
    return outcome


def _otherwise(gold: Value, answer: Reading, same: Oracle) -> Outcome | None:
    """A correct outcome under another reading of the answer's text that is of the gold's kind."""
    for value in alternate_values(answer):
        if isinstance(gold, type(value)):
            outcome = _guarded(gold, value, same)
            if outcome.correct:
                return outcome
    return None


def equal_values(left: Value, right: Value, same: Oracle = same_exactly) -> bool:
    """Whether two values are equal as mathematics, whichever is the gold.

    Unlike :func:`decide` this is symmetric: a decimal is exactly what it says and nothing has to be worked out.

    Raises:
        NeedsAlgebra: the oracle ``same`` cannot decide.
    """

    def exactly(one: Node, other: Node) -> Outcome:
        return same(_without_places(one), _without_places(other))

    def compare(one: Value, other: Value) -> Outcome:
        return _compare(Tools(exactly, exactly, compare), one, other)

    return left == right or compare(left, right).correct or compare(right, left).correct


def _without_places(node: Node) -> Node:
    """Without the digits that a decimal was written with, which let a gold accept what rounds to it."""
    if isinstance(node, Number):
        return Number(node.value)
    return Apply(node.op, tuple(map(_without_places, node.args))) if isinstance(node, Apply) else node


def _guarded(gold: Value, answer: Value, same: Oracle) -> Outcome:
    def scalars(one: Node, other: Node) -> Outcome:
        return numbers.scalars(same, one, other)

    def compare(one: Value, other: Value) -> Outcome:
        return _compare(tools, one, other)

    tools = Tools(same, scalars, compare)
    try:
        outcome = compare(gold, answer)
        return (
            right("written alike", "both are written alike")
            if not outcome.correct and gold == answer
            else outcome
        )
    except TooLarge:
        return undecided("too large", "a number in it is too large to work out, so this is not decided")
    except ZeroDivisionError:
        return wrong("undefined", "it divides by zero")


def _compare(tools: Tools, gold: Value, answer: Value) -> Outcome:
    rule = _TABLE.get((type(gold), type(answer)))
    if rule is None:
        rule = _ANSWER_RULES.get(type(answer)) or _GOLD_RULES.get(type(gold)) or _other
    return rule(tools, gold, answer)


def _other(_: Tools, gold: Value, answer: Value) -> Outcome:
    return other_kind(gold, answer)


def _scalars(tools: Tools, gold: Scalar, answer: Scalar) -> Outcome:
    if isinstance(gold.node, Number) and isinstance(answer.node, Number):
        return tools.scalars(gold.node, answer.node)
    return as_matrices(tools, gold, answer) or tools.scalars(gold.node, answer.node)


def _matrices(tools: Tools, gold: Value, answer: Value) -> Outcome:
    return as_matrices(tools, gold, answer) or other_kind(gold, answer)


def _member_for_item(tools: Tools, gold: Value, answer: Member) -> Outcome:
    return (
        tools.values(gold, answer.value) if isinstance(answer.value, Unordered) else other_kind(gold, answer)
    )


def _item_for_member(tools: Tools, gold: Member, answer: Value) -> Outcome:
    return tools.values(gold.value, answer) if isinstance(gold.value, Unordered) else other_kind(gold, answer)


def _item_for_list(tools: Tools, gold: Unordered, answer: Value) -> Outcome:
    letters = words.letters_of(answer.node) if isinstance(answer, Scalar) else ()
    if letters:
        return collections.in_any_order(tools, gold, Unordered(letters))
    return collections.item_for_list(tools, gold, answer)


def _list_for_item(tools: Tools, gold: Value, answer: Unordered) -> Outcome:
    letters = words.letters_of(gold.node) if isinstance(gold, Scalar) else ()
    if letters and len(answer.items) > 1:
        return collections.in_any_order(tools, Unordered(letters), answer)
    return collections.list_for_item(tools, gold, answer)


def _lists(tools: Tools, gold: Unordered, answer: Unordered) -> Outcome:
    return collections.in_any_order(tools, gold, answer)


_SETS: tuple[type, ...] = (Relation, Region, Member, Builder, NamedSet)
_MOMENTS: tuple[type, ...] = (ClockTime, Date, Ordinal)
_TABLE: dict[tuple[type, type], Rule] = {
    (Scalar, Scalar): _scalars,
    (Scalar, Equation): numbers.assigned,
    (Equation, Scalar): equations.value_for_equation,
    (Equation, Equation): equations.equations,
    (Scalar, Ratio): numbers.ratio_for_number,
    (Ratio, Scalar): numbers.number_for_ratio,
    (Ratio, Ratio): numbers.ratios,
    (Scalar, Congruence): numbers.residue_for_number,
    (Congruence, Congruence): numbers.congruences,
    (Based, Based): numbers.based,
    (Based, Scalar): numbers.based_without_base,
    (Ordered, Ordered): collections.in_order,
    (Ordered, Unordered): collections.list_for_tuple,
    (Unordered, Ordered): collections.tuple_for_list,
    (Unordered, Unordered): _lists,
    **{
        (kind, Unordered): _list_for_item
        for kind in (Scalar, Equation, Ratio, Based, Congruence, Text, *_MOMENTS)
    },
    **{
        (Unordered, kind): _item_for_list
        for kind in (Scalar, Equation, Ratio, Based, Congruence, Text, *_MOMENTS)
    },
    (Matrix, Matrix): _matrices,
    **{(Matrix, kind): _matrices for kind in (Ordered, Unordered, Scalar)},
    **{(kind, Matrix): _matrices for kind in (Ordered, Unordered, Scalar)},
    (Ordered, Scalar): _matrices,
    (Scalar, Ordered): _matrices,
    **{(one, other): sets.sets for one in _SETS for other in (*_SETS, Ordered, Unordered, Equation)},
    **{(other, one): sets.sets for one in _SETS for other in (Ordered, Unordered, Equation)},
    (Scalar, Member): _member_for_item,
    (Member, Scalar): _item_for_member,
    (NamedSet, Text): sets.empty_or_none,
    (Text, NamedSet): sets.empty_or_none,
    (Text, Text): words.texts,
    (Choice, Choice): words.choices,
    (Unordered, Choice): _item_for_list,
    **{(one, other): words.moments for one in _MOMENTS for other in _MOMENTS},
    (ClockTime, Ratio): words.ratio_as_time,
    (Ratio, ClockTime): words.ratio_as_time,
    (Ordinal, Scalar): words.place_and_number,
    (Scalar, Ordinal): words.place_and_number,
}
_GOLD_RULES: dict[type, Rule] = {Choice: words.value_for_choice, Parametric: words.families}
_ANSWER_RULES: dict[type, Rule] = {Choice: words.choice_for_value, Parametric: words.families}
"""For the pairs that the table does not name."""
