"""Lines through a run: the branches it took, and one problem through its steps."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass, field

from grpo_tui.events.records import BranchRecord
from rewards.base import Verdict

NO_ANSWER = ""
"""Stands in a histogram for an answer that states none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One group of a problem."""

    step: int
    group_index: int
    num_completions: int
    num_correct: int
    num_judged: int
    """Answers that were scored by something that judges truth."""
    reward_mean: float | None
    verdicts: tuple[str | None, ...] = ()
    answers: tuple[tuple[str, int], ...] = ()
    """Final answers as they stood in the text, commonest first, with their counts; ``""`` where there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One line of steps. ``first`` and ``last`` are its own finished steps; 0 where it has none."""

    id: int
    parent: int | None
    fork_step: int
    """The last step it took over from its parent."""
    created: float
    first: int = 0
    last: int = 0
    last_reward: float | None = None
    active: bool = False
    """The run goes on here."""
    name: str = ""
    num_steps: int = 0
    """Finished steps of its own."""

    @property
    def record(self) -> BranchRecord:
        """The same as events tell it."""
        return BranchRecord(branch=self.id, parent=self.parent, fork_step=self.fork_step, name=self.name)

    @property
    def last_step(self) -> int:
        """Where its line ends: its own last finished step, or the last that it took over."""
        return max(self.fork_step, self.last)


def groups_of_problem(db: sqlite3.Connection, digest: bytes) -> tuple[Visit, ...]:
    """See :meth:`grpo_tui.runs.reader.RunReader.groups_of_problem`."""
    visits: dict[int, _Tally] = {}
    for group, at, index, reward, verdict, record in db.execute(_VISITS, (digest,)):
        tally = visits.setdefault(group, _Tally(at, index))
        tally.add(reward, verdict, _final_answer(record, verdict))
    return tuple(tally.visit() for tally in visits.values())


_VISITS = """
SELECT g.id, s.step, g.idx, c.reward, c.verdict, c.record
FROM groups g CROSS JOIN live_steps s ON s.id = g.step_id JOIN completions c ON c.group_id = g.id
WHERE g.problem = (SELECT id FROM problems WHERE digest = ?)
ORDER BY s.step, g.idx, c.idx
"""


@dataclass(slots=True)
class _Tally:
    """A visit being counted."""

    step: int
    group_index: int
    rewards: list[float | None] = field(default_factory=list)
    verdicts: list[str | None] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    def add(self, reward: float | None, verdict: str | None, answer: str) -> None:
        self.rewards.append(reward)
        self.verdicts.append(verdict)
        self.answers[answer] += 1

    def visit(self) -> Visit:
        known = [reward for reward in self.rewards if reward is not None]
        return Visit(
            step=self.step,
            group_index=self.group_index,
            num_completions=len(self.verdicts),
            num_correct=self.verdicts.count(Verdict.CORRECT),
            num_judged=sum(verdict not in (None, Verdict.NOT_JUDGED) for verdict in self.verdicts),
            reward_mean=sum(known) / len(known) if known else None,
            verdicts=tuple(self.verdicts),
            answers=tuple(self.answers.most_common()),
        )


def _final_answer(record: str, verdict: str | None) -> str:
    """The answer that the judging component found."""
    scores = json.loads(record).get("scores", {})
    for score in scores.values():
        if score.get("verdict") == verdict:
            return " ".join(str(score.get("explanation", {}).get("answer_text", "")).split())
    return NO_ANSWER


def branches(db: sqlite3.Connection) -> tuple[Branch, ...]:
    """See :meth:`grpo_tui.runs.reader.RunReader.branches`."""
    (active,) = db.execute("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'active_branch'").fetchone()
    return tuple(
        Branch(
            id=id,
            parent=parent,
            fork_step=fork_step,
            created=created,
            first=first or 0,
            last=last or 0,
            last_reward=reward if isinstance(reward, int | float) else None,
            active=id == active,
            name=name,
            num_steps=num_steps,
        )
        for id, parent, fork_step, created, first, last, reward, name, num_steps in db.execute(_BRANCHES)
    )


_BRANCHES = """
SELECT b.id, b.parent, b.fork_step, b.created, min(s.step), max(s.step), (
    SELECT json_extract(t.metrics, '$.reward_mean') FROM steps t
    WHERE t.branch = b.id AND t.finished ORDER BY t.step DESC LIMIT 1
), b.name, count(s.step)
FROM branches b LEFT JOIN steps s ON s.branch = b.id AND s.finished GROUP BY b.id ORDER BY b.id
"""


def show_branch(db: sqlite3.Connection, branch: int | None) -> None:
    """Lay views of another branch over the file's own, for this connection only; None takes them away."""
    db.execute("DROP VIEW IF EXISTS temp.live_steps")
    db.execute("DROP VIEW IF EXISTS temp.lineage")
    db.execute("DROP TABLE IF EXISTS temp.shown_branch")
    if branch is None:
        return
    db.execute("CREATE TEMP TABLE shown_branch (id INTEGER)")
    db.execute("INSERT INTO temp.shown_branch VALUES (?)", (branch,))
    db.execute(_LINEAGE)
    db.execute(_LIVE_STEPS)


_LINEAGE = """
CREATE TEMP VIEW lineage (branch, last_step) AS
    WITH RECURSIVE line (branch, last_step) AS (
        SELECT id, 9223372036854775807 FROM temp.shown_branch
        UNION ALL
        SELECT b.parent, min(b.fork_step, line.last_step)
        FROM line JOIN main.branches b ON b.id = line.branch WHERE b.parent IS NOT NULL
    )
    SELECT branch, last_step FROM line
"""
_LIVE_STEPS = """
CREATE TEMP VIEW live_steps AS
    SELECT s.* FROM temp.lineage l JOIN main.steps s ON s.branch = l.branch AND s.step <= l.last_step WHERE s.finished
"""
