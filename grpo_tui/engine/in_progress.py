"""The step in progress, where requests can look at it and act on it before its update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from grpo_tui.engine.rollout import Rollout
from grpo_tui.engine.rows import Row
from grpo_tui.events.records import GroupRecord


@dataclass(slots=True, kw_only=True)
class StepInProgress:
    """What a step has made so far."""

    step: int
    rollout: Rollout
    """Its groups as drawn and judged; an act replaces records here."""
    groups: Sequence[GroupRecord] = ()
    """The groups with their advantages, once those are known."""
    rows: list[Row] = field(default_factory=list)
    """The rollout batch, once advantages are known."""
    prepared: bool = False
    """The batch has its reference and old log-probs."""
    taken_back: list[tuple[int, GroupRecord]] = field(default_factory=list)
    """For each act that still counts: the group as it was before it, to take it back."""
    changed: bool = False
    """An act changed the groups after advantages were computed: these, and what hangs on them, are made anew before
    anything reads them."""


def keep_what_still_holds(before: Sequence[Row], after: Sequence[Row]) -> None:
    """Hand log-probs that were computed for a row on to the new row of the same tokens."""
    known = {(row.group, row.index, row.prompt_ids): row for row in before}
    for row in after:
        old = known.get((row.group, row.index, row.prompt_ids))
        if old is not None and row.completion_ids_T.equal(old.completion_ids_T):
            row.ref_logprobs_T = old.ref_logprobs_T
            row.old_logprobs_T = None if old.old_is_first else old.old_logprobs_T
