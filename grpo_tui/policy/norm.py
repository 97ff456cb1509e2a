"""Root-mean-square normalisation with few kernels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import rms_norm

ELEMENTS = 200_000
"""Numbers normalised at a time on a CPU: the float32 tensors made of them so stay in the cache."""


class RmsNorm:
    """``x / rms(x) · w`` over the last dimension, where no gradient is recorded."""

    def __init__(self, weight_D: Tensor, eps: float) -> None:
        """Take a norm's weight, which must not change, and ε under the root."""
        self.weight, self.eps = weight_D, eps
        self._by_hand = weight_D.device.type == "cpu"
        if not self._by_hand:
            return
        size = weight_D.shape[-1]
        raised = torch.promote_types(weight_D.dtype, torch.float32)
        self._scale_D = weight_D.detach().to(raised) * size**0.5
        self._least = torch.tensor((size * eps) ** 0.5, dtype=raised)

    def __call__(self, x: Tensor) -> Tensor:
        """Normalised, in the dtype of ``x``."""
        if not self._by_hand:
            return rms_norm(x, self.weight.shape, self.weight, self.eps)
        at_once = max(1, ELEMENTS // x[0].numel())
        if len(x) <= at_once:
            return self._normed(x).to(x.dtype)
        normed = torch.empty_like(x)
        for start in range(0, len(x), at_once):
            part = slice(start, start + at_once)
            normed[part] = self._normed(x[part])
        return normed

    def _normed(self, x: Tensor) -> Tensor:
        """``x √D w / √(Σx² + Dε)``, float32 or better: half of the kernels that torch's own takes on a CPU."""
        raised = x.to(self._least.dtype)
        length = torch.linalg.vector_norm(raised, dim=-1, keepdim=True).hypot_(self._least)
        normed: Tensor = (raised / length).mul_(self._scale_D)
        return normed
