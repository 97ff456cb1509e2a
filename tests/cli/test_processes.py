"""``grpo-tui`` as processes that are killed, interrupted at a terminal, left by their reader, or out of disk."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grpo_tui.runs.checkpoints import checkpoint_step, latest
from grpo_tui.runs.lock import is_locked
from grpo_tui.runs.reader import RunReader
from tests.cli.support import ROOT, SECONDS, Command, start
from tests.engine.support import history_hashes, run_small, small_config, small_options

STEPS = 14
"""Enough that a run which told its third step is far from its end when it is disturbed."""
# Many saves, some of them pruned, so that a kill may well fall into one.
OFTEN = ("run.checkpoint_every=2", "run.keep_checkpoints=2")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody disturbs."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    ended, _ = run_small(small_config(f"run.steps={STEPS}", *OFTEN), run_dir)
    assert ended.reason == "finished"
    return run_dir


def expect_same_run(run_dir: Path, whole: Path) -> None:
    """Every step's state, rewards and texts, and the adapter's bytes."""
    assert history_hashes(run_dir) == history_hashes(whole)
    name = f"checkpoints/step-{STEPS:06d}/adapter_model.safetensors"
    assert (run_dir / name).read_bytes() == (whole / name).read_bytes()
    with RunReader(run_dir) as ours, RunReader(whole) as theirs:
        for step in range(1, STEPS + 1):
            details = ours.load_step(step), theirs.load_step(step)
            texts = [
                [(c.text, c.reward, c.advantage) for g in detail.groups for c in g.completions]
                for detail in details
                if detail is not None
            ]
            assert texts[0] == texts[1]


def test_killed_and_resumed(tmp_path: Path, whole: Path) -> None:
    """SIGKILL somewhere after the third step; what was told is in the file, and the end is the same."""
    run_dir = tmp_path / "run"
    options = small_options(f"run.steps={STEPS}", *OFTEN)
    process = start("train", *options, "--json", "--out", run_dir)
    told: dict[int, str] = {}
    assert process.stdout is not None
    for line in process.stdout:
        data = json.loads(line)
        told[data["step"]] = data["state_hash"]
        if data["step"] == 3:
            break
    time.sleep(random.Random(os.getpid()).uniform(0.0, 0.12))
    process.kill()
    rest, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == -9
    # A line is printed before the step is in the file: the last may be ahead of it.
    told |= {data["step"]: data["state_hash"] for data in map(json.loads, rest.splitlines()[:-1])}
    kept = history_hashes(run_dir)
    assert len(kept) >= len(told) - 1 >= 2
    assert kept.items() <= history_hashes(whole).items()
    assert told.items() <= history_hashes(whole).items()
    resumed = start("resume", run_dir, "--headless", "--json")
    out, err = resumed.communicate(timeout=SECONDS)
    assert resumed.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["step"] == STEPS
    expect_same_run(run_dir, whole)


TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


SHOWN = (
    r"loading .*(importing torch|loading model)",
    r"step 2 .*━.* \d/50",
    r"sample \d+/24 completions \d+ tok/s",
    r"(reference|update) \d+/\d+ microbatches",
    r"ETA \d+:\d\d:\d\d",
    r"step +3  reward \d\.\d+  accuracy \d\.\d+  kl_ref \d\.\d+ .* \d+ tok/s",
)


def plain(raw: bytes) -> str:
    """What a terminal was sent, without its escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw.decode(errors="replace"))


def test_at_a_terminal_with_ctrl_c(tmp_path: Path) -> None:
    """The display shows what it must; the key ctrl-C, sent by the terminal, saves and leaves."""
    run_dir = tmp_path / "run"
    # Long enough steps that the display, five times a second, catches each of the slower phases.
    options = small_options("run.steps=50", "prompts_per_step=6", "max_completion_tokens=48")
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            TERMINAL,
            sys.executable,
            "-m",
            "grpo_tui",
            "train",
            *options,
            "--out",
            str(run_dir),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "200", "LINES": "40"},
    )
    assert process.stdout is not None
    assert process.stdin is not None
    raw = b""
    # The display is drawn five times a second, so it may take some steps until each phase was caught.
    while not all(re.search(pattern, plain(raw)) for pattern in SHOWN):
        piece = os.read(process.stdout.fileno(), 65536)
        assert piece, [pattern for pattern in SHOWN if not re.search(pattern, plain(raw))]
        raw += piece
    process.stdin.write(b"\x03")
    process.stdin.flush()
    rest, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    screen = plain(raw + rest)
    assert "Traceback" not in screen
    assert re.search(r"run saved in .* after step \d+\s+continue with: grpo-tui resume .* --headless", screen)
    assert raw.count(b"\x1b[?25l") >= 1
    assert rest.rindex(b"\x1b[?25h") > rest.find(b"\x1b[?25l")  # the cursor is shown again
    assert not is_locked(run_dir)
    saved = latest(run_dir / "checkpoints")
    assert saved is not None
    assert checkpoint_step(saved) == max(history_hashes(run_dir)) >= 3


def test_a_reader_that_leaves(grpo_tui: Command, tmp_path: Path, whole: Path) -> None:
    """``grpo-tui train --json | head -2``: the run stops, saves, and says how to go on."""
    run_dir = tmp_path / "run"
    process = start("train", *small_options(f"run.steps={STEPS}", *OFTEN), "--json", "--out", run_dir)
    assert process.stdout is not None
    assert process.stderr is not None
    for _ in range(2):
        process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        err = process.stderr.read()
    assert process.wait(SECONDS) == 130
    lines = err.splitlines()
    assert lines[0] == "nobody reads stdout any more: stopping"
    assert re.fullmatch(r"run saved in .* after step \d", lines[1])
    assert lines[2:] == [f"continue with: grpo-tui resume {run_dir} --headless"]
    assert not is_locked(run_dir)
    assert grpo_tui("resume", run_dir, "--json").code == 0
    expect_same_run(run_dir, whole)


def test_a_disk_that_fills_up(grpo_tui: Command, tmp_path: Path, whole: Path) -> None:
    """In a private mount: the run fails with one line, what it had finished is whole, and it resumes elsewhere."""
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    arguments = ["train", *small_options(f"run.steps={STEPS}", *OFTEN), "--json", "--out", str(disk / "run")]
    command = shlex.join([sys.executable, "-m", "grpo_tui", *arguments])
    read_only = shlex.join([sys.executable, "-m", "grpo_tui", "train", "--out", str(disk / "other")])
    place = shlex.quote(str(disk))
    script = (
        f"mount -t tmpfs -o size=600k tmpfs {place} || exit 99; {command}; echo code $? >&2; "
        f"cp -r {place}/run {shlex.quote(str(copy))}; "
        f"mount -o remount,ro {place} || exit 99; {read_only}; echo code $? >&2"
    )
    result = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS
    )
    if result.returncode == 99 or "unshare" in result.stderr:
        pytest.skip(f"no private mounts here: {result.stderr.strip()}")
    assert "Traceback" not in result.stderr
    error, advice, code, read_only_error, _, read_only_code = result.stderr.splitlines()
    assert re.match(r"grpo-tui: error: step \d: cannot write .*: No space left on device; free space", error)
    assert advice == "  mend what the message names; nothing up to the last saved step is lost"
    assert code == "code 1"
    assert read_only_error == (
        f"grpo-tui: error: cannot create {disk / 'other'}: the disk is read-only; choose another directory"
    )
    assert read_only_code == "code 1"
    told = {data["step"]: data["state_hash"] for data in map(json.loads, result.stdout.splitlines())}
    assert 1 <= len(told) < STEPS
    assert told.items() <= history_hashes(whole).items()
    assert history_hashes(copy).items() <= told.items()
    answer = grpo_tui("resume", copy, "--headless", "--json")
    assert answer.code == 0, answer.err
    expect_same_run(copy, whole)
