"""The what-if bench: the captured batch under other losses, at the same weights.

The gradient of any of them is Jᵀv, J the Jacobian of the tokens' log-probs ℓ and v = ∂L/∂ℓ. So ℓ is computed once, v of
every loss from it without the model, and the backward pass runs once for each v that is not a multiple of another: where
two losses push every token alike, up to a factor, that is known and not measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from grpo_tui.algorithms import effective_weights, policy_gradient_loss
from grpo_tui.config.algorithms import ALGORITHMS
from grpo_tui.config.schema import RunConfig
from grpo_tui.config.settings import all_settings, value_of
from grpo_tui.engine.gradient import batch_size, inputs_at
from grpo_tui.engine.in_progress import StepInProgress
from grpo_tui.engine.rehearsal import (
    Rehearsal,
    before_update,
    refuse_ahead,
    rehearsal,
    rescore,
    rows_for_update,
    under,
    update_config,
)
from grpo_tui.engine.rows import Row, loss_mask, padded, split_by_tokens, token_batch
from grpo_tui.engine.seeds import derived_seed
from grpo_tui.engine.trainer import Trainer
from grpo_tui.engine.twins import config_of
from grpo_tui.engine.update import update_policy
from grpo_tui.events.commands import CompareLosses
from grpo_tui.events.types import WhatIfComputed
from grpo_tui.events.update_records import LossChoice, LossComparison, LossRow
from grpo_tui.policy.checkpointing import checkpointed

MAX_ELEMENTS = 1 << 27
"""Numbers of all gradients together that are held whole: 512 MB in float32."""
PROJECTED = 1 << 16
"""Numbers to which a gradient is projected where they are more; a cosine is then off by about 1/256."""
ALIKE = 1e-6
"""Largest relative difference that is taken for rounding."""
PARTS = ("advantage", "ratio", "clip", "aggregation", "kl_estimator", "kl_in")
_WITH_CLIP = {"cispo": ("clip_high", "clip_low"), "bounds": ("clip_high", "clip_low")}
"""Bounds that make no sense under another clip; taken from the algorithm of that name, or the plain one."""


def compare_losses(trainer: Trainer, request: CompareLosses) -> None:
    """Handle :class:`~grpo_tui.events.commands.CompareLosses`.

    Raises:
        ValueError: the step does not stand before its update.
    """
    comparison = compute_what_if(trainer, request.step, request.choices, after_update=request.after_update)
    trainer.emit(WhatIfComputed(time=time.time(), comparison=comparison))


def default_choices(config: RunConfig) -> tuple[LossChoice, ...]:
    """The run's own loss, every algorithm, and every part of its own exchanged by itself, where the whole makes sense."""
    own = LossChoice("as it is")
    named = [LossChoice(name, (("algorithm.name", name),)) for name in ALGORITHMS]
    varied = [choice for part in PARTS for choice in _variants(config, part)]
    beta = "0" if config.algorithm.beta else "0.04"
    varied.append(LossChoice(f"beta {beta}", (("algorithm.beta", beta),)))
    return (own, *named, *(choice for choice in varied if _makes_sense(config, choice)))


def _variants(config: RunConfig, part: str) -> list[LossChoice]:
    if part.startswith("kl_") and not config.algorithm.beta:
        return []
    key = f"algorithm.{part}"
    found = []
    for value in all_settings()[key].choices:
        if value == value_of(config, key) or value == "exact":
            continue
        changes = [(key, value)]
        if part == "clip" and value in _WITH_CLIP:
            source = ALGORITHMS["cispo" if value == "cispo" else "grpo"]
            changes += [(f"algorithm.{name}", f"{source[f'algorithm.{name}']}") for name in _WITH_CLIP[value]]
        if part == "ratio" and value == "none":
            changes.append(("algorithm.clip", "none"))
        found.append(LossChoice(f"{part} {value}", tuple(changes)))
    return found


def _loss_of(config: RunConfig, choice: LossChoice) -> RunConfig:
    """The settings of a loss alone: what its algorithm does with the gradient then is none of the bench's.

    Raises:
        ValueError: this batch cannot be put under it.
    """
    if ("algorithm.name", "trpo") in choice.changes:
        choice = replace(choice, changes=(*choice.changes, ("algorithm.update", config.algorithm.update)))
    return config_of(config, choice)


def _makes_sense(config: RunConfig, choice: LossChoice) -> bool:
    try:
        _loss_of(config, choice)
    except ValueError:
        return False
    return True


@dataclass(slots=True)
class _Candidate:
    """One loss on the batch."""

    choice: LossChoice
    unavailable: str = ""
    push_N: Tensor | None = None
    """v = ∂L/∂ℓ of all tokens, rows one after another."""
    zero_share: float = 0.0
    weight_abs_mean: float = 0.0
    num_tokens: int = 0
    same_as: int | None = None
    factor: float = 1.0


@dataclass(slots=True)
class _Batch:
    rows: list[Row]
    before: list[Tensor]
    """ℓ under the policy that sampled."""
    now: list[Tensor]
    """ℓ where gradients are taken."""
    spread: float = 0.0


def compute_what_if(
    trainer: Trainer, step: int, choices: Sequence[LossChoice] = (), *, after_update: bool = False
) -> LossComparison:
    """Put the batch under every choice, without dropout.

    Args:
        trainer: whose step.
        step: the step in progress.
        choices: what to compare; empty: :func:`default_choices`.
        after_update: at the weights after one update under the run's own settings.

    Raises:
        ValueError: the step does not stand before its update, or was drawn ahead.
    """
    now = before_update(trainer, step)
    refuse_ahead(now)
    started = time.perf_counter()
    config = update_config(trainer, now)
    with rehearsal(trainer, "what-if") as stage, under(trainer, config):
        batch = _batch(stage, now, after_update)
        found = [_candidate(stage, now, batch, c) for c in choices or default_choices(config)]
        _find_multiples(found)
        apart = [c for c in found if c.push_N is not None and c.same_as is None]
        gradients_U_K, size = _gradients(stage, batch, apart)
    norms = gradients_U_K.double().norm(dim=1)
    unit = torch.where(norms[:, None] > 0, gradients_U_K.double() / norms[:, None], torch.nan)
    between = (unit @ unit.T).clamp(-1.0, 1.0)
    of = {id(candidate): place for place, candidate in enumerate(apart)}
    place = [_place(found, i, of) for i in range(len(found))]
    cosine = np.full((len(found), len(found)), np.nan, np.float32)
    for i, a in enumerate(place):
        for j, b in enumerate(place):
            if a is not None and b is not None:
                sign = math.copysign(1.0, found[i].factor * found[j].factor)
                cosine[i, j] = float(between[a, b]) * sign
    return LossComparison(
        step=step,
        rows=tuple(
            LossRow(
                choice=candidate.choice,
                norm=0.0 if at is None else float(norms[at]) * abs(candidate.factor),
                zero_share=candidate.zero_share,
                weight_abs_mean=candidate.weight_abs_mean,
                num_tokens=candidate.num_tokens,
                same_as=candidate.same_as,
                unavailable=candidate.unavailable,
            )
            for candidate, at in zip(found, place, strict=True)
        ),
        cosine_N_N=cosine,
        num_parameters=size,
        projected_to=0 if gradients_U_K.shape[1] == size else gradients_U_K.shape[1],
        after_update=after_update,
        ratio_spread=batch.spread,
        seconds=time.perf_counter() - started,
    )


def _place(found: Sequence[_Candidate], i: int, of: dict[int, int]) -> int | None:
    candidate = found[i]
    if candidate.push_N is None:
        return None
    target = candidate if candidate.same_as is None else found[candidate.same_as]
    return of[id(target)]


def _batch(stage: Rehearsal, now: StepInProgress, after_update: bool) -> _Batch:
    trainer = stage.trainer
    rows = rows_for_update(trainer, now, stage.gate)
    before = rescore(trainer, rows, stage.gate)
    if not after_update:
        return _Batch(rows, before, before)
    update_policy(trainer, now.step, rows, stage.gate)
    moved = rescore(trainer, rows, stage.gate)
    spread = max(float((b - a).exp().sub(1).abs().max()) for a, b in zip(before, moved, strict=True))
    return _Batch(rows, before, moved, spread)


def _candidate(stage: Rehearsal, now: StepInProgress, batch: _Batch, choice: LossChoice) -> _Candidate:
    trainer = stage.trainer
    stage.gate.tick("comparing losses")
    try:
        config = _loss_of(trainer.config, choice)
    except ValueError as error:
        return _Candidate(choice, str(error))
    algorithm = config.algorithm
    if algorithm.beta and algorithm.kl_in == "loss" and algorithm.kl_estimator == "exact":
        return _Candidate(
            choice, "the exact KL is of whole distributions, not of the tokens' log-probs alone"
        )
    with under(trainer, config):
        rows = rows_for_update(trainer, now, stage.gate)
        size = batch_size(trainer, rows, rows)
    for row, before in zip(rows, batch.before, strict=True):
        row.old_logprobs_T = before
    logprobs = padded(batch.now).requires_grad_()
    lengths = torch.tensor([row.num_tokens for row in rows], device=logprobs.device)
    real = torch.arange(logprobs.shape[1], device=logprobs.device)[None] < lengths[:, None]
    mask = loss_mask(rows, real)
    outputs = policy_gradient_loss(inputs_at(config, rows, size, mask, logprobs))
    weights = effective_weights(outputs, logprobs)[mask]
    (push,) = torch.autograd.grad(outputs.loss, logprobs)
    return _Candidate(
        choice,
        push_N=push[real].detach(),
        zero_share=float((weights == 0).double().mean()) if len(weights) else 0.0,
        weight_abs_mean=float(weights.abs().double().mean()) if len(weights) else 0.0,
        num_tokens=int(mask.sum()),
    )


def _find_multiples(found: Sequence[_Candidate]) -> None:
    """Note which losses push every token alike, up to a factor."""
    apart: list[int] = []
    for place, candidate in enumerate(found):
        if candidate.push_N is None:
            continue
        push = candidate.push_N.double()
        for other in apart:
            base = found[other].push_N
            assert base is not None
            square = float(base.double().square().sum())
            factor = float(push @ base.double()) / square if square else 0.0
            rest = float((push - factor * base.double()).norm())
            if factor and rest <= ALIKE * float(push.norm()):
                candidate.same_as, candidate.factor = other, factor
                break
        else:
            apart.append(place)


def _gradients(stage: Rehearsal, batch: _Batch, apart: Sequence[_Candidate]) -> tuple[Tensor, int]:
    """Jᵀv of each, flat or projected at random, ``U_K`` on the host; and the number of parameters."""
    trainer = stage.trainer
    parameters = list(trainer.policy.trainable_parameters().values())
    size = sum(p.numel() for p in parameters)
    device = trainer.policy.device
    whole = size * max(len(apart), 1) <= MAX_ELEMENTS
    project = None if whole else _Projection(size, derived_seed(0, "what-if", size), device)
    sums = torch.zeros(len(apart), size if whole else PROJECTED)
    starts = np.cumsum([0, *(row.num_tokens for row in batch.rows)])
    place = {id(row): i for i, row in enumerate(batch.rows)}
    saves = trainer.config.optim.gradient_checkpointing
    for rows in split_by_tokens(batch.rows, trainer.microbatch_tokens):
        stage.gate.tick("comparing gradients")
        tokens = token_batch(rows, trainer.policy)
        with checkpointed(trainer.policy, saves):
            logprobs, _ = trainer.policy.logprobs(
                tokens, trainer.config.sampling.temperature, with_entropy=False
            )
            for number, candidate in enumerate(apart):
                assert candidate.push_N is not None
                parts = [
                    candidate.push_N[starts[place[id(row)]] : starts[place[id(row)] + 1]] for row in rows
                ]
                push = padded(parts).to(logprobs)
                found = torch.autograd.grad(
                    logprobs,
                    parameters,
                    push,
                    retain_graph=number + 1 < len(apart),
                    allow_unused=True,
                    materialize_grads=True,
                )
                flat = torch.cat([g.reshape(-1).float() for g in found])
                sums[number] += (flat if project is None else project(flat)).cpu()
    return sums, size


class _Projection:
    """A random projection that keeps inner products in expectation: random signs, summed in random buckets."""

    def __init__(self, size: int, seed: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._buckets = torch.randint(PROJECTED, (size,), generator=generator).to(device)
        self._signs = (torch.randint(2, (size,), generator=generator) * 2.0 - 1.0).to(device)

    def __call__(self, flat: Tensor) -> Tensor:
        return torch.zeros(PROJECTED, device=flat.device).index_add_(0, self._buckets, flat * self._signs)
