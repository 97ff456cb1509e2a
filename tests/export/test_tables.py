"""Parquet: every completion once, with the numbers that the run file has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from grpo_tui.export import tables
from grpo_tui.export.errors import ExportError
from grpo_tui.export.tables import completion_row, write_completions, write_metrics
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import RunFileError
from grpo_tui.runs.writer import RunWriter
from tests.support.builders import ScriptedRun
from tests.tui.hostile import HOSTILE
from tests.tui.test_sizes import poisoned


def test_one_row_per_completion_as_the_run_file_has_it(recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.parquet"
    assert write_completions(recorded, out) == 10 * 3 * 4
    rows = parquet.read_table(out).to_pylist()
    assert [row["step"] for row in rows] == [step for step in range(1, 11) for _ in range(12)]
    with RunReader(recorded) as reader:
        detail = reader.load_step(7)
    assert detail is not None
    seventh = [row for row in rows if row["step"] == 7]
    kept = [(g, c) for g in detail.groups for c in g.completions]
    for row, (group, completion) in zip(seventh, kept, strict=True):
        assert (row["group"], row["index"]) == (group.index, completion.index)
        assert row["text"] == completion.text
        assert (row["prompt"], row["answer"]) == (group.problem.prompt, group.problem.answer)
        assert row["verdict"] == str(completion.verdict)
        assert row["reward"] == completion.reward == row["component_math"]
        assert row["advantage"] == completion.advantage
        assert row["kl_ref"] == pytest.approx(completion.kl_ref)
        assert row["num_tokens"] == completion.num_tokens
        assert row["dead"] == group.degenerate
    assert {row["correct"] for row in rows} >= {True, False}


def test_pages_hold_all_of_them(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", 20)
    out = tmp_path / "c.parquet"
    assert write_completions(recorded, out) == 120
    written = parquet.ParquetFile(out)
    assert written.metadata.num_rows == 120
    assert written.metadata.num_row_groups == 5


def test_one_step_alone(recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.parquet"
    assert write_completions(recorded, out, step=3) == 12
    assert set(parquet.read_table(out)["step"].to_pylist()) == {3}


def test_metrics_with_evaluations_beside_them(recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.parquet"
    assert write_metrics(recorded, out) == 10
    rows = parquet.read_table(out).to_pylist()
    with RunReader(recorded) as reader:
        history, evals = reader.history(), reader.evals()
    assert [row["reward_mean"] for row in rows] == [m.reward_mean for m in history]
    assert rows[4]["seconds_by_phase.sample"] == history[4].seconds_by_phase["sample"]
    assert rows[9]["eval.accuracy"] == next(e.accuracy for e in evals if e.step == 10)
    assert rows[8]["eval.accuracy"] is None


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\ud800" not in text])
def test_any_text_survives(tmp_path: Path, text: str) -> None:
    run_dir, out = tmp_path / "run", tmp_path / "c.parquet"
    script = ScriptedRun(num_groups=2, group_size=3)
    with RunWriter.create(run_dir, "") as writer:
        for event in poisoned(text, script=script, steps=2):
            writer.write(event)
    write_completions(run_dir, out)
    texts = set(parquet.read_table(out)["text"].to_pylist())
    assert texts == {text}


def test_a_lone_surrogate_which_utf8_does_not_have(recorded: Path) -> None:
    with RunReader(recorded) as reader:
        detail = reader.load_step(1)
    assert detail is not None
    completion = replace(detail.groups[0].completions[0], text="a\ud800b")
    assert completion_row(1, detail.groups[0], completion)["text"] == "a?b"


def test_what_cannot_be_done_is_one_line(recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no finished step 99; it has steps 1 to 10$"):
        write_completions(recorded, tmp_path / "c.parquet", step=99)
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(
        ExportError, match=r"exists; name another place with --out, or replace it with --force$"
    ):
        write_completions(recorded, tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"
    with pytest.raises(RunFileError, match="cannot write"):
        write_completions(recorded, tmp_path / "taken" / "below.parquet")
    with RunWriter.create(tmp_path / "empty", "") as writer:
        for event in ScriptedRun().loading():
            writer.write(event)
    with pytest.raises(ExportError, match="has no finished step yet"):
        write_metrics(tmp_path / "empty", tmp_path / "m.parquet")


def test_nothing_is_left_of_an_export_that_fails(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(tables, "completion_row", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        write_completions(recorded, tmp_path / "c.parquet")
    assert list(tmp_path.iterdir()) == []
