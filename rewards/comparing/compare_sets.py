"""Sets of numbers against each other: intervals, solved inequalities, unions, set-builders, ℝ, ∅."""

from __future__ import annotations

from rewards.comparing.compare_equations import inequalities
from rewards.comparing.outcome import Outcome, right, wrong
from rewards.comparing.real_sets import real_set
from rewards.comparing.sets import NotASet, Piece, RealSet, meet
from rewards.comparing.tools import Tools, differs, other_kind
from rewards.reading.values import (
    Builder,
    Equation,
    Member,
    NamedSet,
    Region,
    Relation,
    Text,
    Unordered,
    Value,
)
from rewards.trees.tree import Node, symbols


def sets(tools: Tools, gold: Value, answer: Value) -> Outcome:
    """Compare two values of which at least one is written as a set or a condition."""
    if gold == answer:
        return right("same set", "both are written alike")
    if isinstance(gold, Relation) and isinstance(answer, Relation) and _several_variables(gold, answer):
        return inequalities(tools, gold, answer)
    wanted, given = _set_or_none(gold), _set_or_none(answer)
    if wanted is not None and given is not None:
        return _real_sets(tools, wanted, given)
    if wanted is None and given is None:
        return _as_written(tools, gold, answer)
    unsolved = answer if given is None else gold
    if isinstance(unsolved, (Relation, Region, Builder)):
        which = "it" if given is None else "the gold"
        return wrong("not solved", f"{which} is no solved condition on one variable", "unsimplified")
    return other_kind(gold, answer)


def empty_or_none(_: Tools, gold: Value, answer: Value) -> Outcome:
    """*None* is a word for the empty set."""
    words = answer if isinstance(answer, Text) else gold
    named = gold if isinstance(answer, Text) else answer
    if isinstance(words, Text) and words.words == "none" and named == NamedSet("empty"):
        return right("same set", "there is none")
    return other_kind(gold, answer)


def _several_variables(*relations: Relation) -> bool:
    return len(frozenset().union(*(symbols(side) for one in relations for side in one.sides))) > 1 and any(
        len(frozenset().union(*(symbols(side) for side in one.sides))) > 1 for one in relations
    )


def _set_or_none(value: Value) -> RealSet | None:
    try:
        return real_set(value)
    except NotASet:
        return None


def _real_sets(tools: Tools, wanted: RealSet, given: RealSet) -> Outcome:
    if wanted.variable and given.variable and wanted.variable != given.variable:
        return wrong("different variable", f"it is about {given.variable}, not {wanted.variable}")
    if len(wanted.pieces) == len(given.pieces) and _all_match(tools, wanted.pieces, given.pieces):
        return right("same set of numbers", "both hold exactly the same numbers")
    if [_ends(piece) for piece in wanted.pieces] == [_ends(piece) for piece in given.pieces]:
        return wrong("different endpoints", "an endpoint belongs to only one of them", "brackets")
    return wrong("different set of numbers", "it holds other numbers", _slip(tools, wanted, given))


def _all_match(tools: Tools, wanted: tuple[Piece, ...], given: tuple[Piece, ...]) -> bool:
    """In order; with variables in the endpoints there is no order, so then in any."""
    left = list(given)
    for piece in wanted:
        partner = next((other for other in left if _same_piece(tools, piece, other)), None)
        if partner is None:
            return False
        left.remove(partner)
    return True


def _same_piece(tools: Tools, wanted: Piece, given: Piece) -> bool:
    if (wanted.low_closed, wanted.high_closed) != (given.low_closed, given.high_closed):
        return False
    return _same_end(tools, wanted.low, given.low) and _same_end(tools, wanted.high, given.high)


def _same_end(tools: Tools, wanted: Node | None, given: Node | None) -> bool:
    if wanted is None or given is None:
        return wanted is given
    return tools.scalars(wanted, given).correct


def _ends(piece: Piece) -> tuple[Node | None, Node | None]:
    return piece.low, piece.high


def _slip(tools: Tools, wanted: RealSet, given: RealSet) -> str:
    """Subset, superset, or what is wrong with the one endpoint that differs."""
    try:
        shared = meet(wanted.pieces, given.pieces)
    except NotASet:
        return ""
    if shared == given.pieces:
        return "subset"
    if shared == wanted.pieces:
        return "superset"
    if len(wanted.pieces) != len(given.pieces):
        return ""
    for piece, other in zip(wanted.pieces, given.pieces, strict=True):
        for end, other_end in zip(_ends(piece), _ends(other), strict=True):
            if end is not None and other_end is not None:
                outcome = tools.same(end, other_end)
                if not outcome.correct:
                    return outcome.near_miss
    return ""


def _as_written(tools: Tools, gold: Value, answer: Value) -> Outcome:
    """Neither is a set of reals in solved form: compare what is written."""
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        return inequalities(tools, gold, answer)
    if isinstance(gold, Member) and isinstance(answer, Member):
        if gold.variable != answer.variable:
            return wrong("different variable", f"it is about {answer.variable}, not {gold.variable}")
        return tools.values(gold.value, answer.value)
    if isinstance(gold, Member) or isinstance(answer, Member):
        inner = gold.value if isinstance(gold, Member) else gold
        return tools.values(inner, answer.value if isinstance(answer, Member) else answer)
    if isinstance(gold, Builder) and isinstance(answer, Builder) and gold.variable == answer.variable:
        return tools.values(gold.condition, answer.condition)
    left, other = _conditions(gold), _conditions(answer)
    alone = left == (gold,) and other == (answer,)  # of two kinds, or they would have been compared above
    if left and other and not alone and _joint(gold) == _joint(answer):
        return tools.values(Unordered(left), Unordered(other))
    if isinstance(gold, NamedSet) and isinstance(answer, NamedSet):
        return differs(gold)
    return other_kind(gold, answer)


def _conditions(value: Value) -> tuple[Value, ...]:
    if isinstance(value, (Region, Unordered)):
        return value.items
    return (value,) if isinstance(value, (Relation, Equation)) else ()


def _joint(value: Value) -> str:
    """How conditions that are no set of reals hang together; a comma means "and"."""
    return "or" if isinstance(value, Region) and value.joint == "or" else "and"
