"""What a group says of itself: dead and why, or alive by its form alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from grpo_tui.events.records import DEAD_CAUSES, GroupRecord
from rewards.base import Explanation, Score, Verdict
from tests.events.builders import group as built_group

RIGHT, WRONG, UNPARSED, SILENT = Verdict.CORRECT, Verdict.WRONG, Verdict.UNPARSED, Verdict.NOT_JUDGED


def group_of(
    rewards: Sequence[float | None], verdicts: Sequence[Verdict], *, one_text: bool = False
) -> GroupRecord:
    group = built_group(np.random.default_rng(0), group_size=len(rewards))
    explanation = Explanation(sentence="so")
    completions = tuple(
        replace(
            completion,
            text="same" if one_text else completion.text,
            reward=reward,
            scores={"judge": Score(value=reward, verdict=verdict, explanation=explanation)},
        )
        for completion, reward, verdict in zip(group.completions, rewards, verdicts, strict=True)
    )
    return replace(group, completions=completions)


@pytest.mark.parametrize(
    ("rewards", "verdicts", "one_text", "cause"),
    [
        ((1, 1), (RIGHT, RIGHT), False, "too easy"),
        ((1, 1), (RIGHT, RIGHT), True, "too easy"),
        ((0, 0), (WRONG, UNPARSED), False, "too hard"),
        ((0, 0), (WRONG, SILENT), False, "too hard"),
        ((0, 0), (WRONG, WRONG), True, "identical text"),
        ((2, 2), (SILENT, SILENT), True, "identical text"),
        ((2, 2), (SILENT, SILENT), False, "equal rewards"),
        ((1, 1), (RIGHT, WRONG), False, "equal rewards"),
        ((1, 0), (RIGHT, WRONG), False, ""),
    ],
)
def test_why_a_group_is_dead(
    rewards: tuple[float, ...], verdicts: tuple[Verdict, ...], one_text: bool, cause: str
) -> None:
    # Seen to fail: without too easy; NOT_JUDGED taken for wrong.
    group = group_of(rewards, verdicts, one_text=one_text)
    assert group.dead_cause == cause
    assert group.degenerate == bool(cause)
    assert cause in ("", *DEAD_CAUSES)


def test_every_cause_can_be_told() -> None:
    assert DEAD_CAUSES == ("too easy", "too hard", "identical text", "equal rewards")


@pytest.mark.parametrize(
    ("rewards", "verdicts", "form_only"),
    [
        ((1.0, 0.5), (RIGHT, RIGHT), True),
        ((0.5, 0.0), (WRONG, UNPARSED), True),
        ((1.0, 0.0), (RIGHT, WRONG), False),
        ((1.0, 0.5), (SILENT, SILENT), False),  # nothing judges truth: there is no form to tell from it
        ((1.0, 1.0), (RIGHT, RIGHT), False),  # dead
        ((1.0, None), (RIGHT, RIGHT), False),  # not scored yet
    ],
)
def test_alive_by_its_form_alone(
    rewards: tuple[float | None, ...], verdicts: tuple[Verdict, ...], form_only: bool
) -> None:
    # Seen to fail: a group without a judge of truth called so.
    assert group_of(rewards, verdicts).form_only == form_only


def test_one_completion_alone_is_not_dead() -> None:
    """REINFORCE and PPO may draw one: it is compared with no other, and it teaches."""
    # Seen to fail: equal rewards of one completion.
    group = group_of((0.0,), (WRONG,))
    assert (group.degenerate, group.dead_cause, group.reward_std) == (False, "", None)


def test_before_scoring_a_group_is_not_dead() -> None:
    group = group_of((None, None), (RIGHT, RIGHT))
    assert (group.degenerate, group.dead_cause, group.form_only) == (False, "", False)
    assert group_of((1, None), (RIGHT, RIGHT)).dead_cause == ""
