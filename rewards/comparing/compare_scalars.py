"""Numbers and expressions: value, percent sign, how far worked out; ratios, congruences and numbers with a base."""

from __future__ import annotations

from rewards.comparing.forms import decimal_literal, is_worked_out, plain_form
from rewards.comparing.oracle import Oracle
from rewards.comparing.outcome import Outcome, right, wrong
from rewards.comparing.tools import Tools, differs, other_kind
from rewards.reading.values import Based, Congruence, Equation, Ratio, Scalar
from rewards.trees.exact import exact
from rewards.trees.tree import Apply, Node, Number, Op, Symbol, is_named_quantity, negate, symbols


def scalars(same: Oracle, gold: Node, answer: Node) -> Outcome:
    """Equal in value, and written as far worked out as the gold asks."""
    bare = _percent_written_bare(gold, answer)
    if bare is not None:
        return bare
    outcome = same(gold, answer)
    if outcome.correct and not is_worked_out(gold, answer) and not _is_irrational_form(same, gold, answer):
        return wrong("not worked out", "the value is right but it is left as a calculation", "unsimplified")
    return outcome


def _percent_written_bare(gold: Node, answer: Node) -> Outcome | None:
    """Bare 28 and 28% accept each other; a bare gold below 1 is a ratio and does not."""
    gold_percent, answer_percent = _percent_inside(gold), _percent_inside(answer)
    if (gold_percent is None) == (answer_percent is None):
        return None
    if answer_percent is not None and plain_form(gold) in ("integer", "decimal"):
        wanted, given = exact(gold), exact(answer_percent)
        if wanted is not None and wanted == given and abs(wanted) >= 1:
            return right("same percent", "both are the same percentage, the gold written without the sign")
    if gold_percent is not None and plain_form(answer) in ("integer", "decimal"):
        wanted, given = exact(gold_percent), exact(answer)
        if wanted is not None and wanted == given:
            return right("same percent", "both are the same percentage, the answer written without the sign")
    return None


def _percent_inside(node: Node) -> Node | None:
    if isinstance(node, Apply) and node.op is Op.PERCENT:
        return node.args[0]
    if isinstance(node, Apply) and node.op is Op.NEG:
        inside = _percent_inside(node.args[0])
        return negate(inside) if inside is not None else None
    return None


def _is_irrational_form(same: Oracle, gold: Node, answer: Node) -> bool:
    """Tell whether a decimal gold meets an answer such as 2*pi, which rounds to it and cannot be worked out further."""
    literal = decimal_literal(gold)
    if literal is None or exact(answer) is not None:
        return False
    return not same(Number(literal[0]), answer).correct


def assigned(tools: Tools, gold: Scalar, answer: Equation) -> Outcome:
    """``x = v`` counts as ``v`` when one side is a single variable; ``48 + 24 = 72`` when all sides agree."""
    sides = answer.sides
    value = sides[-1]
    if len(sides) == 2 and isinstance(value, Symbol) and not isinstance(sides[0], Symbol):
        sides, value = (value, sides[0]), sides[0]
    unknown = sides[0]
    if isinstance(unknown, Symbol):
        if unknown.name in symbols(gold.node) | symbols(value):
            return wrong("an equation", "it is an equation, not a solved value")
        worked = sides[1:]
    elif is_named_quantity(unknown) and not is_named_quantity(value):
        worked = sides[1:]
    elif any(symbols(side) for side in sides) and not symbols(gold.node):
        return wrong("an equation", "it is an equation, not a solved value")
    else:
        worked = sides  # steps of a calculation, or of a rewriting that holds for every value
    one_fraction = plain_form(value) == "fraction"  # 3 \div 7 = 3/7 is two ways to write it
    if len(worked) > 1 and not one_fraction and all(step == value for step in worked):
        return wrong("an empty equation", "its sides are one and the same", "unsimplified")
    if any(not tools.same(value, step).correct for step in worked[:-1]):
        return wrong("a false equation", "its sides do not agree with each other")
    return tools.scalars(gold.node, value)


# -- ratios


def ratios(tools: Tools, gold: Ratio, answer: Ratio) -> Outcome:
    """Equal up to a common factor."""
    if len(gold.parts) != len(answer.parts):
        return wrong("different length", f"it has {len(answer.parts)} parts, not {len(gold.parts)}")
    if _proportional(tools, gold.parts, answer.parts):
        return right("same ratio", "the ratios are equal up to a common factor")
    if _proportional(tools, gold.parts, answer.parts[::-1]):
        return differs(gold, "reciprocal" if len(gold.parts) == 2 else "order")
    return differs(gold)


def _proportional(tools: Tools, left: tuple[Node, ...], other: tuple[Node, ...]) -> bool:
    """Every part against one that is not zero on either side."""
    pivot = next((index for index, node in enumerate(left) if exact(node) != 0), None)
    if pivot is None or exact(other[pivot]) == 0:
        return False
    return all(
        tools.same(Apply(Op.MUL, (one, other[pivot])), Apply(Op.MUL, (left[pivot], one_other))).correct
        for one, one_other in zip(left, other, strict=True)
    )


def ratio_for_number(tools: Tools, gold: Scalar, answer: Ratio) -> Outcome:
    """``3:4`` for 3/4."""
    if len(answer.parts) != 2:
        return other_kind(gold, answer)
    return _as_quotient(tools, Apply(Op.DIV, answer.parts), gold.node)


def number_for_ratio(tools: Tools, gold: Ratio, answer: Scalar) -> Outcome:
    """``3/4`` or ``0.75`` for 3:4."""
    if len(gold.parts) != 2:
        return other_kind(gold, answer)
    return _as_quotient(tools, Apply(Op.DIV, gold.parts), answer.node)


def _as_quotient(tools: Tools, quotient: Apply, number: Node) -> Outcome:
    outcome = tools.same(number if decimal_literal(number) is None else _exactly(number), quotient)
    return right("same ratio", "the ratio is equal to the quotient") if outcome.correct else outcome


def _exactly(number: Node) -> Node:
    """A decimal without its licence to round."""
    value = exact(number)
    return number if value is None else Number(value)


# -- congruences and bases


def congruences(tools: Tools, gold: Congruence, answer: Congruence) -> Outcome:
    """Same modulus, same unknown where both name one, same residues up to the modulus."""
    if not tools.same(gold.modulus, answer.modulus).correct:
        return wrong("different modulus", "the modulus differs")
    if None not in (gold.unknown, answer.unknown) and gold.unknown != answer.unknown:
        return wrong("different variable", "it is about another variable")
    left = list(answer.residues)
    for residue in gold.residues:
        partner = next((other for other in left if _congruent(residue, other, gold.modulus)), None)
        if partner is None:
            return differs(gold)
        left.remove(partner)
    return differs(gold, "superset") if left else right("same residues", "the residues agree")


def _congruent(one: Node, other: Node, modulus: Node) -> bool:
    left, given, step = exact(one), exact(other), exact(modulus)
    if left is None or given is None or not step:
        return one == other
    return ((left - given) / step).denominator == 1


def residue_for_number(tools: Tools, gold: Scalar, answer: Congruence) -> Outcome:
    """``2 (mod 7)`` for 2, where a remainder is asked."""
    residue, modulus = exact(answer.residues[0]), exact(answer.modulus)
    if len(answer.residues) != 1 or residue is None or modulus is None or not 0 <= residue < modulus:
        return other_kind(gold, answer)
    return tools.scalars(gold.node, answer.residues[0])


def based(_: Tools, gold: Based, answer: Based) -> Outcome:
    """Digits and base both."""
    if gold == answer:
        return right("same digits and base", "digits and base agree")
    return differs(gold)


def based_without_base(_: Tools, gold: Based, answer: Scalar) -> Outcome:
    """The digits alone, or the value in base ten, are another number."""
    written = exact(answer.node)
    if written is not None and str(written) == gold.digits:
        return wrong("base missing", f"the base {gold.base} is not written", "format only")
    return wrong("different kind", f"the gold is a number in base {gold.base}")
