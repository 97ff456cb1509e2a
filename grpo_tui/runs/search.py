"""Finding answers in a run file: full-text search, and the filters of :mod:`grpo_tui.runs.query`.

Everything here reads finished steps only, newest first, over the tables c (completions), g (groups), s (steps) and
p (problems).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from grpo_tui.events import codec
from grpo_tui.runs.query import And, Comparison, Or, Query, compile_query
from grpo_tui.runs.schema import has_means, mean_over_tokens

_SNIPPET = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """Where something was found. ``completion_index`` is None for a hit in the prompt or the gold answer."""

    step: int
    group_index: int
    completion_index: int | None
    problem_id: str
    snippet: str
    """Text around the first match, on one line."""
    reward: float | None = None
    verdict: str | None = None


def prepare(connection: sqlite3.Connection) -> None:
    """Give a connection the functions that compiled filters call."""
    connection.create_function("array_mean", 2, _array_mean, deterministic=True)
    connection.create_function("has_text", 2, _has_text, deterministic=True)
    connection.create_function("same_text", 2, _same_text, deterministic=True)


def _array_mean(blob: bytes, name: str) -> float | None:
    return mean_over_tokens(codec.unpack(blob).get(name))


def _has_text(text: str | None, part: str) -> bool | None:
    return None if text is None else part.casefold() in text.casefold()


def _same_text(text: str | None, other: str) -> bool | None:
    return None if text is None else text.casefold() == other.casefold()


def matching(db: sqlite3.Connection, query: Query, limit: int) -> tuple[SearchHit, ...]:
    """Answers for which a filter holds, newest first."""
    condition, values = compile_query(query, unpacking=not has_means(db))
    rows = db.execute(
        f"{_ANSWERS} FROM completions c {_JOINS} WHERE {_LIVE} AND {condition} ORDER BY c.id DESC LIMIT ?",
        (*values, limit),
    )
    words = _words_in(query)
    return _in_order(_answer(row, words) for row in rows)


def search(db: sqlite3.Connection, text: str, limit: int) -> tuple[SearchHit, ...]:
    """Answers, prompts and gold answers that hold every word: see :meth:`RunReader.search`."""
    words = text.split()
    if not words or limit < 1:
        return ()
    indexed = has_index(db) and all(re.search(r"\w", word) for word in words)
    found = (*_search_prompts(db, words, limit, indexed), *_search_answers(db, words, limit, indexed))
    return tuple(sorted(found, key=lambda hit: -hit.step)[:limit])


_ANSWERS = "SELECT s.step, g.idx, c.idx, p.problem_id, c.text, c.reward, c.verdict"
_JOINS = (
    "CROSS JOIN groups g ON g.id = c.group_id CROSS JOIN steps s ON s.id = g.step_id "
    "CROSS JOIN problems p ON p.id = g.problem"
)
"""The order of joining is fixed: walking answers from the newest, a limit ends the walk early."""
_LIVE = "g.step_id IN (SELECT id FROM live_steps)"


def _answer(row: tuple[object, ...], words: Sequence[str]) -> SearchHit:
    step, group, index, problem_id, text, reward, verdict = row
    return SearchHit(
        step=step,  # type: ignore[arg-type]
        group_index=group,  # type: ignore[arg-type]
        completion_index=index,  # type: ignore[arg-type]
        problem_id=problem_id,  # type: ignore[arg-type]
        snippet=_snippet((str(text),), words),
        reward=reward,  # type: ignore[arg-type]
        verdict=verdict,  # type: ignore[arg-type]
    )


def _in_order(hits: Iterable[SearchHit]) -> tuple[SearchHit, ...]:
    """Newest step first, and inside a step as on the screen."""
    return tuple(sorted(hits, key=lambda hit: (-hit.step, hit.group_index, hit.completion_index or 0)))


def _words_in(query: Query) -> list[str]:
    """Texts that a filter looks for in answers: the snippet shows the first."""
    match query:
        case Comparison("text", "~", str(value)):
            return [value]
        case And(parts) | Or(parts):
            return [word for part in parts for word in _words_in(part)]
        case _:
            return []


def has_index(db: sqlite3.Connection) -> bool:
    """Whether there is a full-text index that can be trusted."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'completions_fts'").fetchone():
        return False
    if db.execute("SELECT 1 FROM meta WHERE key = 'index_stale'").fetchone():
        return False
    try:
        db.execute("SELECT 1 FROM completions_fts LIMIT 0")
    except sqlite3.OperationalError:
        return False
    return True


def _match(words: Sequence[str]) -> str:
    """Words as an FTS5 expression: each as text, and as the beginning of a longer one."""
    return " ".join('"{}"*'.format(word.replace('"', '""')) for word in words)


def _like(texts: Sequence[str], words: Sequence[str]) -> tuple[str, dict[str, str]]:
    """SQL that holds where every word occurs in one of the texts, without an index."""
    terms, values = [], {}
    for number, word in enumerate(words):
        escaped = re.sub(r"([%_\\])", r"\\\1", word)
        values[f"w{number}"] = f"%{escaped}%"
        terms.append("(" + " OR ".join(f"{text} LIKE :w{number} ESCAPE '\\'" for text in texts) + ")")
    return " AND ".join(terms), values


def _search_answers(
    db: sqlite3.Connection, words: Sequence[str], limit: int, indexed: bool
) -> tuple[SearchHit, ...]:
    if indexed:
        source = "completions_fts f CROSS JOIN completions c ON c.id = f.rowid"
        condition, values = "f.completions_fts MATCH :match", {"match": _match(words)}
        order = "f.rowid"
    else:
        source, order = "completions c", "c.id"
        condition, values = _like(("c.text",), words)
    rows = db.execute(
        f"{_ANSWERS} FROM {source} {_JOINS} WHERE {condition} AND {_LIVE} ORDER BY {order} DESC LIMIT :limit",
        {**values, "limit": limit},
    )
    return _in_order(_answer(row, words) for row in rows)


def _search_prompts(
    db: sqlite3.Connection, words: Sequence[str], limit: int, indexed: bool
) -> tuple[SearchHit, ...]:
    if indexed:
        condition = "p.id IN (SELECT rowid FROM problems_fts WHERE problems_fts MATCH :match)"
        values = {"match": _match(words)}
    else:
        condition, values = _like(("p.prompt", "p.answer"), words)
    rows = db.execute(
        "SELECT max(s.step), g.idx, p.problem_id, p.prompt, p.answer FROM problems p "
        "JOIN groups g ON g.problem = p.id JOIN live_steps s ON s.id = g.step_id "
        f"WHERE {condition} GROUP BY p.id ORDER BY max(s.step) DESC LIMIT :limit",
        {**values, "limit": limit},
    )
    return tuple(
        SearchHit(
            step=step,
            group_index=group,
            completion_index=None,
            problem_id=problem_id,
            snippet=_snippet((prompt, answer), words),
        )
        for step, group, problem_id, prompt, answer in rows
    )


def _snippet(texts: Sequence[str], words: Sequence[str]) -> str:
    for text in texts:
        for word in words:
            at = text.lower().find(word.lower())
            if at >= 0:
                return _cut(text, at)
    return _cut(texts[0], 0)


def _cut(text: str, at: int) -> str:
    start = max(0, at - _SNIPPET // 3)
    piece = " ".join(text[start : start + _SNIPPET].split())
    return ("…" if start else "") + piece + ("…" if start + _SNIPPET < len(text) else "")
