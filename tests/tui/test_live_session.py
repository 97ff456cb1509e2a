"""The thread boundary, with a stand-in for the engine."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from grpo_tui.config.presets import PRESETS
from grpo_tui.engine.control import Control
from grpo_tui.events.commands import Stop
from grpo_tui.events.records import Phase
from grpo_tui.events.types import Event, Notice, Progress, RunEnded, RunStarted, TrainerFailed
from grpo_tui.runs.writer import RunWriter
from grpo_tui.tui.live_session import LiveSession
from grpo_tui.tui.session import Recorded
from grpo_tui.tui.view import RunView
from tests.support.builders import ScriptedRun


def with_engine(monkeypatch: pytest.MonkeyPatch, run: Callable[..., RunEnded]) -> None:
    module = ModuleType("grpo_tui.engine.runner")
    module.run_session = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "grpo_tui.engine.runner", module)


def session(tmp_path: Path) -> LiveSession:
    return LiveSession(PRESETS["tiny"](), run_dir=tmp_path, resume=False, paused=True)


def drained(it: LiveSession) -> list[Event]:
    assert it.join(10)
    events = list(it.drain(10_000))
    assert not it.drain(1)
    return events


def ended(reason: str = "finished") -> RunEnded:
    return RunEnded(time=time.time(), reason=reason, finished_steps=0)


def test_every_event_arrives_in_order_and_only_the_last_progress(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(config: Any, *, emit: Any, progress: Any, **_: Any) -> RunEnded:
        assert threading.current_thread() is not threading.main_thread()
        for n in range(5000):
            emit(Notice(time=n, level="info", message=str(n)))
            progress(Progress(step=1, phase=Phase.SAMPLE, done=n, total=5000))
        return ended()

    with_engine(monkeypatch, run)
    it = session(tmp_path)
    assert not it.alive
    it.start()
    _, *notices, last = drained(it)
    assert [n.message for n in notices if isinstance(n, Notice)] == [str(n) for n in range(5000)]
    assert isinstance(last, RunEnded), "added when the engine only returned it"
    gauge = it.gauge()
    assert gauge is not None
    assert gauge.done == 4999


def test_an_end_that_was_emitted_is_not_emitted_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(config: Any, *, emit: Any, **_: Any) -> RunEnded:
        emit(ended())
        return ended()

    with_engine(monkeypatch, run)
    it = session(tmp_path)
    it.start()
    assert sum(isinstance(event, RunEnded) for event in drained(it)) == 1


def test_commands_reach_the_engines_control(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(config: Any, *, control: Control, **_: Any) -> RunEnded:
        while not control.stop_requested:
            time.sleep(0.001)
        return ended("stopped")

    with_engine(monkeypatch, run)
    it = session(tmp_path)
    it.start()
    assert it.alive
    it.send(Stop())
    assert drained(it)[-1] == ended("stopped")


def test_an_engine_that_cannot_be_imported_is_a_failure_without_retry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "grpo_tui.engine.runner", None)
    it = session(tmp_path)
    it.start()
    *_, failed, last = drained(it)
    assert isinstance(failed, TrainerFailed)
    assert not failed.can_retry
    assert "reinstall" in failed.advice
    assert "ModuleNotFoundError" in failed.traceback
    assert isinstance(last, RunEnded)
    assert last.reason == "failed"


def test_even_a_bug_in_the_engine_is_an_event(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(config: Any, **_: Any) -> RunEnded:
        raise KeyError("[oops]")

    with_engine(monkeypatch, run)
    it = session(tmp_path)
    it.start()
    failed = next(event for event in drained(it) if isinstance(event, TrainerFailed))
    assert (failed.kind, failed.message) == ("KeyError", "'[oops]'")


def test_a_resumed_run_begins_with_what_was_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = ScriptedRun()
    first = script.loading()[0]
    assert isinstance(first, RunStarted)
    started = replace(first, finished_steps=2)  # the checkpoint is older than the last step
    with RunWriter.create(tmp_path / "run", "") as writer:
        for event in script.whole(3):
            writer.write(event)

    def run(config: Any, *, emit: Any, resume: bool, **_: Any) -> RunEnded:
        assert resume
        emit(started)
        return ended("stopped")

    with_engine(monkeypatch, run)
    it = LiveSession(PRESETS["tiny"](), run_dir=tmp_path / "run", resume=True, paused=True)
    view = RunView(it)
    it.start()
    assert it.join(10)
    while view.pump():
        pass
    assert [m.step for m in view.state.history] == [1, 2]
    assert view.shown_step == 2
    assert view.groups_per_step == 8
    detail = it.load_step(1)
    assert detail is not None
    assert len(detail.groups) == 8
    assert it.load_step(99) is None


def test_a_run_file_that_cannot_be_read_is_left_to_the_engine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_engine(monkeypatch, lambda config, **_: ended("failed"))
    it = LiveSession(PRESETS["tiny"](), run_dir=tmp_path / "nothing", resume=True, paused=True)
    it.start()
    assert not any(isinstance(event, Recorded | TrainerFailed) for event in drained(it))
