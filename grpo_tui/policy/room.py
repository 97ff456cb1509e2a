"""Memory for what a forward pass keeps for the way back, taken once and used again by the next pass.

No two steps have the same number of tokens, so what one has freed rarely fits the next: a C library's heap falls to pieces and
grows for many steps, by pages that cost a virtual machine 12 µs each (a fifth of a step of a 135 M model). Here tensors lie one
behind the other in large mappings, and the next pass begins at the first again.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

CHUNK_BYTES = 128 << 20
"""Of a mapping; the system gives its pages when they are first written to."""
LINE = 64
"""Bytes; a tensor begins on one of the processor's lines."""


class Lease:
    """A pass's right to the room, for as long as anything refers to it: the nodes of its graph do."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def take(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Uninitialised memory, contiguous, of another tensor's type.

        Not a view: one tensor written to does not count as a change of another that autograd keeps.

        Raises:
            torch.OutOfMemoryError: there is none.
        """
        storage, begin = self._room.place(math.prod(shape) * like.element_size())
        return like.new_empty(0).set_(storage, begin // like.element_size(), tuple(shape), _strides(shape))


class Room:
    """Mappings that one pass after the other fills from the beginning. Of a CPU."""

    def __init__(self) -> None:
        self._chunks: list[torch.UntypedStorage] = []
        self._chunk = self._next = 0
        self._lease: weakref.ref[Lease] | None = None

    @property
    def num_bytes(self) -> int:
        """Mapped."""
        return sum(chunk.nbytes() for chunk in self._chunks)

    def lend(self) -> Lease | None:
        """The room from its beginning on; None while another pass's graph lives."""
        if self._lease is not None and self._lease() is not None:
            return None
        lease = Lease(self)
        self._lease, self._chunk, self._next = weakref.ref(lease), 0, 0
        return lease

    def place(self, num_bytes: int) -> tuple[torch.UntypedStorage, int]:
        """So many bytes in one piece: in which mapping, and from where on."""
        while self._chunk < len(self._chunks):
            chunk, begin = self._chunks[self._chunk], self._next
            if begin + num_bytes <= chunk.nbytes():
                self._next = begin + num_bytes + -num_bytes % LINE
                return chunk, begin
            self._chunk, self._next = self._chunk + 1, 0
        self._chunks.append(_mapped(max(CHUNK_BYTES, num_bytes)))
        return self.place(num_bytes)


def room_for(lease: Lease | None, shape: Sequence[int], like: Tensor) -> Tensor:
    """Uninitialised memory of another tensor's type: of the lease, or where there is none, as usual."""
    return like.new_empty(tuple(shape)) if lease is None else lease.take(shape, like)


def _strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Of what lies without gaps, the last dimension's numbers behind each other."""
    return tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))


def _mapped(num_bytes: int) -> torch.UntypedStorage:
    """A mapping of its own, of the largest pages there are; it goes back with the last tensor in it."""
    try:
        memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise torch.OutOfMemoryError(f"no {num_bytes >> 20} MB for a forward pass") from error
    with contextlib.suppress(AttributeError, OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.uint8).untyped_storage()
