"""SIGKILL at thirty instants of a session that goes back and forth: the run opens, has every finished step, goes on.

Each process resumes the run that the one before it left. It is forked from one that has imported everything: thirty
imports of torch would take minutes.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.states import newest_state

ROOT = Path(__file__).parents[2]
KILLS = 30
CHECKPOINT_EVERY = 3
SECONDS = 240

DRIVER = """
import json, os, random, signal, sys, time
from pathlib import Path
from tests.engine.support import small_config
from grpo_tui.engine.control import Control
from grpo_tui.engine.runner import run_session
import grpo_tui.engine.trainer, transformers, peft  # noqa
from grpo_tui.events.commands import ChangeSettings, Fork, GoTo, Redo, Undo
from grpo_tui.events.types import PhaseStarted, RunEnded, StepFinished, TrainerFailed, WentTo

run_dir, (kills, every, seed) = Path(sys.argv[1]), map(int, sys.argv[2:])
config = small_config("run.steps=100000", f"run.checkpoint_every={every}", "optim.lr=1e-3",
                      "sampling.group_size=2", "sampling.max_completion_tokens=4", "run.history_mb=4")


def child(number, pipe):
    dice = random.Random(f"{seed}/{number}")
    control = Control(start_paused=False)
    out = os.fdopen(pipe, "w")

    def say(**data):
        out.write(json.dumps(data) + "\\n")
        out.flush()

    def emit(event):
        if isinstance(event, WentTo):
            say(went=event.step, branch=event.branch)
        if isinstance(event, TrainerFailed):
            say(failed=event.traceback)
        if isinstance(event, PhaseStarted) and dice.random() < 0.12:
            control.send(dice.choice([
                Undo(), Undo(steps=2), Redo(), Redo(steps=2), Fork(name="x"), GoTo(step=dice.randrange(6)),
                ChangeSettings((("optim.lr", dice.choice(["0.001", "0.002", "0.003"])),)),
            ]))

    # Told once the run file has it: that is when a step counts as finished.
    from grpo_tui.engine import runner
    write = runner.RunWriter.write

    def written(self, event):
        write(self, event)
        if isinstance(event, StepFinished):
            say(step=event.metrics.step, branch=self.branch, hash=event.metrics.state_hash)

    runner.RunWriter.write = written
    ended = run_session(config, run_dir=run_dir, resume=(run_dir / "run.db").exists(), control=control,
                        emit=emit, wait_on_failure=False)
    say(ended=ended.reason)
    out.close()
    os._exit(0)


for number in range(kills):
    read, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        child(number, write_end)
    os.close(write_end)
    told = os.fdopen(read)
    lines = []
    line = told.readline()  # the first step or failure
    if line:
        lines.append(line)
        time.sleep(random.Random(f"{seed}:{number}").random() * 1.2)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    lines += told.readlines()
    print(json.dumps([json.loads(text) for text in lines if text.endswith("\\n")]), flush=True)
    sys.stdin.readline()  # until the run was looked at
"""


def watched(driver: subprocess.Popen[str], run_dir: Path, seed: int) -> tuple[int, int]:
    """Look at the run after each kill; the finished steps and the journeys that were told of."""
    assert driver.stdout is not None
    assert driver.stdin is not None
    finished: dict[tuple[int, int], str] = {}
    num_steps, num_journeys = 0, 0
    for number in range(KILLS):
        told = json.loads(driver.stdout.readline())
        where = f"seed {seed}, kill {number}: {told[-3:]}"
        assert not [line for line in told if "failed" in line or "ended" in line], where
        steps = [line for line in told if "step" in line]
        num_steps += len(steps)
        num_journeys += sum("went" in line for line in told)
        finished |= {(line["branch"], line["step"]): line["hash"] for line in steps}
        with RunReader(run_dir) as reader:
            assert finished.items() <= reader.states().items(), where
            state, head = reader.load_state(), reader.head()
            assert (state.branch, state.last_step) == (head.branch, head.step), where
            assert [m.step for m in state.history] == list(range(1, head.step + 1)), where
        # The states between two checkpoints are written beside training; only the checkpoint is waited for.
        assert head.step - newest_state(run_dir).step <= CHECKPOINT_EVERY, where
        driver.stdin.write("\n")
        driver.stdin.flush()
    return num_steps, num_journeys


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_killed_at_thirty_instants_nothing_finished_is_lost(tmp_path: Path) -> None:
    # Seen to fail: a head that is not stored (undone steps come back as the present line).
    run_dir = tmp_path / "run"
    seed = random.SystemRandom().randrange(1 << 30)
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(run_dir), str(KILLS), str(CHECKPOINT_EVERY), str(seed)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as driver:
        try:
            num_steps, num_journeys = watched(driver, run_dir, seed)
            assert driver.wait(60) == 0
        finally:
            driver.kill()
    assert num_steps >= KILLS // 2
    assert num_journeys >= 3
