"""Lists, sets, tuples and named solutions: what is ordered, what is not, and what a name maps to."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rewards.comparing.outcome import Outcome, right, wrong
from rewards.comparing.tools import Tools, differs, other_kind
from rewards.reading.values import Equation, Ordered, Scalar, Unordered, Value
from rewards.trees.exact import exact
from rewards.trees.tree import Node, Symbol, shape

_INDEXED = re.compile(r"([A-Za-z]+)_(\d{1,3})")
_LETTERS_OF_ROOTS = 8


def in_order(tools: Tools, gold: Ordered, answer: Ordered) -> Outcome:
    """Tuples, points and intervals: order and brackets count."""
    if gold.name and answer.name and gold.name != answer.name:
        return wrong("different name", f"it is the point {answer.name}, not {gold.name}")
    if len(gold.items) != len(answer.items):
        return wrong("different length", f"it has {len(answer.items)} parts, not {len(gold.items)}")
    brackets = (gold.opening, gold.closing) == (answer.opening, answer.closing)
    outcome = items_in_order(tools, gold.items, answer.items)
    if outcome.correct and not brackets:
        return wrong("different brackets", "the brackets differ", "brackets")
    return outcome


def items_in_order(tools: Tools, wanted: Sequence[Value], given: Sequence[Value]) -> Outcome:
    """Each part against the part in its place."""
    if len(wanted) != len(given):
        return wrong("different length", f"it has {len(given)} parts, not {len(wanted)}")
    for index, (left, other) in enumerate(zip(wanted, given, strict=True)):
        outcome = tools.values(left, other)
        if not outcome.correct:
            slip = "order" if len(wanted) <= 8 and not _unmatched(tools, wanted, given) else outcome.near_miss
            return wrong("different part", f"part {index + 1} differs", slip)
    return right("same parts in order", "every part agrees, in order")


def in_any_order(tools: Tools, gold: Unordered, answer: Unordered) -> Outcome:
    """Lists and sets; solutions with names are mapped by name."""
    names, their_names = assignment(gold), assignment(answer)
    if names and their_names:
        return _by_name(tools, names, their_names)
    if names and not _labels(names) and all(isinstance(item, Scalar) for item in answer.items):
        if answer.kind == "set":
            return wrong("names missing", "a set does not say which value belongs to which name")
        return _named_in_order(tools, names, answer.items, bare_is_gold=False)
    if their_names and not _labels(their_names) and all(isinstance(item, Scalar) for item in gold.items):
        if gold.kind == "set":
            return other_kind(gold, answer)
        return _named_in_order(tools, their_names, gold.items, bare_is_gold=True)
    both_sets = gold.kind == answer.kind == "set"
    wanted, given = (
        (_distinct(gold.items), _distinct(answer.items)) if both_sets else (gold.items, answer.items)
    )
    missing = _unmatched(tools, wanted, given)
    if not missing and len(wanted) == len(given):
        return right("same items", "every item agrees, in any order")
    if len(given) < len(wanted) and not _unmatched(tools, given, wanted, swap=True):
        return wrong("items missing", f"{len(missing)} of {len(wanted)} items are missing", "subset")
    if not missing:
        return wrong("items too many", f"{len(given) - len(wanted)} items do not belong", "superset")
    return wrong(
        "different items",
        f"{len(missing)} of {len(wanted)} items are not there",
        _one_slip(tools, missing, wanted, given),
    )


def _one_slip(tools: Tools, missing: Sequence[Value], wanted: Sequence[Value], given: Sequence[Value]) -> str:
    """The near miss of the only item that differs."""
    if len(missing) != 1 or len(wanted) != len(given):
        return ""
    strangers = _unmatched(tools, given, wanted, swap=True)
    return tools.values(missing[0], strangers[0]).near_miss if len(strangers) == 1 else ""


def _unmatched(
    tools: Tools, wanted: Sequence[Value], given: Sequence[Value], swap: bool = False
) -> list[Value]:
    """Items of ``wanted`` that find no partner of their own in ``given``; those written alike are paired first."""
    left = list(given)
    rest: list[Value] = []
    for item in wanted:
        if item in left:
            left.remove(item)
        else:
            rest.append(item)
    missing: list[Value] = []
    for item in rest:
        for index, other in enumerate(left):
            pair = (other, item) if swap else (item, other)
            if tools.values(*pair).correct:
                del left[index]
                break
        else:
            missing.append(item)
    return missing


def _distinct(values: Sequence[Value]) -> tuple[Value, ...]:
    """Without the duplicates that a set ignores."""
    kept: dict[object, Value] = {}
    for value in values:
        kept.setdefault(_key(value), value)
    return tuple(kept.values())


def _key(value: Value) -> object:
    if not isinstance(value, Scalar):
        return value
    number = exact(value.node)
    return shape(value.node) if number is None else number


# -- names


def assignment(value: Value) -> dict[str, Node] | None:
    """``x = 1, y = 2`` as a mapping; None for anything else, and for several values of one name."""
    if not isinstance(value, Unordered) or len(value.items) < 2:
        return None
    names: dict[str, Node] = {}
    for item in value.items:
        if not isinstance(item, Equation) or len(item.sides) != 2:
            return None
        left, other = item.sides
        if isinstance(other, Symbol) and not isinstance(left, Symbol):
            left, other = other, left
        if not isinstance(left, Symbol) or left.name in names:
            return None
        names[left.name] = other
    return names


def _labels(names: dict[str, Node]) -> bool:
    """Tell whether the names only number the roots of one unknown: ``x_1, x_2``."""
    found = [_INDEXED.fullmatch(name) for name in names]
    return all(found) and len({one[1] for one in found if one}) == 1


def _by_name(tools: Tools, wanted: dict[str, Node], given: dict[str, Node]) -> Outcome:
    if _labels(wanted) and _labels(given):
        order = sorted(wanted, key=_index), sorted(given, key=_index)
        return items_in_order(
            tools, [Scalar(wanted[name]) for name in order[0]], [Scalar(given[name]) for name in order[1]]
        )
    missing, extra = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if missing or extra:
        if not missing or not extra:
            slip = "subset" if missing else "superset"
            return wrong("different names", f"it names other unknowns ({', '.join(missing + extra)})", slip)
        return wrong("different variable", f"it gives {', '.join(extra)}, not {', '.join(missing)}")
    for name, node in wanted.items():
        outcome = tools.scalars(node, given[name])
        if not outcome.correct:
            swapped = len(wanted) <= _LETTERS_OF_ROOTS and not _unmatched(
                tools, [Scalar(one) for one in wanted.values()], [Scalar(one) for one in given.values()]
            )
            return wrong("different value", f"{name} differs", "order" if swapped else outcome.near_miss)
    return right("same values by name", "every name has the same value")


def _index(name: str) -> int:
    found = _INDEXED.fullmatch(name)
    return int(found[2]) if found else 0


def _named_in_order(
    tools: Tools, names: dict[str, Node], bare: Sequence[Value], *, bare_is_gold: bool
) -> Outcome:
    """Named values against values without names: in the order of the names."""
    named = [Scalar(names[name]) for name in sorted(names, key=_place)]
    return items_in_order(tools, bare, named) if bare_is_gold else items_in_order(tools, named, bare)


def _place(name: str) -> tuple[int, str]:
    """Order of unknowns in a tuple: polar coordinates as they are usual, else the alphabet."""
    usual = {"r": "0", "rho": "0", "theta": "1", "phi": "2"}
    return (_index(name), usual.get(name, name))


def tuple_for_list(tools: Tools, gold: Unordered, answer: Ordered) -> Outcome:
    """``(1, 2)`` for ``x = 1, y = 2``, and for the list ``1, 2`` in the same order."""
    if gold.kind == "set" or answer.opening + answer.closing not in ("()", "[]"):
        return _one_of_several(tools, gold, answer)
    names = assignment(gold)
    if names:
        written = list(names)
        if written != sorted(names, key=_place) and not _labels(names):
            return wrong("names missing", "it does not say which value belongs to which name")
        return _named_in_order(tools, names, answer.items, bare_is_gold=False)
    if any(isinstance(item, Ordered) for item in gold.items):
        return _one_of_several(tools, gold, answer)
    return items_in_order(tools, gold.items, answer.items)


def _one_of_several(tools: Tools, gold: Unordered, answer: Value) -> Outcome:
    return in_any_order(tools, gold, Unordered((answer,), gold.kind))


def list_for_tuple(tools: Tools, gold: Ordered, answer: Unordered) -> Outcome:
    """``x = 1, y = 2`` and the list ``1, 2`` for ``(1, 2)``."""
    if len(answer.items) == 1:
        return tools.values(gold, answer.items[0])
    if answer.kind == "set" or gold.opening + gold.closing != "()":
        return other_kind(gold, answer)
    names = assignment(answer)
    if names:
        return _named_in_order(tools, names, gold.items, bare_is_gold=True)
    if any(isinstance(item, Ordered) for item in answer.items):
        return wrong("several answers", "it gives several answers where one is asked", "superset")
    return items_in_order(tools, gold.items, answer.items)


def item_for_list(tools: Tools, gold: Unordered, answer: Value) -> Outcome:
    """A single value where several are asked; a set of one is its element."""
    return in_any_order(tools, gold, Unordered((answer,), gold.kind))


def list_for_item(tools: Tools, gold: Value, answer: Unordered) -> Outcome:
    """Several values where one is asked; a set of one is its element."""
    given = _distinct(answer.items) if answer.kind == "set" else answer.items
    if len(given) == 1:
        return tools.values(gold, given[0])
    if isinstance(gold, (Scalar, Equation)):
        return wrong("several answers", "it gives several answers where one is asked", "superset")
    return other_kind(gold, answer) if not isinstance(gold, Ordered) else differs(gold)
