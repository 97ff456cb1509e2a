"""``grpo-tui train-reward``: from a recorded run to a model that a run can be paid by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from grpo_tui.config.schema import ModelConfig, RunConfig
from grpo_tui.reward_model import training
from rewards.base import Sample
from rewards.learned import LearnedReward
from tests.cli.support import Command
from tests.engine.support import SMALL, small_options
from tests.reward_model.support import RIGHT, WRONG, group_of, record_run, wordy
from tests.support.reward_models import save_reward_model


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run of two steps over 20 problems, whose own model is a small random one."""
    model = save_reward_model(tmp_path / "model")
    config = replace(RunConfig(), model=ModelConfig(source=str(model)))
    groups = [
        group_of(a.question, [(a.right[0], RIGHT), (a.wrong[0], WRONG)], index=n)
        for n, a in enumerate(wordy(20))
    ]
    return record_run(tmp_path / "run", [groups[:10], groups[10:]], config)


FAST = ["--lr", "1e-2", "--epochs", "8", "--device", "cpu"]


def test_json_is_one_object_and_the_model_works(grpo_tui: Command, run_dir: Path) -> None:
    answer = grpo_tui("train-reward", run_dir, *FAST, "--json")
    assert answer.code == 0, answer.err
    [result] = answer.objects
    assert result["out"] == str(run_dir / "reward_model")
    assert result["pairs"] == {"train": 16, "train_problems": 16, "held_out": 4, "held_out_problems": 4}
    assert [epoch["epoch"] for epoch in result["epochs"]] == [*range(1, 9)]
    assert result["held_out"] == result["epochs"][-1]["held_out"]
    assert result["held_out"]["every"]["accuracy"] == 1.0
    assert result["longer_is_better"]["accuracy"] == 1.0  # "Yes, 2." is longer than "No, 3."
    assert result["held_out"]["not_longer"] is None
    reward = LearnedReward(result["out"], device="cpu")
    right, wrong = reward.score(
        [
            Sample(problem_id="1", prompt="Is 50 + 50 = 100?", completion=text, gold="100")
            for text in ("Yes, 100.", "No, 101.")
        ]
    )
    assert right.value is not None
    assert wrong.value is not None
    assert right.value > wrong.value
    settings = json.loads((run_dir / "reward_model" / "reward_model.json").read_text())
    assert (settings["text"], settings["trained"]["pairs"]) == ("chat", result["pairs"])


def test_the_result_in_words(grpo_tui: Command, run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = grpo_tui("train-reward", run_dir, run_dir, *FAST, "--out", out)
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0] == (
        "2 steps, 40 judged answers: 16 pairs of 16 problems to train on, 4 pairs of 4 other problems held out"
    )
    assert "  after training    1.000 (0.510 to 1.000, n=4)" in lines
    assert lines[-2:] == [
        f"saved in {out}",
        f"use it: grpo-tui train --set reward.weights.learned=1 --set reward.learned_model={out}",
    ]
    told = answer.err.splitlines()
    assert told[1].startswith("before training: held-out pairs in order ")
    assert [line.split(":")[0] for line in told[2:]] == [f"epoch {n}" for n in range(1, 9)]


def test_without_held_out_problems(grpo_tui: Command, run_dir: Path) -> None:
    answer = grpo_tui("train-reward", run_dir, "--device", "cpu", "--eval-fraction", "0", "--max-pairs", "5")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[0].endswith(
        "5 pairs of 5 problems to train on, 0 pairs of 0 other problems held out"
    )
    assert "epoch 1: loss" in answer.err
    assert "not measured" in answer.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], ["nowhere is not a run", "run.db"]),
        (
            ["one_sided"],
            ["has both a right and a wrong answer", "(1 problems, 2 judged answers)", "record more"],
        ),
        (["lonely"], ["1 problems are too few", "--eval-fraction 0"]),
        (["run", "--out", "model"], ["--out model is there already"]),
        (["run", "--model", "nowhere.gguf"], ["--model: no such file: nowhere.gguf"]),
        (["run", "--model", "./empty"], ["--model: ./empty has no config.json"]),
        (["run", "--device", "cuda:77"], ["--device: 'cuda:77'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line(
    grpo_tui: Command,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: Sequence[str],
    words: Sequence[str],
) -> None:
    monkeypatch.chdir(run_dir.parent)
    Path("empty").mkdir()
    record_run(Path("one_sided"), [[group_of("?", [("4", RIGHT), ("four", RIGHT)])]])
    record_run(Path("lonely"), [[group_of("?", [("4", RIGHT), ("5", WRONG)])]])
    answer = grpo_tui("train-reward", *arguments)
    assert (answer.code, answer.out) == (2, "")
    line = answer.err.splitlines()[-1]
    assert line.startswith("grpo-tui train-reward: error: ")
    for word in words:
        assert word in line
    assert not (run_dir / "reward_model").exists()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--lr", "0", "above 0"),
        ("--lr", "nan", "above 0"),
        ("--epochs", "0", "at least 1"),
        ("--epochs", "many", "whole number"),
        ("--batch-size", "-1", "at least 1"),
        ("--eval-fraction", "1", "at least 0 and below 1"),
        ("--max-pairs", "0", "at least 1"),
        ("--seed", "-1", "at least 0"),
    ],
)
def test_options_out_of_range(grpo_tui: Command, option: str, value: str, said: str) -> None:
    answer = grpo_tui("train-reward", "run", f"{option}={value}")
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "stopped; nothing was saved"),
        (FloatingPointError("use a lower --lr"), 1, "use a lower --lr"),
    ],
)
def test_a_training_that_does_not_end(
    grpo_tui: Command,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    problem: BaseException,
    code: int,
    said: str,
) -> None:
    def fail(*_arguments: object) -> None:
        raise problem

    monkeypatch.setattr(training, "_gradient_step", fail)
    before = {*run_dir.parent.rglob("*")}
    answer = grpo_tui("train-reward", run_dir, "--device", "cpu")
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.splitlines()[-1] == f"grpo-tui train-reward: error: {said}"
    assert {*run_dir.parent.rglob("*")} - before == set()


def test_a_disk_that_refuses(grpo_tui: Command, run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    answer = grpo_tui("train-reward", run_dir, "--device", "cpu", "--out", tmp_path / "file" / "out")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.splitlines()[-1].startswith(f"grpo-tui train-reward: error: cannot write {tmp_path}")


def test_a_run_is_paid_by_it_and_repeats_itself(grpo_tui: Command, run_dir: Path, tmp_path: Path) -> None:
    assert grpo_tui("train-reward", run_dir, "--device", "cpu").code == 0
    options = [*SMALL, "run.steps=2", "reward.weights.math=0", "reward.weights.learned=1"]
    words = [word for pair in options for word in ("--set", pair)]
    words += ["--set", f"reward.learned_model={run_dir / 'reward_model'}"]
    answers = [grpo_tui("train", *words, "--json", "--out", tmp_path / name) for name in ("one", "two")]
    assert [answer.code for answer in answers] == [0, 0]
    assert answers[0].hashes == answers[1].hashes
    for step in answers[0].steps.values():
        assert set(step["component_means"]) == {"math", "learned"}
        assert step["reward_mean"] == pytest.approx(step["component_means"]["learned"])


def test_a_run_whose_reward_model_is_not_there(grpo_tui: Command, tmp_path: Path) -> None:
    words = ["--set", "reward.weights.learned=1", "--set", f"reward.learned_model={tmp_path / 'nowhere'}"]
    answer = grpo_tui("train", *words, "--json", "--out", tmp_path / "run")
    assert (answer.code, answer.out) == (2, "")
    [line] = answer.errors
    assert "grpo-tui train-reward RUN" in line


def test_a_reward_model_that_only_measures_changes_nothing(
    grpo_tui: Command, run_dir: Path, tmp_path: Path
) -> None:
    options = small_options("run.steps=2")
    measured = [
        *options,
        *("--set", "reward.weights.learned=0", "--set", f"reward.learned_model={run_dir.parent / 'model'}"),
    ]
    without = grpo_tui("train", *options, "--json", "--out", tmp_path / "without")
    within = grpo_tui("train", *measured, "--json", "--out", tmp_path / "within")
    assert (without.code, within.code) == (0, 0), within.err
    assert within.hashes == without.hashes
    assert "learned" in within.steps[1]["component_means"]
