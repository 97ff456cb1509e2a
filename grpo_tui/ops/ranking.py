"""Telling right answers from wrong ones by a score: the loss that teaches it, and how often it succeeds."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import torch
from torch import Tensor


def bradley_terry_loss(right_R: Tensor, wrong_W: Tensor) -> Tensor:
    """``−mean log σ(r_right − r_wrong)`` over all R·W pairs of one problem's answers, a scalar.

    Equation 1 of Ouyang et al. (arXiv 2203.02155): the comparisons of one prompt are one element of the batch, so
    that each answer is read once however many pairs it stands in, and each prompt counts alike.
    Its gradient is ``−σ(r_wrong − r_right) / RW`` to a right score for each pair, and the opposite to the wrong one.

    Args:
        right_R: scores of the right answers, at least one.
        wrong_W: scores of the wrong answers, at least one.
    """
    margins_R_W = right_R[:, None] - wrong_W[None, :]
    return -torch.nn.functional.logsigmoid(margins_R_W).mean()


def num_ordered(right: Sequence[float], wrong: Sequence[float]) -> float:
    """In how many of the R·W pairs the right answer has the larger score; equal scores count one half."""
    ordered = sorted(wrong)
    return sum((bisect.bisect_left(ordered, r) + bisect.bisect_right(ordered, r)) / 2 for r in right)
