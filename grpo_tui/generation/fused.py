"""One decoded position in a handful of Triton kernels a layer, for graphs over fixed addresses on CUDA.

The same families as :mod:`grpo_tui.generation.straight`, whose place it takes under
:class:`~grpo_tui.generation.captured.Captured` where Triton is there and the model's shapes suit its kernels
(:mod:`grpo_tui.generation.kernels`); :meth:`FastSampler.deviation` holds it against the model like any other.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grpo_tui.generation.folded import Twin
from grpo_tui.generation.products import Joined
from grpo_tui.generation.straight import Layer, LlamaParts

COLUMNS = ((64, 3), (64, 2), (32, 3), (32, 2), (16, 2))
"""Columns of the cache that a program of the attention takes at a time, and stages, best first."""
BLOCKS = ((256, 3), (128, 4), (128, 3), (64, 4), (64, 3), (32, 3))
"""Inputs that a program takes at a time, and how many loads are under way less one, best first. Each time costs about half a
microsecond on an H200, however much it takes: a kernel is bound by their number."""
MANY = 1024
"""Inputs from which on the largest blocks are not mostly waste."""
SHARED_BYTES, SHARE = 101_376, 0.7
"""Shared memory that every GPU since Ampere has for a program, and the share of it (or of what there is) that tiles may take:
instructions of Hopper's want some beside them."""
OUTPUTS = 32
"""Outputs of one program."""
LEAST_ROWS = 16
"""Rows of one program at least: what matrix instructions take."""
MOST_ROWS = 64


@dataclass(frozen=True, slots=True)
class _Weights:
    """One joined product as the kernels take it."""

    whole_O_IR: Tensor
    a_R_I: Tensor | None
    bias_O: Tensor | None
    rank: int

    @property
    def ranks(self) -> int:
        """Ranks of one adapter as a matrix instruction takes them."""
        return _ranks(self.rank)

    def a(self) -> tuple[Tensor, int]:
        """A and its stride; anything where there is none."""
        if self.a_R_I is None:
            return self.whole_O_IR, 0
        return self.a_R_I, self.a_R_I.stride(0)

    def bias(self) -> Tensor:
        """The bias; anything where there is none."""
        return self.whole_O_IR if self.bias_O is None else self.bias_O


class Fused(LlamaParts):
    """Decodes through a twin's joined products, in five kernels a layer."""

    def __init__(self, twin: Twin) -> None:
        """Find the parts.

        Raises:
            ValueError: the model is not of the kind that this decodes.
            ImportError: there is no Triton.
        """
        from grpo_tui.generation import kernels

        super().__init__(twin)
        self._kernels: Any = kernels
        self._hidden: int = twin.model.config.hidden_size
        self._inner: int = twin.model.config.intermediate_size
        weight = self._embed.weight
        if self._size not in (32, 64, 128, 256):
            raise ValueError(f"heads of {self._size} numbers")
        if weight.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise ValueError(f"weights in {weight.dtype}")
        for layer in self._layers:
            for joined in (layer.qkv, layer.out, layer.gate_up, layer.down):
                joined.common_rank()
        self._precision = "ieee" if weight.dtype is torch.float32 else "tf32"
        self._processors, self._shared_bytes = 1, SHARED_BYTES
        if weight.device.type == "cuda":
            device: Any = torch.cuda.get_device_properties(weight.device)
            self._processors = device.multi_processor_count
            self._shared_bytes = getattr(device, "shared_memory_per_block_optin", SHARED_BYTES)
        self._check_tiles()

    def __call__(self, tokens_B: Tensor, positions_B: Tensor, looks: Tensor, cache: Any) -> Tensor:
        """Feed one token a row; logits of the next, ``B_V``. Arguments as :class:`Captured` gives them.

        Args:
            tokens_B: tokens drawn last.
            positions_B: their positions.
            looks: boolean ``B_1_1_S``, True where a row may look, the new position included; S is all room.
            cache: layers with ``keys`` and ``values``, each ``B_K_S_D``, and ``slot_1``, where the new position is written.
        """
        x = self._embed(tokens_B)
        cos, sin = (t.reshape(-1, self._size).contiguous() for t in self._rotary(x, positions_B.unsqueeze(1)))
        queries = x.new_empty(len(x), self._heads, self._size)
        attended = torch.empty_like(queries)
        inner = x.new_empty(len(x), self._inner)
        spare = torch.empty_like(x)
        for layer, slab in zip(self._layers, cache.layers, strict=True):
            self._qkv(layer, x, cos, sin, slab, queries)
            self._attention(layer, queries, slab, looks, attended)
            self._residual(layer.out, attended.flatten(1), x, spare)
            self._gated(layer, spare, inner)
            self._residual(layer.down, inner, spare, x)
        logits: Tensor = self._head(self._last(x))
        return logits

    def _qkv(self, layer: Layer, x: Tensor, cos: Tensor, sin: Tensor, slab: Any, queries: Tensor) -> None:
        weights, norms = _weights(layer.qkv), (layer.query_norm, layer.key_norm)
        a, a_stride = weights.a()
        num_heads = self._heads + 2 * self._shared
        grid, tile = self._tiles(x, num_heads, self._size + weights.ranks)
        head_norms = [layer.before_attention.weight if norm is None else norm.weight for norm in norms]
        self._kernels.qkv_kernel[grid](
            x, layer.before_attention.weight, weights.whole_O_IR, a, weights.bias(), cos, sin, *head_norms, slab.slot_1,
            queries, slab.keys, slab.values,
            len(x), x.stride(0), weights.whole_O_IR.stride(0), a_stride, slab.keys.stride(0), slab.keys.stride(1),
            layer.before_attention.eps, 0.0 if norms[0] is None else norms[0].eps,
            INPUTS=self._hidden, H=self._heads, K=self._shared, HALF=self._size // 2, R=weights.rank, RANKS=weights.ranks,
            HAS_BIAS=weights.bias_O is not None, HAS_HEAD_NORMS=norms[0] is not None,
            PRECISION=self._precision, **tile,
        )  # fmt: skip

    def _attention(self, layer: Layer, queries: Tensor, slab: Any, looks: Tensor, attended: Tensor) -> None:
        group = self._heads // self._shared
        block, stages = columns(2 * self._size * queries.element_size(), self._shared_bytes)
        self._kernels.attention_kernel[(len(queries), self._shared)](
            queries, slab.keys, slab.values, looks.view(torch.uint8), slab.slot_1, attended,
            slab.keys.stride(0), slab.keys.stride(1), looks.stride(0), layer.scaling,
            GROUP=group, QUERIES=max(16, 1 << (group - 1).bit_length()), K=self._shared, D=self._size, BLOCK=block,
            PRECISION=self._precision, num_stages=stages,
        )  # fmt: skip

    def _residual(self, joined: Joined, x: Tensor, residual: Tensor, out: Tensor) -> None:
        weights = _weights(joined)
        a, a_stride = weights.a()
        grid, tile = self._tiles(x, -(-self._hidden // OUTPUTS), OUTPUTS + weights.ranks)
        self._kernels.residual_kernel[grid](
            x, weights.whole_O_IR, a, weights.bias(), residual, out,
            len(x), x.stride(0), weights.whole_O_IR.stride(0), a_stride,
            INPUTS=x.shape[1], WIDTH=self._hidden, R=weights.rank, RANKS=weights.ranks, HAS_BIAS=weights.bias_O is not None,
            OUTPUTS=OUTPUTS, PRECISION=self._precision, **tile,
        )  # fmt: skip

    def _gated(self, layer: Layer, x: Tensor, out: Tensor) -> None:
        weights = _weights(layer.gate_up)
        a, a_stride = weights.a()
        grid, tile = self._tiles(x, -(-self._inner // OUTPUTS), 2 * (OUTPUTS + weights.ranks))
        self._kernels.gated_kernel[grid](
            x, layer.before_mlp.weight, weights.whole_O_IR, a, weights.bias(), out,
            len(x), x.stride(0), weights.whole_O_IR.stride(0), a_stride, layer.before_mlp.eps,
            INPUTS=self._hidden, F=self._inner, R=weights.rank, RANKS=weights.ranks, HAS_BIAS=weights.bias_O is not None,
            OUTPUTS=OUTPUTS, PRECISION=self._precision, **tile,
        )  # fmt: skip

    def _tiles(self, x: Tensor, num_blocks: int, beside: int) -> tuple[tuple[int, int], dict[str, int]]:
        """The grid and the tiles of a kernel over ``x``; see :func:`tiles`."""
        rows, block, stages = tiles(
            len(x), num_blocks, x.shape[1], beside, x.element_size(), self._processors, self._shared_bytes
        )
        return (num_blocks, -(-len(x) // rows)), {"ROWS": rows, "BLOCK": block, "num_stages": stages}

    def _check_tiles(self) -> None:
        """Whether every kernel finds tiles that fit, whatever the number of rows."""
        layer, itemsize = self._layers[0], self._embed.weight.element_size()
        ranks = [_ranks(joined.common_rank()) for joined in (layer.qkv, layer.out, layer.gate_up, layer.down)]
        for num_inputs, beside in (
            (self._hidden, self._size + ranks[0]),
            (self._heads * self._size, OUTPUTS + ranks[1]),
            (self._hidden, 2 * (OUTPUTS + ranks[2])),
            (self._inner, OUTPUTS + ranks[3]),
        ):
            tiles(1, 1, num_inputs, beside, itemsize, self._processors, self._shared_bytes)
        columns(2 * self._size * itemsize, self._shared_bytes)


def tiles(
    num_rows: int,
    num_blocks: int,
    num_inputs: int,
    beside: int,
    itemsize: int,
    processors: int,
    shared_bytes: int,
) -> tuple[int, int, int]:
    """Rows of one program, inputs that it takes at a time, and stages.

    More rows, and each weight is read fewer times; fewer, and more programs are at work at once.

    Args:
        num_rows: of the product.
        num_blocks: of outputs.
        num_inputs: of the product.
        beside: numbers that a program loads for one input beside its rows': of outputs and ranks.
        itemsize: bytes of a number.
        processors: of the device.
        shared_bytes: that a program may have.

    Raises:
        ValueError: not even the smallest fit.
    """
    rows = LEAST_ROWS
    found = _blocks(num_inputs, (rows + beside) * itemsize, shared_bytes)
    if found is None:
        raise ValueError(f"a kernel's tiles do not fit in {shared_bytes} bytes of shared memory")
    while rows < min(num_rows, MOST_ROWS) and num_blocks * -(-num_rows // (2 * rows)) >= processors:
        wider = _blocks(num_inputs, (2 * rows + beside) * itemsize, shared_bytes)
        if wider is None:
            break
        rows, found = 2 * rows, wider
    return rows, *found


def _blocks(num_inputs: int, bytes_each: int, shared_bytes: int) -> tuple[int, int] | None:
    """The best of :data:`BLOCKS` that fits; None: none."""
    for block, stages in BLOCKS:
        if block == BLOCKS[0][0] and num_inputs < MANY:
            continue
        if bytes_each * block * (stages - 1) <= SHARE * shared_bytes:
            return block, stages
    return None


def columns(bytes_each: int, shared_bytes: int) -> tuple[int, int]:
    """Columns of the cache that a program of the attention takes at a time, and stages.

    Raises:
        ValueError: not even the smallest fit.
    """
    for block, stages in COLUMNS:
        if bytes_each * block * (stages - 1) <= SHARE * shared_bytes:
            return block, stages
    raise ValueError(f"attention's tiles do not fit in {shared_bytes} bytes of shared memory")


def _ranks(rank: int) -> int:
    """Ranks of one adapter as a matrix instruction takes them."""
    return max(16, 1 << (rank - 1).bit_length()) if rank else 16


def _weights(joined: Joined) -> _Weights:
    whole, adapter, bias = joined.laid_out()
    return _Weights(whole, adapter, bias, joined.common_rank() if adapter is not None else 0)


def can_fuse() -> bool:
    """Whether Triton is there, and may be used: ``GRPO_TUI_NO_TRITON`` says no."""
    if os.environ.get("GRPO_TUI_NO_TRITON"):
        return False
    try:
        import triton  # noqa: F401
    except Exception:  # one that is there and broken fails in any way
        return False
    return True
