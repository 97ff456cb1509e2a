"""Memory for what a forward pass keeps for the way back, taken once and used again by the next pass.

No two steps have the same number of tokens, so what one has freed rarely fits the next: a C library's heap falls to pieces and
grows for many steps, by pages that cost a virtual machine 12 µs each (a fifth of a step of a 135 M model). Here tensors lie one
behind the other in one range of addresses, as large as the machine's memory, and the next pass begins at the first again. The
range holds as much memory as the largest pass has written to, until it is given back (:mod:`grpo_tui.heap`).
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import threading
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from grpo_tui.config import machine
from grpo_tui.heap import gives_back

LINE = 64
"""Bytes; a tensor begins on one of the processor's lines."""
LARGEST_PAGE = 2 << 20
NO_RESERVE = 0x4000
"""``MAP_NORESERVE`` of Linux, which Python does not name everywhere: addresses alone, for which no memory is set aside."""


class Lease:
    """A pass's right to the room, for as long as anything refers to it: the nodes of its graph do."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def take(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Uninitialised memory, contiguous, of another tensor's type; as usual where the room is full.

        Not a view: one tensor written to does not count as a change of another that autograd keeps.
        """
        found = self._room.place(math.prod(shape) * like.element_size())
        if found is None:
            return like.new_empty(tuple(shape))
        storage, begin = found
        return like.new_empty(0).set_(storage, begin // like.element_size(), tuple(shape), _strides(shape))


class Room:
    """A range of addresses that one pass after the other fills from the beginning. Of a CPU, on Linux."""

    def __init__(self) -> None:
        self._range: _Range | None = None
        self._next = 0
        self._lease: weakref.ref[Lease] | None = None
        self._lock = threading.Lock()
        self.num_bytes = 0
        """That hold memory: as many as a pass has taken at most since the room was given back."""
        gives_back(self)

    def lend(self) -> Lease | None:
        """The room from its beginning on; None while another pass's graph lives, or where there are no addresses."""
        with self._lock:
            if self._is_lent():
                return None
            try:
                self._range = self._range or _Range(machine.total_memory() or 1 << 36)
            except OSError:
                return None
            lease = Lease(self)
            self._lease, self._next = weakref.ref(lease), 0
            return lease

    def place(self, num_bytes: int) -> tuple[torch.UntypedStorage, int] | None:
        """So many bytes in one piece: in what, and from where on; None: there is no more room."""
        assert self._range is not None
        begin, end = self._next, self._next + num_bytes
        if end > self._range.num_bytes:
            return None
        self._next = end + -end % LINE
        self.num_bytes = max(self.num_bytes, self._next)
        return self._range.storage, self._range.first + begin

    def release(self) -> None:
        """Give the memory back to the system, unless a pass has it; the addresses stay."""
        with self._lock:
            if self._range is not None and not self._is_lent():
                self._range.forget(self.num_bytes)
                self.num_bytes = 0

    def _is_lent(self) -> bool:
        return self._lease is not None and self._lease() is not None


class _Range:
    """Addresses that get memory, in the largest pages there are, when they are first written to."""

    def __init__(self, num_bytes: int) -> None:
        """Map them.

        Raises:
            OSError: the system does not give so many.
        """
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
        self._memory = mmap.mmap(-1, num_bytes + LARGEST_PAGE, flags=flags)
        with contextlib.suppress(OSError):
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        self.num_bytes = num_bytes
        self.first = -ctypes.addressof(ctypes.c_char.from_buffer(self._memory)) % LARGEST_PAGE
        self.storage = torch.frombuffer(self._memory, dtype=torch.uint8).untyped_storage()

    def forget(self, num_bytes: int) -> None:
        """Give the memory of so many of the first bytes back; they read as zeros from then on."""
        length = self.first + num_bytes
        self._memory.madvise(mmap.MADV_DONTNEED, 0, length + -length % mmap.PAGESIZE)


def room_for(lease: Lease | None, shape: Sequence[int], like: Tensor) -> Tensor:
    """Uninitialised memory of another tensor's type: of the lease, or where there is none, as usual."""
    return like.new_empty(tuple(shape)) if lease is None else lease.take(shape, like)


def _strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Of what lies without gaps, the last dimension's numbers behind each other."""
    return tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))
