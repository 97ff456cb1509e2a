"""Phase *reference*: what the update compares the rollout batch with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from grpo_tui.config.schema import AlgorithmConfig
from grpo_tui.engine.control import Gate
from grpo_tui.engine.memory import with_room
from grpo_tui.engine.rows import Row, count_tokens, is_on_policy, nested, split_by_tokens, token_batch
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.records import FloatArray, Phase
from grpo_tui.events.types import Progress, ReferenceComputed
from grpo_tui.ops.kl import k3


def needs_reference(config: AlgorithmConfig) -> bool:
    """Whether the reference's log-probs are needed, for the loss, the reward or the screen."""
    return config.measure_kl_ref or (config.beta > 0 and config.kl_anchor == "ref")


def prepare_batch(trainer: Trainer, step: int, rows: Sequence[Row], gate: Gate) -> None:
    """Reference log-probs where something needs them, and old ones where the update is off-policy."""
    config = trainer.config.algorithm
    if needs_reference(config):
        add_reference_logprobs(trainer, step, rows, gate, Phase.REFERENCE)
        emit_kl_ref(trainer, step, rows, exact=False)
    if not is_on_policy(config, rows):
        add_old_logprobs(trainer, step, rows, gate)


def add_old_logprobs(trainer: Trainer, step: int, rows: Sequence[Row], gate: Gate) -> None:
    """ℓ° of every row: under the present weights, or under those of one update ago where these have drawn it.

    By the update's own way through the model in both cases, so that a ratio holds the update alone and none of what
    sampler and trainer round differently.
    """
    policy, phase = trainer.policy, Phase.REFERENCE
    present = [row for row in rows if not row.ahead]
    found = _logprobs_of(trainer, step, present, gate, phase, nullcontext)
    ahead = [row for row in rows if row.ahead and row.old_logprobs_T is None]
    if ahead:
        before = trainer.ahead.adapter
        found += _logprobs_of(trainer, step, ahead, gate, phase, lambda: policy.weights(before))
    for microbatch, logprobs in found:
        for row, logprobs_T in zip(microbatch, logprobs, strict=True):
            row.old_logprobs_T = logprobs_T


def add_reference_logprobs(
    trainer: Trainer, step: int, rows: Sequence[Row], gate: Gate, phase: Phase
) -> None:
    """ℓʳ of every row that has none yet."""
    missing = [row for row in rows if row.ref_logprobs_T is None]
    for microbatch, logprobs in _logprobs_of(trainer, step, missing, gate, phase, trainer.policy.reference):
        for row, logprobs_T in zip(microbatch, logprobs, strict=True):
            row.ref_logprobs_T = logprobs_T


Scored = list[tuple[list[Row], list[Tensor]]]
"""Microbatches, each with the log-probs of its rows."""
Under = Callable[[], AbstractContextManager[None]]
"""Within: the model is the policy that scores."""


def _logprobs_of(
    trainer: Trainer, step: int, rows: Sequence[Row], gate: Gate, phase: Phase, under: Under
) -> Scored:
    """Log-probs without gradient, by microbatch."""
    if not rows:
        return []
    return with_room(
        trainer,
        f"{phase}",
        rows,
        lambda: _by_microbatch(trainer, step, rows, gate, phase, under),
    )


def _by_microbatch(
    trainer: Trainer, step: int, rows: Sequence[Row], gate: Gate, phase: Phase, under: Under
) -> Scored:
    microbatches = split_by_tokens(rows, trainer.microbatch_tokens, packs=trainer.policy.packs_rows)
    found = []
    passes = trainer.tally.reference
    with under(), passes.timed(lambda: gate.paused_seconds):
        for done, microbatch in enumerate(microbatches):
            gate.tick(f"in {phase}, after {done} microbatches")
            with torch.no_grad():
                logprobs_B_T, _ = trainer.policy.logprobs(
                    token_batch(microbatch, trainer.policy),
                    trainer.config.sampling.temperature,
                    with_entropy=False,
                )
            passes.add(*count_tokens(microbatch, trainer.policy))
            found.append(
                (microbatch, [logprobs_B_T[i, : row.num_tokens].clone() for i, row in enumerate(microbatch)])
            )
            trainer.report(
                Progress(step=step, phase=phase, done=done + 1, total=len(microbatches), unit="microbatches")
            )
    return found


def emit_kl_ref(trainer: Trainer, step: int, rows: Sequence[Row], *, exact: bool) -> list[FloatArray] | None:
    """Tell the k3 estimate of KL(policy ‖ reference) at every token; None where it was not measured.

    ``exact`` takes the policy's log-probs from the update's first pass, else those recorded while sampling.
    """
    arrays: list[FloatArray] = []
    for row in rows:
        logprobs_T = row.first_logprobs_T if exact else row.sampled_logprobs_T
        if logprobs_T is None or row.ref_logprobs_T is None:
            return None
        arrays.append(k3(logprobs_T - row.ref_logprobs_T).float().cpu().numpy())
    kl_ref_P_G = nested(rows, arrays)
    trainer.emit(ReferenceComputed(time=time.time(), step=step, kl_ref_P_G=kl_ref_P_G, exact=exact))
    return arrays
