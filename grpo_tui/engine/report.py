"""What happened in an update, as data: from rows and sums to an :class:`~grpo_tui.events.records.UpdateReport`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from grpo_tui.engine.explain import explain_update
from grpo_tui.engine.gradient import UpdateResult
from grpo_tui.engine.rows import Row, is_on_policy, nested
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.records import FloatArray, GroupRecord, UpdateReport, WorstToken
from grpo_tui.events.types import TokensWeighed
from grpo_tui.ops.kl import k3

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
TOKEN_TEXT = 40
"""Longest text of a token that is told, in characters."""


def emit_token_weights(trainer: Trainer, step: int, rows: Sequence[Row]) -> None:
    """Tell what the update did with every token; nothing where there was none."""
    if any(row.weight_T is None for row in rows):
        return
    ratios = (
        ()
        if is_on_policy(trainer.config.algorithm, rows)
        else nested(rows, _arrays(rows, lambda r: r.ratio_T))
    )
    trainer.emit(
        TokensWeighed(
            time=time.time(),
            step=step,
            weights_P_G=nested(rows, _arrays(rows, lambda r: r.weight_T)),
            ratios_P_G=ratios,
        )
    )


def _arrays(rows: Sequence[Row], pick: Callable[[Row], Tensor | None]) -> list[FloatArray]:
    picked = (pick(row) for row in rows)
    return [tensor.float().cpu().numpy() for tensor in picked if tensor is not None]


def report_update(
    trainer: Trainer,
    rows: Sequence[Row],
    groups: Sequence[GroupRecord],
    result: UpdateResult,
    kl_ref: Sequence[FloatArray] | None,
) -> UpdateReport:
    """Everything measured in the update, host-side."""
    config = trainer.config.algorithm
    tokens = max(result.num_tokens, 1)
    advantages = np.array([c.advantage or 0.0 for group in groups for c in group.completions])
    weights = _joined([row.weight_T for row in rows])
    kl_old = None if is_on_policy(config, rows) else _kl_old(rows)
    noise = np.array(result.noise).mean(axis=0).tolist() if result.noise else [None, None]
    return UpdateReport(
        ratio_quantiles={}
        if is_on_policy(config, rows)
        else _quantiles([row.ratio_T for row in rows if row.trains]),
        clip_fraction_low=result.num_clipped_low / tokens,
        clip_fraction_high=result.num_clipped_high / tokens,
        kl_ref_worst=_worst(trainer, rows, kl_ref),
        kl_old_worst=_worst(trainer, rows, kl_old),
        grad_norm_by_module=_mean_norms(result),
        advantage_std=float(advantages.std(ddof=1)) if len(advantages) > 1 else 0.0,
        advantage_min=float(advantages.min()),
        advantage_max=float(advantages.max()),
        push_up=float(weights.clip(min=0).sum()),
        push_down=float(weights.clip(max=0).sum()),
        zero_weight_fraction=float((weights == 0).mean()) if weights.size else 0.0,
        explanations=explain_update(config, rows, result),
        kl_step=result.kl_step,
        kl_step_positions=result.kl_step_positions,
        gradient_variance=noise[0],
        gradient_signal=noise[1],
        critic=result.critic,
        trust_region=result.trust_region,
    )


def _joined(tensors: Sequence[Tensor | None]) -> FloatArray:
    present = [tensor for tensor in tensors if tensor is not None]
    return torch.cat(present).float().cpu().numpy() if present else np.zeros(0, dtype=np.float32)


def _quantiles(tensors: Sequence[Tensor | None]) -> dict[str, float]:
    values = _joined(tensors)
    if not values.size:
        return {}
    return {f"{q:g}": float(v) for q, v in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}


def _kl_old(rows: Sequence[Row]) -> list[FloatArray] | None:
    """k3 between the policy that sampled and the last one that saw each row; None where no update was made."""
    found = []
    for row in rows:
        if row.last_logprobs_T is None or row.old_logprobs_T is None:
            return None
        found.append(k3(row.old_logprobs_T - row.last_logprobs_T).float().cpu().numpy())
    return found


def _worst(trainer: Trainer, rows: Sequence[Row], kl: Sequence[FloatArray] | None) -> WorstToken | None:
    if not kl:
        return None
    place = max(range(len(rows)), key=lambda i: float(kl[i].max()))
    row, token = rows[place], int(kl[place].argmax())
    text = trainer.policy.tokenizer.decode([int(row.completion_ids_T[token])])
    return WorstToken(
        value=float(kl[place][token]),
        group=row.group,
        completion=row.index,
        token=token,
        text=text[:TOKEN_TEXT],
    )


def _mean_norms(result: UpdateResult) -> dict[str, float]:
    if not result.module_norms:
        return {}
    names = result.module_norms[0]
    return {name: float(np.mean([norms[name] for norms in result.module_norms])) for name in names}
