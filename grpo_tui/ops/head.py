"""Log-probabilities and entropies straight from hidden states: the logits of all positions are never held."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from grpo_tui.ops.logprobs import raised

CHUNK_ELEMENTS = 1 << 23
"""Logits handled at a time, in elements: 32 MB in float32."""
_VERY_SMALL = -1e30


class _HeadLogprobs(torch.autograd.Function):
    """Log-prob of each token and entropy of each distribution, from hidden states; no logits are kept.

    Backward computes each chunk's logits once more: ∂ℓ/∂z = (onehot − p) / temperature, then through the frozen head.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_N_D: Tensor,
        weight_V_D: Tensor,
        bias_V: Tensor | None,
        tokens_N: Tensor,
        temperature: float,
        rows: int,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        logprobs, entropies, normalisers = [], [], []
        for start in range(0, max(1, hidden_N_D.shape[0]), rows):
            part = slice(start, start + rows)
            z = _scaled_logits(hidden_N_D[part], weight_V_D, bias_V, temperature)
            highest = z.amax(-1, keepdim=True)
            chosen = z.gather(-1, tokens_N[part, None]).squeeze(-1)
            weights = (z - highest).exp_()
            total = weights.sum(-1)
            normaliser = highest.squeeze(-1) + total.log()
            logprobs.append(chosen - normaliser)
            normalisers.append(normaliser)
            if with_entropy:
                # H = lse − Σ p z; forbidden tokens (z = −∞) count nothing, so they may as well be very small.
                mean = torch.linalg.vecdot(weights, z.clamp_(min=_VERY_SMALL)) / total
                entropies.append(normaliser - mean)
        ctx.save_for_backward(hidden_N_D, weight_V_D, bias_V, tokens_N, torch.cat(normalisers))
        ctx.temperature, ctx.rows = temperature, rows
        entropy = torch.cat(entropies if with_entropy else [torch.zeros_like(n) for n in normalisers])
        ctx.mark_non_differentiable(entropy)
        return torch.cat(logprobs), entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_N = grads[0]
        hidden_N_D, weight_V_D, bias_V, tokens_N, normalisers_N = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden_N_D)
        for start in range(0, hidden_N_D.shape[0], ctx.rows):
            part = slice(start, start + ctx.rows)
            z = _scaled_logits(hidden_N_D[part], weight_V_D, bias_V, ctx.temperature)
            scale = grad_N[part, None] / ctx.temperature
            p = (z - normalisers_N[part, None]).exp_().mul_(-scale)
            p.scatter_add_(-1, tokens_N[part, None], scale)
            grad_hidden[part] = p.to(weight_V_D.dtype) @ weight_V_D
        return grad_hidden, None, None, None, None, None, None


def head_logprobs(
    hidden_N_D: Tensor,
    weight_V_D: Tensor,
    bias_V: Tensor | None,
    tokens_N: Tensor,
    *,
    temperature: float = 1.0,
    with_entropy: bool = True,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> tuple[Tensor, Tensor]:
    """``log softmax(W h / temperature)[token]`` with gradient in h, and the entropy without; each ``N``, float32 or better.

    Args:
        hidden_N_D: states under the head.
        weight_V_D: the head's weight, frozen.
        bias_V: its bias.
        tokens_N: token ids.
        temperature: sampling temperature, > 0.
        with_entropy: without, the entropies are 0.
        chunk_elements: positions × V handled at a time; the result does not depend on it.
    """
    rows = max(1, chunk_elements // weight_V_D.shape[0])
    apply: Any = _HeadLogprobs.apply
    found: tuple[Tensor, Tensor] = apply(
        hidden_N_D, weight_V_D, bias_V, tokens_N, temperature, rows, with_entropy
    )
    return found


def _scaled_logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float) -> Tensor:
    logits = raised(linear(hidden, weight, bias))
    return logits / temperature if temperature != 1.0 else logits
