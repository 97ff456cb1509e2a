"""Memory that a step has freed is kept for the next one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from grpo_tui.heap import give_back_freed_memory, keep_freed_memory

HAS_GLIBC = platform.libc_ver()[0] == "glibc"
AGAIN = """
import ctypes, resource, sys, threading
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page would be one fault for 512
from grpo_tui.heap import give_back_freed_memory, keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory({})
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.malloc.argtypes = [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
library.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
found = []

def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [library.malloc(12 << 20) for _ in range(8)]
    for block in blocks:
        library.memset(block, 1, 12 << 20)
    for block in blocks:
        library.free(block)
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

def steps():
    for _ in range(4):
        step()
    if sys.argv[2] == "given back":
        give_back_freed_memory()
    step()

if sys.argv[3] == "thread":
    thread = threading.Thread(target=steps)
    thread.start()
    thread.join()
else:
    steps()
print(found[-1])
"""
glibc = pytest.mark.skipif(not HAS_GLIBC, reason="glibc's allocator")


def faults(*arguments: str) -> int:
    """Pages that the fifth step took from the system."""
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
        env={
            name: value
            for name, value in os.environ.items()
            if "MALLOC" not in name and "TUNABLES" not in name
        },
    )
    return int(done.stdout)


@glibc
@pytest.mark.parametrize("where", ["main", "thread"])
def test_a_step_takes_no_new_pages(where: str) -> None:
    """96 MB are 24,576 pages. Seen to fail with: no threshold for trimming; more than one heap (thread)."""
    assert faults("keep", "", where) < 1000


@glibc
def test_without_it_they_are_taken_again() -> None:
    """Else there is nothing to gain, and the module may go."""
    assert faults("leave", "", "main") > 10_000


@glibc
def test_it_can_be_given_back() -> None:
    """Seen to fail with: nothing done."""
    assert faults("keep", "given back", "main") > 10_000


@pytest.mark.parametrize(
    "told",
    [
        {"MALLOC_TRIM_THRESHOLD_": "0"},
        {"MALLOC_ARENA_MAX": "4"},
        {"GLIBC_TUNABLES": "glibc.malloc.arena_max=4"},
    ],
)
def test_what_the_user_has_set_stands(told: dict[str, str]) -> None:
    """Seen to fail with: no look at the environment."""
    assert not keep_freed_memory(told)


def test_what_is_not_overruled_does_not_matter() -> None:
    """Seen to fail with: any tunable taken for one of ours."""
    assert (
        keep_freed_memory({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "MALLOC_CHECK_": "1"}) or not HAS_GLIBC
    )


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: a C library asked for all the same."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory({})
    give_back_freed_memory()
