"""Sampling on a thread of its own, by weights as they were when it began, while the policy is judged and updated.

What the two threads share, and why neither feels the other:

- **weights**: the twin is frozen (:meth:`~grpo_tui.generation.folded.Twin.freeze`) on the caller's thread before the other
  begins: what the adapter adds lies in copies, the rest never changes. Switching the adapter off for the reference, other
  weights for a while, training mode: all of that is of the policy's modules, and the twin has its own. The sampler is one
  that nobody else samples with;
- **threads of the processor**: their number is the process's, and sums depend on it, so nobody may set it meanwhile
  (``Policy.decodes_alone``);
- **random numbers**: samplers draw from NumPy streams by name, never from torch's generators;
- **gradient mode** is each thread's own, and the sampler switches it off for its own;
- **CUDA**: the sampler works on a stream of its own, which first waits for the caller's (the copies are made there); both
  ends wait for the device before memory goes back. This sampler captures no graph, and who else samples on the device
  waits for its end first (``Ahead.make_way``): while one thread captures, the other may not synchronise, allocate anew
  or seed;
- **memory**: what runs out here is met by :func:`~grpo_tui.generation.drawing.in_rounds` with fewer rows.

So what is drawn depends on the frozen weights and the requests alone, never on how the threads take turns.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence

import torch

from grpo_tui.generation.fast import FastSampler
from grpo_tui.generation.types import SampledTokens, SampleRequest, SamplingSettings, TokenTick


class Left(Exception):
    """Raised inside the thread when what it draws is not wanted any more."""


class BesideSampling:
    """One sampling that is under way beside the caller."""

    def __init__(
        self,
        sampler: FastSampler,
        device: torch.device,
        requests: Sequence[SampleRequest],
        settings: SamplingSettings,
        heed: Callable[[threading.Event], None] = lambda _left: None,
    ) -> None:
        """Freeze the sampler and begin.

        Args:
            sampler: used by nobody else until this has ended.
            device: of its policy.
            requests: one completion each.
            settings: how they are drawn.
            heed: called at each token on the other thread, with the mark that this is not wanted any more; may block, and
                may raise to leave.
        """
        self._sampler, self._requests, self._settings, self._heed = sampler, requests, settings, heed
        self._left = threading.Event()
        self._drawn: list[SampledTokens] = []
        self._error: BaseException | None = None
        self.last: TokenTick | None = None
        """The newest position, how far it is; None before the first."""
        self.seconds = 0.0
        """What it took, once it has ended."""
        sampler.freeze(len(requests))
        self._stream = _stream_after_present(device)
        self._thread = threading.Thread(target=self._run, name="sampling beside", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            sampler.thaw()
            raise

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for its end, at most so long; return whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def results(self) -> list[SampledTokens]:
        """What was drawn, once it has ended; raises here what went wrong there."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._drawn

    def leave(self) -> None:
        """Leave off at the next token, and wait for that. What went wrong is nobody's business any more."""
        self._left.set()
        self.wait()

    def _run(self) -> None:
        started = time.perf_counter()
        try:
            with _on(self._stream):
                self._drawn = self._sampler.sample(self._requests, self._settings, self._on_token)
        except BaseException as error:
            # Its frames hold the cache of all rows, and the update beside may need that memory.
            traceback.clear_frames(error.__traceback__)
            self._error = error
        finally:
            self._sampler.thaw()
            self.seconds = time.perf_counter() - started

    def _on_token(self, tick: TokenTick) -> None:
        self.last = tick
        if self._left.is_set():
            raise Left
        self._heed(self._left)


def _stream_after_present(device: torch.device) -> torch.cuda.Stream | None:
    """A stream that goes on from what the caller has asked of the device so far; None where there are no streams."""
    if device.type != "cuda":
        return None
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call,unused-ignore]
    stream.wait_stream(torch.cuda.current_stream(device))
    return stream


@contextlib.contextmanager
def _on(stream: torch.cuda.Stream | None) -> Iterator[None]:
    """Within: work goes to the stream, and is done at the end, however that comes."""
    if stream is None:
        yield
        return
    with torch.cuda.stream(stream):
        try:
            yield
        finally:
            stream.synchronize()
