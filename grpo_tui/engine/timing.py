"""Where a step's time goes, counted as it goes: tokens, seconds and padding of each kind of pass, memory.

Nothing here synchronises with a device inside a phase: seconds are those of the host, whose phases end by fetching results.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from grpo_tui.events.records import PassReport, TimingReport


@dataclass(slots=True)
class Passes:
    """All passes of one kind in a step."""

    num_tokens: int = 0
    num_positions: int = 0
    """Tokens and padding."""
    num_microbatches: int = 0
    seconds: float = 0.0

    def add(self, num_tokens: int, num_positions: int) -> None:
        """Count one microbatch."""
        self.num_tokens += num_tokens
        self.num_positions += num_positions
        self.num_microbatches += 1

    @contextmanager
    def timed(self, paused: Callable[[], float] = lambda: 0.0) -> Iterator[None]:
        """Within: time counts, but for that in which the engine was held (``paused``: seconds of it so far)."""
        started, paused_before = time.perf_counter(), paused()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started - (paused() - paused_before)

    def report(self) -> PassReport:
        """The same as a record."""
        return PassReport(
            num_tokens=self.num_tokens,
            seconds=self.seconds,
            tokens_per_second=self.num_tokens / self.seconds if self.seconds > 0 else 0.0,
            num_microbatches=self.num_microbatches,
            padding=1.0 - self.num_tokens / self.num_positions if self.num_positions else 0.0,
        )


@dataclass(slots=True, kw_only=True)
class Tally:
    """What one step has cost so far."""

    prefill: Passes = field(default_factory=Passes)
    decode: Passes = field(default_factory=Passes)
    reference: Passes = field(default_factory=Passes)
    """And those for old log-probs."""
    update: Passes = field(default_factory=Passes)
    run_file_seconds: float = 0.0

    def report(self, device: torch.device) -> TimingReport:
        """The same as a record."""
        return TimingReport(
            prefill=self.prefill.report(),
            decode=self.decode.report(),
            reference=self.reference.report(),
            update=self.update.report(),
            device_peak_bytes=int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else None,
            run_file_seconds=self.run_file_seconds,
        )


def begin_tally(before: Tally, device: torch.device) -> Tally:
    """A new step's tally. What writing the run file took since the last one was told belongs to it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    return Tally(run_file_seconds=before.run_file_seconds)
