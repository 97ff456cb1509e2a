"""Errors in a session: told with advice, waited out, retried; and what they leave is what was there before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from grpo_tui.algorithms import policy_gradient_loss
from grpo_tui.config.schema import RunConfig
from grpo_tui.engine.advice import advice_for, one_line
from grpo_tui.engine.control import Control
from grpo_tui.events.commands import Retry, StepOnce, Stop
from grpo_tui.events.types import Event, Notice, StepFinished, TrainerFailed
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import RunFileError
from grpo_tui.runs.writer import RunWriter
from tests.engine.support import (
    BREAKS,
    LETTERS,
    LOSS,
    Background,
    expect_quiet,
    history_hashes,
    run_small,
    small_config,
)

CONFIG = small_config("run.steps=3", "run.checkpoint_every=1")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    _, events = run_small(CONFIG, tmp_path_factory.mktemp("undisturbed") / "run")
    return events.hashes


def mended_and_retried(
    config: RunConfig,
    run_dir: Path,
    mend: Callable[[], object],
    *,
    on_event: Callable[[Event], None] = lambda _event: None,
    times: int = 1,
) -> tuple[list[TrainerFailed], dict[int, str]]:
    """Run in the background; at each failure wait, then mend after the last, and retry."""
    session = Background(config, run_dir, paused=False, on_event=on_event)
    with session:
        for number in range(1, times + 1):
            session.wait_for_number(TrainerFailed, number)
            expect_quiet(session, 0.05)
            if number == times:
                mend()
            session.send(Retry())
        ended = session.join()
    assert (ended.reason, ended.finished_steps) == ("finished", 3)
    return session.events.of(TrainerFailed), session.events.hashes


def test_a_reward_that_raises_is_told_once_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = tmp_path / "broken"
    monkeypatch.setenv("GRPO_TEST_BREAK", str(switch))

    def break_in_second(event: Event) -> None:
        if isinstance(event, StepFinished) and event.metrics.step == 1:
            switch.touch()

    ended, events = run_small(
        small_config("run.steps=3", reward=BREAKS), tmp_path / "run", on_event=break_in_second
    )
    assert (ended.reason, ended.finished_steps) == ("finished", 3)
    assert not events.of(TrainerFailed)
    (told,) = [notice for notice in events.of(Notice) if notice.level == "error"]
    assert told.source == "rewards"
    assert "reward 'breaks_while_told' failed: ZeroDivisionError: the reward is broken" in told.message
    assert told.detail.splitlines()[-1] == "ZeroDivisionError: the reward is broken"
    assert "breaks_while_told" in told.detail
    with RunReader(tmp_path / "run") as reader:
        metrics = {m.step: m for m in reader.history()}
        detail = reader.load_step(2)
    assert metrics[1].reward_std > 0
    assert (metrics[2].reward_std, metrics[2].num_degenerate_groups) == (0.0, 2)
    assert detail is not None
    scores = [c.scores["breaks_while_told"] for group in detail.groups for c in group.completions]
    assert {score.value for score in scores} == {None}
    assert "the reward is broken" in scores[0].explanation.sentence


class Failing:
    """A loss that fails for the first so many calls from the n-th on."""

    def __init__(self, error: BaseException, first: int, count: int = 1) -> None:
        self.error, self.first, self.last, self.calls = error, first, first + count - 1, 0

    def __call__(self, inputs: Any) -> Any:
        self.calls += 1
        if self.first <= self.calls <= self.last:
            raise self.error
        return policy_gradient_loss(inputs)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "lower optim.max_tokens_per"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: out of memory"), "lower optim.max_tokens_per"),
        (MemoryError(), "lower optim.max_tokens_per"),
        (FloatingPointError("the gradient norm is nan"), "lower optim.lr"),
        (RunFileError("cannot write"), "mend what the message names"),
        (RuntimeError("something\nelse"), "retry takes the step again"),
    ],
)
def test_advice(error: BaseException, words: str) -> None:
    assert words in advice_for(error)
    for text in (advice_for(error), one_line(error)):
        assert text
        assert "\n" not in text


@pytest.mark.parametrize("error", [MemoryError("out of memory"), RuntimeError("some\nthing")])
def test_an_error_in_the_update(
    tmp_path: Path, undisturbed: dict[int, str], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(LOSS, Failing(error, first=2))
    [failed], hashes = mended_and_retried(CONFIG, tmp_path / "run", lambda: None)
    assert (failed.step, failed.kind, failed.can_retry) == (2, type(error).__name__, True)
    assert failed.message == " ".join(str(error).split())
    assert failed.advice == advice_for(error)
    assert "Traceback" in failed.traceback
    assert hashes == undisturbed


def test_after_a_failed_single_step_retry_takes_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LOSS, Failing(MemoryError(), first=1))
    with Background(CONFIG, tmp_path / "run") as session:
        session.wait_for_mode("paused before step 1")
        session.send(StepOnce())
        session.wait_for_number(TrainerFailed, 1)
        session.send(Retry())
        session.wait_for_mode("paused before step 2")
        assert len(session.events.of(StepFinished)) == 1


def test_a_retry_from_the_very_event_that_tells_of_the_failure(
    tmp_path: Path, undisturbed: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LOSS, Failing(MemoryError(), first=1))
    session = Background(CONFIG, tmp_path / "run", paused=False)

    def retry(event: Event) -> None:
        if isinstance(event, TrainerFailed):
            session.send(Retry())

    session.on_event = retry
    with session:
        assert session.join().reason == "finished"
    assert session.events.hashes == undisturbed


def test_stop_after_a_failure_saves_what_was_done(
    tmp_path: Path, undisturbed: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config("run.steps=3")
    with monkeypatch.context() as patch:
        patch.setattr(LOSS, Failing(MemoryError(), first=3))
        session = Background(config, tmp_path / "run", paused=False)
        with session:
            session.wait_for_number(TrainerFailed, 1)
            session.send(Stop())
            ended = session.join()
    assert (ended.reason, ended.finished_steps) == ("stopped", 2)
    run_small(config, tmp_path / "run", resume=True)
    assert history_hashes(tmp_path / "run") == undisturbed


def test_nobody_to_ask_ends_the_run_and_keeps_what_was_done(
    tmp_path: Path, undisturbed: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config("run.steps=3")
    with monkeypatch.context() as patch:
        patch.setattr(LOSS, Failing(MemoryError(), first=3))
        ended, events = run_small(config, tmp_path / "run", wait_on_failure=False)
    assert (ended.reason, ended.finished_steps) == ("failed", 2)
    [failed] = events.of(TrainerFailed)
    assert not failed.can_retry
    assert events.names()[-2:] == ["CheckpointSaved", "RunEnded"]
    ended, _ = run_small(config, tmp_path / "run", resume=True)
    assert ended.reason == "finished"
    assert history_hashes(tmp_path / "run") == undisturbed


class FullDisk:
    """Refuses every transaction of the run file while full."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        transaction = RunWriter._transaction

        def refuse(writer: RunWriter, *arguments: Any) -> Any:
            if self.is_full:
                raise RunFileError("cannot write run.db: No space left on device; free space, then retry")
            return transaction(writer, *arguments)

        patch.setattr(RunWriter, "_transaction", refuse)

    def fill(self) -> None:
        self.is_full = True

    def free(self) -> None:
        self.is_full = False


@pytest.mark.parametrize("moment", ["ModeChanged", "StepFinished", "CheckpointSaved"])
def test_a_full_disk(
    tmp_path: Path, undisturbed: dict[int, str], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """From one event on; freed before the second retry. Nothing is missing in the file in the end."""
    disk = FullDisk(monkeypatch)

    def fill(event: Event) -> None:
        if type(event).__name__ == moment and not freed:
            disk.fill()

    freed: list[bool] = []

    def free() -> None:
        freed.append(True)
        disk.free()

    failed, hashes = mended_and_retried(CONFIG, tmp_path / "run", free, on_event=fill, times=2)
    assert {f.kind for f in failed} == {"RunFileError"}
    assert {f.advice for f in failed} == {
        "mend what the message names; nothing up to the last saved step is lost"
    }
    assert hashes == undisturbed == history_hashes(tmp_path / "run")
    with RunReader(tmp_path / "run") as reader:
        state = reader.load_state()
        assert [line.message for line in state.log if "No space left" in line.message]
        assert state.ended is not None
        assert all(reader.load_step(step) is not None for step in (1, 2, 3))


@pytest.mark.parametrize("moment", ["ModeChanged", "StepFinished"])
def test_a_full_disk_with_nobody_to_ask(
    tmp_path: Path, undisturbed: dict[int, str], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The process ends. No checkpoint is newer than the run file, so that resuming leaves no hole in it."""

    def fill(event: Event) -> None:
        if type(event).__name__ == moment:
            disk.fill()

    with monkeypatch.context() as patch:
        disk = FullDisk(patch)
        ended, events = run_small(CONFIG, tmp_path / "run", on_event=fill)
    assert ended.reason == "failed"
    assert {f.kind for f in events.of(TrainerFailed)} == {"RunFileError"}
    ended, _ = run_small(CONFIG, tmp_path / "run", resume=True)
    assert (ended.reason, ended.finished_steps) == ("finished", 3)
    assert history_hashes(tmp_path / "run") == undisturbed


def test_a_checkpoint_that_cannot_be_written(
    tmp_path: Path, undisturbed: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file as whole

    full = [True]

    def refuse(*arguments: Any, **options: Any) -> None:
        if full:
            raise OSError(28, "No space left on device")
        whole(*arguments, **options)

    monkeypatch.setattr("grpo_tui.engine.checkpoint.save_file", refuse)
    failed, hashes = mended_and_retried(CONFIG, tmp_path / "run", full.clear, times=2)
    assert all("No space left on device; free space, then retry" in f.message for f in failed)
    assert hashes == undisturbed


@pytest.mark.parametrize("kind", ["ModelLoaded", "StepFinished"])
def test_a_screen_that_raises_loses_nothing_of_the_run_file(
    tmp_path: Path, undisturbed: dict[int, str], kind: str
) -> None:
    raised: list[bool] = []

    def on_event(event: Event) -> None:
        if type(event).__name__ == kind and not raised:
            raised.append(True)
            raise BrokenPipeError("nobody reads")

    ended, _ = run_small(CONFIG, tmp_path / "run", on_event=on_event)
    assert ended.reason == "failed"
    ended, _ = run_small(CONFIG, tmp_path / "run", resume=True)
    assert ended.reason == "finished"
    assert history_hashes(tmp_path / "run") == undisturbed


@pytest.mark.parametrize(
    ("override", "reward", "kind"),
    [
        ("model.source=./nowhere", LETTERS, "PolicyError"),
        ("data.source=./nowhere.jsonl", LETTERS, "DataError"),
        ("run.steps=3", "nosuch", "UnknownRewardError"),
        ("run.steps=3", "tests.engine.rewarding:nosuch", "UnknownRewardError"),
        ("model.lora_targets=nosuch_proj", LETTERS, "PolicyError"),
    ],
)
def test_an_error_while_loading_cannot_be_retried(
    tmp_path: Path, override: str, reward: str, kind: str
) -> None:
    config = small_config(override, reward=reward)
    ended, events = run_small(config, tmp_path / "run", wait_on_failure=True)
    assert (ended.reason, ended.finished_steps) == ("failed", 0)
    [failed] = events.of(TrainerFailed)
    assert (failed.kind, failed.step, failed.can_retry) == (kind, 0, False)
    assert failed.advice == "change the command or the config and start again"
    with RunReader(tmp_path / "run") as reader:
        state = reader.load_state()
    assert state.failure == failed
    assert state.ended == ended


def test_a_folder_that_holds_a_run_is_left_alone(tmp_path: Path) -> None:
    run_small(small_config("run.steps=1"), tmp_path / "run")
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    ended, events = run_small(small_config("run.steps=2"), tmp_path / "run")
    assert ended.reason == "failed"
    assert "it holds a run; resume it" in events.of(TrainerFailed)[0].message
    assert {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()} == before


def test_a_damaged_checkpoint_is_refused_and_nothing_is_trained(tmp_path: Path) -> None:
    config = small_config("run.steps=2")
    run_small(config, tmp_path / "run")
    (tmp_path / "run/checkpoints/step-000002/optimizer.safetensors").write_bytes(b"")
    ended, events = run_small(config, tmp_path / "run", resume=True)
    assert (ended.reason, ended.finished_steps) == ("failed", 2)
    [failed] = events.of(TrainerFailed)
    assert (failed.kind, failed.can_retry) == ("RunFileError", False)
    assert "cannot read checkpoint" in failed.message
    assert set(history_hashes(tmp_path / "run")) == {1, 2}


def test_the_control_of_a_failed_load_is_not_waited_for(tmp_path: Path) -> None:
    """Even paused: there is nothing to go on with."""
    ended, _ = run_small(
        small_config("data.source=./nowhere.jsonl"),
        tmp_path / "run",
        control=Control(start_paused=True),
        wait_on_failure=True,
    )
    assert ended.reason == "failed"
