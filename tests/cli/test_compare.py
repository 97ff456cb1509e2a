"""``grpo-tui compare``: its options, what it prints, and the whole of it on the tiny model."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from grpo_tui.compare.processes import Processes
from tests.cli.support import SECONDS, Command, start
from tests.compare.support import FakeLauncher, planned
from tests.engine.support import small_options


class FakeProcesses(FakeLauncher):
    """Takes the place of :class:`Processes`, whose construction it copies."""

    def __init__(self, *_arguments: object, **_more: object) -> None:
        super().__init__()


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpo_tui.compare.command.Processes", FakeProcesses)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--algorithms", "grop"], "no algorithm 'grop'; did you mean 'grpo'?"),
        (["--set", "algorithm.name=ppo"], "the algorithms compared are those of --algorithms"),
        (["--set", "optim.lrr=1"], "did you mean 'optim.lr'?"),
        (["--set", "optim.schedule=cosine"], "set it to 'constant'"),
        (["--preset", "tinny"], "did you mean 'tiny'?"),
        (["--set", "data.source=nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_wrong_settings(grpo_tui: Command, tmp_path: Path, arguments: list[str], words: str) -> None:
    answer = grpo_tui("compare", "--out", tmp_path / "out", *arguments)
    assert (answer.code, answer.out) == (2, "")
    [error] = answer.errors
    assert words in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "0"], "argument --seeds: must be between 1 and 100"),
        (["--seeds", "two"], "argument --seeds: must be a whole number"),
        (["--tokens", "-5"], "argument --tokens: must be between 1"),
        (["--sweep", "1/0"], "argument --sweep: must be numbers with commas between"),
        (["--sweep", "0,1"], "argument --sweep: must be at most 20 numbers above 0"),
        (["--jobs", "0"], "argument --jobs"),
    ],
)
def test_wrong_options(grpo_tui: Command, arguments: list[str], words: str) -> None:
    answer = grpo_tui("compare", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err


def test_nothing_held_out_is_found_before_the_sweep(grpo_tui: Command, tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"prompt": "1 + 1 = ?", "answer": "2"}\n')
    options = ["--set", f"data.source={problems}", "--set", "data.eval_fraction=0"]
    answer = grpo_tui("compare", *options)
    assert answer.code == 2
    assert "no problems are held out; set data.eval_fraction=0.1" in answer.err


@pytest.mark.usefixtures("no_training")
def test_the_table_on_stdout_and_a_line_for_each_run_on_stderr(grpo_tui: Command, tmp_path: Path) -> None:
    answer = grpo_tui("compare", "--algorithms", "grpo,rloo", "--seeds", "2", "--out", tmp_path / "out")
    assert answer.code == 0
    assert answer.out.startswith("# Algorithms compared\n")
    assert answer.out == (tmp_path / "out" / "compare.md").read_text()
    assert "| `rloo` | none | minus mean of the others | nothing | 0.400 → 0.600 |" in answer.out
    lines = answer.err.splitlines()
    assert [line for line in lines if line.startswith("[3/6]")] == [
        "[3/6] grpo-x3: step size 0.003: reward 0.400 at the end"
    ]
    assert "[4/4] rloo-seed1: held-out accuracy 0.400 → 0.600" in answer.err


@pytest.mark.usefixtures("no_training")
def test_settings_that_a_comparison_decides_itself_are_told_first_in_one_line(
    grpo_tui: Command, tmp_path: Path
) -> None:
    options = ("--algorithms", "grpo", "--seeds", "1", "--sweep", "1", "--out", tmp_path / "out")
    answer = grpo_tui("compare", *options, "--set", "run.steps=5", "--set", "optim.lr=0.002")
    assert answer.code == 0
    lines = answer.err.splitlines()
    assert [line for line in lines if "not used" in line] == lines[:1]
    assert lines[0].startswith("not used: run.steps=5; a run of a comparison ends by --tokens")
    again = grpo_tui("compare", *options, "--set", "optim.lr=0.002")
    assert "not used" not in again.err


@pytest.mark.usefixtures("no_training")
def test_json_lines(grpo_tui: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--algorithms", "grpo", "--seeds", "2", "--tokens", "500", "--sweep", "1,2", "--json")
    answer = grpo_tui("compare", *options, "--out", out)
    assert [next(iter(data)) for data in answer.objects] == ["sweep", "sweep", "run", "run", "table"]
    assert answer.objects[2]["run"]["after"]["correct"] == 60
    table = answer.objects[-1]["table"]
    assert table == json.loads((out / "compare.json").read_text())
    assert table["terms"] == {
        "algorithms": ["grpo"],
        "seeds": [0, 1],
        "tokens_per_run": 500,
        "sweep_factors": [1.0, 2.0],
        "sweep_tokens_per_run": 500,
    }


@pytest.mark.usefixtures("no_training")
def test_a_new_folder_below_runs(grpo_tui: Command, tmp_path: Path) -> None:
    assert grpo_tui("compare", "--algorithms", "grpo", "--seeds", "1", "--sweep", "1").code == 0
    [folder] = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("compare-")
    assert [path.name for path in (folder / "runs").iterdir()] == ["grpo-seed0"]


def test_a_process_that_fails_is_told_with_its_last_error(tmp_path: Path) -> None:
    run = planned(tmp_path, "grpo", "model.source=./nowhere")
    code, message = Processes(tmp_path, 1).run(run, resume=False)
    assert (code, message) == (2, "model.source: ./nowhere is not a model folder or a .gguf file")


SMALL_COMPARISON = (
    *("--algorithms", "grpo,trpo", "--seeds", "1", "--tokens", "200", "--sweep", "1"),
    *small_options("eval.num_problems=8", "run.steps=100"),
)


@pytest.mark.slow
def test_a_comparison_that_is_stopped_and_goes_on(
    grpo_tui: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "out"
    first = start("compare", *SMALL_COMPARISON, "--out", out)
    deadline = time.monotonic() + SECONDS
    while not (out / "runs" / "grpo-seed0" / "run.db").exists():
        assert time.monotonic() < deadline
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    said, errors = first.communicate(timeout=SECONDS)
    assert (first.returncode, said) == (130, "")
    assert "goes on" in errors
    answer = grpo_tui("compare", *SMALL_COMPARISON, "--out", out, "--json")
    assert answer.code == 0, answer.err
    table = answer.objects[-1]["table"]
    assert (table["complete"], table["unequal_starts"], table["failures"]) == (True, {}, [])
    grpo, trpo = table["algorithms"]
    for row in (grpo, trpo):
        # To the end of the step in which the budget was used up: at most 8 completions of 8 tokens more.
        assert 200 <= row["tokens"] < 200 + 64
        assert (row["num_answers"], row["num_runs"]) == (8, 1)
        assert row["num_noise_steps"] > 0
        assert row["kl_mean"] > 0
        assert row["peak_memory_bytes"] > 1e8
    assert grpo["accepted"] is None
    assert 0 <= trpo["accepted"] <= 1
    assert trpo["max_kl_over_limit"] is None or trpo["max_kl_over_limit"] <= 1
    # Each of its runs is an ordinary one.
    again = grpo_tui("resume", out / "runs" / "grpo-seed0", "--headless", "--json")
    assert (again.code, again.out) == (0, "")
