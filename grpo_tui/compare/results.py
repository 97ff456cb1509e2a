"""What one run measured, read from its run file."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from grpo_tui.compare.plan import PlannedRun, SweepResult
from grpo_tui.config.schema import RunConfig
from grpo_tui.events.records import EvalRecord, ModelRecord, StepDetail, StepMetrics, UpdateReport
from grpo_tui.events.types import ModelLoaded
from grpo_tui.runs.reader import RunReader


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Right answers on held-out problems, one answer each."""

    step: int
    correct: int
    num_problems: int
    correct_lenient: int | None = None
    """Right wherever the answer stands."""

    @property
    def accuracy(self) -> float:
        """Share that is right."""
        return self.correct / self.num_problems


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One measured run. None, or an empty list, where something was not measured."""

    name: str
    algorithm: str
    seed: int
    step_size: float
    before: HeldOut | None
    after: HeldOut | None
    steps: int
    tokens: int
    """Completion tokens sampled in training, those of replaced groups included."""
    seconds: float
    """Of all training steps, measurements included."""
    eval_seconds: float
    peak_memory_bytes: int
    """Of its process, or of its share of the accelerator."""
    state_bytes: int | None
    """Its checkpoint: adapter, critic, optimiser."""
    num_updates: int
    """Steps whose update moved the policy."""
    reward_first: float
    """Mean training reward of the first quarter of the steps."""
    reward_last: float
    """Of the last quarter."""
    kl_steps: tuple[float, ...]
    """Exact KL(before ‖ after) of each update that moved the policy, nats a token."""
    gradient_variances: tuple[float, ...]
    gradient_signals: tuple[float, ...]
    """One of each for each step in which both were measured."""
    num_trust_region_steps: int
    num_accepted: int
    max_kl_over_limit: float | None
    """Largest KL of an accepted trust-region step, as a share of what is allowed."""
    explained_variance: float | None
    """Of the critic, at the last step in which it was defined."""
    num_warmup_steps: int
    """Steps in which only the critic learnt."""
    start_digest: str
    """Of what it had sampled before its first update: equal for runs that start equal."""
    model: ModelRecord | None


def read_result(planned: PlannedRun) -> RunResult:
    """Read a finished run.

    Raises:
        RunFileError: it cannot be read.
    """
    with RunReader(planned.run_dir) as reader:
        history = reader.history()
        evals = reader.evals()
        checkpoints = reader.checkpoints()
        loaded = reader.last_event(ModelLoaded)
        first = reader.load_step(1)
    last_step = history[-1].step if history else 0
    reports = [metrics.update for metrics in history if metrics.update is not None]
    moved = [metrics for metrics in history if _moved(metrics)]
    noise = [_noise(report) for report in reports]
    regions = [report.trust_region for report in reports if report.trust_region is not None]
    shares = [region.kl / region.kl_limit for region in regions if region.accepted]
    critics = [report.critic for report in reports if report.critic is not None]
    explained = [c.explained_variance for c in critics if math.isfinite(c.explained_variance)]
    return RunResult(
        name=planned.name,
        algorithm=planned.algorithm,
        seed=planned.seed,
        step_size=planned.step_size,
        before=_held_out(evals, 0),
        after=_held_out(evals, last_step),
        steps=len(history),
        tokens=num_tokens(history),
        seconds=sum(metrics.seconds for metrics in history),
        eval_seconds=sum(result.seconds for result in evals),
        peak_memory_bytes=max((metrics.peak_memory_bytes for metrics in history), default=0),
        state_bytes=checkpoints[-1].num_bytes if checkpoints else None,
        num_updates=len(moved),
        reward_first=_quarter(history, last=False),
        reward_last=_quarter(history, last=True),
        kl_steps=tuple(
            m.update.kl_step for m in moved if m.update is not None and m.update.kl_step is not None
        ),
        gradient_variances=tuple(pair[0] for pair in noise if pair is not None),
        gradient_signals=tuple(pair[1] for pair in noise if pair is not None),
        num_trust_region_steps=len(regions),
        num_accepted=sum(region.accepted for region in regions),
        max_kl_over_limit=max(shares, default=None),
        explained_variance=explained[-1] if explained else None,
        num_warmup_steps=sum(critic.warming_up for critic in critics),
        start_digest=_start_digest(planned.config, evals, first),
        model=loaded.model if loaded is not None else None,
    )


def read_sweep_result(planned: PlannedRun, *, finished: bool) -> SweepResult:
    """Read one run of the sweep; one that did not finish has no reward.

    Raises:
        RunFileError: it finished and cannot be read.
    """
    history: tuple[StepMetrics, ...] = ()
    if finished:
        with RunReader(planned.run_dir) as reader:
            history = reader.history()
    return SweepResult(
        algorithm=planned.algorithm,
        factor=planned.factor,
        step_size=planned.step_size,
        reward=_quarter(history, last=True) if history else None,
        steps=len(history),
        tokens=num_tokens(history),
    )


def num_tokens(history: Sequence[StepMetrics]) -> int:
    """Completion tokens that a run has sampled in training."""
    return sum(metrics.num_sampled_tokens or metrics.num_completion_tokens for metrics in history)


def _quarter(history: Sequence[StepMetrics], *, last: bool) -> float:
    """Mean reward of the first or last quarter of the steps, of one step at least; NaN where there is none."""
    if not history:
        return math.nan
    count = max(1, len(history) // 4)
    part = history[-count:] if last else history[:count]
    return statistics.fmean(metrics.reward_mean for metrics in part)


def _held_out(evals: Sequence[EvalRecord], step: int) -> HeldOut | None:
    record = next((record for record in reversed(evals) if record.step == step), None)
    if record is None or record.num_problems == 0:
        return None
    lenient = record.accuracy_lenient
    return HeldOut(
        step=step,
        correct=round(record.accuracy * record.num_problems),
        num_problems=record.num_problems,
        correct_lenient=None if lenient is None else round(lenient * record.num_problems),
    )


def _moved(metrics: StepMetrics) -> bool:
    """Whether the step's update moved the policy: not skipped, not a critic's warm-up, not a step that TRPO took back."""
    report = metrics.update
    if report is not None and report.trust_region is not None:
        return report.trust_region.accepted
    warming_up = report is not None and report.critic is not None and report.critic.warming_up
    return not warming_up and not metrics.update_skipped and metrics.num_optimizer_steps > 0


def _noise(report: UpdateReport) -> tuple[float, float] | None:
    variance, signal = report.gradient_variance, report.gradient_signal
    if variance is None or signal is None or not (math.isfinite(variance) and math.isfinite(signal)):
        return None
    return variance, signal


def _start_digest(config: RunConfig, evals: Sequence[EvalRecord], first: StepDetail | None) -> str:
    """What a run had sampled before its first update; empty where it samples by rules of its own.

    Replaced and grown groups are the algorithm's, not the start's, so such runs are held to the evaluation alone by
    whoever compares digests.
    """
    if first is None or config.groups.resample_tries or config.groups.max_group_size:
        return ""
    digest = hashlib.blake2b(digest_size=8)
    before = _held_out(evals, 0)
    digest.update(repr(None if before is None else (before.correct, before.num_problems)).encode())
    for group in first.groups:
        digest.update(f"{group.problem.id}\0{group.problem.prompt}\0".encode())
        for completion in group.completions:
            digest.update(completion.token_ids_T.tobytes())
    return digest.hexdigest()
