"""A twin of the policy for sampling: the same frozen weights, with the adapter in the matrices instead of beside them.

Every LoRA layer costs a handful of small kernels and Python calls for each token; the twin has none of them. It shares
all weights that the adapter does not touch, and holds its own copy of those it does, filled anew before each sampling.

Folding rounds W + ΔW to the dtype of W. In float32 that is exact to the last bits. In bf16 an adapter's small ΔW can
vanish in the rounding, so there, and where a second copy of the weights would be large, the twin keeps the adapter beside
the matrix, but bare: two products, nothing else.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from grpo_tui.policy.policy import POLICY_ADAPTER, Policy

FOLDED_PARAMETERS = 300_000_000
"""Up to here a second copy of the adapted weights is cheap, and what a layer costs beside its product is dear."""


class BareLora(nn.Module):
    """``W x + b + s B (A x)`` in the dtype of W, without dropout, casts or bookkeeping."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.a_R_I: Tensor | None = None
        self.b_O_R: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The adapted product."""
        assert self.a_R_I is not None
        assert self.b_O_R is not None
        y = nn.functional.linear(x, self.base.weight, self.base.bias)
        low = nn.functional.linear(x, self.a_R_I)
        return torch.addmm(y.flatten(0, -2), low.flatten(0, -2), self.b_O_R.t()).view(y.shape)


class Twin:
    """The policy's model without adapter modules. :meth:`refresh` brings it up to the adapter as it is."""

    def __init__(self, policy: Policy, attention: str) -> None:
        """Build the twin; its adapted weights are filled by the first :meth:`refresh`.

        Args:
            policy: whose weights are shared.
            attention: name of a registered attention function.

        Raises:
            ValueError: a layer is adapted in a way that cannot be folded.
        """
        base = policy.model.get_base_model()
        shared: dict[int, Any] = {id(t): t for t in (*base.parameters(), *base.buffers())}
        self.model: Any = copy.deepcopy(base, shared).eval()
        self.model.config._attn_implementation = attention
        self._folds = policy.dtype is torch.float32 and policy.num_parameters < FOLDED_PARAMETERS
        self._layers: list[tuple[Any, Any]] = []
        adapted = {name: module for name, module in base.named_modules() if hasattr(module, "lora_A")}
        for name, source in adapted.items():
            parent_name, _, leaf = name.rpartition(".")
            parent = self.model.get_submodule(parent_name)
            self._replace(parent, leaf, source)

    def _replace(self, parent: nn.Module, leaf: str, source: Any) -> None:
        if POLICY_ADAPTER not in source.lora_A or getattr(source, "use_dora", {}).get(POLICY_ADAPTER):
            raise ValueError("a layer is adapted by something other than plain LoRA")
        plain = getattr(parent, leaf).base_layer
        if self._folds:
            plain.weight = nn.Parameter(torch.empty_like(plain.weight), requires_grad=False)
            target: nn.Module = plain
        elif type(plain) is nn.Linear:
            target = BareLora(plain)
        else:
            raise ValueError(f"a {type(plain).__name__} cannot carry a bare adapter")
        setattr(parent, leaf, target)
        self._layers.append((source, target))

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the adapter's present weights."""
        for source, target in self._layers:
            if self._folds:
                torch.add(
                    source.base_layer.weight, source.get_delta_weight(POLICY_ADAPTER), out=target.weight.data
                )
            else:
                dtype = target.base.weight.dtype
                scale = source.scaling[POLICY_ADAPTER]
                target.a_R_I = source.lora_A[POLICY_ADAPTER].weight.to(dtype)
                target.b_O_R = (source.lora_B[POLICY_ADAPTER].weight * scale).to(dtype)
