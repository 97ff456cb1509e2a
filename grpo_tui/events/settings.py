"""Changes of settings while a run runs: which a line has, which count in a step, which can be taken back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from grpo_tui.events.lines import limits
from grpo_tui.events.records import BranchRecord

if TYPE_CHECKING:
    from grpo_tui.events.types import SettingsChanged


def divide(
    tree: Mapping[int, BranchRecord], branch: int, step: int, changes: Iterable[SettingsChanged]
) -> tuple[tuple[SettingsChanged, ...], tuple[SettingsChanged, ...]]:
    """Changes of settings that a line has up to the end of a step, oldest first, and those it has not."""
    ends = limits(tree, branch, step)
    here: list[SettingsChanged] = []
    elsewhere: list[SettingsChanged] = []
    for change in changes:
        on_line = change.finished_steps <= ends.get(change.branch, -1)
        (here if on_line else elsewhere).append(change)
    # Numbers grow along a line.
    return tuple(sorted(here, key=lambda change: change.number)), tuple(elsewhere)


def last_undoable(changes: Sequence[SettingsChanged]) -> SettingsChanged | None:
    """The newest change that neither takes one back nor was taken back."""
    undone = {change.undoes for change in changes}
    return next((c for c in reversed(changes) if not c.undoes and c.number not in undone), None)


def in_force(changes: Sequence[SettingsChanged], step: int) -> tuple[SettingsChanged, ...]:
    """The changes that count in a step: all up to the last one made for it or for a step before."""
    last = max((i for i, change in enumerate(changes) if change.step <= step), default=-1)
    return tuple(changes[: last + 1])


def describe(event: SettingsChanged) -> str:
    """What changed, in one line: ``optim.lr 5e-6 → 1e-5, …``."""
    return ", ".join(f"{change.key} {change.old} → {change.new}" for change in event.changes)
