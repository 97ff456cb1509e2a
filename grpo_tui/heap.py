"""What the C library does with memory that a step has freed.

glibc gives it back to the system at the end of each step, and the next step takes it page by page again. A page costs 2 to
10 µs on a virtual machine: a second of a three-second update of a 135 M model. Here it is kept, in one heap for all threads
(of any other, glibc gives back whole parts as soon as they are free, whatever it is told).
"""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from typing import Any, Protocol

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""glibc's numbers of what ``mallopt`` sets (malloc.h)."""
OURS = ("arena_max", "mmap_threshold", "mmap_max", "trim_threshold", "top_pad")
"""What the user may have set that would be overruled."""
LARGEST_IN_HEAP = 32 << 20
"""Bytes; what is larger is mapped by itself, and always given back. glibc allows no more."""

MUCH = 0.1
"""Share of the free memory that is taken for little: the pre-flight leaves as much alone of what it found."""


def keep_freed_memory(environment: dict[str, str] | None = None) -> bool:
    """From now on keep what is freed, unless the user has set the allocator up; return whether it is so.

    To be called before other threads begin, for a thread stays with the heap that it began with.

    Args:
        environment: what the user has set; None: the process's own.
    """
    told = os.environ if environment is None else environment
    names = {name.removesuffix("_") for name in told}  # MALLOC_TRIM_THRESHOLD_, but MALLOC_ARENA_MAX
    tunables = told.get("GLIBC_TUNABLES", "")
    if any(f"MALLOC_{name.upper()}" in names or f"glibc.malloc.{name}" in tunables for name in OURS):
        return False
    library = _c_library()
    if library is None or not hasattr(library, "mallopt"):
        return False
    wanted = ((ARENA_MAX, 1), (MMAP_THRESHOLD, LARGEST_IN_HEAP), (TRIM_THRESHOLD, -1))
    done = [library.mallopt(number, value) == 1 for number, value in wanted]
    return all(done)


class Lender(Protocol):
    """Memory of its own kind that is kept for a next time."""

    num_bytes: int
    """Held."""

    def release(self) -> None:
        """Give it back, unless it is in use."""
        ...


_lenders: weakref.WeakSet[Lender] = weakref.WeakSet()


def gives_back(lender: Lender) -> None:
    """From now on ask this one too for its memory, as long as it lives."""
    _lenders.add(lender)


def give_back_freed_memory() -> None:
    """Give back now what is kept."""
    for lender in list(_lenders):
        lender.release()
    trim_heap()


def give_back_where_scarce(free_bytes: int) -> None:
    """Before something that has no use for it: give back what is much beside the memory that is free (0: unknown, as if none)."""
    for lender in list(_lenders):
        if lender.num_bytes > free_bytes * MUCH:
            lender.release()


def trim_heap() -> None:
    """Give back what is kept in the C library's heap."""
    library = _c_library()
    if library is not None and hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def _c_library() -> Any:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
