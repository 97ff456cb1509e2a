"""A resumed run equals an uninterrupted one, bitwise; and a run does not depend on where it is resumed from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from grpo_tui.config.load import load_config
from grpo_tui.config.schema import RunConfig
from grpo_tui.data.bundled import TINY_MODEL, TINY_TRAIN, bundled_path
from grpo_tui.engine.paths import anchored
from grpo_tui.runs.checkpoints import checkpoint_name
from grpo_tui.runs.reader import RunReader
from tests.engine.rewarding import HERE as REWARDS_FILE
from tests.engine.support import LETTERS, history_hashes, run_small, small_config

STEPS = 4


def until(config: RunConfig, steps: int) -> RunConfig:
    return replace(config, run=replace(config.run, steps=steps))


def checkpoint_files(run_dir: Path, step: int) -> dict[str, bytes]:
    directory = run_dir / "checkpoints" / checkpoint_name(step)
    return {file.name: file.read_bytes() for file in directory.iterdir()}


OFF_POLICY = ("algorithm.num_epochs=2", "algorithm.num_minibatches=2")
SCHEDULED = ("optim.schedule=cosine", "optim.warmup_steps=2", "optim.weight_decay=0.01")


@pytest.mark.parametrize(
    "overrides", [(), (*OFF_POLICY, "model.lora_dropout=0.1"), (*SCHEDULED, "data.limit=3")]
)
def test_two_and_two_are_four(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    config = small_config(f"run.steps={STEPS}", *overrides)
    _, whole = run_small(config, tmp_path / "whole")
    # Stopped, not planned shorter: the schedule depends on the steps planned.
    stopped = 0
    from grpo_tui.engine.control import Control
    from grpo_tui.events.commands import Stop
    from grpo_tui.events.types import Event, StepFinished

    control = Control(start_paused=False)

    def stop_after_two(event: Event) -> None:
        nonlocal stopped
        if isinstance(event, StepFinished):
            stopped += 1
            if stopped == 2:
                control.send(Stop())

    ended, first = run_small(config, tmp_path / "parts", control=control, on_event=stop_after_two)
    assert (ended.reason, ended.finished_steps) == ("stopped", 2)
    ended, second = run_small(config, tmp_path / "parts", resume=True)
    assert (ended.reason, ended.finished_steps) == ("finished", STEPS)
    assert first.hashes | second.hashes == whole.hashes
    assert len(set(whole.hashes.values())) == STEPS
    assert history_hashes(tmp_path / "parts") == history_hashes(tmp_path / "whole") == whole.hashes
    assert checkpoint_files(tmp_path / "parts", STEPS) == checkpoint_files(tmp_path / "whole", STEPS)


def test_from_an_older_checkpoint_the_steps_beyond_it_are_taken_again(tmp_path: Path) -> None:
    """As after a kill at step 3 of a run that saves every second step."""
    config = small_config(
        "run.steps=3", "run.checkpoint_every=2", "run.keep_checkpoints=9", "run.history_mb=0"
    )
    _, whole = run_small(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / checkpoint_name(3))
    ended, again = run_small(config, tmp_path / "run", resume=True)
    assert ended.reason == "finished"
    assert again.hashes == {3: whole.hashes[3]}
    assert history_hashes(tmp_path / "run") == whole.hashes


def test_from_no_checkpoint_everything_is_taken_again(tmp_path: Path) -> None:
    config = small_config("run.steps=2", "run.history_mb=0")
    _, whole = run_small(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    _, again = run_small(config, tmp_path / "run", resume=True)
    assert again.hashes == whole.hashes
    assert history_hashes(tmp_path / "run") == whole.hashes


def test_a_finished_run_can_be_lengthened(tmp_path: Path) -> None:
    config = small_config("run.steps=3")
    _, whole = run_small(config, tmp_path / "whole")
    run_small(until(config, 2), tmp_path / "run")
    ended, events = run_small(until(config, 2), tmp_path / "run", resume=True)
    assert (ended.reason, ended.finished_steps, events.hashes) == ("finished", 2, {})
    run_small(until(config, 3), tmp_path / "run", resume=True)
    assert history_hashes(tmp_path / "run") == whole.hashes


def test_stopped_in_the_middle_of_an_update_the_saved_state_is_that_of_the_last_step(tmp_path: Path) -> None:
    """Not its generator either: the hash of the checkpoint is the one the last finished step told."""
    import json

    from grpo_tui.engine.control import Control
    from grpo_tui.events.commands import Stop
    from grpo_tui.events.records import Phase
    from grpo_tui.events.types import Event, PhaseStarted

    control = Control(start_paused=False)

    def stop(event: Event) -> None:
        if isinstance(event, PhaseStarted) and (event.step, event.phase) == (2, Phase.UPDATE):
            control.send(Stop())

    config = small_config("run.steps=3", "optim.max_tokens_per_microbatch=1")
    _, events = run_small(config, tmp_path / "run", control=control, on_event=stop)
    state = json.loads((tmp_path / "run/checkpoints" / checkpoint_name(1) / "state.json").read_text())
    assert state["state_hash"] == events.hashes[1]


# --- from another folder ---------------------------------------------------------------------------------


def relative_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """Model, problems, held-out problems and reward by paths relative to the working directory."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copytree(bundled_path(TINY_MODEL), home / "model")
    lines = bundled_path(TINY_TRAIN).read_text().splitlines(keepends=True)
    (home / "train.jsonl").write_text("".join(lines[:12]))
    (home / "heldout.jsonl").write_text("".join(lines[12:16]))
    shutil.copy(REWARDS_FILE, home / "mine.py")
    monkeypatch.chdir(home)
    return small_config(
        "model.source=model",
        "data.source=train.jsonl",
        "data.eval_source=heldout.jsonl",
        "eval.every=2",
        "run.steps=2",
        reward="mine.py:letters",
    )


def test_a_run_with_relative_paths_resumes_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = relative_config(tmp_path, monkeypatch)
    _, whole = run_small(config, tmp_path / "whole")
    run_small(until(config, 1), tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    stored = load_config(file=tmp_path / "run" / "config.toml", overrides=["run.steps=2"])
    ended, events = run_small(stored, tmp_path / "run", resume=True)
    assert ended.reason == "finished", events.names()
    assert history_hashes(tmp_path / "run") == whole.hashes
    with RunReader(tmp_path / "run") as reader:
        told = reader.load_state().run
    assert told is not None
    assert str(tmp_path / "home" / "train.jsonl") in told.config_toml


def test_what_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = anchored(relative_config(tmp_path, monkeypatch))
    home = tmp_path / "home"
    assert config.model.source == str(home / "model")
    assert config.data.source == str(home / "train.jsonl")
    assert config.data.eval_source == str(home / "heldout.jsonl")
    assert dict(config.reward.weights) == {f"{home}/mine.py:letters": 1.0}
    assert anchored(config) == config
    judged = replace(config, reward=replace(config.reward, learned_model="model"))
    assert anchored(judged).reward.learned_model == str(home / "model")


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model.source=HuggingFaceTB/SmolLM2-135M-Instruct", "data.source=openai/gsm8k"],
        ["model.source=~/model.gguf", "data.source=missing.jsonl"],
        [f"model.source={'x' * 5000}"],
        ["reward.weights.missing.py:f=1", "reward.weights.pkg.mod:f=1"],
    ],
)
def test_what_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()  # the bundled model keeps its name even here
    config = load_config(preset="tiny", overrides=overrides)
    assert anchored(config) == config
    assert LETTERS not in config.reward.weights
