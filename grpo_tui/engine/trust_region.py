"""TRPO's update of the adapter (Schulman et al., arXiv 1502.05477, section 6 and appendix C).

Maximise the surrogate Σ w ρ A within mean exact KL(π_old ‖ π_θ) ≤ δ: the step's direction solves (F + λI) s = g by
conjugate gradient on products with the Fisher matrix, its length makes the damped quadratic model of KL, ½ sᵀ(F + λI)s,
equal δ, and a backtracking line search takes the first point at which the *measured* KL over every position of the
rollout batch is within δ and the surrogate has risen. Where none is, the weights are put back bitwise.

Deviations from the paper: the baseline is the group's mean, so no critic is needed; F is taken over a sample of
completions (``trust_region.fisher_tokens``; the constraint is not); λ is a share of F's curvature along g, not a
constant, because the scale of LoRA's curvature depends on rank and alpha. Without λ, F is nearly singular and conjugate
gradient does not settle in ten products; with it the step is shorter than δ allows, by about a half.

The model is in eval mode (no dropout), float32, with attention that can be differentiated twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from grpo_tui.algorithms import policy_gradient_loss
from grpo_tui.engine.control import Gate
from grpo_tui.engine.gradient import (
    UpdateResult,
    accumulate_gradient,
    batch_size,
    gradient_of,
    loss_inputs,
)
from grpo_tui.engine.kl_probe import KlProbe, sample_rows
from grpo_tui.engine.rows import Row, split_by_tokens, token_batch
from grpo_tui.engine.seeds import derived_seed
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.records import TrustRegionReport
from grpo_tui.ops.aggregate import BatchSize
from grpo_tui.ops.kl import exact_kl
from grpo_tui.ops.trust_region import Trial, conjugate_gradient, line_search, step_scale


def trust_region_step(
    trainer: Trainer,
    step: int,
    rows: Sequence[Row],
    gate: Gate,
    result: UpdateResult,
    adapter: Mapping[str, Tensor],
) -> None:
    """Move the adapter within the trust region, or not at all.

    Args:
        trainer: whose policy.
        step: the step.
        rows: the rollout batch.
        gate: asked between microbatches, products and tries.
        result: takes what is measured.
        adapter: the adapter as it is now, to go back to.
    """
    config = trainer.config.trust_region
    size = batch_size(trainer, rows, rows)
    accumulate_gradient(trainer, step, rows, size, gate, result)
    parameters = list(trainer.policy.trainable_parameters().values())
    gradient_N = _flat([gradient_of(p) for p in parameters])
    norm = float(gradient_N.norm())
    if not torch.isfinite(gradient_N).all():
        raise FloatingPointError(f"the gradient norm is {norm}; the weights were left as they were")
    result.grad_norms.append(norm)
    trainer.optimizer.zero_grad(set_to_none=True)
    step_N = _full_step(trainer, step, rows, gate, -gradient_N)
    probe = KlProbe(trainer, step, rows, all_positions=True, adapter=adapter)
    for row in rows:  # ρ of the line search is against these weights
        row.old_logprobs_T, row.old_is_first = row.first_logprobs_T, True
    start = _surrogate(trainer, rows, size, adapter)

    def measure(scale: float) -> Trial:
        gate.tick(f"in update, line search at {scale:.2f} of the step")
        trainer.policy.load_adapter_state(adapter)
        _add(parameters, scale * step_N)
        return Trial(scale, probe.measure(), _surrogate(trainer, rows, size, adapter) - start)

    best, trials = None, [Trial(0.0, 0.0, 0.0)]
    if step_N.any():
        best, trials = line_search(
            measure, config.kl_limit, config.line_search_shrink, config.line_search_steps
        )
    if best is None:
        trainer.policy.load_adapter_state(adapter)
    else:
        result.num_optimizer_steps += 1
    shown = best or trials[-1]
    result.kl_step, result.kl_step_positions = best.kl if best else 0.0, probe.num_positions
    result.trust_region = TrustRegionReport(
        accepted=best is not None,
        kl=shown.kl,
        kl_limit=config.kl_limit,
        surrogate_gain=shown.gain,
        num_tries=len(trials) if step_N.any() else 0,
        scale=best.scale if best else 0.0,
        num_positions=probe.num_positions,
        step_norm=float(step_N.norm()),
    )


def _full_step(trainer: Trainer, step: int, rows: Sequence[Row], gate: Gate, ascent_N: Tensor) -> Tensor:
    """The step s of length √(2δ / sᵀ(F + λI)s) along (F + λI)⁻¹ g."""
    config = trainer.config.trust_region
    seed = derived_seed(trainer.config.run.seed, "fisher", step)
    fisher = fisher_product(trainer, sample_rows(rows, config.fisher_tokens, seed))
    squared = ascent_N.dot(ascent_N)
    if squared == 0:
        return torch.zeros_like(ascent_N)
    damping = config.cg_damping * ascent_N.dot(fisher(ascent_N)) / squared

    def damped(vector_N: Tensor) -> Tensor:
        gate.tick("in update, conjugate gradient")
        return fisher(vector_N) + damping * vector_N

    direction_N = conjugate_gradient(damped, ascent_N, config.cg_iterations)
    return step_scale(direction_N, damped(direction_N), config.kl_limit) * direction_N


def fisher_product(trainer: Trainer, rows: Sequence[Row]) -> Callable[[Tensor], Tensor]:
    """The product v ↦ F v, with F the Hessian of mean exact KL(π_old ‖ π_θ) at θ = θ_old, by differentiating twice.

    The graph of the first derivative is kept for as long as the function is.
    """
    policy = trainer.policy
    parameters = list(policy.trainable_parameters().values())
    num_positions = sum(row.num_tokens for row in rows)
    slopes: list[tuple[Tensor, ...]] = []
    for microbatch in split_by_tokens(rows, trainer.microbatch_tokens, packs=trainer.policy.packs_rows):
        batch = token_batch(microbatch, policy)
        logits_N_V = policy.logits(batch)[batch.completion_mask_B_T]
        kl_N = exact_kl(
            logits_N_V.detach(),
            logits_N_V,
            temperature=trainer.config.sampling.temperature,
            # In one piece: a chunk that is computed again in the backward pass cannot be differentiated twice.
            chunk_elements=logits_N_V.numel(),
        )
        slopes.append(torch.autograd.grad(kl_N.sum() / num_positions, parameters, create_graph=True))

    def product(vector_N: Tensor) -> Tensor:
        parts = _split_like(vector_N, parameters)
        total_N = torch.zeros_like(vector_N)
        for slope in slopes:
            along = torch.stack([(a * b).sum() for a, b in zip(slope, parts, strict=True)]).sum()
            total_N += _flat(torch.autograd.grad(along, parameters, retain_graph=True))
        return total_N

    return product


@torch.no_grad()
def _surrogate(
    trainer: Trainer, rows: Sequence[Row], size: BatchSize, old_adapter: Mapping[str, Tensor]
) -> float:
    """−loss over the whole rollout batch at the present weights, microbatches added in float64."""
    total = 0.0
    for microbatch in split_by_tokens(rows, trainer.microbatch_tokens, packs=trainer.policy.packs_rows):
        total -= float(
            policy_gradient_loss(loss_inputs(trainer, microbatch, size, old_adapter)).loss.double()
        )
    return total


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _split_like(vector_N: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    pieces = torch.split(vector_N, [p.numel() for p in parameters])
    return [piece.view_as(p) for piece, p in zip(pieces, parameters, strict=True)]


@torch.no_grad()
def _add(parameters: Sequence[Tensor], vector_N: Tensor) -> None:
    for parameter, piece in zip(parameters, _split_like(vector_N, parameters), strict=True):
        parameter.add_(piece)
