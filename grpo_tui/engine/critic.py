"""The value function's part of a step: values before the update, and learning to predict what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from grpo_tui.engine.control import Gate
from grpo_tui.engine.memory import with_room
from grpo_tui.engine.rows import Row, known, loss_mask, padded, split_by_tokens, token_batch
from grpo_tui.engine.seeds import derived_seed
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.records import CriticReport, Phase
from grpo_tui.events.types import Progress
from grpo_tui.ops.masking import zero_where_masked
from grpo_tui.ops.values import explained_variance, value_loss
from grpo_tui.policy.critic import Critic


def critic_of(trainer: Trainer) -> Critic:
    """The critic, which a run with advantage ``gae`` has."""
    assert trainer.critic is not None, "advantage 'gae' comes with a critic"
    return trainer.critic


def is_warming_up(trainer: Trainer, step: int) -> bool:
    """Whether in this step only the critic learns."""
    return trainer.critic is not None and step <= trainer.config.critic.value_warmup_steps


def add_values(trainer: Trainer, step: int, rows: Sequence[Row], gate: Gate) -> None:
    """V° of the state before each token of every row."""
    with_room(trainer, "the critic's values", rows, lambda: _add_values(trainer, step, rows, gate))


def _add_values(trainer: Trainer, step: int, rows: Sequence[Row], gate: Gate) -> None:
    critic = critic_of(trainer)
    microbatches = split_by_tokens(rows, trainer.microbatch_tokens, packs=trainer.policy.packs_rows)
    with critic.active():
        for done, microbatch in enumerate(microbatches):
            gate.tick(f"in advantages, after {done} microbatches")
            with torch.no_grad():
                values_B_T = critic.values(token_batch(microbatch, trainer.policy))
            for i, row in enumerate(microbatch):
                row.values_T = values_B_T[i, : row.num_tokens].clone()
            trainer.report(
                Progress(
                    step=step,
                    phase=Phase.ADVANTAGES,
                    done=done + 1,
                    total=len(microbatches),
                    unit="microbatches",
                )
            )


@dataclass(slots=True)
class _Learning:
    losses: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)


def update_critic(trainer: Trainer, step: int, rows: Sequence[Row], gate: Gate) -> CriticReport:
    """As many passes and gradient steps as the policy's, on the returns."""
    config = trainer.config.algorithm
    trained = [row for row in rows if row.trains]
    values, returns = (
        torch.cat([known(row.values_T) for row in rows]),
        torch.cat([known(row.returns_T) for row in rows]),
    )
    learning = _Learning()
    with critic_of(trainer).active():
        for epoch in range(config.num_epochs):
            generator = torch.Generator().manual_seed(
                derived_seed(trainer.config.run.seed, "critic", step, epoch)
            )
            order = torch.randperm(len(trained), generator=generator)
            for part in order.tensor_split(config.num_minibatches):
                if len(part):
                    _value_step(trainer, [trained[i] for i in part.tolist()], gate, learning)
    return CriticReport(
        value_loss=_mean(learning.losses),
        explained_variance=explained_variance(values, returns),
        value_mean=float(values.mean()),
        return_mean=float(returns.mean()),
        grad_norm=_mean(learning.grad_norms),
        warming_up=is_warming_up(trainer, step),
    )


def _value_step(trainer: Trainer, rows: Sequence[Row], gate: Gate, learning: _Learning) -> None:
    """One gradient step on the mean value loss over these rows' tokens."""
    config, critic, optimizer = trainer.config, critic_of(trainer), trainer.critic_optimizer
    assert optimizer is not None
    optimizer.zero_grad(set_to_none=True)
    num_tokens = sum(row.num_tokens for row in rows)
    total = 0.0
    microbatches = split_by_tokens(rows, trainer.microbatch_tokens, packs=trainer.policy.packs_rows)
    for done, microbatch in enumerate(microbatches):
        gate.tick(f"in update, critic's microbatch {done + 1} of {len(microbatches)}")
        batch = token_batch(microbatch, trainer.policy)
        losses_B_T = value_loss(
            critic.values(batch),
            padded([known(row.values_T) for row in microbatch]),
            padded([known(row.returns_T) for row in microbatch]),
            config.critic.value_clip,
        )
        loss = (
            zero_where_masked(losses_B_T, loss_mask(microbatch, batch.completion_mask_B_T)).sum() / num_tokens
        )
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
        total += float(loss.detach())
    norm = torch.nn.utils.clip_grad_norm_(
        critic.parameters().values(), config.optim.max_grad_norm or float("inf")
    )
    if not torch.isfinite(norm):
        raise FloatingPointError(
            f"the critic's gradient norm is {float(norm)}; the weights were left as they were"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    learning.losses.append(total)
    learning.grad_norms.append(float(norm))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
