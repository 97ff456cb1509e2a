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
    num_tokens: float
    """Tokens the ``token_mean`` divides by."""
    max_length: int
    """The completion limit L_max, not the longest completion present."""


def token_weights(
    name: str, mask_B_T: Tensor, batch: BatchSize, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Weight of every token in the loss; 0 in padded slots.

    Args:
        name: ``sequence_mean`` 1/(M·len_i), ``token_mean`` 1/N, ``constant`` 1/(M·L_max), ``sequence_sum`` 1/M.
        mask_B_T: tokens that count, of these rows.
        batch: the whole minibatch's size.
        dtype: of the result.
    """
    mask = mask_B_T.to(dtype)
    if name == "sequence_mean":
        return mask / (mask.sum(dim=1, keepdim=True).clamp(min=1) * batch.num_sequences)
    if name == "token_mean":
        return mask / batch.num_tokens
    if name == "constant":
        return mask / (batch.num_sequences * batch.max_length)
    if name == "sequence_sum":
        return mask / batch.num_sequences
    raise ValueError(f"unknown aggregation {name!r}")
