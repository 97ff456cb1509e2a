"""How far Triton's kernels, interpreted, are from the model: ``TRITON_INTERPRET=1 python -m tests.generation.interpreted``."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import numpy as np

from grpo_tui.generation import folded
from grpo_tui.generation.fast import FastSampler
from tests.policy.models import tiny_policy


class _Int(int):
    """``int`` that takes the interpreter's scalars, arrays of one number, which NumPy's ``__int__`` refuses from 2.4 on."""

    def __new__(cls, value: Any = 0) -> Any:
        return builtins.int(value.item() if isinstance(value, np.ndarray) else value)


def main(architecture: str, folds: str, *targets: str) -> None:
    """Print the largest total variation between the distributions."""
    import triton.runtime.interpreter

    triton.runtime.interpreter.int = _Int
    vars(folded)["can_pack"] = lambda _dtype: False  # a GPU has no matrices laid out for a processor
    folded.FOLDED_PARAMETERS = 0 if folds == "beside" else folded.FOLDED_PARAMETERS
    policy = tiny_policy(architecture, targets=targets or ("all-linear",))
    sampler = FastSampler(policy, captures=True, fuses=True)
    assert sampler.fuses
    sys.stdout.write(f"{sampler.deviation()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
