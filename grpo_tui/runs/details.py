"""Steps as the tables hold them, put together again: as records, and as the events that they came from."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from grpo_tui.events import codec
from grpo_tui.events.records import CompletionRecord, GroupRecord, StepDetail, StepMetrics
from grpo_tui.events.types import (
    AdvantagesComputed,
    Event,
    GroupSampled,
    GroupScored,
    ReferenceComputed,
    TokensWeighed,
)

_V = TypeVar("_V")


def metrics_of(text: str) -> StepMetrics:
    """What a step measured, from its JSON."""
    return codec.decode_record(StepMetrics, json.loads(text))


def load_detail(db: sqlite3.Connection, step_id: int, group_id: int | None = None) -> StepDetail:
    """A step with all its groups, or with one."""
    row = db.execute("SELECT step, metrics FROM steps WHERE id = ?", (step_id,)).fetchone()
    if row is None:
        raise codec.CodecError(f"step row {step_id} is missing")
    completions: dict[int, list[CompletionRecord]] = {}
    which = {"step": step_id, "group": group_id}
    for owner, text, record, blob in db.execute(_COMPLETIONS_OF_STEP, which):
        arrays = codec.unpack(blob)
        data = {"text": text, **json.loads(record), **{name: name for name in arrays if "." not in name}}
        completions.setdefault(owner, []).append(codec.decode_record(CompletionRecord, data, arrays))
    groups = []
    for owner, index, record, problem in db.execute(_GROUPS_OF_STEP, which):
        data = {"index": index, **json.loads(record), "problem": json.loads(problem), "completions": []}
        group = codec.decode_record(GroupRecord, data)
        groups.append(replace(group, completions=tuple(completions.get(owner, ()))))
    metrics = metrics_of(row[1]) if row[1] else None
    return StepDetail(step=row[0], groups=tuple(groups), metrics=metrics)


_GROUPS_OF_STEP = """
SELECT g.id, g.idx, g.record, p.record FROM groups g JOIN problems p ON p.id = g.problem
WHERE g.step_id = :step AND (:group IS NULL OR g.id = :group) ORDER BY g.idx
"""
_COMPLETIONS_OF_STEP = """
SELECT c.group_id, c.text, c.record, c.arrays FROM groups g JOIN completions c ON c.group_id = g.id
WHERE g.step_id = :step AND (:group IS NULL OR g.id = :group) ORDER BY g.idx, c.idx
"""


def rebuild(kind: str, time: float, payload: str, detail: StepDetail) -> Event | None:
    """Put an event together from the groups of its step; None if they no longer have what it brought."""
    step = detail.step
    if kind == "AdvantagesComputed":
        advantages = _complete(_complete(c.advantage for c in group.completions) for group in detail.groups)
        if advantages is None:
            return None
        by_token = _complete(_complete(c.advantages_T for c in group.completions) for group in detail.groups)
        return AdvantagesComputed(
            time=time, step=step, advantages_P_G=advantages, advantages_P_G_T=by_token or ()
        )
    if kind == "TokensWeighed":
        weights = _complete(_complete(c.weight_T for c in group.completions) for group in detail.groups)
        ratios = _complete(_complete(c.ratio_T for c in group.completions) for group in detail.groups)
        if weights is None:
            return None
        return TokensWeighed(time=time, step=step, weights_P_G=weights, ratios_P_G=ratios or ())
    if kind == "ReferenceComputed":
        kl_ref = _complete(_complete(c.kl_ref_T for c in group.completions) for group in detail.groups)
        return None if kl_ref is None else ReferenceComputed(time=time, step=step, kl_ref_P_G=kl_ref)
    group = next((group for group in detail.groups if group.index == int(payload)), None)
    if group is None:
        return None
    if kind == "GroupScored":
        rewards = _complete(c.reward for c in group.completions)
        if rewards is None:
            return None
        scores = tuple(dict(c.scores) for c in group.completions)
        return GroupScored(time=time, step=step, group_index=group.index, rewards_G=rewards, scores_G=scores)
    sampled = (replace(c, **_UNSCORED) for c in group.completions)
    return GroupSampled(time=time, step=step, group=replace(group, completions=tuple(sampled)))


_UNSCORED: dict[str, Any] = {
    "reward": None,
    "scores": {},
    "advantage": None,
    "advantages_T": None,
    "kl_ref_T": None,
    "weight_T": None,
    "ratio_T": None,
}
"""A completion as it was when it had only been sampled."""


def _complete(values: Iterable[_V | None]) -> tuple[_V, ...] | None:
    """The values, or None if one is missing."""
    found = tuple(values)
    present = tuple(value for value in found if value is not None)
    return present if len(present) == len(found) else None
