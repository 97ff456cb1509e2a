"""``--profile``: what the engine's thread and the device do inside chosen steps, as a trace and a short table.

The trace is Chrome's JSON, gzipped, as https://ui.perfetto.dev opens it; the seven phases stand above the operators. Profiled
steps are slower, their seconds no measure. Verifier workers are processes of their own and are not in it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from grpo_tui.engine.control import Gate
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.commands import ProfileSteps
from grpo_tui.events.records import PHASES
from grpo_tui.events.types import Notice, ProfileSaved

TOP = 10
"""Operators in the table."""
NAME_WIDTH = 52


@dataclass(frozen=True, slots=True)
class ProfilePlan:
    """Steps to profile, both ends among them, and where their traces go."""

    first: int
    last: int
    folder: Path


def plan_profile(trainer: Trainer, request: ProfileSteps) -> None:
    """Take a request: the handler of :class:`~grpo_tui.events.commands.ProfileSteps`.

    Raises:
        ValueError: those steps are no steps, or are over.
    """
    if not 1 <= request.first <= request.last:
        raise ValueError(
            f"cannot profile steps {request.first} to {request.last}: give the first one first, from 1 on"
        )
    if request.last <= trainer.finished_steps:
        raise ValueError(
            f"cannot profile step {request.last}: {trainer.finished_steps} are done; give a later one"
        )
    trainer.profile = ProfilePlan(request.first, request.last, Path(request.folder))


@contextmanager
def profiled(trainer: Trainer, gate: Gate, step: int) -> Iterator[None]:
    """Within: the step is profiled if that was asked for. A step that is not finished leaves no trace."""
    plan = trainer.profile
    if plan is None or not plan.first <= step <= plan.last:
        yield
        return
    activities = [ProfilerActivity.CPU]
    if trainer.policy.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    before = gate.mark
    with profile(activities=activities) as profiler:
        gate.mark = record_function
        try:
            yield
        finally:
            gate.mark = before
    _save(trainer, step, plan.folder / f"profile-step-{step}.json.gz", profiler)


def _save(trainer: Trainer, step: int, path: Path, profiler: Any) -> None:
    """Write the trace and tell of it. The step is done whatever becomes of that."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(path))
    except (OSError, RuntimeError) as error:
        message = f"cannot write {path}: {error}; the run goes on"
        trainer.emit(Notice(time=time.time(), level="warning", message=message, source="profile"))
        return
    table = top_operators(profiler, trainer.policy.device)
    trainer.emit(
        ProfileSaved(time=time.time(), step=step, path=str(path), num_bytes=path.stat().st_size, table=table)
    )


def top_operators(profiler: Any, device: torch.device) -> str:
    """The operators that took most of their own time, on the device where there is one, as lines of text."""
    name = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    rows = [(float(getattr(event, name)), event.count, str(event.key)) for event in profiler.key_averages()]
    rows.sort(reverse=True)
    total = sum(took for took, _, _ in rows) or 1.0
    lines = [f"{'operator':<{NAME_WIDTH}} {'self ms':>9} {'share':>6} {'calls':>8}"]
    for took, count, key in rows[:TOP]:
        # A phase's own time is what passed inside it and outside every operator: Python, and waiting for workers.
        label = f"({key}, outside operators)" if key in PHASES else key.removeprefix("aten::")
        lines.append(f"{label[:NAME_WIDTH]:<{NAME_WIDTH}} {took / 1e3:9.1f} {took / total:6.1%} {count:8d}")
    return "\n".join(lines)
