"""Joined parts → one value: a list, a set given by conditions, or solutions by names."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.reading.values import (
    Builder,
    Equation,
    LimitExceeded,
    Member,
    NamedSet,
    Ordered,
    Region,
    Relation,
    Scalar,
    Unordered,
    Value,
)
from rewards.trees.tree import Node, Symbol, has_infinity

MAX_ITEMS = 64


def combined(values: list[Value], joints: list[str]) -> Value:
    """The value of parts and the joints between them, each ``,``, ``and`` or ``or``."""
    values = _share_unknown(values)
    systems = _systems(values, joints)
    if systems is not None:
        return systems
    if "or" in joints and all(isinstance(value, Equation) for value in values) and len(_unknowns(values)) > 1:
        return Region("or", tuple(values))  # "x = 1 or y = 2" is no solution by names
    if not all(_is_condition(value) for value in values) or not any(_is_certain(value) for value in values):
        return Unordered(flat(values), "list")
    if all(isinstance(value, Ordered) for value in values):
        return Region("comma", tuple(values))  # intervals beside each other are a union, whatever the word
    if "and" in joints and "or" in joints:
        return _alternatives(values, joints)
    return Region("or" if "or" in joints else "and" if "and" in joints else "comma", tuple(values))


def _unknowns(values: Sequence[Value]) -> set[Node]:
    return {value.sides[0] for value in values if isinstance(value, Equation)}


def _systems(values: list[Value], joints: list[str]) -> Value | None:
    """``x = 1, y = 2 or x = 3, y = 4``: one system of named values on each side of "or"."""
    if "or" not in joints or not all(isinstance(value, Equation) for value in values):
        return None
    groups = _between_or(values, joints)
    named = all(len(_unknowns(group)) == len(group) for group in groups)
    if not named or len({len(group) for group in groups}) != 1 or len(groups[0]) < 2:
        return None
    return Unordered(tuple(Unordered(tuple(group), "system") for group in groups), "list")


def _alternatives(values: list[Value], joints: list[str]) -> Region:
    """``a and b or c``: "or" binds looser; a comma goes with the joint before it."""
    groups = _between_or(values, joints)
    return Region("or", tuple(g[0] if len(g) == 1 else Region("and", tuple(g)) for g in groups))


def _between_or(values: list[Value], joints: list[str]) -> list[list[Value]]:
    """The values that stand together on each side of every "or"."""
    groups: list[list[Value]] = [[values[0]]]
    for value, joint in zip(values[1:], joints, strict=True):
        if joint == "or":
            groups.append([value])
        else:
            groups[-1].append(value)
    return groups


def _share_unknown(values: list[Value]) -> list[Value]:
    """``x = 1, 2`` and ``x != 1, 2`` hold for each of the values."""
    first = values[0]
    if isinstance(first, Equation) and isinstance(first.sides[0], Symbol) and len(first.sides) == 2:
        return [
            first,
            *(Equation((first.sides[0], v.node)) if isinstance(v, Scalar) else v for v in values[1:]),
        ]
    if isinstance(first, Relation) and first.signs == ("!=",):
        return [
            first,
            *(
                Relation((first.sides[0], v.node), ("!=",)) if isinstance(v, Scalar) else v
                for v in values[1:]
            ),
        ]
    return values


def _is_condition(value: Value) -> bool:
    """Tell whether ``value`` can be a part of a set given by conditions."""
    if isinstance(value, Unordered):
        return all(isinstance(item, (Scalar, Equation)) for item in value.items)
    if isinstance(value, Ordered):
        return len(value.items) == 2 and all(isinstance(item, Scalar) for item in value.items)
    return isinstance(value, (Relation, Region, Member, NamedSet, Builder, Equation))


def _is_certain(value: Value) -> bool:
    """Tell a set or condition from what may also be an item of a list: a point, a solution ``x = 1``."""
    if isinstance(value, Ordered):
        return _is_interval(value)
    return not isinstance(value, (Equation, Unordered))


def _is_interval(value: Ordered) -> bool:
    infinite = any(isinstance(item, Scalar) and has_infinity(item.node) for item in value.items)
    return infinite or value.opening + value.closing in ("(]", "[)")


def flat(values: Sequence[Value]) -> tuple[Value, ...]:
    """Items of a list; a ± inside it stands for its values."""
    items: list[Value] = []
    for value in values:
        items.extend(value.items if isinstance(value, Unordered) and value.kind == "list" else (value,))
    if len(items) > MAX_ITEMS:
        raise LimitExceeded(f"more than {MAX_ITEMS} items")
    return tuple(items)
