"""Changes of the order of problems: which are left out, until when, and which get more answers than the others.

The state of the order in a step is a fold of the changes on its line, so it is where the run file is: after a resume,
on a branch, and when a script is replayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from grpo_tui.events.lines import limits
from grpo_tui.events.records import BranchRecord

if TYPE_CHECKING:
    from grpo_tui.events.types import OrderChanged

DROP, POSTPONE, RESTORE, ANSWERS = "drop", "postpone", "restore", "answers"


@dataclass(frozen=True, slots=True)
class PromptPlan:
    """What was decided about single problems, as it counts in one step."""

    away: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Problems that do not come, each with the first step in which it may again; 0: never."""
    group_sizes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Answers of problems that have a number of their own."""


def on_line(
    changes: Iterable[OrderChanged], tree: Mapping[int, BranchRecord], branch: int, finished_steps: int
) -> tuple[OrderChanged, ...]:
    """The changes that the line ending in ``branch`` has after a step, oldest first."""
    ends = limits(tree, branch, finished_steps)
    return tuple(change for change in changes if change.finished_steps <= ends.get(change.branch, -1))


def plan_for(changes: Iterable[OrderChanged], step: int) -> PromptPlan:
    """What the changes of one line, oldest first, come to in a step."""
    away: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for change in changes:
        id = change.problem_id
        if change.step > step:
            continue
        if change.what == ANSWERS:
            sizes[id] = change.group_size
        elif change.what == DROP:
            away[id] = 0
        elif change.what == POSTPONE:
            away[id] = change.until
        elif change.what == RESTORE:
            away.pop(id, None)
            sizes.pop(id, None)
    present = {id: until for id, until in away.items() if not until or step < until}
    return PromptPlan(MappingProxyType(present), MappingProxyType(sizes))


def describe(change: OrderChanged) -> str:
    """A change in a few words."""
    words = {
        DROP: "dropped",
        POSTPONE: f"postponed to step {change.until}",
        RESTORE: "as it was again",
        ANSWERS: f"{change.group_size} answers",
    }
    return words.get(change.what, change.what)
