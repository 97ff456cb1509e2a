"""What this machine has: cores and memory, read from the system. No torch, so that the first screen can tell it too."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_ASK_NVIDIA = (
    "nvidia-smi",
    "--query-gpu=name,memory.total,memory.free",
    "--format=csv,noheader,nounits",
)


@dataclass(frozen=True, slots=True)
class Gpu:
    """A CUDA device as its driver tells it; bytes."""

    name: str
    total_bytes: int
    free_bytes: int


def gpus(command: tuple[str, ...] = _ASK_NVIDIA, patience: float = 5.0) -> list[Gpu]:
    """CUDA devices, by asking the driver's own program; none where there is none. Takes up to a second."""
    import subprocess

    try:
        told = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=patience, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return []
    found = []
    for line in told.stdout.splitlines() if told.returncode == 0 else ():
        name, *sizes = (part.strip() for part in line.rsplit(",", 2))
        if len(sizes) == 2 and all(size.isascii() and size.isdigit() for size in sizes):
            found.append(Gpu(name, int(sizes[0]) << 20, int(sizes[1]) << 20))
    return found


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def total_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its container's where that is less; 0: unknown."""
    limit = _number(_CGROUP / "memory.max")
    known = [size for size in (_meminfo("MemTotal"), _sysconf("SC_PHYS_PAGES"), limit) if size]
    return min(known, default=0)


def free_memory() -> int:
    """Bytes that can be taken now without swapping; where the system does not tell, half of all. 0: unknown."""
    available = _meminfo("MemAvailable") or _sysconf("SC_AVPHYS_PAGES") or total_memory() // 2
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    return max(0, min(available, limit - used)) if limit and used else available


def held_memory() -> int:
    """Bytes of memory that this process holds now; 0 where the system does not tell."""
    return _status("VmRSS")


def reset_peak() -> bool:
    """Let :func:`peak_memory` begin anew; False where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_memory() -> int:
    """Most bytes that this process has held, since :func:`reset_peak` where that works."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _status("VmHWM") or (peak if sys.platform == "darwin" else peak * 1024)


def _meminfo(name: str) -> int:
    return _kilobytes(Path("/proc/meminfo"), name)


def _status(name: str) -> int:
    return _kilobytes(Path("/proc/self/status"), name)


def _kilobytes(path: Path, name: str) -> int:
    try:
        for line in path.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0


def _number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # "max" is no limit
        return 0


def _sysconf(name: str) -> int:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 0
