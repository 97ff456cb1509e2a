"""Preview: the update that a step in progress would take, before anything is applied.

The gradient is computed by the update's own function on copies of its rows, so it is the one that will be applied. The
step d is what the whole update would move the adapter by (AdamW with its moments and the clipped norm, every epoch and
minibatch, or TRPO's line search): it is taken and put back. To first order an answer's log-prob then moves by d · ∇ℓ_i,
and its part in the gradient is g_i · g / ‖g‖²; both by a forward and a backward pass of that answer alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from grpo_tui.algorithms import policy_gradient_loss
from grpo_tui.engine.gradient import (
    UpdateResult,
    accumulate_gradient,
    batch_size,
    gradient_of,
    loss_inputs,
)
from grpo_tui.engine.in_progress import Answer, Prediction, StepInProgress
from grpo_tui.engine.rehearsal import (
    Rehearsal,
    before_update,
    dot,
    norm_of,
    rehearsal,
    rows_for_update,
    token_text,
    under,
    update_config,
)
from grpo_tui.engine.rows import Row, is_on_policy
from grpo_tui.engine.schedule import learning_rate
from grpo_tui.engine.trainer import Trainer
from grpo_tui.engine.update import split_minibatches, update_policy, why_skip
from grpo_tui.events.commands import PreviewUpdate
from grpo_tui.events.records import GroupRecord
from grpo_tui.events.types import PreviewComputed
from grpo_tui.events.update_records import AnswerPull, GradientChange, TokenPull, UpdatePreview
from grpo_tui.ops.aggregate import BatchSize
from grpo_tui.policy.checkpointing import checkpointed

TOP_MODULES = 8
TOP_TOKENS = 20


@dataclass(frozen=True, slots=True)
class FirstGradient:
    """The gradient of an update's first gradient step, before its norm is clipped."""

    gradient: dict[str, Tensor]
    minibatch: list[Row]
    size: BatchSize
    module_norms: dict[str, float]


def preview_update(trainer: Trainer, request: PreviewUpdate) -> None:
    """Handle :class:`~grpo_tui.events.commands.PreviewUpdate`.

    Raises:
        ValueError: the step does not stand before its update.
    """
    preview, _ = compute_preview(trainer, request.step, request.max_answers)
    trainer.emit(PreviewComputed(time=time.time(), preview=preview))


def compute_preview(
    trainer: Trainer, step: int, max_answers: int = 64
) -> tuple[UpdatePreview, dict[str, Tensor]]:
    """The preview, and the gradient itself by parameter (empty where no update would be taken).

    Raises:
        ValueError: the step does not stand before its update.
    """
    now = before_update(trainer, step)
    started = time.perf_counter()
    config = update_config(trainer, now)
    with rehearsal(trainer, "preview") as stage, under(trainer, config):
        preview, gradient, predicted = _preview(stage, now, max_answers)
    now.prediction = Prediction(groups=tuple(now.rollout.groups), config=config, by_answer=predicted)
    return replace(preview, seconds=time.perf_counter() - started), gradient


def _preview(
    stage: Rehearsal, now: StepInProgress, max_answers: int
) -> tuple[UpdatePreview, dict[str, Tensor], dict[Answer, float]]:
    trainer, config = stage.trainer, stage.trainer.config
    rows = rows_for_update(trainer, now, stage.gate)
    told = UpdatePreview(
        step=now.step,
        learning_rate=learning_rate(config.optim, now.step, config.run.steps),
        skipped=why_skip(trainer, now.step, rows),
        choice=now.twin.choice.name if now.twin is not None else "",
        num_gradient_steps=config.algorithm.num_epochs * config.algorithm.num_minibatches,
        max_norm=config.optim.max_grad_norm if config.algorithm.update == "gradient" else 0.0,
        num_answers=len(rows),
        num_tokens=sum(row.num_tokens for row in rows),
        notes=_notes(trainer),
    )
    if told.skipped:
        return told, {}, {}
    first = first_gradient(stage, now.step, rows)
    tokens = _top_tokens(trainer, first.minibatch)
    change = _change_by_acts(stage, now, first.gradient)
    for row in rows:
        row.forget_update()
    update_policy(trainer, now.step, rows, stage.gate)
    moved = stage.displacement()
    stage.back()
    chosen = evenly(rows, max_answers)
    for row in rows:
        row.forget_update()
    answers = [_pull(stage, row, first, moved) for row in chosen]
    modules = sorted(first.module_norms.items(), key=lambda item: -item[1])
    preview = replace(
        told,
        norm=norm_of(first.gradient),
        module_norms=tuple(modules[:TOP_MODULES]),
        num_modules=len(modules),
        step_norm=norm_of(moved),
        answers=tuple(sorted(answers, key=lambda a: -abs(a.contribution or 0.0))),
        tokens=tokens,
        change=change,
    )
    return preview, first.gradient, {(a.group, a.completion): a.predicted for a in answers}


def first_gradient(stage: Rehearsal, step: int, rows: Sequence[Row]) -> FirstGradient:
    """The gradient of the first gradient step on these rows, as :mod:`grpo_tui.engine.update` takes it."""
    trainer, config = stage.trainer, stage.trainer.config
    region = config.algorithm.update == "trust_region"
    parts = (
        [list(rows)]
        if region
        else split_minibatches(rows, config.algorithm.num_minibatches, config.run.seed, step, epoch=0)
    )
    size = batch_size(trainer, rows, parts[0])
    result = UpdateResult(learning_rate=0.0)
    trainer.seed_step(step)
    old = None if region or is_on_policy(config.algorithm) else stage.snapshot.adapter
    if region:
        accumulate_gradient(trainer, step, parts[0], size, stage.gate, result)
    else:
        with (
            trainer.policy.training_mode(),
            checkpointed(trainer.policy, config.optim.gradient_checkpointing),
        ):
            accumulate_gradient(trainer, step, parts[0], size, stage.gate, result, old_adapter=old)
    gradient = {
        name: gradient_of(p).detach().clone() for name, p in trainer.policy.trainable_parameters().items()
    }
    trainer.optimizer.zero_grad(set_to_none=True)
    return FirstGradient(gradient, parts[0], size, dict(result.module_norms[0]))


def _pull(stage: Rehearsal, row: Row, first: FirstGradient, moved: dict[str, Tensor]) -> AnswerPull:
    """One answer by itself, without dropout."""
    trainer, config = stage.trainer, stage.trainer.config
    stage.gate.tick("looking at one answer")
    parameters = trainer.policy.trainable_parameters()
    on_policy = is_on_policy(config.algorithm) or config.algorithm.update == "trust_region"
    with checkpointed(trainer.policy, config.optim.gradient_checkpointing):
        inputs = loss_inputs(trainer, [row], first.size, None if on_policy else stage.snapshot.adapter)
        contribution = None
        if any(row is other for other in first.minibatch):
            loss = policy_gradient_loss(inputs).loss
            own = _gradient(loss, parameters, retain=True)
            square = dot(first.gradient, first.gradient)
            contribution = dot(own, first.gradient) / square if square else 0.0
        of_answer = _gradient(inputs.logprobs_B_T.sum(), parameters, retain=False)
    return AnswerPull(
        group=row.group,
        completion=row.index,
        advantage=row.advantage,
        num_tokens=row.num_tokens,
        contribution=contribution,
        predicted=dot(of_answer, moved),
    )


def _gradient(value: Tensor, parameters: dict[str, torch.nn.Parameter], *, retain: bool) -> dict[str, Tensor]:
    found = torch.autograd.grad(
        value, list(parameters.values()), retain_graph=retain, allow_unused=True, materialize_grads=True
    )
    return dict(zip(parameters, found, strict=True))


def _top_tokens(trainer: Trainer, rows: Sequence[Row]) -> tuple[TokenPull, ...]:
    found = []
    for row in rows:
        if row.weight_T is None:
            continue
        values, places = row.weight_T.abs().topk(min(TOP_TOKENS, row.num_tokens))
        found += [(float(v), row, int(t)) for v, t in zip(values, places, strict=True) if v > 0]
    found.sort(key=lambda item: -item[0])
    return tuple(
        TokenPull(
            group=row.group,
            completion=row.index,
            token=token,
            text=token_text(trainer, row, token),
            weight=float(row.weight_T[token]) if row.weight_T is not None else 0.0,
        )
        for _, row, token in found[:TOP_TOKENS]
    )


def _change_by_acts(stage: Rehearsal, now: StepInProgress, after: dict[str, Tensor]) -> GradientChange | None:
    """The gradient without the acts on the step against the one with them."""
    if not now.judged or _same_groups(now.judged, now.rollout.groups):
        return None
    rows = rows_for_update(stage.trainer, now, stage.gate, now.judged)
    before: dict[str, Tensor] = {}
    if not why_skip(stage.trainer, now.step, rows):
        before = first_gradient(stage, now.step, rows).gradient
        stage.back()
    norm_before, norm_after = norm_of(before), norm_of(after)
    product = norm_before * norm_after
    return GradientChange(
        norm_before=norm_before,
        norm_after=norm_after,
        cosine=dot(before, after) / product if product else math.nan,
    )


def _same_groups(a: Sequence[GroupRecord], b: Sequence[GroupRecord]) -> bool:
    return len(a) == len(b) and all(one is other for one, other in zip(a, b, strict=True))


def evenly(rows: Sequence[Row], limit: int) -> list[Row]:
    """At most so many rows, evenly spread over all."""
    if len(rows) <= limit:
        return list(rows)
    return [rows[i * len(rows) // limit] for i in range(max(limit, 0))]


def _notes(trainer: Trainer) -> tuple[str, ...]:
    notes = []
    if trainer.config.model.lora_dropout:
        notes.append("dropout is on in the gradient and the step, off where answers are looked at one by one")
    if trainer.policy.dtype is torch.bfloat16:
        notes.append("bf16: single answers are rounded differently than in microbatches")
    return tuple(notes)
