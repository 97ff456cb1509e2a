"""How much memory is free, and the most that was held: of a CUDA device by torch's allocator, of this process on a CPU."""

from __future__ import annotations

from typing import Protocol

import torch

from grpo_tui.config import machine
from grpo_tui.heap import give_back_freed_memory


class Meter(Protocol):
    """Measures memory in bytes; tests put a make-believe one here."""

    survives: bool
    """Whether running out raises an error that can be caught."""

    def free(self) -> int:
        """What can still be taken."""
        ...

    def begin(self) -> int:
        """Begin to watch for a peak; what is held now."""
        ...

    def peak(self) -> int:
        """Most held since :meth:`begin`."""
        ...


class DeviceMeter:
    """Memory of a CUDA device, by torch's allocator; of this process on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.survives = device.type == "cuda"

    def free(self) -> int:
        """Free on the device, with what the allocator keeps without need."""
        if not self.survives:
            give_back_freed_memory()
            return machine.free_memory()
        torch.cuda.empty_cache()
        spare = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return int(torch.cuda.mem_get_info(self._device)[0]) + spare

    def begin(self) -> int:
        """What is held now."""
        if self.survives:
            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            return int(torch.cuda.memory_allocated(self._device))
        give_back_freed_memory()  # what an earlier trial had is not held by this one
        machine.reset_peak()
        return machine.held_memory()

    def peak(self) -> int:
        """Most held since then."""
        if self.survives:
            torch.cuda.synchronize(self._device)
            return int(torch.cuda.max_memory_allocated(self._device))
        return machine.peak_memory()
