"""A key-value cache written in place: room is made ahead and seldom, rows can leave it, and others take their places."""

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

    def begin_like(self, other: SlabLayer, num_rows: int, length: int) -> None:
        """Make room for rows of the kind that another slab has; zeros fill their first ``length`` positions."""
        room = min(self.capacity, length + BLOCK)
        self.keys = _room(other.keys, room, num_rows, turned=self.turns_keys)
        self.values = _room(other.values, room, num_rows)
        self.keys[:, :, :length] = 0.0
        self.values[:, :, :length] = 0.0
        self.length, self.is_initialized = length, True

    def put(self, places_N: Tensor, other: SlabLayer, rows_N: Tensor) -> None:
        """Write rows of another slab into places of this one, so that both end together; what is too long loses its start."""
        width = min(self.length, other.length)
        ours, theirs = slice(self.length - width, self.length), slice(other.length - width, other.length)
        self.keys[places_N, :, ours] = other.keys[rows_N, :, theirs]
        self.values[places_N, :, ours] = other.values[rows_N, :, theirs]

    def shift(self, columns: int) -> None:
        """Move what is filled to the right, with zeros before it; or to the left (negative), over what came first."""
        end = self.length + columns
        if end > self.keys.shape[-2]:
            self.make_room(end)
        for slab in (self.keys, self.values):
            kept = slab[:, :, max(0, -columns) : self.length].clone()
            slab[:, :, max(0, columns) : end] = kept
            slab[:, :, : max(0, columns)] = 0.0
        self.length = end

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

    def like(self, num_rows: int, length: int, capacity: int, *, turns_keys: bool = False) -> SlabCache:
        """Another cache for rows of this one's kind: so many, of which ``length`` positions are filled with zeros."""
        made = SlabCache(len(self.layers), capacity, turns_keys=turns_keys)
        for layer, kind in zip(made.layers, self.layers, strict=True):
            layer.begin_like(kind, num_rows, length)
        return made

    def put(self, places_N: Tensor, other: SlabCache, rows_N: Tensor) -> None:
        """Write rows of another cache into places of this one, so that both end together."""
        for layer, source in zip(self.layers, other.layers, strict=True):
            layer.put(places_N, source, rows_N)

    def shift(self, columns: int) -> None:
        """Move what is filled in every layer to the right, or to the left (negative)."""
        for layer in self.layers:
            layer.shift(columns)


def _room(like_B_H_T_D: Tensor, length: int, num_rows: int | None = None, *, turned: bool = False) -> Tensor:
    """Uninitialised memory for so many positions, of as many rows or of another number."""
    rows, heads, _, size = like_B_H_T_D.shape
    rows = rows if num_rows is None else num_rows
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
