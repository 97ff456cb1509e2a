"""One group by itself, and every group that a prompt ever had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grpo_tui.events.records import GroupRecord
from grpo_tui.events.types import (
    CompletionInspected,
    Event,
    GroupSampled,
    GroupScored,
    StepFinished,
    StepStarted,
)
from grpo_tui.runs.lines import Visit
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.writer import RunWriter
from rewards.base import Verdict
from tests.events.builders import fingerprint, group, metrics, opening, score, step_events

RNG = np.random.default_rng(5)
MINE, OTHER = group(RNG, index=1, group_size=4), group(RNG, index=0, group_size=4)


def short_step(step: int, groups: tuple[GroupRecord, ...], right: int) -> list[Event]:
    """A step in which so many of four completions of each group are right."""
    verdicts = [Verdict.CORRECT if i < right else Verdict.WRONG for i in range(4)]
    scored = [
        GroupScored(
            time=1.0,
            step=step,
            group_index=item.index,
            rewards_G=tuple(float(v is Verdict.CORRECT) for v in verdicts),
            scores_G=tuple({"math": score(float(v is Verdict.CORRECT), v)} for v in verdicts),
        )
        for item in groups
    ]
    sampled = [GroupSampled(time=1.0, step=step, group=item) for item in groups]
    return [StepStarted(time=1.0, step=step), *sampled, *scored]


def done(step: int) -> Event:
    return StepFinished(time=1.0, metrics=metrics(step))


def test_one_group_is_read_like_the_whole_step(finished: Path) -> None:
    with RunReader(finished) as reader:
        whole = reader.load_step(4)
        assert whole is not None
        for item in whole.groups:
            alone = reader.load_group(4, item.index)
            assert alone is not None
            assert fingerprint(alone) == fingerprint(item)
        assert reader.load_group(4, 99) is None
        assert reader.load_group(99, 0) is None


def test_a_group_of_the_step_in_progress(writer: RunWriter, run_dir: Path) -> None:
    with RunReader(run_dir) as reader:
        for event in (*opening(), *step_events(1), *short_step(2, (OTHER, MINE), 1)):
            writer.write(event)
        writer.flush()
        found = reader.load_group(2, MINE.index)
        assert found is not None
        assert found.problem == MINE.problem
        assert found.rewards == (1.0, 0.0, 0.0, 0.0)
        assert reader.load_step(2) is None, "it is not finished"


def test_the_groups_of_a_prompt_oldest_first(writer: RunWriter, run_dir: Path) -> None:
    renamed = replace(MINE, problem=replace(MINE.problem, prompt="the same problem, asked otherwise"))
    steps = [
        (*short_step(1, (OTHER, MINE), 1), done(1)),
        (*short_step(2, (OTHER,), 2), done(2)),
        (*short_step(3, (OTHER, renamed), 2), done(3)),
        (*short_step(4, (MINE,), 3), done(4)),
        short_step(5, (MINE,), 4),
    ]
    for event in (*opening(), *(event for step in steps for event in step)):
        writer.write(event)
    writer.flush()
    with RunReader(run_dir) as reader:
        assert reader.groups_of_problem(MINE.problem) == (
            Visit(
                step=1,
                group_index=1,
                num_completions=4,
                num_correct=1,
                num_judged=4,
                reward_mean=0.25,
                verdicts=("correct", "wrong", "wrong", "wrong"),
                answers=(("12", 4),),
            ),
            Visit(
                step=4,
                group_index=1,
                num_completions=4,
                num_correct=3,
                num_judged=4,
                reward_mean=0.75,
                verdicts=("correct", "correct", "correct", "wrong"),
                answers=(("12", 4),),
            ),
        )
        assert [past.step for past in reader.groups_of_problem(OTHER.problem)] == [1, 2, 3]
        assert reader.groups_of_problem(replace(MINE.problem, id="unheard of")) == ()


def test_an_abandoned_future_is_no_history(run_dir: Path) -> None:
    with RunWriter.create(run_dir, "") as writer:
        for step in (1, 2, 3):
            for event in (*short_step(step, (MINE,), step), done(step)):
                writer.write(event)
    with RunWriter.open(run_dir, truncate_after=1) as writer:
        for event in (*short_step(2, (MINE,), 4), done(2)):
            writer.write(event)
    with RunReader(run_dir) as reader:
        found = reader.groups_of_problem(MINE.problem)
        assert [(past.step, past.num_correct) for past in found] == [(1, 1), (2, 4)]
        again = reader.load_group(2, MINE.index)
        assert again is not None
        assert again.rewards == (1.0, 1.0, 1.0, 1.0), "the present line of steps"


@pytest.mark.parametrize("surrogate", ["plain", "lone \ud800 surrogate [/]"])
def test_any_prompt_is_found_again(writer: RunWriter, run_dir: Path, surrogate: str) -> None:
    odd = replace(MINE, problem=replace(MINE.problem, question=surrogate, metadata={"k": surrogate}))
    for event in (*short_step(1, (odd,), 2), done(1)):
        writer.write(event)
    with RunReader(run_dir) as reader:
        assert len(reader.groups_of_problem(odd.problem)) == 1


def test_what_was_only_looked_at_is_not_kept(writer: RunWriter, run_dir: Path) -> None:
    from tests.support.looking import inspected

    seen = inspected(MINE.completions[0], step=1, group=1)
    assert isinstance(seen, CompletionInspected)
    writer.write(seen)
    assert writer.num_pending == 0
    writer.flush()
    with RunReader(run_dir) as reader:
        assert reader.events() == []
