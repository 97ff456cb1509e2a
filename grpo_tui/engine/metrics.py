"""What a finished step measured, from its groups and its update."""

from __future__ import annotations

import resource
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from grpo_tui.engine.agreement import agreement
from grpo_tui.engine.gradient import UpdateResult
from grpo_tui.engine.growth import tokens_saved
from grpo_tui.engine.report import report_update
from grpo_tui.engine.rollout import Rollout
from grpo_tui.engine.rows import Row
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.records import FloatArray, GroupRecord, Phase, StepMetrics
from rewards.base import Score, Verdict
from rewards.compose import in_precedence


def measure_step(
    trainer: Trainer,
    step: int,
    groups: Sequence[GroupRecord],
    rows: Sequence[Row],
    rollout: Rollout,
    result: UpdateResult,
    kl_ref: Sequence[FloatArray] | None,
    seconds_by_phase: Mapping[Phase, float],
) -> StepMetrics:
    """All numbers of a step, host-side."""
    completions = [completion for group in groups for completion in group.completions]
    rewards = np.array([completion.reward or 0.0 for completion in completions])
    num_tokens = sum(completion.num_tokens for completion in completions)
    verdicts = Counter(str(completion.verdict) for completion in completions)
    agreed, num_pairs = agreement(groups)
    sample_seconds = seconds_by_phase.get(Phase.SAMPLE, 0.0) + rollout.seconds_beside
    return StepMetrics(
        step=step,
        reward_mean=float(rewards.mean()),
        reward_std=float(rewards.std(ddof=1)) if len(rewards) > 1 else 0.0,
        group_std_mean=float(np.mean([group.reward_std or 0.0 for group in groups])),
        accuracy=verdicts[str(Verdict.CORRECT)] / len(completions),
        component_means=_component_means(groups),
        verdict_counts=dict(verdicts),
        advantage_abs_mean=float(np.mean([abs(c.advantage or 0.0) for c in completions])),
        kl_ref=float(np.concatenate(kl_ref).mean()) if kl_ref else None,
        kl_old=result.kl_old,
        entropy=float(np.concatenate([c.entropies_T for c in completions]).mean()),
        loss=_mean(result.losses),
        policy_loss=_mean(result.policy_losses),
        kl_loss=_mean(result.kl_losses),
        grad_norm=_mean(result.grad_norms),
        clip_fraction=result.clip_fraction,
        learning_rate=result.learning_rate,
        num_optimizer_steps=result.num_optimizer_steps,
        update_skipped=result.skipped,
        num_completions=len(completions),
        num_completion_tokens=num_tokens,
        num_degenerate_groups=sum(group.degenerate for group in groups),
        num_truncated=sum(completion.finish_reason == "length" for completion in completions),
        mean_length=num_tokens / len(completions),
        seconds=sum(seconds_by_phase.values()),
        seconds_by_phase={str(phase): seconds for phase, seconds in seconds_by_phase.items()},
        tokens_per_second=rollout.num_sampled_tokens / sample_seconds if sample_seconds else 0.0,
        peak_memory_bytes=_peak_so_far(trainer),
        state_hash=trainer.state_hash(),
        accuracy_lenient=lenient_share([completion.scores for completion in completions]),
        degenerate_causes=dict(Counter(group.dead_cause for group in groups if group.degenerate)),
        num_form_only_groups=sum(group.form_only for group in groups),
        num_sampled_tokens=rollout.num_sampled_tokens,
        num_resampled_groups=rollout.num_resampled_groups,
        num_tokens_saved=tokens_saved(groups, trainer.config.groups.max_group_size),
        num_masked_completions=sum(not row.trains for row in rows),
        num_ahead=sum(row.ahead for row in rows),
        agreement=agreed,
        num_agreement_pairs=num_pairs,
        num_groups=len(groups),
        group_mean_std=_spread([group.reward_mean or 0.0 for group in groups]),
        update=report_update(trainer, rows, groups, result, kl_ref),
        timing=trainer.tally.report(trainer.policy.device),
    )


def lenient_share(scores: Sequence[Mapping[str, Score]]) -> float | None:
    """Share of completions whose answer is right wherever it stands, of those that a component judges for truth."""
    opinions = [
        next(
            (s.explanation.lenient for s in in_precedence(components) if s.explanation.lenient is not None),
            None,
        )
        for components in scores
    ]
    judged = [opinion for opinion in opinions if opinion is not None]
    return sum(judged) / len(judged) if judged else None


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory held so far: of the device on CUDA, of this process on the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _peak_so_far(trainer: Trainer) -> int:
    """Most memory held in any step. A device's own count begins anew with each step."""
    trainer.peak_memory_bytes = max(trainer.peak_memory_bytes, peak_memory_bytes(trainer.policy.device))
    return trainer.peak_memory_bytes


def _component_means(groups: Sequence[GroupRecord]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for group in groups:
        for completion in group.completions:
            for name, score in completion.scores.items():
                if score.value is not None:
                    values.setdefault(name, []).append(score.value)
    return {name: float(np.mean(column)) for name, column in values.items()}


def _spread(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
