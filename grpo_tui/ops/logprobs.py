"""Log-probabilities and entropies of given tokens, in float32 or better whatever the model's dtype."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_ELEMENTS = 1 << 24
"""Logits handled at a time, in elements: bounds the float32 copies to some 64 MB each."""


def token_logprobs(
    logits_B_T_V: Tensor,
    tokens_B_T: Tensor,
    *,
    temperature: float = 1.0,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> tuple[Tensor, Tensor]:
    """Log-prob of each given token and the entropy of each distribution.

    ``ℓ = log softmax(logits / temperature)[token]``, ``H = −Σ p log p`` in nats. The float32 log-softmax is
    never held whole: positions are taken in chunks, recomputed in the backward pass.

    Args:
        logits_B_T_V: logits of any float dtype; those below float32 are raised to it.
        tokens_B_T: token ids; where a slot is padding, any id in range.
        temperature: sampling temperature, > 0.
        chunk_elements: positions × V handled at a time. The result does not depend on it.

    Returns:
        ``logprobs_B_T`` with gradient, and ``entropies_B_T`` without.
    """
    vocab = logits_B_T_V.shape[-1]
    flat = logits_B_T_V.reshape(-1, vocab)
    tokens = tokens_B_T.reshape(-1)
    rows = max(1, chunk_elements // vocab)
    logprobs: list[Tensor] = []
    entropies: list[Tensor] = []
    needs_grad = torch.is_grad_enabled() and flat.requires_grad
    for start in range(0, flat.shape[0], rows):
        piece = (flat[start : start + rows], tokens[start : start + rows], temperature)
        if needs_grad and flat.shape[0] > rows:
            logprob, entropy = checkpoint(_chunk, *piece, use_reentrant=False, preserve_rng_state=False)
        else:
            logprob, entropy = _chunk(*piece)
        logprobs.append(logprob)
        entropies.append(entropy)
    shape = tokens_B_T.shape
    return torch.cat(logprobs).reshape(shape), torch.cat(entropies).reshape(shape)


def _chunk(logits_N_V: Tensor, tokens_N: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    scaled = raised(logits_N_V)
    if temperature != 1.0:
        scaled = scaled / temperature
    all_logprobs = torch.log_softmax(scaled, dim=-1)
    logprob = all_logprobs.gather(-1, tokens_N.unsqueeze(-1)).squeeze(-1)
    with torch.no_grad():
        entropy = entropy_of(all_logprobs.detach())
    return logprob, entropy


def raised(logits: Tensor) -> Tensor:
    """The same in float32, or in float64 where it is that already."""
    return logits if logits.dtype is torch.float64 else logits.float()


def entropy_of(all_logprobs_N_V: Tensor) -> Tensor:
    """Entropy in nats of each row of normalised log-probabilities; −∞ entries count 0."""
    terms = all_logprobs_N_V.exp() * all_logprobs_N_V
    return -terms.nan_to_num(nan=0.0).sum(-1)
