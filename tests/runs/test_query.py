"""The filter language: what it reads, what it refuses and where, and its SQL against a reading by hand."""

from __future__ import annotations

import operator
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grpo_tui.events.records import CompletionRecord, GroupRecord
from grpo_tui.events.types import GroupSampled, GroupScored, StepFinished, StepStarted
from grpo_tui.runs.query import (
    FIELDS,
    MAX_DEPTH,
    MAX_LENGTH,
    And,
    Comparison,
    Not,
    Or,
    Query,
    QueryError,
    compile_query,
    parse,
)
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.search import SearchHit
from grpo_tui.runs.writer import RunWriter
from rewards.base import Score, Verdict
from tests.events.builders import completion, group, metrics, opening, score

C = Comparison


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("reward<1", C("reward", "<", 1.0)),
        ("  reward  >=  -0.5e1 ", C("reward", ">=", -5.0)),
        ("reward = .5", C("reward", "=", 0.5)),
        ("reward=−1", C("reward", "=", -1.0)),
        ("len==3", C("len", "=", 3.0)),
        ("verdict=unparsed", C("verdict", "=", "unparsed")),
        ('verdict="no answer"', C("verdict", "=", "no answer")),
        ("verdict!=NO_ANSWER", C("verdict", "!=", "no answer")),
        ("verdict~answer", C("verdict", "~", "answer")),
        ("finish=length", C("finish", "=", "length")),
        ('prompt~"a \\"b\\" \\\\ c"', C("prompt", "~", 'a "b" \\ c')),
        ("answer=72", C("answer", "=", "72")),
        ("text~größe", C("text", "~", "größe")),
        ("math<1", C("math", "<", 1.0, True)),
        ('"my reward">0', C("my reward", ">", 0.0, True)),
        ("a.b:c-d>0", C("a.b:c-d", ">", 0.0, True)),
        ("!reward<1", Not(C("reward", "<", 1.0))),
        ("!!reward<1", Not(Not(C("reward", "<", 1.0)))),
        ("((reward<1))", C("reward", "<", 1.0)),
        (
            "reward<1 && len>2 || step=3",
            Or((And((C("reward", "<", 1), C("len", ">", 2))), C("step", "=", 3))),
        ),
        ("step=1 | step=2 & step=3", Or((C("step", "=", 1), And((C("step", "=", 2), C("step", "=", 3)))))),
        ("(step=1 | step=2) & step=3", And((Or((C("step", "=", 1), C("step", "=", 2))), C("step", "=", 3)))),
        ("!step=1 & step=2", And((Not(C("step", "=", 1)), C("step", "=", 2)))),
        ("!(step=1 & step=2)", Not(And((C("step", "=", 1), C("step", "=", 2))))),
    ],
)
def test_what_is_read(text: str, wanted: Query) -> None:
    assert parse(text, ("math", "my reward", "a.b:c-d")) == wanted


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 0, "the filter is empty"),
        ("   ", 0, "the filter is empty"),
        ("rewrd<1", 0, "no field 'rewrd'; did you mean reward?"),
        ("step=1 & verdct=wrong", 9, "did you mean verdict?"),
        ("mth<1", 0, "did you mean math?"),
        ("zzz<1", 0, "fields are step, reward"),
        ("reward", 6, "expected one of <= >= != < > = ~ after 'reward', but the filter ends"),
        ("reward<", 7, "expected a value, but the filter ends"),
        ("reward<&", 7, "expected a value, but here stands '&'"),
        ("reward<high", 7, "reward is compared with a number, not 'high'"),
        ("reward~1", 6, "reward is a number"),
        ("prompt<1", 6, "prompt is a text"),
        ("verdict=corect", 8, "verdict is never 'corect'; did you mean correct?"),
        ("verdict=zzzzzzz", 8, 'it is one of correct, wrong, unparsed, "no answer"'),
        ("reward<1 len>2", 9, "expected & or |, but here stands 'len'"),
        ("reward<1 &", 10, "expected a field, but the filter ends"),
        ("(reward<1", 9, "expected & or | or ), but the filter ends"),
        ("reward<1)", 8, "expected & or |, but here stands ')'"),
        ('prompt~"abc', 7, "never closed"),
        ("prompt~'abc'", 7, "double quotes"),
        ("len>3tok", 4, "not a number"),
        ("len>1.2.3", 4, "not a number"),
        ("len>5;DROP TABLE steps", 5, "';' means nothing here"),
        ("5<len", 0, "expected a field, but here stands '5'"),
        ("!", 1, "expected a field"),
        ("(" * (MAX_DEPTH + 1) + "step=1", MAX_DEPTH, "nested deeper"),
        ("!" * 1500 + "step=1", MAX_DEPTH, "nested deeper"),
        ("x" * (MAX_LENGTH + 1), MAX_LENGTH, "at most"),
    ],
)
def test_what_is_refused_and_where(text: str, column: int, message: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text, ("math",))
    assert caught.value.column == column
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"column {column + 1}: ")


HOSTILE = (
    "'; DROP TABLE steps; --",
    '" OR 1=1 --',
    "?",
    ":name",
    "%_\\",
    "$.scores",
    "\x00",
    "[bold]x[/]",
    "\u202e\u200b",
    "Ünïcödé ß İ",
)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_value_is_only_ever_a_parameter(hostile: str) -> None:
    quoted = '"' + hostile.replace("\\", "\\\\").replace('"', '\\"') + '"'
    query = parse(f"prompt~{quoted} & text={quoted} | {quoted}<1", (hostile,))
    sql, values = compile_query(query)
    plain, _ = compile_query(parse('prompt~"x" & text="x" | "x"<1', ("x",)))
    assert sql == plain
    assert values.count(hostile) == 3


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        query = parse(text, ("math",))
    except QueryError as error:
        column = error.column
    else:
        compile_query(query)
        column = 0
    assert 0 <= column <= len(text)


# The SQL against a reading by hand -------------------------------------------------------------------------------

TEXTS = ("seven apples", "SEVEN Ürgroß", "so 12 + 5 is 17", "", "100%_\\ sure", "it's [b]17[/b]")


def _random_run(run_dir: Path, seed: int) -> list[tuple[int, GroupRecord, CompletionRecord]]:
    """Write a small run and give its answers as they were meant."""
    chance = random.Random(seed)
    rng = np.random.default_rng(seed)
    answers = []
    with RunWriter.create(run_dir, "") as writer:
        for event in opening():
            writer.write(event)
        for step in range(1, 4):
            writer.write(StepStarted(time=float(step), step=step))
            for index in range(2):
                made = group(rng, index, 3)
                parts = []
                for place in range(3):
                    part = completion(rng, place, chance.randrange(2, 8))
                    kl = None if chance.random() < 0.3 else rng.random(part.num_tokens, dtype=np.float32)
                    finish = chance.choice(("stop", "length"))
                    parts.append(replace(part, text=chance.choice(TEXTS), kl_ref_T=kl, finish_reason=finish))
                made = replace(made, completions=tuple(parts))
                writer.write(GroupSampled(time=0.0, step=step, group=made))
                rewards = tuple(chance.choice((0.0, 0.5, 1.0, float("nan"))) for _ in range(3))
                scores = tuple(_scores(chance) for _ in range(3))
                writer.write(
                    GroupScored(time=0.0, step=step, group_index=index, rewards_G=rewards, scores_G=scores)
                )
                scored = [
                    replace(c, reward=r, scores=s) for c, r, s in zip(parts, rewards, scores, strict=True)
                ]
                answers += [(step, made, part) for part in scored]
            writer.write(StepFinished(time=0.0, metrics=metrics(step)))
    return answers


def _scores(chance: random.Random) -> dict[str, Score]:
    made = {"math": score(chance.choice((0.0, 1.0)), chance.choice(list(Verdict)))}
    if chance.random() < 0.5:
        value = chance.choice((0.25, 0.75, None, float("nan")))
        made["form [x]"] = replace(score(0.0, Verdict.NOT_JUDGED), value=value)
    return made


COMPARE = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}


def _holds(query: Query, step: int, made: GroupRecord, answer: CompletionRecord) -> bool:
    """The same language, read without a database."""
    if isinstance(query, Not):
        return not _holds(query.part, step, made, answer)
    if isinstance(query, And):
        return all(_holds(part, step, made, answer) for part in query.parts)
    if isinstance(query, Or):
        return any(_holds(part, step, made, answer) for part in query.parts)
    if query.component:
        part = answer.scores.get(query.field)
        known: Any = part.value if part is not None else None
    else:
        known = {
            "step": step,
            "reward": answer.reward,
            "advantage": answer.advantage,
            "len": answer.num_tokens,
            "verdict": str(answer.verdict),
            "finish": answer.finish_reason,
            "kl_ref": answer.kl_ref,
            "entropy": float(answer.entropies_T.mean()),
            "prompt": made.problem.prompt,
            "answer": made.problem.answer,
            "text": answer.text,
        }[query.field]
    if known is None or known != known:
        return False
    if query.operator == "~":
        return str(query.value).casefold() in str(known).casefold()
    if isinstance(known, str):
        return (known.casefold() == str(query.value).casefold()) == (query.operator == "=")
    return bool(COMPARE[query.operator](known, query.value))


def _random_query(chance: random.Random, depth: int = 3) -> str:
    kind = chance.randrange(6) if depth else 5
    if kind < 2:
        sign = " & " if kind else " | "
        parts = [_random_query(chance, depth - 1) for _ in range(chance.randrange(2, 4))]
        return "(" + sign.join(parts) + ")"
    if kind == 2:
        return "!" + _random_query(chance, depth - 1)
    name = chance.choice([*FIELDS, "math", '"form [x]"'])
    if name in ("prompt", "answer", "text"):
        value = chance.choice(("seven", "ß", "17", "%", "_", "it's", "\\\\", "1"))
        return f'{name}{chance.choice(("=", "!=", "~"))}"{value}"'
    if name == "verdict":
        return f'verdict{chance.choice(("=", "!="))}"{chance.choice(list(Verdict))}"'
    if name == "finish":
        return f"finish={chance.choice(('stop', 'length'))}"
    return f"{name}{chance.choice(list(COMPARE))}{chance.choice((0, 0.25, 0.5, 1, 2, 5))}"


@pytest.mark.parametrize("seed", range(3))
def test_sql_and_a_reading_by_hand_agree(tmp_path: Path, seed: int) -> None:
    answers = _random_run(tmp_path / "run", seed)
    chance = random.Random(seed)
    seen = set()
    with RunReader(tmp_path / "run") as reader:
        for _ in range(150):
            text = _random_query(chance)
            query = parse(text, ("math", "form [x]"))
            found = [(h.step, h.group_index, h.completion_index) for h in reader.matching(query)]
            wanted = [(s, g.index, c.index) for s, g, c in answers if _holds(query, s, g, c)]
            assert found == sorted(wanted, key=lambda at: (-at[0], at[1], at[2])), text
            seen.add(len(found))
    assert len(seen) > 5  # neither always everything nor always nothing


def test_hits_say_where_and_what(tmp_path: Path) -> None:
    answers = _random_run(tmp_path / "run", 0)
    with RunReader(tmp_path / "run") as reader:
        assert len(reader.matching(parse("step>0"), limit=4)) == 4
        hits = reader.matching(parse("step>0"))
        step, made, answer = next(a for a in answers if a[0] == 3)
        assert hits[0] == SearchHit(
            step=step,
            group_index=made.index,
            completion_index=answer.index,
            problem_id=made.problem.id,
            snippet=" ".join(answer.text.split()),
            reward=None if answer.reward != answer.reward else answer.reward,
            verdict=str(answer.verdict),
        )


@pytest.fixture
def small(tmp_path: Path) -> Iterator[RunReader]:
    _random_run(tmp_path / "run", 1)
    with RunReader(tmp_path / "run") as reader:
        yield reader


ANY_TEXT = st.text(st.characters(), max_size=20)


@given(value=ANY_TEXT, name=st.text(st.characters(), min_size=1, max_size=10))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_and_any_component_name_can_be_asked_for(small: RunReader, value: str, name: str) -> None:
    def quote(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    query = parse(f"text~{quote(value)} | {quote(name)}<1", (name,))
    assert len(small.matching(query)) <= 18
    assert small.last_step() == 3
