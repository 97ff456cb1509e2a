"""The same code on a CUDA device. Runs only where there is one: ``pytest -m gpu``."""

from __future__ import annotations

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


def run(folder: Path, *overrides: str, resume: bool = False, steps: int = 2) -> list[Event]:
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


def test_resumes_on_cuda(tmp_path: Path) -> None:
    run(tmp_path / "run", steps=1)
    events = run(tmp_path / "run", resume=True, steps=2)
    assert [e.metrics.step for e in events if isinstance(e, StepFinished)] == [2]
