"""The mismatch microscope: log-probs as the sampler recorded them against the update's own, and where they part.

Both belong to the same weights, so that every difference is somebody's doing. On the answers with the worst tokens the way
from one to the other is walked in steps that change one thing each (sampler again → trusted decoding → whole pass → lean
layers → dropout), and each step's share is measured. Nothing is guessed: a cause that cannot be measured here has no number.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from grpo_tui.engine.control import Gate
from grpo_tui.engine.in_progress import StepInProgress
from grpo_tui.engine.rehearsal import (
    Rehearsal,
    before_update,
    largest,
    refuse_ahead,
    rehearsal,
    rescore,
    token_text,
)
from grpo_tui.engine.rows import Row, token_batch
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.commands import FindMismatch
from grpo_tui.events.types import MismatchFound
from grpo_tui.events.update_records import Mismatch, MismatchCause, TokenMismatch
from grpo_tui.generation.choice import filtered
from grpo_tui.generation.fast import FastSampler
from grpo_tui.generation.types import SamplingSettings
from grpo_tui.ops.kl import k3
from grpo_tui.ops.logprobs import raised, token_logprobs
from grpo_tui.policy.policy import Policy, TokenBatch, positions

TOP_TOKENS = 40
CHECKED = 4
"""Answers on which causes are measured."""
WIDE_BYTES = 2 << 30
"""Largest copy of the model in a wider dtype that is made to measure rounding."""
RECORD, FOLDED, CACHE, LEAN, DROPOUT = (
    "not repeatable",
    "folded adapter",
    "cache",
    "lean layers",
    "dropout",
)
DTYPE, TEMPERATURE, FILTER = "dtype", "temperature", "sampling filter"
NEARER = 0.5
"""A reading explains a difference where it leaves less than this share of it."""


def find_mismatch(trainer: Trainer, request: FindMismatch) -> None:
    """Handle :class:`~grpo_tui.events.commands.FindMismatch`.

    Raises:
        ValueError: the step does not stand before its update.
    """
    trainer.emit(MismatchFound(time=time.time(), mismatch=compute_mismatch(trainer, request.step)))


def compute_mismatch(trainer: Trainer, step: int) -> Mismatch:
    """Compare the log-probs of every token of the step's answers.

    Raises:
        ValueError: the step does not stand before its update, or was drawn ahead.
    """
    now = before_update(trainer, step)
    refuse_ahead(now)
    started = time.perf_counter()
    with rehearsal(trainer, "mismatch") as stage:
        found = _mismatch(stage, now)
    return replace(found, seconds=time.perf_counter() - started)


def _mismatch(stage: Rehearsal, now: StepInProgress) -> Mismatch:
    trainer = stage.trainer
    rows = [replace(row) for row in now.rows]
    trained = _as_in_update(trainer, rows, now.step, stage.gate)
    gaps = [(ours - row.sampled_logprobs_T).double() for row, ours in zip(rows, trained, strict=True)]
    size = torch.cat([gap.abs() for gap in gaps])
    worst = sorted(range(len(rows)), key=lambda i: -float(gaps[i].abs().max()))[:CHECKED]
    causes, likely = _causes(stage, [rows[i] for i in worst], [trained[i] for i in worst])
    return Mismatch(
        step=now.step,
        num_tokens=len(size),
        mean=float(size.mean()),
        largest=float(size.max()),
        # The tokens are the sampler's, so this is an unbiased estimate of KL(sampler ‖ trainer).
        kl=float(torch.cat([k3(-gap) for gap in gaps]).mean()),
        tokens=_tokens(trainer, rows, trained, gaps),
        causes=causes,
        num_checked=len(worst),
        num_answers=len(rows),
        likely=likely,
    )


def _as_in_update(trainer: Trainer, rows: Sequence[Row], step: int, gate: Gate) -> list[Tensor]:
    """ℓ as the update's first pass has it, its dropout included."""
    trainer.seed_step(step)
    with trainer.policy.training_mode():
        return rescore(trainer, rows, gate)


def _tokens(
    trainer: Trainer, rows: Sequence[Row], trained: Sequence[Tensor], gaps: Sequence[Tensor]
) -> tuple[TokenMismatch, ...]:
    return tuple(
        TokenMismatch(
            group=rows[place].group,
            completion=rows[place].index,
            token=token,
            text=token_text(trainer, rows[place], token),
            sampled=float(rows[place].sampled_logprobs_T[token]),
            trained=float(trained[place][token]),
        )
        for place, token in largest([gap.tolist() for gap in gaps], TOP_TOKENS)
    )


def _causes(
    stage: Rehearsal, rows: Sequence[Row], trained: Sequence[Tensor]
) -> tuple[tuple[MismatchCause, ...], str]:
    """Every cause with its share, largest first, and the name of the one that makes up most."""
    trainer, policy = stage.trainer, stage.trainer.policy
    temperature = trainer.config.sampling.temperature
    recorded = [row.sampled_logprobs_T for row in rows]

    def each(logits_of: Callable[[TokenBatch], Tensor], t: float = temperature) -> list[Tensor]:
        found = []
        for row in rows:
            stage.gate.tick("looking for causes")
            batch = token_batch([row], policy)
            with torch.no_grad():
                found.append(token_logprobs(logits_of(batch), batch.completion_ids_B_T, temperature=t)[0][0])
        return found

    whole = each(policy.logits)
    stepped = each(lambda batch: _by_position(policy, batch, stage.gate))
    without_dropout = rescore(trainer, rows, stage.gate)
    sampler = trainer.sampler
    again = each(sampler.logits) if isinstance(sampler, FastSampler) else stepped
    folded = "adapter added into the weights, and the fast decoder"
    way = [
        _between(
            RECORD, recorded, again, "recorded against the same sampler now: batch shape, or a fault in it"
        ),
        _between(FOLDED, again, stepped, folded)
        if again is not stepped
        else MismatchCause(name=FOLDED, detail="the trusted sampler folds nothing"),
        _between(CACHE, stepped, whole, "one position at a time against all at once"),
        _between(
            LEAN, whole, without_dropout, "the model's own layers against their lean twin, in microbatches"
        )
        if policy.lean is not None
        else MismatchCause(name=LEAN, detail="not in use"),
        _between(DROPOUT, without_dropout, trained, "lora_dropout is on in the update")
        if trainer.config.model.lora_dropout
        else MismatchCause(name=DROPOUT, detail="lora_dropout is 0"),
    ]
    dtype = _rounding(policy, whole, each)
    heat = _temperature(temperature, recorded, whole, each, policy.logits)
    filter_ = _filter(trainer, rows, stage.gate)
    total = _mean(recorded, trained)
    causes = [*way, dtype, heat, filter_]
    causes.sort(key=lambda cause: (cause.mean is None, not cause.recorded, -(cause.mean or 0.0)))
    return tuple(causes), _likely(way, dtype, heat, total)


def _likely(way: Sequence[MismatchCause], dtype: MismatchCause, heat: MismatchCause, total: float) -> str:
    if total == 0.0:
        return ""
    if heat.mean is not None and heat.mean >= NEARER * total:
        return heat.name
    largest = max(way, key=lambda cause: cause.mean or 0.0)
    # What is no more than a few roundings is rounding, wherever on the way it happened.
    if dtype.mean is not None and largest.mean is not None and largest.mean <= 4.0 * dtype.mean:
        return dtype.name
    return largest.name


def _between(name: str, a: Sequence[Tensor], b: Sequence[Tensor], detail: str) -> MismatchCause:
    gap = torch.cat([(x.double() - y.double()).abs() for x, y in zip(a, b, strict=True)])
    return MismatchCause(name=name, mean=float(gap.mean()), largest=float(gap.max()), detail=detail)


def _mean(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    return _between("", a, b, "").mean or 0.0


def _by_position(policy: Policy, batch: TokenBatch, gate: Gate) -> Tensor:
    """Logits of given tokens by the trusted sampler's way: prompt first, then one position at a time, ``B_T_V``."""
    mask, answers = batch.prompt_mask_B_P, batch.completion_ids_B_T
    output = policy.model(
        input_ids=batch.prompt_ids_B_P,
        attention_mask=mask.long(),
        position_ids=positions(mask),
        use_cache=True,
        logits_to_keep=1,
    )
    found = [output.logits[:, -1]]
    for column in range(answers.shape[1] - 1):
        gate.tick("looking for causes")
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        output = policy.model(
            input_ids=answers[:, column : column + 1],
            attention_mask=mask.long(),
            position_ids=mask.sum(dim=1, keepdim=True) - 1,
            past_key_values=output.past_key_values,
            use_cache=True,
        )
        found.append(output.logits[:, -1])
    return torch.stack(found, dim=1)


def _rounding(
    policy: Policy, whole: Sequence[Tensor], each: Callable[[Callable[[TokenBatch], Tensor]], list[Tensor]]
) -> MismatchCause:
    """The whole pass against the same in twice the digits."""
    name = str(policy.dtype).removeprefix("torch.")
    wide = torch.float64 if policy.dtype is torch.float32 else torch.float32
    size = policy.num_parameters * torch.finfo(wide).bits // 8
    if size > WIDE_BYTES:
        detail = f"{name}; a copy in {str(wide).removeprefix('torch.')} would take {size / 1e9:.0f} GB: not measured"
        return MismatchCause(name=DTYPE, detail=detail)
    model = copy.deepcopy(policy.model).to(wide).eval()

    def logits(batch: TokenBatch) -> Tensor:
        own, policy.model = policy.model, model
        try:
            return policy.logits(batch)
        finally:
            policy.model = own

    wider = str(wide).removeprefix("torch.")
    return _between(DTYPE, whole, each(logits), f"rounding of {name}: the whole pass again in {wider}")


def _temperature(
    temperature: float,
    recorded: Sequence[Tensor],
    whole: Sequence[Tensor],
    each: Callable[[Callable[[TokenBatch], Tensor], float], list[Tensor]],
    logits_of: Callable[[TokenBatch], Tensor],
) -> MismatchCause:
    """Whether the recorded log-probs are those of temperature 1 rather than of the one that the update divides by."""
    if temperature == 1.0:
        return MismatchCause(name=TEMPERATURE, detail="1 in both")
    plain = each(logits_of, 1.0)
    here, there = _mean(recorded, whole), _mean(recorded, plain)
    if there >= NEARER * here:
        detail = f"recorded at {temperature:g}, as the update reads it; at 1 they would differ by {there:.2g}"
        return MismatchCause(name=TEMPERATURE, mean=0.0, largest=0.0, detail=detail)
    return _between(TEMPERATURE, whole, plain, f"recorded at 1, read at {temperature:g}")


def _filter(trainer: Trainer, rows: Sequence[Row], gate: Gate) -> MismatchCause:
    """How much the recorded log-probs leave out where tokens were drawn from a part of the distribution only."""
    config = trainer.config.sampling
    settings = SamplingSettings(
        max_new_tokens=1, temperature=config.temperature, top_p=config.top_p, top_k=config.top_k
    )
    if config.top_p >= 1.0 and not config.top_k:
        return MismatchCause(name=FILTER, detail="top_p 1, top_k 0: none", recorded=False)
    gaps, kept = [], []
    for row in rows:
        gate.tick("looking for causes")
        with torch.no_grad():
            logits_T_V = trainer.policy.logits(token_batch([row], trainer.policy))[0]
        weights = torch.softmax(raised(logits_T_V) / config.temperature, dim=-1)
        share_T = filtered(weights, settings).sum(-1)
        kept.append(share_T)
        gaps.append(-share_T.log())
    gap, share = torch.cat(gaps), float(torch.cat(kept).mean())
    return MismatchCause(
        name=FILTER,
        mean=float(gap.abs().mean()),
        largest=float(gap.abs().max()),
        detail=(
            f"tokens came from {share:.1%} of the probability (top_p {config.top_p:g}, top_k {config.top_k}); recorded and "
            "update leave that out alike"
        ),
        recorded=False,
    )
