"""``grpo-tui train`` and ``resume`` where all goes well, and where signals come."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from grpo_tui.cli import build_parser
from grpo_tui.runs.checkpoints import latest
from grpo_tui.runs.lock import is_locked
from grpo_tui.runs.reader import RunReader
from tests.cli.support import Command
from tests.engine.support import LETTERS, SIGNALS, history_hashes, small_options

STEP_KEYS = {
    "step",
    "reward_mean",
    "reward_std",
    "accuracy",
    "kl_ref",
    "entropy",
    "loss",
    "grad_norm",
    "clip_fraction",
    "num_completions",
    "num_completion_tokens",
    "num_degenerate_groups",
    "seconds",
    "seconds_by_phase",
    "peak_memory_bytes",
    "state_hash",
}


def test_json_is_all_of_stdout(grpo_tui: Command, tmp_path: Path) -> None:
    options = small_options("eval.every=2", "eval.num_problems=3", "run.steps=9")
    answer = grpo_tui("train", *options, "--steps", "2", "--json", "--out", tmp_path / "run")
    assert answer.code == 0
    assert [sorted(data) if "eval" in data else data["step"] for data in answer.objects] == [
        ["eval", "step"],
        1,
        2,
        ["eval", "step"],
    ]
    for data in answer.steps.values():
        assert data.keys() >= STEP_KEYS
        assert {"problems", "sample", "score", "advantages", "reference", "update"} <= set(
            data["seconds_by_phase"]
        )
        assert data["peak_memory_bytes"] > 10_000_000
        assert data["num_completions"] == 8
        assert re.fullmatch("[0-9a-f]{64}", data["state_hash"])
    first, last = (data for data in answer.objects if "eval" in data)
    assert (first["step"], last["step"]) == (0, 2)
    assert first["eval"].keys() >= {"accuracy", "low", "high", "num_problems", "temperature"}
    assert answer.err == f"run saved in {tmp_path / 'run'} after step 2\n"
    assert history_hashes(tmp_path / "run") == answer.hashes


def test_json_tells_where_the_time_went(grpo_tui: Command, tmp_path: Path) -> None:
    answer = grpo_tui("train", *small_options(), "--steps", "1", "--json", "--out", tmp_path / "run")
    timing = answer.steps[1]["timing"]
    assert timing.keys() == {
        "prefill", "decode", "reference", "update", "device_peak_bytes", "run_file_seconds",
    }  # fmt: skip
    for name in ("prefill", "decode", "reference", "update"):
        keys = {"num_tokens", "seconds", "tokens_per_second", "num_microbatches", "padding"}
        assert timing[name].keys() == keys
        assert timing[name]["tokens_per_second"] > 0


def test_profile_says_where_its_trace_is(grpo_tui: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    answer = grpo_tui("train", *small_options(), "--steps", "2", "--json", "--out", run, "--profile")
    assert answer.code == 0
    [trace] = run.glob("profile*")
    assert trace.name == "profile-step-2.json.gz"
    assert f"step 2 profiled: {trace}; open it at https://ui.perfetto.dev" in answer.err
    assert "calls" in answer.err


@pytest.mark.parametrize(("text", "steps"), [("3", (3, 3)), ("2-4", (2, 4))])
def test_profile_takes_a_step_or_a_range(text: str, steps: tuple[int, int]) -> None:
    assert build_parser().parse_args(["train", "--profile", text]).profile == steps


@pytest.mark.parametrize("text", ["x", "0", "3-2", "1-", "-1", "1.5"])
def test_profile_of_what_are_no_steps(grpo_tui: Command, tmp_path: Path, text: str) -> None:
    answer = grpo_tui("train", *small_options(), "--out", tmp_path / "run", f"--profile={text}")
    assert answer.code == 2
    assert "--profile" in answer.err
    assert not (tmp_path / "run").exists()


def test_lines_where_stderr_is_no_terminal(grpo_tui: Command, tmp_path: Path) -> None:
    options = small_options("eval.every=2", "eval.num_problems=3", "run.steps=2", "run.name=try")
    answer = grpo_tui("train", *options, "--out", tmp_path / "run")
    assert (answer.code, answer.out) == (0, "")
    assert "\x1b" not in answer.err
    lines = answer.err.splitlines()
    assert lines[0] == f"try: 2 steps, in {tmp_path / 'run'}"
    assert lines[1].startswith("LlamaForCausalLM 1.9 M parameters in float32 on cpu, 0.01 M trained")
    assert lines[2] == "12 problems, 3 held out, 0 kept out"
    assert lines[3].startswith("held-out after step 0: accuracy ")
    for number in (1, 2):
        assert re.match(
            rf"step +{number}  reward \d\.\d+  accuracy \d\.\d+  kl_ref \d\.\d+  entropy \d\.\d+  grad \d\.\d+  "
            r"dead \d  \d+ tok  \d+ tok/s  \d+\.\d+ s$",
            lines[3 + number],
        )
    assert lines[6].startswith("held-out after step 2: accuracy ")
    assert lines[7:] == [f"run saved in {tmp_path / 'run'} after step 2"]


def test_without_out_a_folder_is_made_below_the_runs(grpo_tui: Command, tmp_path: Path) -> None:
    answer = grpo_tui("train", *small_options(), "--steps", "1", "--json")
    [run_dir] = (tmp_path / "runs").iterdir()
    assert answer.code == 0
    assert re.fullmatch(r"\d{8}-\d{6}-tiny", run_dir.name)
    assert str(run_dir) in answer.err


def test_settings_from_a_file(grpo_tui: Command, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'preset = "tiny"\n[run]\nsteps = 1\n[data]\nlimit = 4\n[eval]\nevery = 0\n'
        "[sampling]\nprompts_per_step = 1\ngroup_size = 3\nmax_completion_tokens = 6\n"
    )
    answer = grpo_tui("train", "--config", file, "--json", "--out", tmp_path / "run", "--set", "group_size=2")
    assert answer.code == 0
    assert answer.steps[1]["num_completions"] == 2


def test_resume_to_more_steps(grpo_tui: Command, tmp_path: Path) -> None:
    grpo_tui("train", *small_options(), "--steps", "1", "--json", "--out", tmp_path / "run")
    answer = grpo_tui("resume", tmp_path / "run", "--headless", "--steps", "2", "--json")
    assert (answer.code, list(answer.steps)) == (0, [2])
    whole = grpo_tui("train", *small_options(), "--steps", "2", "--json", "--out", tmp_path / "whole")
    assert history_hashes(tmp_path / "run") == whole.hashes
    finished = grpo_tui("resume", tmp_path / "run", "--headless", "--steps", "2")
    assert finished.code == 0
    assert finished.err.splitlines()[-1] == f"run saved in {tmp_path / 'run'} after step 2"


def test_relative_paths_resume_from_another_folder(
    grpo_tui: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data.jsonl").write_text('{"prompt": "1 + 1 = ?", "answer": "2"}\n' * 3)
    monkeypatch.chdir(tmp_path)
    options = small_options("data.source=data.jsonl")
    answer = grpo_tui("train", *options, "--steps", "1", "--json", "--out", "run")
    assert answer.code == 0, answer.err
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    answer = grpo_tui("resume", "../run", "--json", "--steps", "2")
    assert (answer.code, list(answer.steps)) == (0, [2])


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-C", "terminate"]
)
def test_a_signal_in_the_second_step(
    grpo_tui: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    whole = grpo_tui("train", *small_options(), "--steps", "3", "--json", "--out", tmp_path / "whole")
    monkeypatch.setenv("GRPO_TEST_SIGNALS", f"3:{number}")
    before = signal.getsignal(number)
    options = small_options(reward=SIGNALS)
    answer = grpo_tui("train", *options, "--steps", "3", "--json", "--out", tmp_path / "run")
    assert answer.code == code
    assert signal.getsignal(number) is before
    assert answer.hashes == {1: whole.hashes[1]}
    assert answer.err.splitlines() == [
        f"run saved in {tmp_path / 'run'} after step 1",
        f"continue with: grpo-tui resume {tmp_path / 'run'} --headless",
    ]
    monkeypatch.setenv("GRPO_TEST_SIGNALS", "0:")
    answer = grpo_tui("resume", tmp_path / "run", "--headless", "--json")
    assert answer.code == 0
    assert history_hashes(tmp_path / "run") == whole.hashes


def test_a_second_ctrl_c_leaves_at_once(
    grpo_tui: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRPO_TEST_SIGNALS", f"3:{signal.SIGINT:d},{signal.SIGINT:d}")
    options = small_options("run.checkpoint_every=1", reward=SIGNALS)
    answer = grpo_tui("train", *options, "--steps", "3", "--json", "--out", tmp_path / "run")
    assert (answer.code, answer.err) == (130, "")
    assert not is_locked(tmp_path / "run")
    assert latest(tmp_path / "run" / "checkpoints") is not None
    monkeypatch.setenv("GRPO_TEST_SIGNALS", "0:")
    assert grpo_tui("resume", tmp_path / "run", "--json").code == 0
    assert set(history_hashes(tmp_path / "run")) == {1, 2, 3}


def test_the_adapter_of_another_seed_is_another(grpo_tui: Command, tmp_path: Path) -> None:
    def run(name: str, seed: int) -> dict[int, str]:
        options = small_options(f"run.seed={seed}", f"reward.weights.{LETTERS}=0.5")
        return grpo_tui("train", *options, "--steps", "1", "--json", "--out", tmp_path / name).hashes

    assert run("a", 3) == run("b", 3) != run("c", 4)


def test_the_run_file_can_be_read_by_the_public_name(grpo_tui: Command, tmp_path: Path) -> None:
    import grpo_tui as package

    grpo_tui("train", *small_options(), "--steps", "1", "--json", "--out", tmp_path / "run")
    with package.open_run(tmp_path / "run") as reader:
        assert isinstance(reader, RunReader)
        assert reader.last_step() == 1
