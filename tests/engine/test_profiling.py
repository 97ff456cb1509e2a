"""``--profile``: a trace that holds the step's phases and operators, and a run that goes on whatever becomes of it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from grpo_tui.engine.control import Control
from grpo_tui.engine.profiling import plan_profile
from grpo_tui.events.commands import ProfileSteps
from grpo_tui.events.records import PHASES
from grpo_tui.events.types import Notice, ProfileSaved, RequestFailed, StepFinished
from tests.engine.support import Events, run_small, small_config, trainer_of


def profiled_run(run_dir: Path, folder: Path, first: int, last: int) -> Events:
    control = Control(start_paused=False)
    control.send(ProfileSteps(first=first, last=last, folder=str(folder)))
    ended, events = run_small(small_config("run.steps=3"), run_dir, control=control)
    assert ended.reason == "finished"
    return events


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Events]:
    """A run of three steps, the last two profiled."""
    run = tmp_path_factory.mktemp("traced") / "run"
    return run, profiled_run(run, run, 2, 3)


def test_the_steps_asked_for_leave_a_trace_and_no_other(traced: tuple[Path, Events]) -> None:
    run, events = traced
    saved = events.of(ProfileSaved)
    assert [event.step for event in saved] == [2, 3]
    assert sorted(run.glob("profile*")) == [Path(event.path) for event in saved]
    trace = json.loads(gzip.decompress(Path(saved[0].path).read_bytes()))
    names = {event.get("name") for event in trace["traceEvents"]}
    assert {str(phase) for phase in PHASES} <= names
    assert "aten::mm" in names
    rows = saved[0].table.splitlines()
    assert rows[0].split() == ["operator", "self", "ms", "share", "calls"]
    times = [float(line[52:62]) for line in rows[1:]]
    assert times == sorted(times, reverse=True)
    assert times[0] > 0
    log = (run / "log").read_text()
    assert saved[0].path in log
    assert rows[1].strip() in log


def test_profiling_changes_no_weights(traced: tuple[Path, Events], tmp_path: Path) -> None:
    _, plain = run_small(small_config("run.steps=3"), tmp_path / "plain")
    assert traced[1].hashes == plain.hashes


def test_a_trace_that_cannot_be_written_is_told_and_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    events = profiled_run(tmp_path / "run", tmp_path / "file", 1, 1)
    assert not events.of(ProfileSaved)
    [warning] = [notice for notice in events.of(Notice) if notice.source == "profile"]
    assert str(tmp_path / "file") in warning.message
    assert len(events.of(StepFinished)) == 3


@pytest.mark.parametrize(("first", "last"), [(0, 2), (3, 2)])
def test_steps_that_are_none_are_refused(tmp_path: Path, first: int, last: int) -> None:
    events = profiled_run(tmp_path / "run", tmp_path / "run", first, last)
    [refused] = events.of(RequestFailed)
    assert f"cannot profile steps {first} to {last}" in refused.message


def test_steps_that_are_over_are_refused(tmp_path: Path) -> None:
    with trainer_of(small_config()) as trainer:
        trainer.finished_steps = 2
        with pytest.raises(ValueError, match="cannot profile step 2: 2 are done"):
            plan_profile(trainer, ProfileSteps(first=2, last=2, folder=str(tmp_path)))
