"""Gold reading and answer reading → a decision with its reason.

One table of comparisons serves two oracles for "are these two trees equal": the exact one below, which needs no
sympy and raises :class:`NeedsAlgebra` where it cannot tell, and :mod:`rewards.algebra`, which runs in a worker.
"""

from __future__ import annotations

from rewards.exact import TooLarge, exact
from rewards.forms import decimal_literal, is_worked_out, plain_form
from rewards.oracle import NeedsAlgebra, Oracle, same_exactly
from rewards.outcome import Outcome, right, undecided, wrong
from rewards.probe import probe
from rewards.tree import Apply, Node, Number, Op, Symbol, negate, symbols
from rewards.units import units_differ
from rewards.values import (
    Based,
    Choice,
    Equation,
    Ordered,
    Reading,
    Relation,
    Scalar,
    Text,
    Unordered,
    Value,
    kind_of,
)


def decide_exactly(gold: Reading, answer: Reading) -> Outcome | None:
    """Decide without sympy, or return None where algebra is needed."""
    try:
        return decide(gold, answer, same_exactly)
    except NeedsAlgebra:
        return None


def decide(gold: Reading, answer: Reading, same: Oracle) -> Outcome:
    """Compare two readings with the oracle ``same``. Never raises on any reading, except what ``same`` raises."""
    try:
        outcome = _Comparison(same).values(gold.value, answer.value)
    except TooLarge:
        return undecided("too large", "a number in it is too large to work out, so this is not decided")
    except ZeroDivisionError:
        return wrong("undefined", "it divides by zero")
    if outcome.correct and units_differ(gold.unit, answer.unit):
        return wrong("different unit", f"the unit is {answer.unit}, not {gold.unit}", "unit")
    return outcome


class _Comparison:
    """The table of (gold type, answer type), with one oracle."""

    def __init__(self, same: Oracle) -> None:
        self.same = same

    def values(self, gold: Value, answer: Value) -> Outcome:
        if isinstance(answer, Unordered) and len(answer.items) == 1 and not isinstance(gold, Unordered):
            answer = answer.items[0]
        if isinstance(gold, Scalar):
            return self.with_scalar(gold.node, answer)
        if isinstance(gold, Choice):
            return self.with_choice(gold, answer)
        if isinstance(gold, Equation):
            return self.with_equation(gold, answer)
        if isinstance(gold, Relation) and isinstance(answer, Relation):
            return self.relations(gold, answer)
        if isinstance(gold, Ordered) and isinstance(answer, Ordered):
            return self.in_order(gold, answer)
        if isinstance(gold, Unordered):
            return self.in_any_order(gold, answer if isinstance(answer, Unordered) else Unordered((answer,)))
        if isinstance(gold, Based) and isinstance(answer, Based):
            return (
                right("same digits and base", "digits and base agree") if gold == answer else _differs(gold)
            )
        if isinstance(gold, Text):
            return self.with_text(gold, answer)
        return _other_kind(gold, answer)

    # -- scalars

    def with_scalar(self, gold: Node, answer: Value) -> Outcome:
        if isinstance(answer, Scalar):
            return self.scalars(gold, answer.node)
        if isinstance(answer, Equation):
            return self.assigned(gold, answer)
        if isinstance(answer, Choice):
            return self.scalars(gold, Symbol(answer.letter))
        if isinstance(answer, Unordered):
            return wrong("several answers", "it gives several answers where one is asked")
        return _other_kind(Scalar(gold), answer)

    def scalars(self, gold: Node, answer: Node) -> Outcome:
        bare = self.percent_written_bare(gold, answer)
        if bare is not None:
            return bare
        outcome = self.same(gold, answer)
        if outcome.correct and not is_worked_out(gold, answer) and not _is_irrational_form(gold, answer):
            return wrong(
                "not worked out", "the value is right but it is left as a calculation", "format only"
            )
        return outcome

    def percent_written_bare(self, gold: Node, answer: Node) -> Outcome | None:
        """Bare 28 and 28% accept each other; a bare gold below 1 is a ratio and does not."""
        gold_percent, answer_percent = _percent_inside(gold), _percent_inside(answer)
        if (gold_percent is None) == (answer_percent is None):
            return None
        if answer_percent is not None and plain_form(gold) in ("integer", "decimal"):
            wanted, given = exact(gold), exact(answer_percent)
            if wanted is not None and wanted == given and abs(wanted) >= 1:
                return right(
                    "same percent", "both are the same percentage, the gold written without the sign"
                )
        if gold_percent is not None and plain_form(answer) in ("integer", "decimal"):
            wanted, given = exact(gold_percent), exact(answer)
            if wanted is not None and wanted == given:
                return right(
                    "same percent", "both are the same percentage, the answer written without the sign"
                )
        return None

    def assigned(self, gold: Node, answer: Equation) -> Outcome:
        """``x = v`` counts as ``v`` when one side is a single variable; ``48 + 24 = 72`` when all sides agree."""
        sides = answer.sides
        value = sides[-1]
        if len(sides) == 2 and isinstance(value, Symbol) and not isinstance(sides[0], Symbol):
            sides, value = (value, sides[0]), sides[0]
        unknown = sides[0]
        if isinstance(unknown, Symbol):
            if unknown.name in symbols(gold) | symbols(value):
                return wrong("an equation", "it is an equation, not a solved value")
            worked = sides[1:]
        elif any(symbols(side) for side in sides):
            return wrong("an equation", "it is an equation, not a solved value")
        else:
            worked = sides
        if any(not self.same(value, step).correct for step in worked[:-1]):
            return wrong("a false equation", "its sides do not agree with each other")
        return self.scalars(gold, value)

    # -- equations and relations

    def with_equation(self, gold: Equation, answer: Value) -> Outcome:
        solved = _solved(gold)
        if isinstance(answer, Scalar):
            if solved is None:
                return _other_kind(gold, answer)
            return self.scalars(solved[1], answer.node)
        if not isinstance(answer, Equation):
            return _other_kind(gold, answer)
        if solved is not None and (plain_form(solved[1]) or not symbols(solved[1])):
            theirs = _solved(answer)
            if theirs is None:
                return wrong("not solved", "the equation is not solved")
            if theirs[0] != solved[0]:
                return wrong("different variable", f"it gives {theirs[0]}, not {solved[0]}")
            return self.assigned(solved[1], answer)
        if len(gold.sides) != 2 or len(answer.sides) != 2:
            return _differs(gold)
        return self.proportional(_difference(gold), _difference(answer))

    def proportional(self, gold: Node, answer: Node) -> Outcome:
        """Equal up to a non-zero constant: the quotient at the test points proposes the constant to prove."""
        seen = probe(gold, answer)
        if not seen.points:
            for candidate in (answer, negate(answer)):
                if self.same(gold, candidate).correct:
                    return right("same equation", "it is the same equation")
            return _differs(gold)
        if seen.ratio is None or seen.ratio == 0:
            return _differs(gold)
        scaled = gold if seen.ratio == 1 else Apply(Op.MUL, (Number(seen.ratio), gold))
        if self.same(scaled, answer).correct:
            return right("same equation", "it is the same equation up to a constant factor")
        return _differs(gold)

    def relations(self, gold: Relation, answer: Relation) -> Outcome:
        for sides, signs in (
            (answer.sides, answer.signs),
            (answer.sides[::-1], tuple(_FLIPPED[s] for s in answer.signs[::-1])),
        ):
            pairs = list(zip(gold.sides, sides, strict=False))
            if signs == gold.signs and all(self.same(left, other).correct for left, other in pairs):
                return right("same inequality", "it is the same inequality")
        return _differs(gold)

    # -- collections

    def in_order(self, gold: Ordered, answer: Ordered) -> Outcome:
        if (gold.opening, gold.closing) != (answer.opening, answer.closing):
            return wrong("different brackets", "the brackets differ", "format only")
        if len(gold.items) != len(answer.items):
            return wrong("different length", f"it has {len(answer.items)} parts, not {len(gold.items)}")
        for index, (left, other) in enumerate(zip(gold.items, answer.items, strict=True)):
            outcome = self.values(left, other)
            if not outcome.correct:
                slip = "order" if self.matches_somehow(gold.items, answer.items) else outcome.near_miss
                return wrong("different part", f"part {index + 1} differs", slip)
        return right("same parts in order", "every part agrees, in order")

    def in_any_order(self, gold: Unordered, answer: Unordered) -> Outcome:
        missing = self.unmatched(gold.items, answer.items)
        if not missing and len(gold.items) == len(answer.items):
            return right("same items", "every item agrees, in any order")
        if len(answer.items) < len(gold.items) and not self.unmatched(answer.items, gold.items, swap=True):
            return wrong("items missing", f"{len(missing)} of {len(gold.items)} items are missing", "subset")
        if not missing:
            extra = len(answer.items) - len(gold.items)
            return wrong("items too many", f"{extra} items do not belong", "superset")
        return wrong("different items", f"{len(missing)} of {len(gold.items)} items are not there")

    def unmatched(
        self, wanted: tuple[Value, ...], given: tuple[Value, ...], swap: bool = False
    ) -> list[Value]:
        """Items of ``wanted`` that find no partner of their own in ``given``."""
        left = list(given)
        missing: list[Value] = []
        for item in wanted:
            for index, other in enumerate(left):
                pair = (other, item) if swap else (item, other)
                if self.values(*pair).correct:
                    del left[index]
                    break
            else:
                missing.append(item)
        return missing

    def matches_somehow(self, wanted: tuple[Value, ...], given: tuple[Value, ...]) -> bool:
        return len(wanted) <= 8 and not self.unmatched(wanted, given)

    # -- words

    def with_choice(self, gold: Choice, answer: Value) -> Outcome:
        if isinstance(answer, Scalar) and isinstance(answer.node, Symbol):
            answer = Choice(answer.node.name.upper())
        if isinstance(answer, Equation) and isinstance(answer.sides[-1], Symbol):
            answer = Choice(answer.sides[-1].name.upper())
        if not isinstance(answer, Choice):
            return _other_kind(gold, answer)
        return right("same choice", "it is the same letter") if gold == answer else _differs(gold)

    def with_text(self, gold: Text, answer: Value) -> Outcome:
        if not isinstance(answer, Text):
            return _other_kind(gold, answer)
        return right("same words", "the words agree") if gold == answer else _differs(gold)


_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}


def _differs(gold: object) -> Outcome:
    kind = kind_of(gold) if isinstance(gold, Value) else "equation"
    return wrong(f"different {kind}", f"it is a different {kind}")


def _other_kind(gold: Value, answer: Value) -> Outcome:
    return wrong(
        "different kind", f"the gold is of the kind {kind_of(gold)} and this is of the kind {kind_of(answer)}"
    )


def _solved(equation: Equation) -> tuple[str, Node] | None:
    """Variable and value of ``x = v`` or ``v = x``."""
    first, last = equation.sides[0], equation.sides[-1]
    if isinstance(first, Symbol) and first.name not in symbols(last):
        return first.name, last
    if isinstance(last, Symbol) and len(equation.sides) == 2 and last.name not in symbols(first):
        return last.name, first
    return None


def _difference(equation: Equation) -> Node:
    return Apply(Op.ADD, (equation.sides[0], negate(equation.sides[1])))


def _percent_inside(node: Node) -> Node | None:
    if isinstance(node, Apply) and node.op is Op.PERCENT:
        return node.args[0]
    if isinstance(node, Apply) and node.op is Op.NEG:
        inside = _percent_inside(node.args[0])
        return negate(inside) if inside is not None else None
    return None


def _is_irrational_form(gold: Node, answer: Node) -> bool:
    """Tell whether a decimal gold meets an answer such as 2*pi, which cannot be worked out further."""
    return decimal_literal(gold) is not None and exact(answer) is None
