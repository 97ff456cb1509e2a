"""How token losses become one number: as a weight for each token, so that any split of the batch sums to the same.

``loss = Σ_{i,t} w_{it} l_{it}``, with w from ALGORITHMS.md, table "Aggregation".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class BatchSize(NamedTuple):
    """What the denominators need to know of the whole minibatch, of which a microbatch is a part."""

    num_sequences: int
    """M: all rows, those that are masked as a whole (truncated ones) too, as in TRL; they are in no token count."""
    num_tokens: float
    """This minibatch's even share of the whole rollout batch's tokens: ``token_mean`` divides by it."""
    max_length: int
    """The completion limit L_max, not the longest completion present."""
    num_minibatch_tokens: float = 0.0
    """Tokens of this minibatch itself: ``token_mean_minibatch`` divides by them."""


def token_weights(
    name: str, mask_B_T: Tensor, batch: BatchSize, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Weight of every token in the policy loss; 0 in padded slots.

    Args:
        name: ``sequence_mean`` 1/(M·len_i), ``token_mean`` 1/N, ``token_mean_minibatch`` 1/N_minibatch,
            ``constant`` 1/(M·L_max), ``sequence_sum`` 1/M, ``answer_sum`` 1/len_i.
        mask_B_T: tokens that count, of these rows.
        batch: the whole minibatch's size.
        dtype: of the result.
    """
    mask = mask_B_T.to(dtype)
    if name == "sequence_mean":
        return mask / (mask.sum(dim=1, keepdim=True).clamp(min=1) * batch.num_sequences)
    if name == "token_mean":
        return mask / max(batch.num_tokens, 1.0)
    if name == "token_mean_minibatch":
        return mask / max(batch.num_minibatch_tokens, 1.0)
    if name == "constant":
        return mask / (batch.num_sequences * batch.max_length)
    if name == "sequence_sum":
        return mask / batch.num_sequences
    if name == "answer_sum":
        return mask / mask.sum(dim=1, keepdim=True).clamp(min=1)
    raise ValueError(f"unknown aggregation {name!r}")


def kl_token_weights(
    name: str, mask_B_T: Tensor, batch: BatchSize, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Weight of every token in the KL term: as in the policy loss, but for ``answer_sum``, where it is 1.

    ``answer_sum`` is L = −ΣΣ ρA + β ΣKL over whole answers: a whole answer's ρA counts once, and its KL is the sum of
    its tokens' (the chain rule), not their mean.
    """
    return mask_B_T.to(dtype) if name == "answer_sum" else token_weights(name, mask_B_T, batch, dtype)
