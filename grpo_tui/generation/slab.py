"""A key-value cache written in place: room is made ahead and seldom, and rows can leave it."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

BLOCK = 256
"""Positions that a slab has room for beyond its first tokens; it doubles when they are used up."""


class SlabLayer(CacheLayerMixin):  # type: ignore[misc,unused-ignore]
    """Keys and values of one layer, ``B_H_S_D``, of which the first ``length`` of S are filled."""

    is_sliding = False

    def __init__(self, capacity: int, *, turns_keys: bool = False) -> None:
        super().__init__()
        self.capacity = capacity
        self.length = 0
        self.turns_keys = turns_keys
        """Whether the keys of one number of a head lie behind each other, position by position: ``B_H_D_S`` in memory."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate for as many rows as come first."""
        room = min(self.capacity, key_states.shape[-2] + BLOCK)
        self.keys = _room(key_states, room, turned=self.turns_keys)
        self.values = _room(value_states, room)
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write what is new behind what is there; give views of all that is filled."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[-2]
        if end > self.keys.shape[-2]:
            self.make_room(end)
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def make_room(self, end: int) -> None:
        """Move to where there is room up to ``end``."""
        room = min(self.capacity, max(end, 2 * self.keys.shape[-2]))
        self.keys = _moved(self.keys, self.length, room, turned=self.turns_keys)
        self.values = _moved(self.values, self.length, room)

    def select(self, rows_N: Tensor) -> None:
        """Keep these rows, in this order; a row may be taken several times."""
        room = self.keys.shape[-2]
        self.keys = _moved(self.keys, self.length, room, rows_N, turned=self.turns_keys)
        self.values = _moved(self.values, self.length, room, rows_N)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that the next query sees."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Positions filled."""
        return self.length

    def get_max_length(self) -> int:
        """Positions there can be."""
        return self.capacity


class SlabCache(Cache):  # type: ignore[misc,unused-ignore]
    """One :class:`SlabLayer` for each layer of the model."""

    def __init__(self, num_layers: int, capacity: int, *, turns_keys: bool = False) -> None:
        super().__init__(layers=[SlabLayer(capacity, turns_keys=turns_keys) for _ in range(num_layers)])

    def make_room(self, end: int) -> None:
        """Let every layer have room for ``end`` positions."""
        for layer in self.layers:
            if end > layer.keys.shape[-2]:
                layer.make_room(end)

    def lengthen(self) -> None:
        """One more position of every layer is filled; who wrote it wrote into the layers' own tensors."""
        for layer in self.layers:
            layer.length += 1

    def select(self, rows_N: Tensor) -> None:
        """Keep these rows of every layer."""
        for layer in self.layers:
            layer.select(rows_N)


def _room(like_B_H_T_D: Tensor, length: int, *, turned: bool = False) -> Tensor:
    rows, heads, _, size = like_B_H_T_D.shape
    if turned:
        return like_B_H_T_D.new_empty(rows, heads, size, length).transpose(2, 3)
    return like_B_H_T_D.new_empty(rows, heads, length, size)


def _moved(
    slab: Tensor, length: int, room: int, rows_N: Tensor | None = None, *, turned: bool = False
) -> Tensor:
    """What is filled, in a slab with this much room; of these rows, or of all."""
    filled = slab[:, :, :length]
    filled = filled if rows_N is None else filled.index_select(0, rows_N)
    moved = _room(filled, room, turned=turned)
    moved[:, :, :length] = filled
    return moved
