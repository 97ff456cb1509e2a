"""Run files made by hand, and a launcher that makes them where a real one would train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpo_tui.compare.plan import PlannedRun, Terms, base_configs, plan_measured
from grpo_tui.compare.processes import Exit
from grpo_tui.config.emit import to_toml
from grpo_tui.events.records import EvalRecord, StepMetrics, UpdateReport
from grpo_tui.events.types import EvalFinished, Event, StepFinished
from grpo_tui.runs.writer import RunWriter
from tests.events.builders import checkpoint, ending, metrics, opening, step_events

NUM_PROBLEMS = 100


def terms(*algorithms: str, **changes: Any) -> Terms:
    """Two seeds of 1,000 tokens, a sweep of three factors on the tiny preset."""
    values: dict[str, Any] = {
        "algorithms": algorithms or ("grpo", "rloo"),
        "num_seeds": 2,
        "max_tokens": 1000,
        "factors": (0.5, 1.0, 2.0),
        "sweep_tokens": 500,
    }
    return Terms(**{**values, **changes})


def planned(out: Path, algorithm: str = "grpo", *overrides: str) -> PlannedRun:
    """One measured run."""
    asked = terms(algorithm, num_seeds=1, overrides=overrides)
    [run] = plan_measured(asked, base_configs(asked), {algorithm: 1.0}, out)
    return run


def held_out(step: int, correct: int) -> EvalFinished:
    """So many right of a hundred."""
    share = correct / NUM_PROBLEMS
    record = EvalRecord(
        step=step,
        accuracy=share,
        low=0.0,
        high=1.0,
        num_problems=NUM_PROBLEMS,
        seconds=2.0,
        accuracy_lenient=share,
    )
    return EvalFinished(time=1000.0 + step, result=record)


def step_of(measured: StepMetrics, *, start: int = 0) -> list[Event]:
    """A step's events, ending in these metrics. ``start`` changes what was sampled."""
    return [*step_events(measured.step, seed=start)[:-1], StepFinished(time=2000.0, metrics=measured)]


def write_run(
    run: PlannedRun,
    steps: Sequence[StepMetrics],
    *,
    before: int | None = 40,
    after: int | None = 60,
    reason: str = "finished",
    start: int = 0,
) -> None:
    """A run file as the engine leaves it; going on where there is one."""
    if (run.run_dir / "run.db").exists():
        writer = RunWriter.open(run.run_dir, truncate_after=0)
    else:
        writer = RunWriter.create(run.run_dir, to_toml(run.config))
    with writer:
        for event in opening(total_steps=run.config.run.steps):
            writer.write(event)
        if before is not None:
            writer.write(held_out(0, before))
        for measured in steps:
            for event in step_of(measured, start=start):
                writer.write(event)
        writer.write(checkpoint(len(steps)))
        if after is not None:
            writer.write(held_out(len(steps), after))
        for event in ending(len(steps), reason):
            writer.write(event)


def usual_steps(count: int = 4, **changes: Any) -> list[StepMetrics]:
    """Reward 0.1, 0.2 …; every update measured."""
    report = UpdateReport(kl_step=0.01, gradient_variance=6.0, gradient_signal=2.0)
    return [
        metrics(step, **{"reward_mean": step / 10, "num_sampled_tokens": 250, "update": report, **changes})
        for step in range(1, count + 1)
    ]


@dataclass
class FakeLauncher:
    """Writes run files. ``fails`` names runs that end with an error, ``stops_at`` the one at which ctrl-C comes."""

    fails: Sequence[str] = ()
    stops_at: str = ""
    steps_of: Callable[[PlannedRun], list[StepMetrics]] = lambda _run: usual_steps()
    made: list[tuple[str, bool]] = field(default_factory=list)
    """Name and whether it was to go on."""
    stopping: bool = False

    def stop(self) -> None:
        self.stopping = True

    def is_stopping(self) -> bool:
        return self.stopping

    def run(self, planned: PlannedRun, *, resume: bool) -> Exit:
        self.made.append((planned.name, resume))
        if planned.name in self.fails:
            return Exit(1, "step 3: CUDA out of memory")
        if planned.name == self.stops_at:
            self.stopping = True
            write_run(planned, usual_steps(2), after=None, reason="stopped")
            return Exit(130, "")
        measured = planned.measured
        write_run(
            planned, self.steps_of(planned), before=40 if measured else None, after=60 if measured else None
        )
        return Exit(0, "")
