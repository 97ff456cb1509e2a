"""What can be said of a group: its final answers by value, and its weight in the step.

Plain functions over records; no widget, no style.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from grpo_tui.events.records import CompletionRecord, GroupRecord
from rewards.base import Score, Verdict

NONE = "none"
_PLAIN = re.compile(
    r"(?:(?:integer|decimal|fraction|rational|float) |equation [a-z] = )?(-?\d{1,18}(?:\.\d{1,18}|/\d{1,18})?)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """A value that answers of a group ended in. ``members`` are their places in the group."""

    label: str
    """As the first of them wrote it; empty where no answer was found."""
    members: tuple[int, ...]
    example: CompletionRecord
    """One of them, for its verdict."""


def judging(completion: CompletionRecord) -> Score | None:
    """The score whose verdict stands for the answer."""
    return next((s for s in completion.scores.values() if s.verdict is completion.verdict), None)


def final_answers(group: GroupRecord) -> tuple[FinalAnswer, ...]:
    """The final answers of a group by value, most frequent first; answers not scored yet are left out.

    Right answers are one value, however written: all equal the gold answer. Others are one value where what the
    verifier read is the same, so that ``0.5`` and ``1/2`` count together.
    """
    clusters: dict[tuple[object, ...], list[int]] = {}
    for place, completion in enumerate(group.completions):
        score = judging(completion)
        if score is not None:
            clusters.setdefault(_value_of(completion, score), []).append(place)
    found = []
    for members in clusters.values():
        example = group.completions[members[0]]
        score = judging(example)
        label = score.explanation.answer_text if score is not None else ""
        found.append(FinalAnswer(label, tuple(members), example))
    return tuple(sorted(found, key=lambda answer: (-len(answer.members), answer.members)))


def _value_of(completion: CompletionRecord, score: Score) -> tuple[object, ...]:
    """What makes two final answers one."""
    if completion.verdict is Verdict.CORRECT:
        return ("right",)
    why = score.explanation
    if why.parsed_answer:
        return ("value", _canonical(why.parsed_answer))
    text = why.normalized_text or why.answer_text
    # Not read: answers with equal text are alike only if they failed alike.
    return (completion.verdict, " ".join(text.split()) if text else NONE)


def _canonical(parsed: str) -> object:
    """A plain number by its value, whatever kind the verifier calls it (``decimal 0.5``, ``fraction 1/2``)."""
    plain = _PLAIN.fullmatch(parsed.replace("−", "-"))
    if plain is None:
        return parsed
    try:
        return Fraction(plain.group(1))
    except ZeroDivisionError:
        return parsed


def loss_share(group: GroupRecord, groups: Sequence[GroupRecord]) -> float | None:
    """The group's share of all that the update pushed: Σ|token weight| of the group over that of the step.

    None before the update, and where it pushed nothing.
    """
    pushes = {g.index: _push_size(g) for g in groups}
    total = sum(push for push in pushes.values() if push is not None)
    mine = pushes.get(group.index)
    return None if mine is None or not total else mine / total


def _push_size(group: GroupRecord) -> float | None:
    weights = [c.weight_T for c in group.completions if c.weight_T is not None]
    return float(sum(np.abs(w).sum() for w in weights)) if weights else None


def pushes(group: GroupRecord) -> tuple[int, int]:
    """How many answers are pushed up and how many down, by their advantages."""
    advantages = [c.advantage for c in group.completions if c.advantage is not None]
    return sum(a > 0 for a in advantages), sum(a < 0 for a in advantages)


def num_correct(group: GroupRecord) -> int:
    """Answers judged correct."""
    return sum(c.verdict is Verdict.CORRECT for c in group.completions)


def component_names(groups: Sequence[GroupRecord]) -> tuple[str, ...]:
    """Every reward component that occurs, in the order of its first use."""
    names = (name for g in groups for c in g.completions for name in c.scores)
    return tuple(dict.fromkeys(names))
