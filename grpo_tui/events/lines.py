"""Branches as a tree of lines: which branch holds a step, and where two lines part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from grpo_tui.events.records import BranchRecord

Tree = Mapping[int, BranchRecord]
ROOT = BranchRecord(branch=0)
"""The line that every run begins with."""


def ancestry(tree: Tree, branch: int) -> Iterator[tuple[int, int | None]]:
    """The branches that a line goes through, the last first, each with its last step on the line (None: to its end)."""
    last: int | None = None
    while True:
        yield branch, last
        record = tree.get(branch, ROOT)
        if record.parent is None:
            return
        last = record.fork_step if last is None else min(last, record.fork_step)
        branch = record.parent


def limits(tree: Tree, branch: int, step: int) -> dict[int, int]:
    """The branches that a line goes through up to the end of a step, each with the last step on it."""
    return {one: step if last is None else min(last, step) for one, last in ancestry(tree, branch)}


def holder(tree: Tree, branch: int, step: int) -> int:
    """The branch that a step of a line was taken on; the state before step 1 is the first line's."""
    for candidate, last in ancestry(tree, branch):
        parent = tree.get(candidate, ROOT).parent
        fork = tree.get(candidate, ROOT).fork_step
        if (last is None or step <= last) and (parent is None or step > fork):
            return candidate
    return ROOT.branch


def common_step(tree: Tree, a: int, b: int) -> int | None:
    """The last step that two lines share; None where one is the other."""
    if a == b:
        return None
    ends = dict(ancestry(tree, a))
    for branch, last in ancestry(tree, b):
        if branch in ends:
            limits = [limit for limit in (last, ends[branch]) if limit is not None]
            return min(limits) if limits else None
    return 0
