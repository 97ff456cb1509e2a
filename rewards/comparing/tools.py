"""What every comparison of two values has at hand: the oracle for expressions, and the table itself for their parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rewards.comparing.oracle import Oracle
from rewards.comparing.outcome import Outcome, wrong
from rewards.reading.values import Value, kind_of
from rewards.trees.tree import Node


@dataclass(frozen=True, slots=True)
class Tools:
    """``same`` compares expressions by value, ``scalars`` also by how they are written, ``values`` anything."""

    same: Oracle
    scalars: Callable[[Node, Node], Outcome]
    values: Callable[[Value, Value], Outcome]


def differs(gold: Value, slip: str = "") -> Outcome:
    """The answer is of the gold's kind and another one."""
    kind = kind_of(gold)
    return wrong(f"different {kind}", f"it is {_article(kind)} {kind} that differs", slip)


def other_kind(gold: Value, answer: Value) -> Outcome:
    """The two cannot be compared."""
    return wrong(
        "different kind", f"the gold is of the kind {kind_of(gold)} and this is of the kind {kind_of(answer)}"
    )


def _article(kind: str) -> str:
    return "an" if kind[:1] in "aeiou" else "a"
