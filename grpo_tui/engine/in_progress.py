"""The step in progress, where requests can look at it and act on it before its update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from grpo_tui.config.schema import RunConfig
from grpo_tui.engine.rollout import Rollout
from grpo_tui.engine.rows import Row
from grpo_tui.events.records import GroupRecord
from grpo_tui.events.update_records import LossChoice

Answer = tuple[int, int]
"""A completion by the index of its group in the step, and its own in the group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a preview said of each answer, and what it was said for."""

    groups: Sequence[GroupRecord]
    config: RunConfig
    by_answer: Mapping[Answer, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTwin:
    """Settings that the update of one step is taken under."""

    choice: LossChoice
    config: RunConfig


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
    judged: Sequence[GroupRecord] = ()
    """The groups as they were judged, before any act on them."""
    twin: KeptTwin | None = None
    """Other settings for this step's update alone."""
    prediction: Prediction | None = None
    """Of the newest preview."""

    def predicted(self, config: RunConfig) -> Mapping[Answer, float]:
        """What the preview said of the answers of just this update; nothing where something has changed since."""
        said = self.prediction
        if said is None or said.config != config or len(said.groups) != len(self.rollout.groups):
            return {}
        same = all(a is b for a, b in zip(said.groups, self.rollout.groups, strict=True))
        return said.by_answer if same else {}


def keep_what_still_holds(before: Sequence[Row], after: Sequence[Row]) -> None:
    """Hand log-probs that were computed for a row on to the new row of the same tokens."""
    known = {(row.group, row.index, row.prompt_ids): row for row in before}
    for row in after:
        old = known.get((row.group, row.index, row.prompt_ids))
        if old is not None and row.completion_ids_T.equal(old.completion_ids_T):
            row.ref_logprobs_T = old.ref_logprobs_T
            if row.ahead == old.ahead and not old.old_is_first:
                row.old_logprobs_T = old.old_logprobs_T
