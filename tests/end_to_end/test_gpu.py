"""The same code on a CUDA device. Runs only where there is one: ``pytest -m gpu``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from grpo_tui.config.load import load_config
from grpo_tui.engine.control import Control
from grpo_tui.engine.runner import run_session
from grpo_tui.events.types import Event, StepFinished, TrainerFailed

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def run(
    folder: Path, *overrides: str, resume: bool = False, steps: int = 2, unattended: bool = False
) -> list[Event]:
    config = load_config(
        preset="tiny", overrides=["model.device=cuda", "eval.every=0", f"run.steps={steps}", *overrides]
    )
    events: list[Event] = []
    run_session(
        config,
        run_dir=folder,
        resume=resume,
        control=Control(start_paused=False),
        emit=events.append,
        wait_on_failure=False,
        unattended=(lambda: True) if unattended else None,
    )
    assert not [e for e in events if isinstance(e, TrainerFailed)]
    return events


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_trains_on_cuda(tmp_path: Path, dtype: str) -> None:
    events = run(tmp_path / "run", f"model.dtype={dtype}")
    steps = [e.metrics for e in events if isinstance(e, StepFinished)]
    assert [m.step for m in steps] == [1, 2]
    assert steps[0].kl_ref == 0.0, "the adapter starts as the reference"
    assert steps[1].kl_ref is not None
    assert steps[1].kl_ref > 0.0
    assert steps[1].peak_memory_bytes > 0


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    hashes = [
        [e.metrics.state_hash for e in run(tmp_path / name) if isinstance(e, StepFinished)] for name in "ab"
    ]
    assert hashes[0] == hashes[1]


def test_a_step_is_drawn_while_the_one_before_is_updated(tmp_path: Path) -> None:
    """Graphs are captured, evaluations drawn and updates made by two threads on one device."""
    config = ("sampling.ahead=true", "eval.every=1", "eval.num_problems=8")
    events = run(tmp_path / "run", *config, steps=4, unattended=True)
    steps = [e.metrics for e in events if isinstance(e, StepFinished)]
    assert [m.num_ahead > 0 for m in steps] == [False, True, True, True]


def test_what_fits_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "grpo_tui", "doctor", "--fit", "tiny"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "microbatch" in done.stdout


def test_resumes_on_cuda(tmp_path: Path) -> None:
    run(tmp_path / "run", steps=1)
    events = run(tmp_path / "run", resume=True, steps=2)
    assert [e.metrics.step for e in events if isinstance(e, StepFinished)] == [2]
