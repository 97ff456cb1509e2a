"""One decoded position in one call, on a CPU that multiplies bfloat16: ``decode.c`` with a twin's weights.

The same families as :mod:`grpo_tui.generation.straight`. There a position of sixteen rows of a 135 M model is some 1,200
calls, half of whose time goes by between products; here it takes little more than reading the weights once.
:meth:`FastSampler.deviation` holds it against the model like any other.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import sys
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_double, c_float, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor, nn

from grpo_tui.generation.choice import Chosen, choose
from grpo_tui.generation.compiler import library
from grpo_tui.generation.folded import Twin
from grpo_tui.generation.products import Joined
from grpo_tui.generation.slab import SlabCache
from grpo_tui.generation.straight import Layer, LlamaParts
from grpo_tui.generation.types import SamplingSettings
from grpo_tui.policy.norm import RmsNorm

WIDE = 16
"""Outputs of a block, and rows of a tile."""
LARGEST_HEAD = 256
"""Numbers of a head at most."""
JOINED = 3
"""Layers that one product can stand for."""
NEVER = 1 << 60
DRAWN_BLOCK = 256
"""Tokens whose weights are summed up for themselves where one is drawn."""
HUGE_PAGE = 2 << 20
"""Bytes; laying 200 MB out in pages of 4 kB spends more time on taking them than on filling them."""
KEPT_BYTES = 300 << 20
"""Up to here panels stay from one sampling to the next: taking the memory anew costs a virtual machine ten times what laying
them out does. An update needs the memory of larger ones."""


class _Product(Structure):
    _fields_ = (
        ("weight", c_void_p),
        ("b", c_void_p),
        ("a", c_void_p),
        ("bias", c_void_p),
        ("inputs", c_int64),
        ("outputs", c_int64),
        ("rank", c_int64),
        ("low_blocks", c_int64),
        ("first_block", c_int64 * JOINED),
    )


class _Layer(Structure):
    _fields_ = (
        ("qkv", _Product),
        ("out", _Product),
        ("gate_up", _Product),
        ("down", _Product),
        ("before_attention", c_void_p),
        ("before_mlp", c_void_p),
        ("query_norm", c_void_p),
        ("key_norm", c_void_p),
        ("eps", c_float),
        ("mlp_eps", c_float),
        ("query_eps", c_float),
        ("key_eps", c_float),
        ("scaling", c_float),
        ("unused", c_float),
    )


class _Model(Structure):
    _fields_ = (
        ("layers", POINTER(_Layer)),
        ("last_norm", c_void_p),
        ("head", _Product),
        ("num_layers", c_int64),
        ("hidden", c_int64),
        ("inner", c_int64),
        ("heads", c_int64),
        ("shared", c_int64),
        ("size", c_int64),
        ("last_eps", c_float),
        ("unused", c_float),
    )


class _Call(Structure):
    _fields_ = (
        ("x", c_void_p),
        ("cos", c_void_p),
        ("sin", c_void_p),
        ("keys", c_void_p),
        ("values", c_void_p),
        ("row_stride", c_int64),
        ("head_stride", c_int64),
        ("looks", c_void_p),
        ("looks_stride", c_int64),
        ("logits", c_void_p),
        ("work", c_void_p),
        ("rows", c_int64),
        ("column", c_int64),
        ("threads", c_int64),
    )


def has_dots() -> bool:
    """Whether this processor has the instructions that make it worth while, on a system for which this is built."""
    if sys.platform != "linux":
        return False
    has = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return has is not None and bool(has())


class Native(LlamaParts):
    """Decodes through a twin's joined products by compiled code."""

    def __init__(self, twin: Twin) -> None:
        """Find the parts, and take over laying them out.

        Raises:
            ValueError: the model is not of the kind that this decodes.
            CannotBuildError: there is no compiled code.
        """
        super().__init__(twin)
        self._hidden: int = twin.model.config.hidden_size
        self._inner: int = twin.model.config.intermediate_size
        weight = self._embed.weight
        if weight.dtype is not torch.bfloat16 or weight.device.type != "cpu":
            raise ValueError(f"weights in {weight.dtype} on {weight.device.type}")
        if self._size % (2 * WIDE) or self._size > LARGEST_HEAD:
            raise ValueError(f"heads of {self._size} numbers")
        self._check_widths()
        if getattr(self._head, "is_adapted", False):
            raise ValueError("an adapter of the head")
        self._library = _typed(library())
        self._products = [
            joined for layer in self._layers for joined in (layer.qkv, layer.out, layer.gate_up, layer.down)
        ]
        self._arena: _Arena | None = None
        self._model: _Model | None = None
        self._held: list[Any] = []
        self._work = torch.empty(0, dtype=torch.uint8)
        for joined in twin.joined.values():
            joined.lay_out_elsewhere()
        twin.add(self)

    def _check_widths(self) -> None:
        """Blocks of 16 outputs belong to one layer, and norms go by 16 inputs."""
        if self._hidden % WIDE or self._inner % WIDE:
            raise ValueError(f"{self._hidden} and {self._inner} numbers are no blocks of {WIDE}")
        for layer in self._layers:
            for joined in (layer.qkv, layer.out, layer.gate_up, layer.down):
                joined.common_rank()
                if len(joined.layers) > JOINED or any(plain.out_features % WIDE for plain in joined.layers):
                    raise ValueError(f"{', '.join(joined.names)} are no blocks of {WIDE}")

    def refresh(self, num_rows: int) -> None:  # noqa: ARG002 - as Joined has it
        """Lay all weights out, the adapter's as they are now.

        Raises:
            MemoryError: there is no place for them.
        """
        head = self._head_weight()
        if self._arena is None:
            needed = sum(self._panel_bytes(joined) for joined in self._products) + _bytes_of(head)
            self._arena = _Arena(needed, self._library)
        self._arena.begin()
        layers = (_Layer * len(self._layers))(*[self._layer(layer) for layer in self._layers])
        self._held += [layers]
        self._model = _Model(
            layers=layers,
            last_norm=self._floats(self._last.weight),
            head=_Product(
                weight=self._arena.panels([head], fixed=True),
                inputs=head.shape[1],
                outputs=head.shape[0],
                **_plain(),
            ),
            num_layers=len(self._layers),
            hidden=self._hidden,
            inner=self._inner,
            heads=self._heads,
            shared=self._shared,
            size=self._size,
            last_eps=self._last.eps,
        )
        self._arena.is_complete = True

    def release(self) -> None:
        """Let them go, but for those of a small model."""
        self._model, self._held = None, []
        if self._arena is not None and self._arena.num_bytes > KEPT_BYTES:
            self.close()

    def close(self) -> None:
        """Let everything go; the next :meth:`refresh` lays it out anew."""
        self._model, self._held = None, []
        self._work = torch.empty(0, dtype=torch.uint8)
        if self._arena is not None:
            self._arena.close()
            self._arena = None

    def __call__(
        self, tokens_B: Tensor, positions_B: Tensor, looks: Tensor | None, cache: SlabCache
    ) -> Tensor:
        """Feed one token a row; logits of the next, ``B_V``.

        Arguments as :class:`~grpo_tui.generation.straight.Straight` has them, but for keys, which are not turned.
        """
        model = self._model
        assert model is not None
        x = self._embed(tokens_B)
        cos, sin = (t.float().contiguous() for t in self._rotary(x, positions_B.unsqueeze(1)))
        column, rows, threads = cache.get_seq_length(), len(x), torch.get_num_threads()
        cache.make_room(column + 1)
        logits: Tensor = x.new_empty(rows, int(model.head.outputs))
        keys, values = ([getattr(layer, name) for layer in cache.layers] for name in ("keys", "values"))
        pointers = [(c_void_p * len(slabs))(*[slab.data_ptr() for slab in slabs]) for slabs in (keys, values)]
        assert all(slab.stride() == keys[0].stride() for slab in (*keys, *values))
        assert keys[0].stride()[2:] == (self._size, 1)
        assert all(slab.shape[2] > column for slab in (*keys, *values)), "no room in the cache"
        assert cos.shape[-1] == sin.shape[-1] == self._size
        self._library.decode(
            ctypes.byref(model),
            ctypes.byref(
                _Call(
                    x=x.data_ptr(),
                    cos=cos.data_ptr(),
                    sin=sin.data_ptr(),
                    keys=ctypes.addressof(pointers[0]),
                    values=ctypes.addressof(pointers[1]),
                    row_stride=keys[0].stride(0),
                    head_stride=keys[0].stride(1),
                    looks=None if looks is None else looks.data_ptr(),
                    looks_stride=0 if looks is None else looks.stride(0),
                    logits=logits.data_ptr(),
                    work=self._room(model, rows, column + 1, threads),
                    rows=rows,
                    column=column,
                    threads=threads,
                )
            ),
        )
        cache.lengthen()
        return logits

    def choose(self, logits_N_V: Tensor, uniforms_N: Tensor, settings: SamplingSettings) -> Chosen:
        """:func:`~grpo_tui.generation.choice.choose` in two passes over the logits, where torch takes a dozen.

        What is greedy or cut off (top-p, top-k), and logits that are not bfloat16, are left to that function.
        """
        num_rows, vocabulary = logits_N_V.shape
        cuts_off = settings.top_p < 1.0 or 0 < settings.top_k < vocabulary
        if settings.temperature == 0 or cuts_off or logits_N_V.dtype is not torch.bfloat16:
            return choose(logits_N_V, uniforms_N, settings)
        threads = torch.get_num_threads()
        blocks = torch.empty(threads * -(-vocabulary // DRAWN_BLOCK), dtype=torch.float64)
        logits, uniforms = logits_N_V.contiguous(), uniforms_N.contiguous()
        tokens = torch.empty(num_rows, dtype=torch.long)
        logprobs, entropies = torch.empty(2, num_rows).unbind()
        self._library.draw(
            logits.data_ptr(), num_rows, vocabulary, settings.temperature, uniforms.data_ptr(), blocks.data_ptr(),
            tokens.data_ptr(), logprobs.data_ptr(), entropies.data_ptr(), threads,
        )  # fmt: skip
        return Chosen(tokens, logprobs, entropies)

    def _room(self, model: _Model, rows: int, columns: int, threads: int) -> int:
        """Address of what is worked in."""
        needed = self._library.work_bytes(ctypes.byref(model), rows, columns, threads)
        if needed > len(self._work):
            self._work = torch.empty(needed + needed // 4, dtype=torch.uint8)
        return int(self._work.data_ptr())

    def _head_weight(self) -> Tensor:
        head: nn.Linear = self._head.plain if hasattr(self._head, "plain") else self._head
        return head.weight.detach()

    def _layer(self, layer: Layer) -> _Layer:
        return _Layer(
            qkv=self._product(layer.qkv),
            out=self._product(layer.out),
            gate_up=self._product(layer.gate_up),
            down=self._product(layer.down),
            before_attention=self._floats(layer.before_attention.weight),
            before_mlp=self._floats(layer.before_mlp.weight),
            query_norm=self._norm(layer.query_norm),
            key_norm=self._norm(layer.key_norm),
            eps=layer.before_attention.eps,
            mlp_eps=layer.before_mlp.eps,
            query_eps=0.0 if layer.query_norm is None else layer.query_norm.eps,
            key_eps=0.0 if layer.key_norm is None else layer.key_norm.eps,
            scaling=layer.scaling,
        )

    def _product(self, joined: Joined) -> _Product:
        assert self._arena is not None
        plain, rank = joined.layers, joined.common_rank()
        inputs, outputs = plain[0].in_features, [layer.out_features for layer in plain]
        found = _Product(
            weight=self._arena.panels([layer.weight.detach() for layer in plain], fixed=True),
            inputs=inputs,
            outputs=sum(outputs),
            **_plain(),
        )
        if joined.bias_O is not None:
            found.bias = self._floats(joined.bias_O)
        if not rank:
            return found
        even = self._even(rank)
        a_R_I = plain[0].weight.new_zeros(len(plain) * even, inputs)
        for number, (a, _) in enumerate(joined.adapters):
            a_R_I[number * even : number * even + rank] = a
        pairs = [torch.nn.functional.pad(b, (0, even - rank)) for _, b in joined.adapters]
        found.rank, found.low_blocks = even, -(-len(a_R_I) // WIDE)
        found.a, found.b = self._arena.panels([a_R_I]), self._arena.panels(pairs)
        starts = torch.tensor(outputs).cumsum(0).tolist()[:-1]
        found.first_block = (c_int64 * JOINED)(
            *[s // WIDE for s in starts], *[NEVER] * (JOINED - len(starts))
        )
        return found

    def _panel_bytes(self, joined: Joined) -> int:
        """Of all panels of a product."""
        even, inputs, layers = self._even(joined.common_rank()), joined.layers[0].in_features, joined.layers
        outputs, ranks = sum(layer.out_features for layer in layers), len(layers) * even
        return 2 * (outputs * (inputs + even) + (ranks + -ranks % WIDE) * inputs)

    def _even(self, rank: int) -> int:
        """Ranks of one adapter as the library takes them."""
        return rank + -rank % int(self._library.least())

    def _norm(self, norm: RmsNorm | None) -> int | None:
        return None if norm is None else self._floats(norm.weight)

    def _floats(self, values: Tensor) -> int:
        """Address of a float32 copy."""
        held = values.detach().float().contiguous()
        self._held.append(held)
        return held.data_ptr()


class _Arena:
    """Memory for panels, of the largest pages there are; given back whole."""

    def __init__(self, num_bytes: int, loaded: Any) -> None:
        self.num_bytes, self._library = num_bytes, loaded
        try:
            self._memory = mmap.mmap(-1, num_bytes + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise MemoryError(f"no {num_bytes >> 20} MB to lay the weights out in") from error
        with contextlib.suppress(AttributeError, OSError):
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._first = self._next = address + -address % HUGE_PAGE
        self.is_complete = False
        """Whether all panels were laid out once, so that those which never change need not be again."""

    def begin(self) -> None:
        """What comes now comes in the same order as the last time."""
        self._next = self._first

    def panels(self, matrices: Sequence[Tensor], *, fixed: bool = False) -> int:
        """Lay matrices of the same inputs out below each other; the address of the first block.

        ``fixed``: they never change, and are not laid out a second time.
        """
        place = self._next
        for matrix_O_I in matrices:
            end = self._next + _bytes_of(matrix_O_I)
            assert end <= self._first + self.num_bytes, "more panels than there is memory for"
            if not (fixed and self.is_complete):
                self._lay(matrix_O_I)
            self._next = end
        return place

    def _lay(self, matrix_O_I: Tensor) -> None:
        matrix = matrix_O_I if matrix_O_I.stride(1) == 1 else matrix_O_I.contiguous()
        self._library.lay_panels(
            self._next, matrix.data_ptr(), matrix.stride(0), *matrix.shape, torch.get_num_threads()
        )

    def close(self) -> None:
        """Give it back."""
        self._memory.close()


def _plain() -> dict[str, Any]:
    """What a product has that nothing adapts."""
    return {"first_block": (c_int64 * JOINED)(*[NEVER] * JOINED)}


def _bytes_of(matrix_O_I: Tensor) -> int:
    """Of its panels."""
    outputs, inputs = matrix_O_I.shape
    return 2 * (outputs + -outputs % WIDE) * inputs


def _typed(loaded: Any) -> Any:
    """The library with the types of what is called."""
    loaded.decode.argtypes, loaded.decode.restype = (c_void_p, c_void_p), None
    loaded.work_bytes.argtypes, loaded.work_bytes.restype = (c_void_p, c_int64, c_int64, c_int64), c_int64
    loaded.lay_panels.argtypes = (c_void_p, c_void_p, c_int64, c_int64, c_int64, c_int64)
    loaded.lay_panels.restype = None
    pointers = (c_void_p,) * 5
    loaded.draw.argtypes = (c_void_p, c_int64, c_int64, c_double, *pointers, c_int64)
    loaded.draw.restype = None
    loaded.least.argtypes, loaded.least.restype = (), c_int64
    return loaded
