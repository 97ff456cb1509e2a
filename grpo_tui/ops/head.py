"""Log-probabilities and entropies straight from hidden states: the logits of all positions are never held."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from grpo_tui.ops.logprobs import raised

CHUNK_ELEMENTS = 7 << 20
"""Logits handled at a time, in elements: 29 MB in float32. What is larger than 32 MB, glibc maps anew every time."""
_VERY_SMALL = -1e30


class _HeadLogprobs(torch.autograd.Function):
    """Log-prob of each token and entropy of each distribution, from hidden states; no logits are kept.

    ∂ℓ/∂h = (W[token] − Σ p W) / temperature is worked out on the way, while the logits are there, so that backward has one
    number a token to multiply by.
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
        logprobs, entropies = [], []
        room: Tensor | None = None
        slopes_N_D = torch.empty_like(hidden_N_D) if ctx.needs_input_grad[0] else None
        for start in range(0, max(1, hidden_N_D.shape[0]), rows):
            part = slice(start, start + rows)
            logits = linear(hidden_N_D[part], weight_V_D, bias_V)
            # One room for all chunks: new pages for so much cost more than the sums over them.
            room = _raised_into(room, logits)
            below = room.div_(temperature) if temperature != 1.0 else room
            below.sub_(below.amax(-1, keepdim=True))
            chosen = below.gather(-1, tokens_N[part, None]).squeeze(-1)
            p = below.exp() if with_entropy else below.exp_()
            total = p.sum(-1)
            logprobs.append(chosen - total.log())
            if with_entropy:
                # H = log Σ exp(z) − Σ p z; forbidden tokens (z = −∞) count nothing, so they may as well be very small.
                mean = torch.linalg.vecdot(p, below.clamp_(min=_VERY_SMALL)) / total
                entropies.append(total.log() - mean)
            if slopes_N_D is not None:
                # The token's 1 comes before p is rounded to the weights' dtype: near certainty 1 − p is what counts.
                p.div_(-total[:, None])
                p.scatter_add_(-1, tokens_N[part, None], torch.ones_like(p[:, :1]))
                slopes_N_D[part] = logits.copy_(p) @ weight_V_D
        ctx.save_for_backward(slopes_N_D)
        ctx.temperature = temperature
        logprob = torch.cat(logprobs)
        entropy = torch.cat(entropies) if with_entropy else torch.zeros_like(logprob)
        ctx.mark_non_differentiable(entropy)
        return logprob, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (slopes_N_D,) = ctx.saved_tensors
        grad = (slopes_N_D * (grads[0][:, None] / ctx.temperature)).to(slopes_N_D.dtype)
        return grad, None, None, None, None, None, None


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


def _raised_into(room: Tensor | None, logits: Tensor) -> Tensor:
    """The logits in float32, or float64 where they are that: in memory that was used before, if they need other memory at all."""
    if room is None or room.shape != logits.shape or room.dtype is logits.dtype:
        return raised(logits)
    return room.copy_(logits)
