from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grpo_tui.events.types import Event, GroupSampled, RunEnded, RunStarted, StepFinished, StepStarted
from grpo_tui.runs import schema
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import RunFileError
from grpo_tui.runs.writer import RunWriter
from tests.events.builders import fingerprint, fold, group, metrics, opening, run_events, step_events
from tests.runs.conftest import CONFIG
from tests.runs.training import ROOT


def test_config_comes_from_the_file_and_else_from_the_database(finished: Path) -> None:
    with RunReader(finished) as reader:
        (finished / "config.toml").write_text("changed")
        assert reader.config_toml() == "changed"
        (finished / "config.toml").unlink()
        assert reader.config_toml() == CONFIG
        (finished / "config.toml").write_bytes(b"\xff")
        with pytest.raises(RunFileError, match="not UTF-8"):
            reader.config_toml()


def test_history_evals_and_the_last_step(finished: Path) -> None:
    state = fold(run_events(6))
    with RunReader(finished) as reader:
        assert reader.history() == state.history
        assert reader.evals() == state.evals
        assert reader.last_step() == 6
        assert reader.last_metrics() == state.history[-1]
        assert fingerprint(reader.load_state()) == fingerprint(state)


def test_a_run_before_its_first_event(writer: RunWriter, run_dir: Path) -> None:
    with RunReader(run_dir) as reader:
        assert fingerprint(reader.load_state()) == fingerprint(fold([]))
        assert (reader.history(), reader.evals(), reader.events(), reader.last_step()) == ((), (), [], 0)
        assert reader.last_metrics() is None
        assert reader.load_step(1) is None
        assert reader.last_event(RunStarted) is None


def test_the_tail_goes_on_from_a_snapshot(writer: RunWriter, run_dir: Path) -> None:
    with RunReader(run_dir) as reader:
        for event in [*opening(), *step_events(1)]:
            writer.write(event)
        state, seq = reader.snapshot()
        assert seq == reader.last_seq()
        for event in step_events(2):
            writer.write(event)
        tail = [event for _, event in reader.events(after_seq=seq)]
        assert [fingerprint(event) for event in tail] == [fingerprint(event) for event in step_events(2)]
        assert fingerprint(fold(tail, state)) == fingerprint(reader.load_state())


def test_events_a_page_at_a_time(finished: Path) -> None:
    with RunReader(finished) as reader:
        seq, found = 0, []
        while page := reader.events(after_seq=seq, limit=7):
            assert len(page) <= 7
            found += [fingerprint(event) for _, event in page]
            seq = page[-1][0]
        assert found == [fingerprint(event) for _, event in reader.events()]


def test_the_last_event_of_a_kind(finished: Path) -> None:
    with RunReader(finished) as reader:
        ended = reader.last_event(RunEnded)
        assert ended is not None
        assert ended.reason == "finished"


def test_events_of_a_newer_program_are_passed_over(finished: Path) -> None:
    database = sqlite3.connect(finished / "run.db")
    database.execute("INSERT INTO events (time, type, payload) VALUES (1.0, 'Teleported', '{\"v\":1}')")
    database.commit()
    database.close()
    with RunReader(finished) as reader:
        assert fingerprint(reader.load_state()) == fingerprint(fold(run_events(6)))
        assert len(reader.events()) == len(list(run_events(6)))


# Errors ---------------------------------------------------------------------------------------------------


def one_line(error: pytest.ExceptionInfo[RunFileError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("opener", [RunReader, RunWriter.open], ids=["reader", "writer"])
def test_no_such_run(tmp_path: Path, opener: Callable[[Path], object]) -> None:
    with pytest.raises(RunFileError) as error:
        opener(tmp_path / "missing")
    assert "no such directory" in one_line(error)
    with pytest.raises(RunFileError) as error:
        opener(tmp_path)
    assert "there is no run.db in it; give the directory of a run" in one_line(error)


@pytest.mark.parametrize("opener", [RunReader, RunWriter.open], ids=["reader", "writer"])
@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be taken for one" * 20, b""])
def test_not_a_run_file(tmp_path: Path, opener: Callable[[Path], object], content: bytes) -> None:
    (tmp_path / "run.db").write_bytes(content)
    with pytest.raises(RunFileError) as error:
        opener(tmp_path)
    assert "it is not a grpo-tui run file" in one_line(error)
    assert (tmp_path / "run.db").read_bytes() == content


def test_another_sqlite_file(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "run.db")
    database.execute("CREATE TABLE recipes (name)")
    database.close()
    with pytest.raises(RunFileError, match="not a grpo-tui run file"):
        RunReader(tmp_path)


def test_a_damaged_file(finished: Path) -> None:
    path = finished / "run.db"
    content = bytearray(path.read_bytes())
    content[4096 : len(content) - 4096] = b"\xa5" * (len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(RunFileError) as error, RunReader(finished) as reader:
        reader.load_state()
    assert "damaged" in one_line(error)


def test_a_damaged_row(finished: Path) -> None:
    database = sqlite3.connect(finished / "run.db")
    database.execute("UPDATE completions SET arrays = x'0102'")
    database.execute("UPDATE steps SET metrics = '{}' WHERE step = 3")
    database.commit()
    database.close()
    with RunReader(finished) as reader:
        with pytest.raises(RunFileError) as error:
            reader.load_step(1)
        assert "damaged" in one_line(error)
        with pytest.raises(RunFileError, match="StepMetrics"):
            reader.history()
        assert reader.evals()  # the rest can still be read


def test_a_closed_reader_says_so(finished: Path) -> None:
    reader = RunReader(finished)
    reader.close()
    reader.close()
    with pytest.raises(RunFileError, match="cannot read"):
        reader.history()


def test_a_read_only_place(finished: Path, tmp_path: Path) -> None:
    """A run on a read-only disk, closed as it should be or killed: nothing can be created beside it."""
    shutil.copytree(finished, tmp_path / "killed")
    database = sqlite3.connect(tmp_path / "killed" / "run.db")
    database.execute("PRAGMA journal_mode = WAL")  # as a killed process leaves the header
    database.close()
    for name in ("run", "killed"):
        script = (
            f'mount --bind "{tmp_path / name}" "{tmp_path / name}" && mount -o remount,ro,bind "{tmp_path / name}" '
            f'&& exec "{sys.executable}" -c "'
            "import pathlib, sys; from grpo_tui.runs import RunReader; "
            f"print(RunReader(pathlib.Path('{tmp_path / name}')).load_state().last_step)"
            '"'
        )
        result = subprocess.run(
            ["unshare", "-Urm", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True
        )
        if "unshare" in result.stderr or "mount" in result.stderr:
            pytest.skip(f"no private mounts here: {result.stderr.strip()}")
        assert (result.stdout.strip(), result.stderr) == ("6", "")


def test_reading_leaves_nothing_behind(finished: Path) -> None:
    before = sorted(path.name for path in finished.iterdir())
    with RunReader(finished) as reader:
        reader.load_state()
        reader.search("1")
    assert sorted(path.name for path in finished.iterdir()) == before


# Search ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["index", "no index", "index went stale"])
def searchable(run_dir: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two steps with known texts, with and without a full-text index."""
    texts = {
        1: ["The answer is \\boxed{12}", "I think twelve"],
        2: ["So x^2 + 1 = 5 and we are DONE", "100% of a_b"],
    }
    if request.param == "no index":
        monkeypatch.setattr(schema, "has_fts5", lambda connection: False)
    with RunWriter.create(run_dir, CONFIG) as run:
        for step, completions in texts.items():
            item = group(np.random.default_rng(0), 0, 2, 4)
            item = replace(
                item,
                completions=tuple(
                    replace(c, text=t) for c, t in zip(item.completions, completions, strict=True)
                ),
                problem=replace(item.problem, id="p", prompt="Solve for apples", answer="42"),
            )
            events: list[Event] = [
                StepStarted(time=1.0, step=step),
                GroupSampled(time=1.0, step=step, group=item),
                StepFinished(time=2.0, metrics=metrics(step)),
            ]
            for event in events:
                run.write(event)
    if request.param == "index went stale":
        monkeypatch.setattr(schema, "has_fts5", lambda connection: False)
        with RunWriter.open(run_dir):
            pass
    return run_dir


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("boxed", {(1, 0)}),
        ("boxed{12}", {(1, 0)}),
        ("answer BOXED", {(1, 0)}),
        ("twel", {(1, 1)}),
        ("answer twelve", set()),
        ("done", {(2, 0)}),
        ("x^2", {(2, 0)}),
        ("+", {(2, 0)}),
        ("100%", {(2, 1)}),
        ("%", {(2, 1)}),
        ("a_b", {(2, 1)}),
        ('"', set()),
        ("apples", {(2, None)}),
        ("42", {(2, None)}),
        ("NEAR(boxed", set()),
        ("", set()),
        ("   ", set()),
    ],
)
def test_search(searchable: Path, text: str, expected: set[tuple[int, int | None]]) -> None:
    with RunReader(searchable) as reader:
        hits = reader.search(text)
    assert {(hit.step, hit.completion_index) for hit in hits} == expected
    assert all(hit.problem_id == "p" and hit.group_index == 0 for hit in hits)


def test_search_shows_the_place_and_keeps_to_its_limit(finished: Path) -> None:
    with RunReader(finished) as reader:
        hits = reader.search("1", limit=3)
        assert len(hits) == 3
        assert [hit.step for hit in hits] == sorted((hit.step for hit in hits), reverse=True)
        assert all("1" in hit.snippet and "\n" not in hit.snippet for hit in hits)
        assert reader.search("1", limit=0) == ()


def test_search_passes_over_a_step_in_progress(writer: RunWriter, run_dir: Path) -> None:
    for event in step_events(1)[:8]:
        writer.write(event)
    writer.flush()
    with RunReader(run_dir) as reader:
        assert reader.search("What") == ()
