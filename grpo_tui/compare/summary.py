"""The runs of one algorithm as one row: pooled over its seeds, every figure with what it rests on."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from grpo_tui.compare.describe import Nature, describe
from grpo_tui.compare.intervals import Interval, newcombe_interval, t_interval
from grpo_tui.compare.plan import Choice, step_size_key
from grpo_tui.compare.results import HeldOut, RunResult
from grpo_tui.config.schema import RunConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmResult:
    """One algorithm. Means are over its runs or over all their steps, as each says; None where not measured."""

    algorithm: str
    nature: Nature
    step_size_key: str
    choice: Choice
    num_runs: int
    before: float | None
    """Held-out accuracy, over all problems of all seeds."""
    after: float | None
    num_answers: int
    """Held-out answers before, and as many after: problems × seeds."""
    rise: Interval | None
    """After - before, over all answers pooled."""
    rises: tuple[float, ...]
    """Of each seed."""
    rise_over_seeds: Interval | None
    """Their mean by Student's t."""
    noise_to_signal: float | None
    """Trace of the gradient's covariance over ‖E g‖², each a mean over all steps."""
    gradient_variance: float | None
    gradient_signal: float | None
    num_noise_steps: int
    kl_mean: float | None
    """Exact KL(before ‖ after) of an update, nats a token, over all updates that moved the policy."""
    kl_max: float | None
    num_kl_updates: int
    peak_memory_bytes: int
    """The largest of its runs."""
    state_bytes: int | None
    tokens: float
    """Mean of a run, as the next three."""
    steps: float
    updates: float
    seconds: float
    reward_first: float
    reward_last: float
    accepted: float | None
    """Share of trust-region steps that were taken."""
    max_kl_over_limit: float | None
    explained_variance: float | None
    """Mean over runs of the critic's last."""
    warmup_steps: float
    """Mean number of steps in which only the critic learnt."""

    @property
    def learns(self) -> str:
        """``yes`` where the pooled interval of the rise lies above 0, ``falls`` below, ``not shown`` around it."""
        if self.rise is None:
            return "–"
        return "yes" if self.rise.low > 0 else "falls" if self.rise.high < 0 else "not shown"


def summarize(config: RunConfig, choice: Choice, runs: Sequence[RunResult]) -> AlgorithmResult:
    """Pool the runs of one algorithm.

    Args:
        config: any of its runs'.
        choice: the step size that the sweep chose.
        runs: one at least.
    """
    pairs = [(run.before, run.after) for run in runs if run.before is not None and run.after is not None]
    before, after = _pool([pair[0] for pair in pairs]), _pool([pair[1] for pair in pairs])
    rises = tuple(b.accuracy - a.accuracy for a, b in pairs)
    variance = _mean([value for run in runs for value in run.gradient_variances])
    signal = _mean([value for run in runs for value in run.gradient_signals])
    kls = [value for run in runs for value in run.kl_steps]
    regions = sum(run.num_trust_region_steps for run in runs)
    states = [run.state_bytes for run in runs if run.state_bytes is not None]
    shares = [run.max_kl_over_limit for run in runs if run.max_kl_over_limit is not None]
    return AlgorithmResult(
        algorithm=choice.algorithm,
        nature=describe(config),
        step_size_key=step_size_key(config),
        choice=choice,
        num_runs=len(runs),
        before=before[0] / before[1] if pairs else None,
        after=after[0] / after[1] if pairs else None,
        num_answers=before[1],
        rise=newcombe_interval(before, after) if pairs else None,
        rises=rises,
        rise_over_seeds=t_interval(rises),
        noise_to_signal=variance / signal
        if variance is not None and signal is not None and signal > 0
        else None,
        gradient_variance=variance,
        gradient_signal=signal,
        num_noise_steps=sum(len(run.gradient_signals) for run in runs),
        kl_mean=_mean(kls),
        kl_max=max(kls, default=None),
        num_kl_updates=len(kls),
        peak_memory_bytes=max(run.peak_memory_bytes for run in runs),
        state_bytes=max(states, default=None),
        tokens=statistics.fmean(run.tokens for run in runs),
        steps=statistics.fmean(run.steps for run in runs),
        updates=statistics.fmean(run.num_updates for run in runs),
        seconds=statistics.fmean(run.seconds for run in runs),
        reward_first=statistics.fmean(run.reward_first for run in runs),
        reward_last=statistics.fmean(run.reward_last for run in runs),
        accepted=sum(run.num_accepted for run in runs) / regions if regions else None,
        max_kl_over_limit=max(shares, default=None),
        explained_variance=_mean([r.explained_variance for r in runs if r.explained_variance is not None]),
        warmup_steps=statistics.fmean(run.num_warmup_steps for run in runs),
    )


def unequal_starts(runs: Sequence[RunResult]) -> dict[int, tuple[tuple[str, ...], ...]]:
    """Seeds whose runs did not begin equal, each with its algorithms sorted by how they began.

    Runs begin equal when they answered the held-out problems alike before training, and, where the algorithm
    neither replaces nor grows groups, sampled the same first rollout batch, token by token.
    """
    found = {}
    for seed in sorted({run.seed for run in runs}):
        alike: dict[tuple[tuple[int, int] | None, str], list[str]] = {}
        same_seed = sorted((run for run in runs if run.seed == seed), key=lambda run: not run.start_digest)
        for run in same_seed:
            held_out = None if run.before is None else (run.before.correct, run.before.num_problems)
            start = (held_out, run.start_digest)
            if not run.start_digest:
                start = next((known for known in alike if known[0] == held_out), start)
            alike.setdefault(start, []).append(run.algorithm)
        if len(alike) > 1:
            found[seed] = tuple(map(tuple, alike.values()))
    return found


def _pool(measured: Sequence[HeldOut]) -> tuple[int, int]:
    return sum(held.correct for held in measured), sum(held.num_problems for held in measured)


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
