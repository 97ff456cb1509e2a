"""A key-value cache of fixed size, written in place: no concatenation, and rows can leave it."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class SlabLayer(CacheLayerMixin):  # type: ignore[misc,unused-ignore]
    """Keys and values of one layer, ``B_H_S_D``, of which the first ``length`` of S are filled."""

    is_sliding = False

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate for as many rows as come first."""
        self.keys = _room(key_states, self.capacity)
        self.values = _room(value_states, self.capacity)
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write what is new behind what is there; give views of all that is filled."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[-2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def select(self, rows_N: Tensor) -> None:
        """Keep these rows, in this order; a row may be taken several times."""
        self.keys = _picked(self.keys, rows_N, self.length, self.capacity)
        self.values = _picked(self.values, rows_N, self.length, self.capacity)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that the next query sees."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Positions filled."""
        return self.length

    def get_max_length(self) -> int:
        """Positions there are."""
        return self.capacity


class SlabCache(Cache):  # type: ignore[misc,unused-ignore]
    """One :class:`SlabLayer` for each layer of the model."""

    def __init__(self, num_layers: int, capacity: int) -> None:
        super().__init__(layers=[SlabLayer(capacity) for _ in range(num_layers)])

    def select(self, rows_N: Tensor) -> None:
        """Keep these rows of every layer."""
        for layer in self.layers:
            layer.select(rows_N)


def _room(like_B_H_T_D: Tensor, capacity: int) -> Tensor:
    rows, heads, _, size = like_B_H_T_D.shape
    return like_B_H_T_D.new_empty(rows, heads, capacity, size)


def _picked(slab: Tensor, rows_N: Tensor, length: int, capacity: int) -> Tensor:
    room = slab.new_empty(rows_N.shape[0], slab.shape[1], capacity, slab.shape[3])
    room[:, :, :length] = slab[:, :, :length].index_select(0, rows_N)
    return room
