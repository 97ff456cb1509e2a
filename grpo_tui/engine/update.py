"""Phase *update*: gradient steps on the rollout batch, all of them or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from grpo_tui.algorithms import LOSSES, LossInputs, LossOutputs
from grpo_tui.engine.batch import Row, is_on_policy, padded, split_by_tokens, token_batch
from grpo_tui.engine.control import Gate
from grpo_tui.engine.schedule import learning_rate
from grpo_tui.engine.seeds import derived_seed
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.records import Phase
from grpo_tui.events.types import Progress
from grpo_tui.ops.aggregate import BatchSize, token_weights
from grpo_tui.ops.kl import k3
from grpo_tui.ops.masking import masked_sum


@dataclass(slots=True, kw_only=True)
class UpdateResult:
    """What the update measured: sums over its gradient steps, turned to means at the end."""

    learning_rate: float
    skipped: str = ""
    """Why no optimiser step was taken; empty when one was."""
    losses: list[float] = field(default_factory=list)
    policy_losses: list[float] = field(default_factory=list)
    kl_losses: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    num_tokens: int = 0
    num_clipped: int = 0
    kl_old_sum: float = 0.0

    @property
    def num_optimizer_steps(self) -> int:
        """Gradient steps taken."""
        return len(self.grad_norms)

    @property
    def clip_fraction(self) -> float:
        """Share of masked tokens where the bound acted."""
        return self.num_clipped / self.num_tokens if self.num_tokens else 0.0

    @property
    def kl_old(self) -> float:
        """Mean k3 estimate of KL between the sampling policy and the policy at each gradient step."""
        return self.kl_old_sum / self.num_tokens if self.num_tokens else 0.0


def update_policy(trainer: Trainer, step: int, rows: Sequence[Row], gate: Gate) -> UpdateResult:
    """Take the step's gradient steps. Left half-way (a stop, an error), the weights are as before it."""
    config = trainer.config
    result = UpdateResult(learning_rate=learning_rate(config.optim, step, config.run.steps))
    result.skipped = why_skip(trainer, rows)
    if result.skipped:
        return result
    snapshot = trainer.snapshot()
    trainer.seed_step(step)
    try:
        with trainer.policy.training_mode():
            _gradient_steps(trainer, step, rows, gate, result)
    except BaseException:
        trainer.restore(snapshot)
        raise
    return result


def why_skip(trainer: Trainer, rows: Sequence[Row]) -> str:
    """Why an optimiser step would move the weights by nothing but Adam's memory, or an empty string."""
    config = trainer.config.algorithm
    if config.beta == 0 and all(row.advantage == 0.0 for row in rows):
        return "every group's rewards are equal and beta is 0, so the gradient is exactly 0"
    return ""


def _gradient_steps(
    trainer: Trainer, step: int, rows: Sequence[Row], gate: Gate, result: UpdateResult
) -> None:
    config = trainer.config
    for group in trainer.optimizer.param_groups:
        group["lr"] = result.learning_rate
    total = config.algorithm.num_epochs * config.algorithm.num_minibatches
    done = 0
    for epoch in range(config.algorithm.num_epochs):
        for minibatch in split_minibatches(
            rows, config.algorithm.num_minibatches, config.run.seed, step, epoch
        ):
            size = BatchSize(
                num_sequences=len(minibatch),
                # token_mean divides by the whole rollout batch's tokens, so that a minibatch of long answers
                # weighs more than one of short ones; per minibatch that is its even share of them.
                num_tokens=sum(row.num_tokens for row in rows) / config.algorithm.num_minibatches,
                max_length=config.sampling.max_completion_tokens,
            )
            _gradient_step(trainer, step, minibatch, size, gate, result, (done, total))
            done += 1


def split_minibatches(
    rows: Sequence[Row], num_minibatches: int, seed: int, step: int, epoch: int
) -> list[list[Row]]:
    """A pass over the rollout batch in shuffled, nearly equal parts; the whole in order when there is one part."""
    if num_minibatches == 1:
        return [list(rows)]
    generator = torch.Generator().manual_seed(derived_seed(seed, "minibatches", step, epoch))
    order = torch.randperm(len(rows), generator=generator)
    return [[rows[i] for i in part.tolist()] for part in order.tensor_split(num_minibatches) if len(part)]


def _gradient_step(
    trainer: Trainer,
    step: int,
    minibatch: Sequence[Row],
    size: BatchSize,
    gate: Gate,
    result: UpdateResult,
    progress: tuple[int, int],
) -> None:
    """Accumulate one gradient over microbatches, clip its norm, take one optimiser step."""
    config = trainer.config
    microbatches = split_by_tokens(minibatch, config.optim.max_tokens_per_microbatch)
    trainer.optimizer.zero_grad(set_to_none=True)
    sums = torch.zeros(3, dtype=torch.float64)
    for done, microbatch in enumerate(microbatches):
        gate.tick(f"in update, microbatch {done + 1} of {len(microbatches)}")
        outputs = _backward(trainer, microbatch, size, result)
        sums += torch.stack([outputs.loss.detach(), outputs.policy_loss, outputs.kl_loss]).double().cpu()
        trainer.report(
            Progress(
                step=step,
                phase=Phase.UPDATE,
                done=progress[0] * len(microbatches) + done + 1,
                total=progress[1] * len(microbatches),
                unit="microbatches",
            )
        )
    norm = torch.nn.utils.clip_grad_norm_(
        trainer.policy.trainable_parameters().values(), config.optim.max_grad_norm or float("inf")
    )
    if not torch.isfinite(norm):
        raise FloatingPointError(f"the gradient norm is {float(norm)}; the weights were left as they were")
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=True)
    loss, policy_loss, kl_loss = sums.tolist()
    result.losses.append(loss)
    result.policy_losses.append(policy_loss)
    result.kl_losses.append(kl_loss)
    result.grad_norms.append(float(norm))


def _backward(trainer: Trainer, rows: Sequence[Row], size: BatchSize, result: UpdateResult) -> LossOutputs:
    """Forward and backward of one microbatch; its gradient adds to the minibatch's."""
    config = trainer.config
    batch = token_batch(rows, trainer.policy)
    mask = batch.completion_mask_B_T
    logprobs, _ = trainer.policy.logprobs(batch, config.sampling.temperature)
    detached = logprobs.detach()
    for i, row in enumerate(rows):
        if row.first_logprobs_T is None:
            row.first_logprobs_T = detached[i, : row.num_tokens].clone()
    old = detached if is_on_policy(config.algorithm) else padded([_known(row.old_logprobs_T) for row in rows])
    has_reference = all(row.ref_logprobs_T is not None for row in rows)
    inputs = LossInputs(
        config=config.algorithm,
        logprobs_B_T=logprobs,
        old_logprobs_B_T=old,
        ref_logprobs_B_T=padded([_known(row.ref_logprobs_T) for row in rows]) if has_reference else None,
        advantages_B=torch.tensor([row.advantage for row in rows], device=mask.device, dtype=logprobs.dtype),
        mask_B_T=mask,
        weights_B_T=token_weights(config.algorithm.aggregation, mask, size, logprobs.dtype),
    )
    outputs = LOSSES[config.algorithm.name](inputs)
    outputs.loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
    result.num_tokens += int(mask.sum())
    result.num_clipped += int(outputs.clipped_B_T.sum())
    result.kl_old_sum += float(masked_sum(k3(detached - old), mask))
    return outputs


def _known(logprobs_T: Tensor | None) -> Tensor:
    assert logprobs_T is not None, "log-probs were not prepared for this row"
    return logprobs_T
