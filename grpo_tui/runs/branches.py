"""Two branches of a run side by side, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from grpo_tui.events.lines import common_step
from grpo_tui.events.records import EvalRecord, StepMetrics
from grpo_tui.runs.reader import RunReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What one step of each line has to say; None where a line has no such step, or measured nothing after it."""

    step: int
    metrics: tuple[StepMetrics | None, StepMetrics | None]
    evals: tuple[EvalRecord | None, EvalRecord | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchComparison:
    """Two lines aligned by step."""

    branches: tuple[int, int]
    fork_step: int
    """The last step they share."""
    shared: tuple[Pair, ...]
    """Up to the fork: both sides are the same."""
    apart: tuple[Pair, ...]
    """After it, up to the end of the longer line."""


def compare_branches(run: Path | RunReader, a: int, b: int) -> BranchComparison:
    """Both lines of steps, aligned by step, divided where they part.

    Evaluations draw from the same random streams whatever the branch, so those of one step differ by weights alone.

    Args:
        run: the run's folder, or a reader of it.
        a: number of one branch.
        b: number of the other.

    Raises:
        RunFileError: the run cannot be read, or has no such branch.
    """
    if isinstance(run, Path):
        with RunReader(run) as reader:
            return compare_branches(reader, a, b)
    lines = run.line(a), run.line(b)
    tree = {branch.record.branch: branch.record for branch in run.branches()}
    history = [{metrics.step: metrics for metrics in line.history} for line in lines]
    evals = [{result.step: result for result in line.evals} for line in lines]
    steps = sorted({*history[0], *history[1], *evals[0], *evals[1]})
    last = steps[-1] if steps else 0
    common = common_step(tree, a, b)
    fork = last if common is None else common
    pairs = tuple(
        Pair(
            step=step,
            metrics=(history[0].get(step), history[1].get(step)),
            evals=(evals[0].get(step), evals[1].get(step)),
        )
        for step in steps
    )
    return BranchComparison(
        branches=(a, b),
        fork_step=fork,
        shared=tuple(pair for pair in pairs if pair.step <= fork),
        apart=tuple(pair for pair in pairs if pair.step > fork),
    )
