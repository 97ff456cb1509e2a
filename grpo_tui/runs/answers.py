"""Recorded answers as a reward reads them: every finished step on every branch, a step at a time, without arrays."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from rewards.base import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAnswer:
    """One answer, what a reward is given of it, and what it was judged."""

    branch: int
    step: int
    group: int
    completion: int
    sample: Sample
    verdict: str | None
    reward: float | None


_ANSWERS = """
SELECT g.idx, c.idx, c.text, c.finish_reason, c.num_tokens, c.verdict, c.reward, p.record
FROM steps s JOIN groups g ON g.step_id = s.id JOIN problems p ON p.id = g.problem
JOIN completions c ON c.group_id = g.id
WHERE s.branch = ? AND s.step = ? AND s.finished ORDER BY g.idx, c.idx
"""


def answers_of(db: sqlite3.Connection, branch: int, step: int, max_tokens: int) -> Iterator[RecordedAnswer]:
    """See :meth:`grpo_tui.runs.reader.RunReader.recorded_answers`."""
    for group, completion, text, finish, tokens, verdict, reward, record in db.execute(
        _ANSWERS, (branch, step)
    ):
        problem = json.loads(record)
        yield RecordedAnswer(
            branch=branch,
            step=step,
            group=group,
            completion=completion,
            sample=Sample(
                problem_id=str(problem.get("id", "")),
                prompt=str(problem.get("question", "")),
                completion=text,
                gold=str(problem.get("answer", "")),
                finish_reason=finish,
                metadata={
                    **{str(k): str(v) for k, v in problem.get("metadata", {}).items()},
                    "num_tokens": str(tokens),
                    "max_tokens": str(max_tokens),
                },
            ),
            verdict=verdict,
            reward=reward,
        )
