"""Disputed verdicts as cases for the verifier's tests: one JSON object a line, in the form of ``tests/rewards/cases``.

``{"id", "category", "gold", "response", "correct", "strict", "prompt", "why"}``: ``correct`` is what the lenient reading
must say and ``strict`` what the strict one must. ``grpo-tui verify --cases FILE`` runs such a file.
"""

from __future__ import annotations

import os
from pathlib import Path

from grpo_tui.events.records import CompletionRecord, GroupRecord
from grpo_tui.runs.schema import os_error
from rewards.base import Score, Verdict
from rewards.cases import LabelledCase, line_of

DISPUTES = "disputes.jsonl"
"""The file's name in a run's folder."""
CORRECT, WRONG = "correct", "wrong"
SHOULD_BE = (CORRECT, WRONG)


def case_of(
    group: GroupRecord, completion: CompletionRecord, should_be: str, note: str, id: str
) -> LabelledCase:
    """The case that a disputed verdict becomes.

    Who says that an answer is right where the strict reading judged says so of the strict reading; where the lenient one
    did, only of that: the strict reading's opinion stays as it was.

    Raises:
        ValueError: the answer was never judged for truth, or ``should_be`` is no verdict.
    """
    if should_be not in SHOULD_BE:
        raise ValueError(f"should_be is 'correct' or 'wrong', not {should_be!r:.40}")
    name, score = judgement(completion)
    if score is None:
        raise ValueError("no reward judged this answer for truth: there is no verdict to dispute")
    right = should_be == CORRECT
    if (score.verdict is Verdict.CORRECT) == right:
        raise ValueError(f"its verdict is {score.verdict.value} already")
    return LabelledCase(
        id=id,
        category="dispute",
        gold=group.problem.answer,
        response=completion.text,
        correct=right,
        strict=right and (name != "math_lenient" or bool(score.explanation.strict)),
        prompt=group.problem.question,
        why=" ".join(note.split()) or f"judged {score.verdict.value}: {score.explanation.sentence}",
    )


def judgement(completion: CompletionRecord) -> tuple[str, Score | None]:
    """The component whose verdict stands for the answer, by name; None where none judges truth."""
    for name, score in completion.scores.items():
        if score.verdict is completion.verdict and score.verdict is not Verdict.NOT_JUDGED:
            return name, score
    return "", None


def append(run_dir: Path, case: LabelledCase) -> Path:
    """Add a case to the run's file, durably, and give the file's path.

    Raises:
        RunFileError: the disk does not take it.
    """
    path = run_dir / DISPUTES
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line_of(case))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise os_error("write", path, error) from error
    return path
