"""One random stream for every completion, so that a completion does not depend on what else is in the batch."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt


def stream_key(seed: int, purpose: str, step: int, problem_id: str, index: int) -> str:
    """Name of a stream. ``purpose`` keeps training and evaluation apart."""
    return f"{seed}/{purpose}/{step}/{index}/{problem_id}"


def uniforms(key: str, count: int) -> npt.NDArray[np.float64]:
    """The first ``count`` numbers in [0, 1) of the stream; a longer request continues the same numbers."""
    digest = hashlib.sha256(key.encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little"))).random(count)
