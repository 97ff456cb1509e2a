"""Log-probabilities and entropies straight from hidden states: no position's logits are ever held whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from grpo_tui.ops.logprobs import raised

MULTIPLE = 16
"""oneDNN multiplies a matrix whose number of rows is no multiple of this a sixth slower."""
COLUMNS = 256
"""A block's columns are a multiple of this where there are as many: rows of odd length do not lie along the cache's lines."""
ROWS = 1024
"""Positions that go through the vocabulary together: each of its blocks is read once for all of them."""
CHUNK_ELEMENTS = 2 << 20
"""Logits handled at a time on a CPU, in elements: what is done to a block finds it in the cache."""
CHUNK_ELEMENTS_CUDA = 64 << 20
"""The same on a GPU, where each block costs a score of launches."""
_VERY_SMALL = -1e30


class _Running:
    """log Σ exp z over blocks of the vocabulary, in one pass (online softmax, Milakov and Gimelshein, arXiv 1805.02867).

    All sums are relative to the highest logit so far, and scaled anew when a higher one comes. The token itself is kept
    apart from the others: near certainty 1 − p is what counts, and that is the others' share.
    """

    def __init__(
        self, hidden_N_D: Tensor, tokens_N: Tensor, *, with_entropy: bool, with_slopes: bool
    ) -> None:
        like = raised(hidden_N_D[:, :1])
        self.tokens_N_1 = tokens_N[:, None]
        self.highest_N_1 = torch.full_like(like, _VERY_SMALL)
        self.token_logit_N_1 = torch.zeros_like(like)
        self.others_N_1 = torch.zeros_like(like)
        """Σ exp z over all but the token."""
        self.moment_N_1 = torch.zeros_like(like) if with_entropy else None
        """Σ z exp z over all but the token."""
        self.pull_N_D = raised(torch.zeros_like(hidden_N_D)) if with_slopes else None
        """Σ exp z · W over all but the token."""

    def take(self, z_N_C: Tensor, logits_N_C: Tensor, weight_C_D: Tensor, first: int) -> None:
        """One more block.

        Args:
            z_N_C: its logits over the temperature; overwritten.
            logits_N_C: room of the weights' dtype (may be the same memory); overwritten.
            weight_C_D: its part of the head.
            first: where it begins.
        """
        place_N_1 = self.tokens_N_1 - first
        here_N_1 = (place_N_1 >= 0) & (place_N_1 < z_N_C.shape[1])
        place_N_1 = place_N_1.clamp(0, z_N_C.shape[1] - 1)
        self.token_logit_N_1 = torch.where(here_N_1, z_N_C.gather(-1, place_N_1), self.token_logit_N_1)
        highest_N_1 = torch.maximum(self.highest_N_1, z_N_C.amax(-1, keepdim=True))
        lower_N_1 = self.highest_N_1 - highest_N_1
        self.highest_N_1 = highest_N_1
        below_N_C = z_N_C.sub_(highest_N_1)
        e_N_C = below_N_C.exp() if self.moment_N_1 is not None else below_N_C.exp_()
        e_N_C.scatter_(-1, place_N_1, e_N_C.gather(-1, place_N_1).masked_fill_(here_N_1, 0.0))
        scale_N_1 = lower_N_1.exp()
        if self.moment_N_1 is not None:
            # Forbidden tokens (z = −∞) count nothing, so they may as well be very small.
            moment_N = torch.linalg.vecdot(e_N_C, below_N_C.clamp_(min=_VERY_SMALL))
            self.moment_N_1.add_(self.others_N_1 * lower_N_1).mul_(scale_N_1).add_(moment_N[:, None])
        self.others_N_1.mul_(scale_N_1).add_(e_N_C.sum(-1, keepdim=True))
        if self.pull_N_D is not None:
            self.pull_N_D.mul_(scale_N_1).add_(logits_N_C.copy_(e_N_C) @ weight_C_D)

    def result(self, weight_V_D: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Log-probs ``N``, entropies ``N`` (0 where not wanted), and (W[token] − Σ p W) ``N_D``."""
        above_N_1 = self.token_logit_N_1 - self.highest_N_1
        own_N_1 = above_N_1.exp()
        total_N_1 = own_N_1 + self.others_N_1
        logprob_N = (above_N_1 - total_N_1.log()).squeeze(1)
        entropy_N = torch.zeros_like(logprob_N)
        if self.moment_N_1 is not None:
            # H = log Σ exp(z) − Σ p z.
            mean_N_1 = (self.moment_N_1 + own_N_1 * above_N_1.clamp(min=_VERY_SMALL)) / total_N_1
            entropy_N = (total_N_1.log() - mean_N_1).squeeze(1)
        if self.pull_N_D is None:
            return logprob_N, entropy_N, None
        own_N_D = weight_V_D[self.tokens_N_1.squeeze(1)].to(self.pull_N_D)
        slopes_N_D = self.pull_N_D.div_(-total_N_1).addcmul_(own_N_D, self.others_N_1 / total_N_1)
        return logprob_N, entropy_N, slopes_N_D


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
        chunk_elements: int,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        num_parts = max(1, -(-hidden_N_D.shape[0] // ROWS))
        num_rows = -(-hidden_N_D.shape[0] // num_parts)
        num_rows = max(MULTIPLE, num_rows + -num_rows % MULTIPLE)
        columns = chunk_elements // num_rows
        columns = min(
            weight_V_D.shape[0], max(1, columns - columns % COLUMNS if columns > COLUMNS else columns)
        )
        # One room for all blocks: new pages for so much cost more than the sums over them.
        room = hidden_N_D.new_empty(num_rows * columns)
        raised_room = raised(room)
        slopes_N_D = torch.empty_like(hidden_N_D) if ctx.needs_input_grad[0] else None
        logprobs, entropies = [], []
        for start in range(0, max(1, hidden_N_D.shape[0]), num_rows):
            part = slice(start, start + num_rows)
            hidden, tokens = _made_up(hidden_N_D[part]), _made_up(tokens_N[part])
            with_slopes = slopes_N_D is not None
            running = _Running(hidden, tokens, with_entropy=with_entropy, with_slopes=with_slopes)
            for first in range(0, weight_V_D.shape[0], columns):
                weight = weight_V_D[first : first + columns]
                shape = (hidden.shape[0], weight.shape[0])
                logits = room[: shape[0] * shape[1]].view(shape)
                if bias_V is None:
                    torch.mm(hidden, weight.t(), out=logits)
                else:
                    torch.addmm(bias_V[first : first + columns], hidden, weight.t(), out=logits)
                z = raised_room[: shape[0] * shape[1]].view(shape).copy_(logits)
                running.take(z.div_(temperature) if temperature != 1.0 else z, logits, weight, first)
            logprob, entropy, slopes = running.result(weight_V_D)
            logprobs.append(logprob)
            entropies.append(entropy)
            if slopes_N_D is not None and slopes is not None:
                slopes_N_D[part] = slopes[: len(hidden_N_D[part])]
        ctx.save_for_backward(slopes_N_D)
        ctx.temperature = temperature
        # Only the last part can have been made up.
        logprob = torch.cat(logprobs)[: len(hidden_N_D)]
        entropy = torch.cat(entropies)[: len(hidden_N_D)]
        ctx.mark_non_differentiable(entropy)
        return logprob, entropy

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,misc,unused-ignore]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (slopes_N_D,) = ctx.saved_tensors
        grad = (slopes_N_D * (grads[0][:, None] / ctx.temperature)).to(slopes_N_D.dtype)
        return grad, None, None, None, None, None, None


def _made_up(rows_N: Tensor) -> Tensor:
    """With rows of zeros behind, up to a :data:`MULTIPLE`."""
    spare = -len(rows_N) % MULTIPLE
    return torch.cat((rows_N, rows_N.new_zeros(spare, *rows_N.shape[1:]))) if spare else rows_N


def head_logprobs(
    hidden_N_D: Tensor,
    weight_V_D: Tensor,
    bias_V: Tensor | None,
    tokens_N: Tensor,
    *,
    temperature: float = 1.0,
    with_entropy: bool = True,
    chunk_elements: int | None = None,
) -> tuple[Tensor, Tensor]:
    """``log softmax(W h / temperature)[token]`` with gradient in h, and the entropy without; each ``N``, float32 or better.

    Args:
        hidden_N_D: states under the head.
        weight_V_D: the head's weight, frozen.
        bias_V: its bias.
        tokens_N: token ids.
        temperature: sampling temperature, > 0.
        with_entropy: without, the entropies are 0.
        chunk_elements: logits handled at a time, None: what suits the device; the result does not depend on it but for
            rounding.
    """
    if chunk_elements is None:
        chunk_elements = CHUNK_ELEMENTS_CUDA if hidden_N_D.device.type == "cuda" else CHUNK_ELEMENTS
    apply: Any = _HeadLogprobs.apply
    found: tuple[Tensor, Tensor] = apply(
        hidden_N_D, weight_V_D, bias_V, tokens_N, temperature, chunk_elements, with_entropy
    )
    return found
