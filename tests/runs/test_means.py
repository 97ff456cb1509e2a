"""Means of arrays beside the arrays: a filter that asks of them finds what it found by unpacking, in any run file."""

from __future__ import annotations

import random
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo_tui.events import codec
from grpo_tui.events.records import CompletionRecord
from grpo_tui.events.types import GroupSampled, ReferenceComputed, StepFinished, StepStarted
from grpo_tui.runs import schema, search
from grpo_tui.runs.query import parse
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import mean_over_tokens
from grpo_tui.runs.writer import RunWriter
from tests.events.builders import completion, group, metrics, opening, step_events

OPERATORS = ("<", "<=", "=", "!=", ">=", ">")
COLUMNS = ("measured", "kl_ref", "entropy")


def write(run_dir: Path, steps: int = 6) -> None:
    """A run in which a third of the answers has no kl_ref, some have no tokens, and some numbers are none."""
    chance = random.Random(7)
    with RunWriter.create(run_dir, "") as writer:
        for event in opening():
            writer.write(event)
        for step in range(1, steps + 1):
            rng = np.random.default_rng(step)
            writer.write(StepStarted(time=float(step), step=step))
            made = group(rng, 0, 9)
            parts = [_answer(chance, rng, place) for place in range(9)]
            writer.write(GroupSampled(time=0.0, step=step, group=replace(made, completions=tuple(parts))))
            writer.write(StepFinished(time=0.0, metrics=metrics(step)))


def _answer(chance: random.Random, rng: np.random.Generator, place: int) -> CompletionRecord:
    answer = completion(rng, place, chance.randrange(2, 40))
    kind = chance.randrange(6)
    if kind == 0:
        return answer
    kl = rng.random(answer.num_tokens, dtype=np.float32) * np.float32(10.0 ** chance.randrange(-6, 3))
    if kind == 1:
        kl[0] = chance.choice((np.nan, np.inf, -np.inf))
    if kind == 2:
        empty = np.zeros(0, dtype=np.float32)
        return replace(answer, kl_ref_T=empty, entropies_T=empty)
    return replace(answer, kl_ref_T=kl)


def older(run_dir: Path, copy: Path) -> Path:
    """The run as a program without the columns would have written it."""
    shutil.copytree(run_dir, copy)
    database = sqlite3.connect(copy / "run.db")
    for column in COLUMNS:
        database.execute(f"ALTER TABLE completions DROP COLUMN {column}")
    database.execute("PRAGMA user_version = 2")
    database.commit()
    database.close()
    return copy


def columns(run_dir: Path, step: int) -> list[tuple[Any, ...]]:
    database = sqlite3.connect(run_dir / "run.db")
    try:
        return database.execute(
            "SELECT c.measured, c.kl_ref, c.entropy, c.arrays FROM completions c JOIN groups g ON g.id = c.group_id "
            "JOIN steps s ON s.id = g.step_id WHERE s.step = ? ORDER BY g.idx, c.idx",
            (step,),
        ).fetchall()
    finally:
        database.close()


def filters(run_dir: Path) -> list[str]:
    """Every comparison with means that occur, and with numbers between."""
    with RunReader(run_dir) as reader:
        details = [reader.load_step(step) for step in range(1, reader.last_step() + 1)]
    answers = [c for detail in details if detail for g in detail.groups for c in g.completions]
    known = [c.kl_ref for c in answers if c.kl_ref is not None and np.isfinite(c.kl_ref)][:12]
    limits = [*known, 0.0, 1e-4, 0.5]
    made = [
        f"{name}{sign}{limit!r}" for name in ("kl_ref", "entropy") for sign in OPERATORS for limit in limits
    ]
    return [*made, "!kl_ref<1", "kl_ref<0.01 | entropy>0.5 & len>9", "!(entropy>=0.4) & reward<2"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write(tmp_path / "run")
    return tmp_path / "run"


def test_a_filter_finds_by_the_columns_what_it_finds_by_unpacking(run: Path, tmp_path: Path) -> None:
    """Seen to fail with: a mean in float32 arithmetic of its own, NaN kept, rows without an array as 0."""
    before = older(run, tmp_path / "older")
    sizes = set()
    with RunReader(run) as new, RunReader(before) as old:
        for text in filters(run):
            query = parse(text)
            found = new.matching(query)
            assert found == old.matching(query), text
            sizes.add(len(found))
    assert len(sizes) > 8


def test_by_the_columns_nothing_is_unpacked(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with: the columns not asked."""
    before = older(run, tmp_path / "older")
    unpacked: list[str] = []

    def counted(blob: bytes, name: str) -> float | None:
        unpacked.append(name)
        return mean_over_tokens(codec.unpack(blob).get(name))

    monkeypatch.setattr(search, "_array_mean", counted)
    query = parse("kl_ref>0 | entropy>0")
    with RunReader(run) as reader:
        assert reader.matching(query)
        assert unpacked == []
    with RunReader(before) as reader:
        assert reader.matching(query)
        assert set(unpacked) == {"kl_ref_T", "entropies_T"}


def test_an_older_file_is_read_where_it_lies(run: Path, tmp_path: Path) -> None:
    """Seen to fail with: the whole file copied to be migrated, for each run in the list of recent ones."""
    before = older(run, tmp_path / "older")
    bytes_before = (before / "run.db").read_bytes()
    with RunReader(before) as reader:
        [(_, _, file)] = reader._connection.execute("PRAGMA database_list").fetchall()
        assert Path(file) == before / "run.db"
        assert reader.matching(parse("kl_ref>0"))
    assert (before / "run.db").read_bytes() == bytes_before


def test_an_older_run_that_goes_on_has_both_kinds_of_rows(run: Path, tmp_path: Path) -> None:
    """Its old answers are unpacked, its new ones are not; nothing is filled in on opening."""
    before = older(run, tmp_path / "older")
    for place in (run, before):
        with RunWriter.open(place) as writer:
            for event in step_events(7):
                writer.write(event)
    assert {row[0] for row in columns(before, 6)} == {0}
    assert {row[0] for row in columns(before, 7)} == {1}
    with RunReader(run) as new, RunReader(before) as mixed:
        for text in filters(run):
            assert mixed.matching(parse(text)) == new.matching(parse(text)), text


def test_a_file_that_is_brought_up_while_it_is_read_is_read_on(run: Path, tmp_path: Path) -> None:
    """Somebody views the run, and somebody else resumes it."""
    before = older(run, tmp_path / "older")
    query = parse("kl_ref>0.001 & entropy>0")
    with RunReader(before) as reader:
        found = reader.matching(query)
        with RunWriter.open(before) as writer:
            assert reader.matching(query) == found
            for event in step_events(7):
                writer.write(event)
        assert len(reader.matching(query)) > len(found)


def test_kl_ref_told_twice_is_the_second_in_the_columns_too(tmp_path: Path) -> None:
    """An estimate after the reference pass, exact after the update. Seen to fail with: the columns of the first kept."""
    events = step_events(1)
    told = next(event for event in events if isinstance(event, ReferenceComputed))
    again = replace(
        told, exact=True, kl_ref_P_G=tuple(tuple(kl * 3 for kl in group_) for group_ in told.kl_ref_P_G)
    )
    with RunWriter.create(tmp_path / "run", "") as writer:
        for event in (*opening(), *events[:-1]):
            writer.write(event)
        writer.flush()  # as a pause would
        first = [row[1] for row in columns(tmp_path / "run", 1)]
        writer.write(again)
        writer.write(events[-1])
    assert first == [mean_over_tokens(kl) for group_ in told.kl_ref_P_G for kl in group_]
    rows = columns(tmp_path / "run", 1)
    assert [row[1] for row in rows] == [mean_over_tokens(kl) for group_ in again.kl_ref_P_G for kl in group_]
    for measured, kl, entropy, blob in rows:
        arrays = codec.unpack(blob)
        assert measured == 1
        assert kl == mean_over_tokens(arrays["kl_ref_T"])
        assert entropy == mean_over_tokens(arrays["entropies_T"])


@given(
    values=st.lists(st.floats(width=32, allow_nan=True), max_size=50),
    kind=st.sampled_from(("float16", "float32", "float64")),
    stride=st.integers(1, 3),
)
def test_a_mean_is_the_same_before_and_after_packing(values: list[float], kind: str, stride: int) -> None:
    with np.errstate(all="ignore"):
        array = np.array(values, dtype="float64").astype(kind)[::stride]
        there = mean_over_tokens(codec.unpack(codec.pack({"x": array}))["x"])
        assert there == mean_over_tokens(array)
        assert there is None or there == there


def test_new_files_have_the_means_before_anything_long(run: Path) -> None:
    """Behind the arrays SQLite would read every page of a run to reach them."""
    database = sqlite3.connect(run / "run.db")
    names = [row[1] for row in database.execute("PRAGMA table_info(completions)")]
    database.close()
    assert max(names.index(name) for name in COLUMNS) < names.index("text")
    assert schema.readable_as_it_is(len(schema.MIGRATIONS) - 1)
