"""Mistakes of the person: each one clear line on stderr, nothing on stdout, the right exit code, nothing lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from grpo_tui.data.bundled import TINY_MODEL, bundled_path
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.writer import RunWriter
from tests.cli.support import SECONDS, Answer, Command, start
from tests.engine.support import BREAKS, small_options

GOOD = '{"prompt": "1 + 1 = ?", "answer": "2"}\n'


def expect_one_line(answer: Answer, code: int, *words: str) -> None:
    """One line on stderr that holds these words."""
    assert answer.out == ""
    [line] = answer.err.splitlines()
    assert line.startswith("grpo-tui: error: ")
    for word in words:
        assert word in line, line
    assert answer.code == code


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "tinny"], ["--preset tinny", "did you mean 'tiny'"]),
        (["--set", "optim.lrr=1"], ["--set optim.lrr=1", "did you mean 'optim.lr'"]),
        (["--set", "lrr=1"], ["--set lrr=1", "did you mean 'optim.lr'"]),
        (["--set", "optim.lr=fast"], ["--set optim.lr=fast", "optim.lr", "number"]),
        (["--set", "optim.lr"], ["must be key=value"]),
        (["--set", "algorithm.name=gsop"], ["algorithm.name", "gspo"]),
        (["--set", "sampling.group_size=1"], ["sampling.group_size", "at least 2"]),
        (["--set", "reward.weights.math=0"], ["reward.weights", "all 0"]),
        (["--steps", "0"], ["run.steps", "at least 1"]),
        (["--config", "nowhere.toml"], ["nowhere.toml", "no such file"]),
        (["--config", "broken.toml"], ["broken.toml:2", "not valid TOML"]),
        (["--config", "wrong.toml"], ["wrong.toml:2", "did you mean 'optim.lr'"]),
        (["--set", "data.source=nowhere.jsonl"], ["nowhere.jsonl", "no such file"]),
        (["--set", "data.source=table.csv"], ["table.csv", "'.csv' files cannot be read"]),
        (["--set", "data.source=broken.jsonl"], ["broken.jsonl:3", "not valid JSON"]),
        (
            ["--set", "data.source=column.jsonl"],
            ["column.jsonl:2", "no column 'answer'", "set data.answer_field=gold"],
        ),
        (["--set", "data.source=list.jsonl"], ["list.jsonl:1", "a row must be an object"]),
        (["--set", "data.source=empty.jsonl"], ["empty.jsonl", "holds no problems"]),
        (["--set", "data.source=bytes.jsonl"], ["bytes.jsonl:2", "not UTF-8"]),
        (["--set", "data.source=badgold.jsonl"], ["badgold.jsonl", "no problem is left", "because"]),
        (
            ["--set", "data.source=one.jsonl", "--set", "eval.every=5"],
            ["no problems are held out", "eval.every=0"],
        ),
        (["--set", "sampling.max_completion_tokens=512"], ["no problem is left", "exceed context 512"]),
        (["--set", "model.source=./nowhere"], ["model.source", "./nowhere"]),
        (["--set", "model.source=nowhere.gguf"], ["no such file", "nowhere.gguf"]),
        (["--set", "model.source=empty"], ["empty has no config.json"]),
        (["--set", "model.source=encoder"], ["encoder is a bert model, not a causal language model"]),
        (["--set", "model.source=translator"], ["translator is a t5 model, not a causal language model"]),
        (["--set", "model.source=damaged"], ["damaged", "could not be loaded"]),
        (["--set", "model.source=nobody/nothing"], ["nobody/nothing is not on this machine"]),
        (["--set", "model.lora_targets=q_prj"], ["lora_targets", "q_prj match no layer", "q_proj"]),
        (["--set", "model.device=cuda:7"], ["model.device", "cuda:7"]),
        (["--set", "reward.weights.mth=1"], ["unknown reward 'mth'", "did you mean math"]),
        (["--set", "reward.weights.nowhere.py:f=1"], ["nowhere.py", "no file"]),
    ],
    ids=lambda value: " ".join(value[-1:]) if isinstance(value, list) else "",
)
def test_wrong_input(grpo_tui: Command, files: Path, arguments: Sequence[str], words: Sequence[str]) -> None:
    before = snapshot(files)
    options = ["--set", "eval.every=0", "--set", "data.limit=5", "--set", "model.device=cpu"]
    answer = grpo_tui("train", *options, *arguments, "--json", "--out", files.parent / "run")
    expect_one_line(answer, 2, *words)
    assert snapshot(files) == before


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def all_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files and model folders with something wrong in each."""
    folder = tmp_path_factory.mktemp("input") / "files"
    folder.mkdir()
    texts = {
        "broken.toml": "[optim]\nlr = fast\n",
        "wrong.toml": "[optim]\nlrr = 1.0\n",
        "broken.jsonl": GOOD * 2 + '{"prompt": \n' + GOOD,
        "column.jsonl": GOOD + '{"prompt": "?", "gold": "1"}\n',
        "list.jsonl": "[1, 2]\n",
        "empty.jsonl": "",
        "badgold.jsonl": '{"prompt": "1 + 1 = ?", "answer": "\\\\frac{1}{"}\n',
        "one.jsonl": GOOD,
        "table.csv": "prompt,answer\n1,1\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "bytes.jsonl").write_bytes(GOOD.encode() + b'{"prompt": "\xff", "answer": "1"}\n')
    (folder / "empty").mkdir()
    tiny = bundled_path(TINY_MODEL)
    for name, kind in {"encoder": "bert", "translator": "t5"}.items():
        shutil.copytree(tiny, folder / name, ignore=shutil.ignore_patterns("*.safetensors"))
        (folder / name / "config.json").write_text(json.dumps({"model_type": kind}))
    shutil.copytree(tiny, folder / "damaged")
    weights = folder / "damaged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return folder


@pytest.fixture
def files(all_files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as the working directory."""
    shutil.rmtree(all_files.parent / "run", ignore_errors=True)
    monkeypatch.chdir(all_files)
    return all_files


def test_wrong_words_on_the_command_line(grpo_tui: Command) -> None:
    for arguments in (["trian"], ["train", "--presett", "tiny"], ["train", "--steps", "many"], ["resume"]):
        answer = grpo_tui(*arguments)
        assert answer.code == 2
        assert answer.out == ""
        assert answer.err.splitlines()[-1].startswith("grpo-tui")
        assert "error: " in answer.err.splitlines()[-1]


def test_problems_that_cannot_be_used_are_listed_and_kept_out(grpo_tui: Command, tmp_path: Path) -> None:
    rows = [
        {"id": "good", "prompt": "1 + 1 = ?", "answer": "2"},
        {"id": "no-gold", "prompt": "2 + 1 = ?", "answer": ""},
        {"id": "bad-gold", "prompt": "3 + 1 = ?", "answer": "\\frac{1}{"},
        {"id": "too-long", "prompt": "1 + " * 600 + "1 = ?", "answer": "601"},
        {"id": "good-too", "prompt": "1 + 4 = ?", "answer": 5},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = [
        *small_options(f"data.source={tmp_path / 'rows.jsonl'}", "data.eval_fraction=0", "run.steps=1"),
        *("--set", "reward.weights.math=1"),
    ]
    answer = grpo_tui("train", *options, "--out", tmp_path / "run")
    assert answer.code == 0
    assert "2 problems, 0 held out, 3 kept out" in answer.err.splitlines()
    listed = [line for line in answer.err.splitlines() if line.startswith("warning: data: kept out: ")]
    assert [line.split(": ")[3] for line in listed] == ["no-gold", "bad-gold", "too-long"]
    assert "exceed context 512" in listed[2]
    with RunReader(tmp_path / "run") as reader:
        data = reader.load_state().data
    assert data is not None
    assert (data.num_train, len(data.rejected)) == (2, 3)


def test_an_error_below_the_progress_lines(grpo_tui: Command, tmp_path: Path) -> None:
    answer = grpo_tui("train", *small_options("data.source=./nowhere.jsonl"), "--out", tmp_path / "run")
    assert answer.code == 2
    *_, line = answer.err.splitlines()
    assert line.startswith("grpo-tui: error: ./nowhere.jsonl: there is no such file")
    assert len(answer.errors) == 1


def test_a_reward_that_raises_is_told_with_its_traceback_and_the_run_goes_on(tmp_path: Path) -> None:
    switch = tmp_path / "broken"
    switch.touch()
    options = small_options("run.steps=2", reward=BREAKS)
    process = start("train", *options, "--json", "--out", tmp_path / "run", GRPO_TEST_BREAK=str(switch))
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert [json.loads(line)["step"] for line in out.splitlines()] == [1, 2]
    assert err.count("reward 'breaks_while_told' failed: ZeroDivisionError: the reward is broken") == 1
    assert err.count("Traceback (most recent call last)") == 1


@pytest.fixture
def run_dir(grpo_tui: Command, tmp_path: Path) -> Path:
    """A run of one step."""
    run_dir = tmp_path / "run"
    assert grpo_tui("train", *small_options("run.steps=1"), "--json", "--out", run_dir).code == 0
    return run_dir


def test_folders_that_hold_a_run_or_none(grpo_tui: Command, run_dir: Path, tmp_path: Path) -> None:
    before = snapshot(run_dir)
    for command in ("train", "run"):
        answer = grpo_tui(command, "--out", run_dir)
        expect_one_line(answer, 2, f"--out {run_dir}", "holds a run", f"grpo-tui resume {run_dir}")
    assert snapshot(run_dir) == before
    for place in (tmp_path / "nowhere", tmp_path, run_dir / "config.toml"):
        expect_one_line(grpo_tui("resume", place, "--headless"), 2, f"{place} is not a run")


def test_a_run_in_use(grpo_tui: Command, run_dir: Path) -> None:
    with RunWriter.open(run_dir):
        before = snapshot(run_dir)
        answer = grpo_tui("resume", run_dir, "--json", "--steps", "2")
        assert snapshot(run_dir) == before
    assert (answer.code, answer.out) == (1, "")
    assert len(answer.errors) == 1
    assert "is training this run; stop it first, or only view the run" in answer.errors[0]


def test_a_damaged_run(grpo_tui: Command, run_dir: Path) -> None:
    config = (run_dir / "config.toml").read_text()
    (run_dir / "config.toml").write_text(config.replace("steps = 1\n", "steps = one\n"))
    expect_one_line(grpo_tui("resume", run_dir, "--json"), 2, "config.toml:", "not valid TOML")
    (run_dir / "config.toml").write_text(config.replace("lora_rank = 4\n", "lora_rank = 8\n"))
    answer = grpo_tui("resume", run_dir, "--json", "--steps", "2")
    assert answer.code == 1
    assert "another shape than the config asks for" in answer.errors[0]
    (run_dir / "config.toml").write_text(config)
    whole = (run_dir / "run.db").read_bytes()
    (run_dir / "run.db").write_bytes(b"no database at all" * 100)
    answer = grpo_tui("resume", run_dir, "--json", "--steps", "2")
    assert (answer.code, len(answer.errors)) == (1, 1)
    assert "it is not a grpo-tui run file" in answer.errors[0]
    (run_dir / "run.db").write_bytes(whole)
    assert grpo_tui("resume", run_dir, "--json", "--steps", "2").code == 0
