"""The gradient of a minibatch: forward and backward of its microbatches, and what they measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from grpo_tui.algorithms import LossInputs, effective_weights, policy_gradient_loss
from grpo_tui.config.schema import RunConfig
from grpo_tui.engine.control import Gate
from grpo_tui.engine.rows import (
    Row,
    count_tokens,
    is_on_policy,
    known,
    loss_mask,
    padded,
    split_by_tokens,
    token_batch,
)
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.records import CriticReport, Phase, TrustRegionReport
from grpo_tui.events.types import Progress
from grpo_tui.ops.aggregate import BatchSize, kl_token_weights, token_weights
from grpo_tui.ops.kl import exact_kl, k3
from grpo_tui.ops.logprobs import token_logprobs
from grpo_tui.ops.masking import masked_sum
from grpo_tui.policy.policy import TokenBatch


@dataclass(slots=True, kw_only=True)
class UpdateResult:
    """What the update measured: sums over its gradient steps, turned to means at the end."""

    learning_rate: float
    skipped: str = ""
    """Why the policy's weights were not moved; empty when they were."""
    losses: list[float] = field(default_factory=list)
    policy_losses: list[float] = field(default_factory=list)
    kl_losses: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    module_norms: list[Mapping[str, float]] = field(default_factory=list)
    noise: list[tuple[float, float]] = field(default_factory=list)
    """Variance and signal of each gradient, where they are measured."""
    num_optimizer_steps: int = 0
    num_tokens: int = 0
    num_clipped_low: int = 0
    num_clipped_high: int = 0
    kl_old_sum: float = 0.0
    kl_step: float | None = None
    kl_step_positions: int = 0
    critic: CriticReport | None = None
    trust_region: TrustRegionReport | None = None

    @property
    def clip_fraction(self) -> float:
        """Share of masked tokens where a bound acted."""
        return (self.num_clipped_low + self.num_clipped_high) / max(self.num_tokens, 1)

    @property
    def kl_old(self) -> float:
        """Mean k3 estimate of KL(π_old ‖ π_θ), π_θ the policy at each gradient step."""
        return self.kl_old_sum / max(self.num_tokens, 1)


def batch_size(trainer: Trainer, rows: Sequence[Row], minibatch: Sequence[Row]) -> BatchSize:
    """Denominators of one minibatch of the rollout batch."""
    config = trainer.config
    return BatchSize(
        num_sequences=len(minibatch),
        # token_mean divides by the whole rollout batch's tokens, so that a minibatch of long answers
        # weighs more than one of short ones; per minibatch that is its even share of them.
        num_tokens=sum(row.num_tokens for row in rows if row.trains) / config.algorithm.num_minibatches,
        max_length=config.sampling.max_completion_tokens,
        num_minibatch_tokens=float(sum(row.num_tokens for row in minibatch if row.trains)),
    )


def accumulate_gradient(
    trainer: Trainer,
    step: int,
    minibatch: Sequence[Row],
    size: BatchSize,
    gate: Gate,
    result: UpdateResult,
    progress: tuple[int, int] = (0, 1),
    old_adapter: Mapping[str, Tensor] | None = None,
) -> None:
    """Leave the minibatch's gradient on the adapter's parameters, and measure it.

    Args:
        trainer: whose policy.
        step: the step, for progress.
        minibatch: rows of one gradient step.
        size: denominators of the minibatch.
        gate: asked before each microbatch.
        result: takes what is measured.
        progress: gradient steps done and in all.
        old_adapter: the policy that sampled, which the exact KL to it needs once weights have moved.
    """
    parameters = trainer.policy.trainable_parameters()
    trainer.optimizer.zero_grad(set_to_none=True)
    parts = _halves(minibatch) if trainer.config.algorithm.measure_gradient_noise else [list(minibatch)]
    microbatches = [
        split_by_tokens(part, trainer.microbatch_tokens, packs=trainer.policy.packs_rows) for part in parts
    ]
    total = sum(map(len, microbatches))
    sums = torch.zeros(3, dtype=torch.float64)
    first_half: dict[str, Tensor] = {}
    done = 0
    passes = trainer.tally.update
    for half, part in enumerate(microbatches):
        for rows in part:
            gate.tick(f"in update, microbatch {done + 1} of {total}")
            with passes.timed():
                sums += _backward(trainer, rows, size, result, old_adapter).double().cpu()
            passes.add(*count_tokens(rows, trainer.policy))
            done += 1
            trainer.report(
                Progress(
                    step=step,
                    phase=Phase.UPDATE,
                    done=progress[0] * total + done,
                    total=progress[1] * total,
                    unit="microbatches",
                )
            )
        if half == 0 and len(parts) == 2:
            first_half = {name: gradient_of(p).clone() for name, p in parameters.items()}
    if first_half:
        share = len({row.group for row in parts[0]}) / len({row.group for row in minibatch})
        result.noise.append(_noise(parameters, first_half, share))
    loss, policy_loss, kl_loss = sums.tolist()
    result.losses.append(loss)
    result.policy_losses.append(policy_loss)
    result.kl_losses.append(kl_loss)
    result.module_norms.append(module_norms(parameters))


def _backward(
    trainer: Trainer,
    rows: Sequence[Row],
    size: BatchSize,
    result: UpdateResult,
    old_adapter: Mapping[str, Tensor] | None,
) -> Tensor:
    """Forward and backward of one microbatch; its gradient adds to the minibatch's.

    Returns its share of the loss, of the policy's part and of the KL's. Nothing else outlives it: a graph that did would keep
    the memory that the next microbatch uses again.
    """
    inputs = loss_inputs(trainer, rows, size, old_adapter)
    outputs = policy_gradient_loss(inputs)
    weights_B_T = effective_weights(outputs, inputs.logprobs_B_T)
    outputs.loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
    detached, mask = inputs.logprobs_B_T.detach(), inputs.mask_B_T
    for i, row in enumerate(rows):
        length = row.num_tokens
        row.last_logprobs_T = detached[i, :length].clone()
        row.ratio_T = outputs.ratio_B_T[i, :length].clone()
        if row.first_logprobs_T is None:
            row.first_logprobs_T = row.last_logprobs_T
            row.weight_T = weights_B_T[i, :length].clone()
    result.num_tokens += int(mask.sum())
    result.num_clipped_low += int(outputs.clipped_low_B_T.sum())
    result.num_clipped_high += int(outputs.clipped_high_B_T.sum())
    # The tokens are the old policy's, so this k3 is an unbiased estimate of KL(π_old ‖ π_θ).
    result.kl_old_sum += float(masked_sum(k3(inputs.old_logprobs_B_T - detached), mask))
    return torch.stack([outputs.loss.detach(), outputs.policy_loss.detach(), outputs.kl_loss.detach()])


def loss_inputs(
    trainer: Trainer,
    rows: Sequence[Row],
    size: BatchSize,
    old_adapter: Mapping[str, Tensor] | None = None,
) -> LossInputs:
    """Run the policy over one microbatch and put together what the loss is of."""
    batch = token_batch(rows, trainer.policy)
    logprobs, exact = _forward(trainer, batch, old_adapter)
    return inputs_at(trainer.config, rows, size, loss_mask(rows, batch.completion_mask_B_T), logprobs, exact)


def inputs_at(
    config: RunConfig,
    rows: Sequence[Row],
    size: BatchSize,
    mask: Tensor,
    logprobs: Tensor,
    exact: Tensor | None = None,
) -> LossInputs:
    """Put together what the loss is of, where the policy's log-probs are known.

    Args:
        config: whose loss.
        rows: of one microbatch.
        size: denominators of its minibatch.
        mask: tokens in the loss, ``B_T``.
        logprobs: ℓ of the tokens, ``B_T``.
        exact: the exact KL to the anchor, ``B_T``, where the loss wants it.
    """
    on_policy = is_on_policy(config.algorithm) and all(row.old_logprobs_T is None for row in rows)
    has_reference = all(row.ref_logprobs_T is not None for row in rows)
    if all(row.advantages_T is not None for row in rows):
        advantages = padded([known(row.advantages_T) for row in rows]).to(logprobs)
    else:
        advantages = torch.tensor([[row.advantage] for row in rows], device=mask.device, dtype=logprobs.dtype)
    aggregation = config.algorithm.aggregation
    return LossInputs(
        config=config.algorithm,
        logprobs_B_T=logprobs,
        old_logprobs_B_T=logprobs.detach() if on_policy else padded([known(r.old_logprobs_T) for r in rows]),
        ref_logprobs_B_T=padded([known(r.ref_logprobs_T) for r in rows]) if has_reference else None,
        advantages=advantages,
        mask_B_T=mask,
        weights_B_T=token_weights(aggregation, mask, size, logprobs.dtype),
        kl_weights_B_T=kl_token_weights(aggregation, mask, size, logprobs.dtype),
        exact_kl_B_T=exact,
    )


def _forward(
    trainer: Trainer, batch: TokenBatch, old_adapter: Mapping[str, Tensor] | None
) -> tuple[Tensor, Tensor | None]:
    """ℓ of the tokens, and the exact KL to the anchor where the loss wants it: both ``B_T``, with gradient."""
    config, policy = trainer.config.algorithm, trainer.policy
    temperature = trainer.config.sampling.temperature
    if config.beta == 0 or config.kl_estimator != "exact" or config.kl_in == "reward":
        return policy.logprobs(batch, temperature, with_entropy=False)[0], None
    anchor: Tensor | None = None
    # The anchor first: swapping weights under a graph that waits for its backward pass would break it.
    if config.kl_anchor == "ref":
        with torch.no_grad(), policy.reference():
            anchor = policy.token_logits(batch)
    elif old_adapter is not None:
        with torch.no_grad(), policy.weights(old_adapter):
            anchor = policy.token_logits(batch)
    logits_N_V, mask = policy.token_logits(batch), batch.completion_mask_B_T
    anchor = logits_N_V.detach() if anchor is None else anchor
    logprobs_N, _ = token_logprobs(logits_N_V, batch.completion_ids_B_T[mask], temperature=temperature)
    # Only where tokens are: what stands in padding must not reach the backward pass.
    kl_N = exact_kl(logits_N_V, anchor, temperature=temperature)
    empty = torch.zeros(mask.shape, dtype=logprobs_N.dtype, device=mask.device)
    return empty.masked_scatter(mask, logprobs_N), empty.masked_scatter(mask, kl_N)


def _halves(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows in two halves of whole groups, which are independent of each other; one part where there is one group."""
    order = {group: place for place, group in enumerate(dict.fromkeys(row.group for row in rows))}
    if len(order) < 2:
        return [list(rows)]
    parts: list[list[Row]] = [[], []]
    for row in rows:
        parts[order[row.group] % 2].append(row)
    return parts


def _noise(
    parameters: Mapping[str, torch.nn.Parameter], first_half: Mapping[str, Tensor], share: float
) -> tuple[float, float]:
    """Trace of the gradient's covariance, and ‖E g‖², from g = g₁ + g₂ with independent parts.

    With g₁ made of a share a of the groups: E[a (1 − a) ‖g₁/a − g₂/(1 − a)‖²] = tr Cov(g) and
    E‖g‖² = ‖E g‖² + tr Cov(g), so both estimates are unbiased where groups enter the gradient independently (compare the
    gradient noise scale, McCandlish et al., arXiv 1812.06162, appendix A). A denominator that the parts share
    (``token_mean``'s number of tokens, ``batch``'s deviation, ``ema``'s first mean) makes them nearly so.
    """
    variance = squared = 0.0
    for name, parameter in parameters.items():
        whole, first = gradient_of(parameter).double(), first_half[name].double()
        apart = first / share - (whole - first) / (1.0 - share)
        variance += share * (1.0 - share) * float(apart.square().sum())
        squared += float(whole.square().sum())
    return variance, squared - variance


def gradient_of(parameter: torch.nn.Parameter) -> Tensor:
    """A parameter's gradient; zeros where it took no part."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def module_norms(parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, float]:
    """Gradient norm of each adapted module, its two LoRA matrices together."""
    modules = [
        name.partition(".lora_")[0].removeprefix("base_model.model.").removeprefix("model.")
        for name in parameters
    ]
    norms = torch.stack(torch._foreach_norm([gradient_of(p).float() for p in parameters.values()]))
    squares: dict[str, float] = {}
    for module, norm in zip(modules, norms.tolist(), strict=True):
        squares[module] = squares.get(module, 0.0) + norm * norm
    return {module: float(f"{square**0.5:.6g}") for module, square in squares.items()}
