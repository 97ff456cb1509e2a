from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grpo_tui.runs.lock import is_locked
from grpo_tui.runs.schema import RunFileError
from grpo_tui.runs.store import list_runs, new_run_dir
from grpo_tui.runs.writer import RunWriter
from tests.events.builders import metrics, opening, run_events, step_events
from tests.runs.conftest import CONFIG
from tests.runs.training import ROOT


def test_a_list_of_runs(tmp_path: Path) -> None:
    for name, steps in (("old", 2), ("new", 1)):
        with RunWriter.create(tmp_path / name, CONFIG) as writer:
            for event in run_events(steps):
                writer.write(event)
        os.utime(tmp_path / name / "run.db", (1e9, {"old": 1e9, "new": 2e9}[name]))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.db").write_text("nonsense" * 1000)
    os.utime(tmp_path / "broken" / "run.db", (0, 0))
    (tmp_path / "no run").mkdir()
    (tmp_path / "file").write_text("")

    new, old, broken = list_runs(tmp_path)
    assert (old.path, old.name, old.finished_steps, old.total_steps) == (tmp_path / "old", "r", 2, 2)
    assert (old.last_reward, old.modified, old.running) == (metrics(2).reward_mean, 1e9, False)
    assert new.finished_steps == 1
    assert broken.name == "broken"
    assert "not a grpo-tui run file" in broken.problem
    assert not new.problem


def test_no_folder_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "missing") == []
    (tmp_path / "file").write_text("")
    assert list_runs(tmp_path / "file") == []


def test_a_run_before_its_first_event_is_listed(writer: RunWriter, run_dir: Path) -> None:
    (run,) = list_runs(run_dir.parent)
    assert (run.name, run.finished_steps, run.last_reward, run.running) == ("run", 0, None, True)


def test_a_running_run_is_seen_to_run(writer: RunWriter, run_dir: Path) -> None:
    for event in [*opening(total_steps=7), *step_events(1)]:
        writer.write(event)
    (run,) = list_runs(run_dir.parent)
    assert (run.finished_steps, run.total_steps, run.running) == (1, 7, True)
    writer.close()
    assert not list_runs(run_dir.parent)[0].running


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("tiny sums", "tiny-sums"),
        ("../../etc/passwd", "etc-passwd"),
        ("Über Größe №5", "uber-groe-no5"),
        ("", "run"),
        ("数学", "run"),
        ("a" * 300, "a" * 60),
        ("con\0\n.", "con"),
    ],
)
def test_new_run_directories_have_harmless_names(tmp_path: Path, name: str, slug: str) -> None:
    path = new_run_dir(tmp_path / "runs", name)
    assert path.is_dir()
    assert path.parent == tmp_path / "runs"
    assert re.fullmatch(rf"\d{{8}}-\d{{6}}-{slug}", path.name)


def test_new_run_directories_are_unique(tmp_path: Path) -> None:
    assert len({new_run_dir(tmp_path, "same") for _ in range(5)}) == 5


def test_a_new_run_where_none_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFileError, match="cannot create"):
        new_run_dir(tmp_path / "file", "x")


# One writer per run ---------------------------------------------------------------------------------------


def test_two_writers_of_one_run(writer: RunWriter, run_dir: Path) -> None:
    with pytest.raises(RunFileError) as error:
        RunWriter.open(run_dir)
    assert f"process {os.getpid()} is training this run" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(RunFileError, match="training this run"):
        RunWriter.create(run_dir, "")
    writer.close()
    with RunWriter.open(run_dir):
        pass


def test_two_writing_processes(writer: RunWriter, run_dir: Path) -> None:
    code = (
        "import pathlib, sys\nfrom grpo_tui.runs import RunFileError, RunWriter\n"
        "try: RunWriter.open(pathlib.Path(sys.argv[1]))\nexcept RunFileError as error: print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(run_dir)], cwd=ROOT, capture_output=True, text=True
    )
    assert f"process {os.getpid()} is training this run" in result.stdout


def test_a_forked_child_does_not_keep_the_lock(run_dir: Path) -> None:
    """Verifier workers may outlive a killed trainer for a moment: the run must be free at once."""
    code = (
        "import os, pathlib, sys, time\nfrom grpo_tui.runs import RunWriter\n"
        "writer = RunWriter.create(pathlib.Path(sys.argv[1]), '')\n"
        "child = os.fork()\n"
        "if child == 0: time.sleep(60)\n"
        "print(child, flush=True)\ntime.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(run_dir)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        assert is_locked(run_dir)
        process.kill()
        process.wait()
        # The child lets go as soon as it runs at all, which on a busy machine may be after its parent's end.
        deadline = time.monotonic() + 10
        while is_locked(run_dir) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not is_locked(run_dir)
        with RunWriter.open(run_dir):
            pass
    finally:
        process.kill()
        os.kill(child, 9)
        process.communicate()


def test_looking_does_not_stop_a_writer(run_dir: Path) -> None:
    assert not is_locked(run_dir)
    with RunWriter.create(run_dir, ""):
        assert is_locked(run_dir)
        assert is_locked(run_dir)
    assert not is_locked(run_dir)


def test_no_heavy_imports() -> None:
    code = (
        "import sys, grpo_tui.runs, grpo_tui.events.codec\n"
        "print(sorted({'torch', 'textual', 'transformers', 'sympy'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
