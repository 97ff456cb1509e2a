"""Matrix products of the sampler's twin: layers that read one input go as one, laid out once for the processor.

A decoded position multiplies a handful of rows by every weight of the model, so its time is that of reading the weights
once, plus a fixed price for each call. Both are brought down here: a CPU reads a matrix in oneDNN's own blocked layout
about twice as fast as row by row, and q, k and v are one call with the adapter's B as further columns:
``[W B] · [x; A x]``. A sum of ``W x`` and ``B (A x)`` would read and write the large product twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from grpo_tui.policy.policy import POLICY_ADAPTER

KEPT_BYTES = 64 << 20
"""Copies that nothing adapts (a small model's head) stay from one sampling to the next up to this size: laying one out takes
fresh memory, which costs more than reading it. The update needs the memory of larger ones."""


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether this processor multiplies by packed matrices of this dtype, and gets them right."""
    if not torch.backends.mkldnn.enabled or dtype not in (torch.float32, torch.bfloat16):
        return False
    weight = torch.linspace(-1, 1, 32 * 16, dtype=dtype).view(32, 16)
    x = torch.linspace(1, -1, 3 * 16, dtype=dtype).view(3, 16)
    try:
        matrix = Matrix(weight, num_rows=3, packs=True)
        found = (matrix(x), matrix(x, added_N_O=matrix(x)), matrix.times(x, matrix.gate(x)))
    except (RuntimeError, NotImplementedError, AttributeError):
        return False
    product = nn.functional.linear(x, weight)
    expected = (product, 2 * product, nn.functional.silu(product) * product)
    return all(torch.allclose(f, e, atol=2e-2, rtol=1e-2) for f, e in zip(found, expected, strict=True))


class Matrix:
    """``x ↦ x Wᵀ`` with W laid out for the processor, where it can be."""

    def __init__(self, weight_O_I: Tensor, *, num_rows: int, packs: bool) -> None:
        """Lay the weight out.

        Args:
            weight_O_I: the matrix; not kept where it is packed.
            num_rows: rows that will be multiplied at once as a rule; others work too.
            packs: whether to pack.
        """
        self._packs = packs
        self._weight: Any = weight_O_I
        if packs:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(weight_O_I.contiguous(), num_rows)

    @property
    def weight_O_I(self) -> Tensor:
        """The matrix, of one that is not packed."""
        weight: Tensor = self._weight
        return weight

    def __call__(
        self, x_N_I: Tensor, bias_O: Tensor | None = None, added_N_O: Tensor | None = None
    ) -> Tensor:
        """The product, ``N_O``; with something added to it, in the same call where it is packed."""
        if not self._packs:
            product: Tensor = nn.functional.linear(x_N_I, self._weight, bias_O)
            return product if added_N_O is None else product.add_(added_N_O)
        pointwise = torch.ops.mkldnn._linear_pointwise
        if added_N_O is None:
            product = pointwise(x_N_I, self._weight, bias_O, "none", [], "")
        else:
            product = pointwise.binary(x_N_I, added_N_O, self._weight, bias_O, "add")
        return product

    def gate(self, x_N_I: Tensor, bias_O: Tensor | None = None) -> Tensor:
        """``silu`` of the product, ``N_O``; of a packed matrix only."""
        opened: Tensor = torch.ops.mkldnn._linear_pointwise(x_N_I, self._weight, bias_O, "swish", [], "")
        return opened

    def times(self, x_N_I: Tensor, by_N_O: Tensor, bias_O: Tensor | None = None) -> Tensor:
        """The product times something, number by number, ``N_O``; of a packed matrix only."""
        pointwise = torch.ops.mkldnn._linear_pointwise
        product: Tensor = pointwise.binary(x_N_I, by_N_O, self._weight, bias_O, "mul")
        return product


class Joined:
    """Linear layers that read the same input, with their adapters, as one product (and a small one for the adapters' A)."""

    def __init__(
        self,
        names: Sequence[str],
        layers: Sequence[tuple[nn.Linear, Any]],
        *,
        folds: bool,
        packs: bool,
        keeps: bool = False,
    ) -> None:
        """Take the layers; :meth:`refresh` must come before the first product.

        Args:
            names: of the layers in their parent.
            layers: each plain layer, and PEFT's LoRA layer that stands for it in the policy (None: not adapted).
            folds: put the adapter into the matrix instead of beside it.
            packs: lay matrices out for the processor.
            keeps: what is laid out stays from one sampling to the next, where it is small and nothing adapts it.
        """
        self.names = tuple(names)
        self._layers, self._folds, self._packs, self._keeps = layers, folds, packs, keeps
        self._widths = [plain.out_features for plain, _ in layers]
        self._apart = False
        self._num_rows = 0
        self._matrices: list[Matrix] = []
        self._adapter: Matrix | None = None
        self._bias: Tensor | None = None
        self._input: Tensor | None = None
        self._parts: list[Tensor | None] = [None] * len(layers)
        self._elsewhere = False
        self.adapters: list[tuple[Tensor, Tensor]] = []
        """A ``R_I`` and B, scaled, ``O_R`` of each layer, where they are laid out elsewhere: see :meth:`_pairs`."""

    @property
    def _num_bytes(self) -> int:
        return sum(plain.weight.numel() * plain.weight.element_size() for plain in self.layers)

    @property
    def _adapted(self) -> list[Any]:
        """PEFT's layers, of those that are adapted."""
        return [source for _, source in self._layers if source is not None]

    @property
    def is_adapted(self) -> bool:
        """Whether any of the layers is."""
        return bool(self._adapted)

    @property
    def layers(self) -> list[nn.Linear]:
        """The plain layers, in the order of their products."""
        return [plain for plain, _ in self._layers]

    @property
    def parts(self) -> list[Part]:
        """What stands in the twin for each layer."""
        return [Part(self, place) for place in range(len(self._layers))]

    def part_ways(self) -> None:
        """Have a matrix for each layer, for :meth:`gated`, where they are packed. To be called before :meth:`refresh`."""
        self._apart = self._packs

    def lay_out_elsewhere(self) -> None:
        """Somebody else decodes, by weights laid out as he likes; what is left to do here is prompts, by the plain weights."""
        self._elsewhere = True

    def refresh(self, num_rows: int) -> None:
        """Take over the adapter's present weights."""
        adapted = self._adapted
        if self._elsewhere:
            # Copies: frozen, the twin must not see how an update moves the adapter.
            self.adapters = [(a_R_I.detach().clone(), b_O_R.detach()) for a_R_I, b_O_R in self._pairs()]
            self._take_bias()
            return
        if self._matrices and not adapted and num_rows == self._num_rows:
            return
        self._num_rows = num_rows
        weights = [
            _folded(plain, source) if self._folds and source is not None else plain.weight
            for plain, source in self._layers
        ]
        whole = (
            torch.cat([weight.detach() for weight in weights]) if len(weights) > 1 else weights[0].detach()
        )
        if adapted and not self._folds:
            all_a, all_b = zip(*self._pairs(), strict=True)
            b_O_R: Tensor = torch.block_diag(*all_b)  # type: ignore[no-untyped-call]
            whole = torch.cat((whole, b_O_R), dim=1)
            self._adapter = Matrix(torch.cat(all_a), num_rows=num_rows, packs=self._packs)
        self._take_bias()
        pieces = torch.split(whole, self._widths) if self._apart else [whole]
        self._matrices = [Matrix(piece, num_rows=num_rows, packs=self._packs) for piece in pieces]

    @property
    def bias_O(self) -> Tensor | None:
        """Of all layers; None: they have none."""
        return self._bias

    def _take_bias(self) -> None:
        if any(plain.bias is not None for plain, _ in self._layers):
            self._bias = torch.cat([_bias_of(plain) for plain, _ in self._layers])

    def release(self) -> None:
        """Let the copies of the weights go until the next :meth:`refresh`, but for small ones that are to be kept."""
        self.adapters = []
        if self._adapted or not self._keeps or self._num_bytes > KEPT_BYTES:
            self._matrices, self._adapter, self._bias = [], None, None
        # What a forward pass that was broken off had not given out.
        self._input, self._parts = None, [None] * len(self._layers)

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """A ``R_I`` and B, scaled, ``O_R`` of each layer; nothing but zeros for one that is not adapted, though others are."""
        if not self.is_adapted:
            return []
        like = _a(self._adapted[0])
        pairs = []
        for plain, source in self._layers:
            if source is None:
                pairs.append((torch.zeros_like(like), like.new_zeros(plain.out_features, len(like))))
            else:
                pairs.append((_a(source), _b(source, plain.weight.dtype)))
        return pairs

    def part(self, place: int, x: Tensor) -> Tensor:
        """The product of one layer. The first to ask for an input computes for all; each result is given out once."""
        found = self._parts[place] if x is self._input else None
        if found is None:
            self._parts = self._products(x.reshape(-1, x.shape[-1]))
            self._input = x
            found = self._parts[place]
            assert found is not None
        self._parts[place] = None
        if not any(part is not None for part in self._parts):
            self._input = None
        return found.view(*x.shape[:-1], found.shape[-1])

    def whole(self, x_N_I: Tensor, added_N_O: Tensor | None = None) -> Tensor:
        """The products of all layers side by side, ``N_ΣO``, with something added to them."""
        (matrix,) = self._matrices
        return matrix(self._with_low(x_N_I), self._bias, added_N_O)

    def common_rank(self) -> int:
        """The rank of all its adapters; 0 where none stands beside.

        Raises:
            ValueError: they have several.
        """
        if self._folds or not self.is_adapted:
            return 0
        ranks = {source.lora_A[POLICY_ADAPTER].weight.shape[0] for source in self._adapted}
        if len(ranks) != 1:
            raise ValueError(f"adapters of several ranks on {', '.join(self.names)}")
        (rank,) = ranks
        return int(rank)

    def laid_out(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """``[W | B]``, ``ΣO_(I+ΣR)``, every A below each other, ``ΣR_I``, and the bias, where matrices are not packed."""
        (matrix,) = self._matrices
        return matrix.weight_O_I, None if self._adapter is None else self._adapter.weight_O_I, self._bias

    def gated(self, x_N_I: Tensor) -> Tensor:
        """Of two layers, ``silu`` of the first's product times the second's."""
        if not self._apart:
            gate, up = self.whole(x_N_I).chunk(2, dim=-1)
            return nn.functional.silu(gate).mul_(up)
        # oneDNN does both while a product is still in registers; two small kernels and a strided read are saved.
        x_N_I, (bias_gate, bias_up) = self._with_low(x_N_I), self._biases()
        gate_matrix, up_matrix = self._matrices
        return up_matrix.times(x_N_I, gate_matrix.gate(x_N_I, bias_gate), bias_up)

    def _products(self, x_N_I: Tensor) -> list[Tensor | None]:
        """Of each layer."""
        if self._elsewhere:
            return self._plain_products(x_N_I)
        if not self._apart:
            return list(torch.split(self.whole(x_N_I), self._widths, dim=-1))
        x_N_I = self._with_low(x_N_I)
        return [matrix(x_N_I, bias) for matrix, bias in zip(self._matrices, self._biases(), strict=True)]

    def _plain_products(self, x_N_I: Tensor) -> list[Tensor | None]:
        """Of each layer, with the adapter's added to it: for prompts, whose many rows make little of a product more."""
        products = list[Tensor | None]()
        for place, (plain, source) in enumerate(self._layers):
            product = nn.functional.linear(x_N_I, plain.weight, plain.bias)
            if source is not None:
                a_R_I, b_O_R = self.adapters[place]
                product.addmm_(x_N_I @ a_R_I.t(), b_O_R.t())
            products.append(product)
        return products

    def _with_low(self, x_N_I: Tensor) -> Tensor:
        """``[x, A x]``, where an adapter stands beside the matrix."""
        return x_N_I if self._adapter is None else torch.cat((x_N_I, self._adapter(x_N_I)), dim=1)

    def _biases(self) -> Sequence[Tensor | None]:
        """Of each layer."""
        return [None] * len(self._layers) if self._bias is None else torch.split(self._bias, self._widths)


class Part(nn.Module):
    """One of the joined layers, in its place in the model."""

    def __init__(self, joined: Joined, place: int) -> None:
        super().__init__()
        self._joined, self._place = joined, place

    @property
    def plain(self) -> nn.Linear:
        """The layer for which it stands."""
        return self._joined.layers[self._place]

    @property
    def is_adapted(self) -> bool:
        """Whether any of the joined layers is."""
        return bool(self._joined.is_adapted)

    def forward(self, x: Tensor) -> Tensor:
        """The adapted product."""
        return self._joined.part(self._place, x)


def _folded(plain: nn.Linear, source: Any) -> Tensor:
    folded: Tensor = plain.weight + source.get_delta_weight(POLICY_ADAPTER)
    return folded


def _a(source: Any) -> Tensor:
    weight: Tensor = source.lora_A[POLICY_ADAPTER].weight.to(source.base_layer.weight.dtype)
    return weight


def _b(source: Any, dtype: torch.dtype) -> Tensor:
    weight: Tensor = (source.lora_B[POLICY_ADAPTER].weight * source.scaling[POLICY_ADAPTER]).to(dtype)
    return weight


def _bias_of(plain: nn.Linear) -> Tensor:
    return plain.bias if plain.bias is not None else plain.weight.new_zeros(plain.out_features)
