"""Which tokens count, and sums over those alone."""

from __future__ import annotations

import torch
from torch import Tensor


def completion_mask(lengths_B: Tensor, max_length: int) -> Tensor:
    """Mask of the sampled tokens, by position, so that a pad id equal to an eos id is safe.

    Args:
        lengths_B: number of sampled tokens of each row, the end-of-sequence token included.
        max_length: T.

    Returns:
        Boolean ``mask_B_T``.
    """
    positions_T = torch.arange(max_length, device=lengths_B.device)
    return positions_T.unsqueeze(0) < lengths_B.unsqueeze(1)


def zero_where_masked(values_B_T: Tensor, mask_B_T: Tensor) -> Tensor:
    """Values with padded slots set to exactly 0; neither their NaNs nor their gradients pass."""
    return torch.where(
        mask_B_T, values_B_T, torch.zeros((), dtype=values_B_T.dtype, device=values_B_T.device)
    )


def masked_sum(values_B_T: Tensor, mask_B_T: Tensor) -> Tensor:
    """Sum over the tokens that count, a scalar."""
    return zero_where_masked(values_B_T, mask_B_T).sum()


def masked_mean(values_B_T: Tensor, mask_B_T: Tensor) -> Tensor:
    """Mean over the tokens that count, a scalar; 0 where none counts."""
    return masked_sum(values_B_T, mask_B_T) / mask_B_T.sum().clamp(min=1)
