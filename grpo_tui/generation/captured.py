"""Decoding with every address fixed, so that on CUDA one position is a graph that is launched once.

A position of a small model is some hundreds of kernels of a few microseconds: launched one by one they wait for Python. Here
tokens, positions, the mask and the place to write at are tensors that stay where they are; the cache is seen whole, with what
is not filled yet masked. Rows that leave, and a cache that grows, move things: then the graph is captured anew, which
happens a handful of times in a rollout. A completion that takes the place of another moves nothing: its prompt is written into
the cache where that lies, and what each row may look at is copied to its address before every launch. So is a cache that is
trimmed: it is shifted in place.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from grpo_tui.generation.slab import SlabCache, SlabLayer

_LOG = logging.getLogger("sampler")

WARM_UPS = 1
"""Runs before a capture, in which libraries choose their kernels, compile and allocate."""


_Result = TypeVar("_Result")


@cache
def _aside(device: int) -> torch.cuda.Stream:
    """A device's stream for capturing, always the same: memory that was freed on a stream is that stream's to take again."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call,unused-ignore]


def captured(work: Callable[[], _Result]) -> tuple[Any, _Result]:
    """A CUDA graph of some work, which is done a few times before, and what it gives: tensors that each replay writes anew.

    ``torch.cuda.graph`` would empty the allocator's cache first, each time, which costs more than the capture. It must be emptied
    where memory runs out: that of graphs which are no more is nobody else's until then, and a capture cannot have it.
    """
    try:
        return _captured(work)
    except torch.OutOfMemoryError:
        pass  # outside the handler, for the exception's frames hold what was made
    torch.cuda.empty_cache()
    return _captured(work)


def _captured(work: Callable[[], _Result]) -> tuple[Any, _Result]:
    aside, graph = _aside(torch.cuda.current_device()), torch.cuda.CUDAGraph()
    aside.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                work()
            # Other threads may ask the device for its memory meanwhile; only this one must keep to what a graph can hold.
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                result = work()
            except BaseException:
                # The capture has failed; why is what was raised first.
                with contextlib.suppress(RuntimeError):
                    graph.capture_end()
                raise
            graph.capture_end()
    finally:
        torch.cuda.current_stream().wait_stream(aside)
    return graph, result


class Fixed:
    """Some work over tensors whose shapes seldom change, on CUDA as a graph; where that cannot be captured, as it is.

    Doing it twice on the same must be as doing it once.
    """

    def __init__(self) -> None:
        self._inputs: list[Tensor] = []
        self._graph: Any = None
        self._captures = True
        self._results: tuple[Tensor, ...] = ()

    def __call__(self, work: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
        """The results, which the next call writes over. ``work`` is not kept, and must always be the same."""
        if [t.shape for t in tensors] != [t.shape for t in self._inputs]:
            self._inputs, self._graph = [torch.empty_like(t) for t in tensors], None
        for mine, theirs in zip(self._inputs, tensors, strict=True):
            mine.copy_(theirs)
        if self._graph is None and self._captures and self._inputs[0].device.type == "cuda":
            try:
                self._graph, self._results = captured(lambda: work(*self._inputs))
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self._captures = False
                _LOG.warning(
                    "drawing cannot be captured as a CUDA graph, it goes kernel by kernel: %s", error
                )
        if self._graph is None:
            self._results = work(*self._inputs)
        else:
            self._graph.replay()
        return self._results


class _FixedLayer:
    """A slab of which all room is seen, written at a place that a tensor holds."""

    def __init__(self, slab: SlabLayer, slot_1: Tensor) -> None:
        self.keys, self.values, self.slot_1 = slab.keys, slab.values, slot_1

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        """Write one position; give everything."""
        self.keys.index_copy_(2, self.slot_1, key_states)
        self.values.index_copy_(2, self.slot_1, value_states)
        return self.keys, self.values


class _FixedCache:
    """What :class:`~grpo_tui.generation.straight.Straight` reads of a cache."""

    def __init__(self, cache: SlabCache, slot_1: Tensor) -> None:
        self.layers = [_FixedLayer(layer, slot_1) for layer in cache.layers]


class _Bound:
    """One cache as it lies now, and the graph over it."""

    def __init__(self, decode: Callable[..., Tensor], cache: SlabCache, tokens_B: Tensor) -> None:
        for layer in cache.layers:
            # What is masked still meets a weight of 0, and 0 times the NaN that lies in fresh memory is NaN.
            layer.keys[:, :, layer.length :] = 0.0
            layer.values[:, :, layer.length :] = 0.0
        first = cache.layers[0]
        room, length, rows, device = first.keys.shape[-2], first.length, len(tokens_B), tokens_B.device
        self.keys, self.room = first.keys, room
        self._decode = decode
        self._tokens_B = torch.empty_like(tokens_B)
        self._positions_B = torch.empty_like(tokens_B)
        self._slot_1 = torch.zeros(1, dtype=torch.long, device=device)
        self._visible = torch.zeros(rows, 1, 1, room, dtype=torch.bool, device=device)
        self._length = length
        """Columns that may have been made visible."""
        self._cache = _FixedCache(cache, self._slot_1)
        self._graph: Any = None
        self._logits_B_V: Tensor | None = None

    def step(self, tokens_B: Tensor, positions_B: Tensor, looks: Tensor | None, length: int) -> Tensor:
        self._tokens_B.copy_(tokens_B)
        self._positions_B.copy_(positions_B)
        self._slot_1.fill_(length)
        self._visible[..., : length + 1] = True if looks is None else looks
        if self._length > length:  # the cache was trimmed
            self._visible[..., length + 1 :] = False
        self._length = length
        if tokens_B.device.type != "cuda":
            return self._run()
        if self._graph is None:
            self._capture()
        self._graph.replay()
        assert self._logits_B_V is not None
        return self._logits_B_V

    def _run(self) -> Tensor:
        return self._decode(self._tokens_B, self._positions_B, self._visible, self._cache)

    def _capture(self) -> None:
        # Warming up writes the same keys at the same place each time.
        self._graph, self._logits_B_V = captured(self._run)


class Captured:
    """A decoder over fixed addresses, in the place of the one that it is given."""

    def __init__(self, decode: Callable[..., Tensor]) -> None:
        self._decode = decode
        self._bound: _Bound | None = None

    def __call__(
        self, tokens_B: Tensor, positions_B: Tensor, looks: Tensor | None, cache: SlabCache
    ) -> Tensor:
        """Feed one token a row; logits of the next, ``B_V``, until the next call. Arguments as :class:`Straight` has them."""
        length = cache.get_seq_length()
        cache.make_room(length + 1)
        bound = self._bound
        # Rows that left, or a cache that grew or is another one, are other tensors.
        if bound is None or bound.keys is not cache.layers[0].keys:
            self._bound = bound = _Bound(self._decode, cache, tokens_B)
        logits = bound.step(tokens_B, positions_B, looks, length)
        cache.lengthen()
        return logits

    def forget(self) -> None:
        """Let graph and buffers go."""
        self._bound = None
