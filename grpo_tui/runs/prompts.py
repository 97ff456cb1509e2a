"""Prompts through a run: every group that each had on the present line, counted in one pass over the file."""

from __future__ import annotations

import json
import sqlite3

from grpo_tui.runs.triage import PromptHistory, PromptVisit, cause_of

_GROUPS = """
SELECT json_extract(p.record, '$.id'), p.id, s.step, g.idx, count(c.id),
    count(CASE WHEN c.verdict = 'correct' THEN 1 END),
    count(CASE WHEN c.verdict <> 'not judged' THEN 1 END),
    total(c.num_tokens),
    count(c.reward) = count(c.id) AND min(c.reward) = max(c.reward),
    count(DISTINCT c.text), count(c.reward)
FROM live_steps s JOIN groups g ON g.step_id = s.id JOIN problems p ON p.id = g.problem
JOIN completions c ON c.group_id = g.id
GROUP BY g.id ORDER BY s.step, g.idx
"""


def prompt_histories(db: sqlite3.Connection) -> tuple[PromptHistory, ...]:
    """See :meth:`grpo_tui.runs.reader.RunReader.prompt_histories`."""
    visits: dict[str, list[PromptVisit]] = {}
    rows: dict[str, int] = {}
    for id, row, step, group, size, correct, judged, tokens, equal, texts, scored in db.execute(_GROUPS):
        whole = scored == size
        cause = cause_of(
            equal=bool(equal),
            num_completions=size,
            num_correct=correct,
            num_judged=judged,
            num_texts=texts,
        )
        visit = PromptVisit(
            step=step,
            group=group,
            num_completions=size,
            num_correct=correct,
            num_judged=judged,
            num_tokens=int(tokens),
            cause=cause if whole else "",
        )
        visits.setdefault(str(id), []).append(visit)
        rows[str(id)] = row
    texts_of = {
        row: json.loads(record) for row, record in db.execute("SELECT id, record FROM problems").fetchall()
    }
    return tuple(
        PromptHistory(
            problem_id=id,
            question=str(texts_of[rows[id]].get("question", "")),
            answer=str(texts_of[rows[id]].get("answer", "")),
            visits=tuple(seen),
        )
        for id, seen in visits.items()
    )
