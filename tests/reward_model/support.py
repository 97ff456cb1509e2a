"""Recorded runs whose answers a test chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from grpo_tui.config.emit import to_toml
from grpo_tui.config.schema import RunConfig
from grpo_tui.events.records import CompletionRecord, GroupRecord, ProblemRecord
from grpo_tui.events.types import GroupSampled, GroupScored, StepFinished, StepStarted
from grpo_tui.reward_model.pairs import Answers
from grpo_tui.runs.writer import RunWriter
from rewards.base import Explanation, Score, Verdict
from tests.events.builders import metrics, opening
from tests.support.builders import make_completion

RIGHT, WRONG = Verdict.CORRECT, Verdict.WRONG
Judged = Sequence[tuple[str, Verdict]]


def score_of(verdict: Verdict, value: float | None = None) -> Score:
    paid = float(verdict is Verdict.CORRECT) if value is None else value
    return Score(value=paid, verdict=verdict, explanation=Explanation(sentence="said so"))


def measured(value: float | None) -> Score:
    return Score(value=value, verdict=Verdict.NOT_JUDGED, explanation=Explanation(sentence="measured"))


def completion_of(index: int, text: str, scores: Mapping[str, Score]) -> CompletionRecord:
    return replace(make_completion(index, text), scores=dict(scores), reward=1.0)


def group_of(
    question: str, answers: Judged, *, index: int = 0, learned: Sequence[float | None] | None = None
) -> GroupRecord:
    """A scored group; with ``learned`` there is a second component of these values."""
    completions = []
    for place, (text, verdict) in enumerate(answers):
        scores = {"math": score_of(verdict)}
        if learned is not None:
            scores["learned"] = measured(learned[place])
        completions.append(completion_of(place, text, scores))
    problem = ProblemRecord(id=f"p{index}", question=question, prompt=f"<{question}>", answer="4")
    return GroupRecord(index=index, problem=problem, completions=tuple(completions))


def record_run(
    run_dir: Path, steps: Sequence[Sequence[GroupRecord]], config: RunConfig | None = None
) -> Path:
    """A run file with these groups, as the engine would have written it."""
    with RunWriter.create(run_dir, to_toml(config or RunConfig())) as writer:
        for event in opening(total_steps=len(steps)):
            writer.write(event)
        for step, groups in enumerate(steps, start=1):
            writer.write(StepStarted(time=1000.0 + step, step=step))
            for group in groups:
                bare = tuple(replace(c, scores={}, reward=None) for c in group.completions)
                writer.write(GroupSampled(time=1.0, step=step, group=replace(group, completions=bare)))
                scored = GroupScored(
                    time=1.0,
                    step=step,
                    group_index=group.index,
                    rewards_G=tuple(c.reward or 0.0 for c in group.completions),
                    scores_G=tuple(dict(c.scores) for c in group.completions),
                )
                writer.write(scored)
            writer.write(StepFinished(time=1.0, metrics=metrics(step)))
    return run_dir


def sums(count: int, *, wrong_first: bool = False) -> list[GroupRecord]:
    """Problems ``n + n``, each with one right and one wrong answer, which differ by the number alone."""
    return [
        group_of(
            f"{n} + {n} = ?",
            [(f"It is {2 * n}.", RIGHT), (f"It is {2 * n + 1}.", WRONG)][:: -1 if wrong_first else 1],
            index=n,
        )
        for n in range(count)
    ]


def wordy(count: int) -> list[Answers]:
    """Problems whose right answer says yes and whose wrong one says no: a model that reads can learn it."""
    return [
        Answers(question=f"Is {n} + {n} = {2 * n}?", right=(f"Yes, {2 * n}.",), wrong=(f"No, {2 * n + 1}.",))
        for n in range(count)
    ]
