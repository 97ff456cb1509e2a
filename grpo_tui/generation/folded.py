"""A twin of the policy for sampling: the same frozen weights, without the adapter's modules.

Every LoRA layer of PEFT costs a handful of small kernels and Python calls for each token; the twin has none of them. Three
ways, by what they cost in memory:

- in float32, up to 300 M parameters, the adapter is folded into a copy of the matrices, which is exact to the last bits;
- else, up to a billion, it stays beside them, for in bf16 an adapter's small ΔW can vanish in the rounding of W + ΔW;
- above that the weights are not copied at all: the adapter stands bare beside the policy's own matrices.

Copies are made for one sampling and let go after it (:class:`Twin.awake`), but for a small head's, which nothing adapts.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from grpo_tui.generation.products import Joined, can_pack
from grpo_tui.heap import trim_heap
from grpo_tui.policy.policy import POLICY_ADAPTER, Policy
from grpo_tui.policy.straight import FAMILIES

FOLDED_PARAMETERS = 300_000_000
"""Up to here a float32 copy of the adapted weights is cheap, and what a layer costs beside its product is dear."""
LARGE_BYTES = 300 << 20
"""Copies of more than this are given back to the system after a sampling: an update could not use all of it for its own."""
COPIED_PARAMETERS = 1_000_000_000
"""Up to here the weights are copied for the time of a sampling."""


class BareLora(nn.Module):
    """``W x + b + s B (A x)`` in the dtype of W, without dropout, casts or bookkeeping."""

    def __init__(self, base: nn.Linear, source: Any) -> None:
        super().__init__()
        self.base = base
        self._source = [source]  # in a list, lest it becomes a submodule
        self.a_R_I: Tensor | None = None
        self.b_O_R: Tensor | None = None

    def refresh(self, num_rows: int) -> None:  # noqa: ARG002 - as Joined has it
        """Take over the adapter's present weights."""
        (source,), dtype = self._source, self.base.weight.dtype
        # A copy in every dtype: frozen, the twin must not see how an update moves the adapter.
        self.a_R_I = source.lora_A[POLICY_ADAPTER].weight.detach().to(dtype, copy=True)
        self.b_O_R = (source.lora_B[POLICY_ADAPTER].weight * source.scaling[POLICY_ADAPTER]).to(dtype)

    def release(self) -> None:
        """Nothing worth letting go."""

    def forward(self, x: Tensor) -> Tensor:
        """The adapted product."""
        assert self.a_R_I is not None
        assert self.b_O_R is not None
        y = nn.functional.linear(x, self.base.weight, self.base.bias)
        low = nn.functional.linear(x, self.a_R_I)
        return torch.addmm(y.flatten(0, -2), low.flatten(0, -2), self.b_O_R.t()).view(y.shape)


class FoldedLayer:
    """A layer of another kind than Linear (GPT-2's transposed one), with the adapter in its own copy of the matrix."""

    def __init__(self, plain: Any, source: Any) -> None:
        self.plain, self._source = plain, source

    @torch.no_grad()
    def refresh(self, num_rows: int) -> None:  # noqa: ARG002 - as Joined has it
        """Take over the adapter's present weights."""
        source = self._source
        whole = source.base_layer.weight + source.get_delta_weight(POLICY_ADAPTER)
        self.plain.weight = nn.Parameter(whole, requires_grad=False)

    def release(self) -> None:
        """Let the copy go."""
        self.plain.weight = nn.Parameter(self._source.base_layer.weight.new_empty(0), requires_grad=False)


class LaidOut(Protocol):
    """Weights that stand for the policy's, with copies for the time of a sampling."""

    def refresh(self, num_rows: int) -> None:
        """Take over the adapter's present weights, to be multiplied by so many rows as a rule."""
        ...

    def release(self) -> None:
        """Let the copies go."""
        ...


class Twin:
    """The policy's model without adapter modules; :meth:`awake` gives it the adapter as it is."""

    def __init__(self, policy: Policy, attention: str) -> None:
        """Build the twin.

        Args:
            policy: whose weights are shared.
            attention: name of a registered attention function.

        Raises:
            ValueError: a layer is adapted in a way that the twin cannot have.
        """
        base = policy.model.get_base_model()
        shared: dict[int, Any] = {id(t): t for t in (*base.parameters(), *base.buffers())}
        self.model: Any = copy.deepcopy(base, shared).eval()
        self.model.config._attn_implementation = attention
        small = policy.num_parameters < FOLDED_PARAMETERS
        self._folds = policy.dtype is torch.float32 and small
        self._packs = policy.device.type == "cpu" and can_pack(policy.dtype)
        self._layers: list[LaidOut] = []
        self.joined: dict[str, Joined] = {}
        """By the name of the first of the layers that each stands for."""
        copied = policy.num_parameters < COPIED_PARAMETERS
        self._num_bytes = sum(p.numel() * p.element_size() for p in base.parameters()) if copied else 0
        self._frozen = False
        sources = {name: module for name, module in base.named_modules() if hasattr(module, "lora_A")}
        for source in sources.values():
            _check(source, folds=self._folds)
        if policy.num_parameters < COPIED_PARAMETERS:
            self._join(sources, _plain_beside(base, sources), policy)
        else:
            for name, source in sources.items():
                layer = BareLora(source.base_layer, source)
                self._layers.append(layer)
                self._put(name, layer)

    def _join(self, sources: dict[str, Any], plain: dict[str, nn.Linear], policy: Policy) -> None:
        """Replace adapted layers and the plain ones among them, those of one input together, and the head."""
        linear = {name: source.base_layer for name, source in sources.items()} | plain
        in_order = [name for name, _ in self.model.named_modules() if name in linear]
        for names in _reading_together(self.model, in_order, policy.device):
            if any(type(linear[name]) is not nn.Linear for name in names):
                self._fold([name for name in names if name in sources], sources)
                continue
            pairs = [(linear[name], sources.get(name)) for name in names]
            joined = Joined([_leaf(name) for name in names], pairs, folds=self._folds, packs=self._packs)
            self._layers.append(joined)
            self.joined[names[0]] = joined
            for name, part in zip(names, joined.parts, strict=True):
                self._put(name, part)
        head = self.model.get_output_embeddings()
        if self._packs and type(head) is nn.Linear:
            name = next(name for name, module in self.model.named_modules() if module is head)
            joined = Joined([_leaf(name)], [(head, None)], folds=False, packs=True, keeps=True)
            self._layers.append(joined)
            self.joined[name] = joined
            self._put(name, joined.parts[0])

    def _fold(self, names: list[str], sources: dict[str, Any]) -> None:
        for name in names:
            plain = self.model.get_submodule(name).base_layer
            self._layers.append(FoldedLayer(plain, sources[name]))
            self._put(name, plain)

    def _put(self, name: str, layer: nn.Module) -> None:
        parent, _, leaf = name.rpartition(".")
        setattr(self.model.get_submodule(parent), leaf, layer)

    def add(self, laid_out: LaidOut) -> None:
        """Refresh and release this too, after what is there."""
        self._layers.append(laid_out)

    @contextmanager
    def awake(self, num_rows: int) -> Iterator[Any]:
        """The model with the adapter's present weights; within only.

        Args:
            num_rows: rows decoded at once, for which matrices are laid out.
        """
        if self._frozen:
            yield self.model
            return
        try:
            self._refresh(num_rows)
            yield self.model
        finally:
            self._release()

    def freeze(self, num_rows: int) -> None:
        """Take over the adapter's present weights for every :meth:`awake` until :meth:`thaw`, however the adapter moves."""
        try:
            self._refresh(num_rows)
        except BaseException:
            self._release()
            raise
        self._frozen = True

    def thaw(self) -> None:
        """Let the frozen weights go."""
        self._frozen = False
        self._release()

    def _refresh(self, num_rows: int) -> None:
        for layer in self._layers:
            layer.refresh(num_rows)

    def _release(self) -> None:
        for layer in self._layers:
            layer.release()
        if self._packs and self._num_bytes > LARGE_BYTES:
            trim_heap()


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _plain_beside(base: Any, sources: dict[str, Any]) -> dict[str, nn.Linear]:
    """Layers that nothing adapts, of a model whose positions go straight through its layers: there all are joined."""
    if base.config.model_type not in FAMILIES:
        return {}
    return {
        name: module
        for name, module in base.named_modules()
        if type(module) is nn.Linear
        and name.startswith("model.layers.")
        and not any(name.startswith(f"{source}.") for source in sources)
    }


def _check(source: Any, *, folds: bool) -> None:
    if POLICY_ADAPTER not in source.lora_A or getattr(source, "use_dora", {}).get(POLICY_ADAPTER):
        raise ValueError("a layer is adapted by something other than plain LoRA")
    if not folds and type(source.base_layer) is not nn.Linear:
        raise ValueError(f"a {type(source.base_layer).__name__} cannot carry a bare adapter")


@torch.no_grad()
def _reading_together(model: Any, names: list[str], device: torch.device) -> list[list[str]]:
    """Names of layers, those together that one parent gives the very same tensor, seen in one forward pass."""
    inputs: dict[str, list[Tensor]] = {name: [] for name in names}  # held, so that no two share an address
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda _module, args, name=name: inputs[name].append(args[0])
        )
        for name in names
    ]
    try:
        ids = torch.zeros(1, 2, dtype=torch.long, device=device)
        looks = torch.ones(1, 1, 2, 2, dtype=torch.bool, device=device).tril()
        places = torch.arange(2, device=device).unsqueeze(0)
        model(input_ids=ids, attention_mask=looks, position_ids=places, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    groups: dict[tuple[str, int], list[str]] = {}
    for name, seen in inputs.items():
        once = len(seen) == 1
        key = (name.rpartition(".")[0], id(seen[0])) if once else (name, 0)
        groups.setdefault(key, []).append(name)
    return list(groups.values())
