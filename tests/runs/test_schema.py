from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from grpo_tui.runs import schema
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import RunFileError
from grpo_tui.runs.store import list_runs
from grpo_tui.runs.writer import RunWriter
from tests.events.builders import fingerprint, fold, run_events

BEFORE = len(schema.MIGRATIONS)


def version(run_dir: Path) -> int:
    database = sqlite3.connect(run_dir / "run.db")
    try:
        (found,) = database.execute("PRAGMA user_version").fetchone()
    finally:
        database.close()
    return int(found)


@pytest.mark.parametrize("opener", [RunReader, RunWriter.open], ids=["reader", "writer"])
def test_a_newer_file_is_refused(finished: Path, opener: Callable[[Path], object]) -> None:
    database = sqlite3.connect(finished / "run.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(
        RunFileError, match=r"run\.db: it was written by a newer grpo-tui .*; upgrade grpo-tui"
    ) as error:
        opener(finished)
    assert "\n" not in str(error.value)
    assert version(finished) == 99
    assert "upgrade" in list_runs(finished.parent)[0].problem


def add_notes(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE notes (text TEXT)")
    connection.execute("ALTER TABLE steps ADD COLUMN mood TEXT")
    connection.execute("UPDATE steps SET mood = 'good'")


def test_an_older_file_is_brought_up_by_the_writer(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, add_notes))
    with RunWriter.open(finished):
        pass
    assert version(finished) == BEFORE + 1
    with RunReader(finished) as reader:
        assert fingerprint(reader.load_state()) == fingerprint(fold(run_events(6)))


def test_an_older_file_is_read_without_touching_it(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (finished / "run.db").read_bytes()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, add_notes))
    with RunReader(finished) as reader:
        assert fingerprint(reader.load_state()) == fingerprint(fold(run_events(6)))
    assert (finished / "run.db").read_bytes() == before


def test_a_migration_that_fails_changes_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(connection: sqlite3.Connection) -> None:
        add_notes(connection)
        raise sqlite3.OperationalError("no such table: nonsense")

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, breaks))
    with pytest.raises(RunFileError, match="nonsense"):
        RunWriter.open(finished)
    monkeypatch.undo()
    assert version(finished) == BEFORE
    with RunWriter.open(finished) as writer:  # whole, and the lock was let go
        assert writer.last_step == 6


def test_every_file_says_what_it_is(finished: Path) -> None:
    database = sqlite3.connect(finished / "run.db")
    try:
        assert database.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
    finally:
        database.close()
