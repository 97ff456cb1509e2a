"""KL(π_θ ‖ π_anchor) at each token: estimators from the sampled token alone, and the exact sum over the vocabulary.

On ``u = ℓ − ℓ_anchor`` (Schulman, "Approximating KL Divergence", 2020):
k1 = u, k2 = u²/2, k3 = e^{−u} + u − 1, k3_ratio = ρ · k3.

As *values* k1 and k3 are unbiased under the policy. As *losses* they differ: the expected gradient of k1 is 0,
k2 and k3_ratio have the gradient of the reverse KL that is meant, and k3 put straight into the loss, as
DeepSeekMath does (arXiv 2402.03300, equation 4), has the gradient of the other direction. The tests show each
by exact enumeration. All of that is for tokens drawn by the present policy; after the first gradient step of a batch
they are the old policy's, and k3_ratio (as in DeepSeek-V3.2, arXiv 2512.02556) alone, whose ρ corrects for it, stays exact.
Every one is the KL at each position with the tokens before it held fixed: what a change of those would do to KL is in
none of them, only in KL paid in the reward.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from grpo_tui.ops.logprobs import CHUNK_ELEMENTS, raised


def k1(u: Tensor) -> Tensor:
    """``u``: unbiased, of either sign."""
    return u


def k2(u: Tensor) -> Tensor:
    """``u² / 2``: never negative, biased as a value."""
    return 0.5 * u.square()


def k3(u: Tensor) -> Tensor:
    """``e^{−u} + u − 1``: unbiased and never negative."""
    # expm1 keeps the digits for the small u that training has; clamp holds the last bit at or above 0.
    return ((-u).expm1() + u).clamp(min=0.0)


ESTIMATORS: dict[str, Callable[[Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3, "k3_ratio": k3}


def kl_term(name: str, logprobs: Tensor, anchor_logprobs: Tensor, ratio: Tensor) -> Tensor:
    """The KL term of the loss for each token, by estimator name.

    Args:
        name: ``k1``, ``k2``, ``k3`` or ``k3_ratio``.
        logprobs: ℓ, with gradient.
        anchor_logprobs: ℓ of the anchor, without.
        ratio: ρ, with gradient; used by ``k3_ratio`` alone.
    """
    value = ESTIMATORS[name](logprobs - anchor_logprobs)
    return ratio * value if name == "k3_ratio" else value


def exact_kl(
    logits_B_T_V: Tensor,
    anchor_logits_B_T_V: Tensor,
    *,
    temperature: float = 1.0,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> Tensor:
    """``Σ_v π(v) (log π(v) − log π_anchor(v))`` at every position, ``B_T``; gradient flows into both arguments.

    Args:
        logits_B_T_V: of the first distribution.
        anchor_logits_B_T_V: of the second.
        temperature: of both.
        chunk_elements: positions × V handled at a time, recomputed in the backward pass; the result does not
            depend on it.
    """
    vocab = logits_B_T_V.shape[-1]
    first, second = logits_B_T_V.reshape(-1, vocab), anchor_logits_B_T_V.reshape(-1, vocab)
    rows = max(1, chunk_elements // vocab)
    pieces = []
    for start in range(0, first.shape[0], rows):
        chunk = (first[start : start + rows], second[start : start + rows], temperature)
        if torch.is_grad_enabled() and first.shape[0] > rows:
            pieces.append(checkpoint(_exact_chunk, *chunk, use_reentrant=False, preserve_rng_state=False))
        else:
            pieces.append(_exact_chunk(*chunk))
    return torch.cat(pieces).reshape(logits_B_T_V.shape[:-1])


def _exact_chunk(first_N_V: Tensor, second_N_V: Tensor, temperature: float) -> Tensor:
    first = torch.log_softmax(raised(first_N_V) / temperature, dim=-1)
    second = torch.log_softmax(raised(second_N_V) / temperature, dim=-1)
    # A token of probability 0 counts 0, whatever the other distribution says of it.
    return (first.exp() * (first - second).masked_fill(first == -torch.inf, 0.0)).sum(-1)
