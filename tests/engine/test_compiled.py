"""A run whose sampler decodes by compiled code: repeatable, and all of its memory goes when it closes."""

from __future__ import annotations

import pytest

from grpo_tui.engine.trainer import Trainer
from grpo_tui.generation import fast
from grpo_tui.generation.fast import FastSampler
from grpo_tui.generation.native import Native
from tests.engine.support import small_config, trainer_of
from tests.support.compiled import needs_compiler

pytestmark = needs_compiler


def natives(trainer: Trainer) -> list[Native]:
    """Of the run's sampler, and of the one that draws ahead."""
    samplers = (trainer.sampler, trainer.ahead._sampler)
    found = [sampler._decode for sampler in samplers if isinstance(sampler, FastSampler)]
    assert all(isinstance(decode, Native) for decode in found)
    return [decode for decode in found if isinstance(decode, Native)]


@pytest.mark.parametrize("ahead", [False, True])
def test_the_same_run_twice_and_nothing_left(ahead: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: closing that leaves the panels of either sampler."""
    monkeypatch.setattr(fast, "has_dots", lambda: True)  # whatever this processor has
    options = ("model.lora_targets=all-linear", "model.dtype=bf16", f"sampling.ahead={str(ahead).lower()}")
    hashes = []
    for _ in range(2):
        with trainer_of(small_config(*options)) as trainer:
            decoders = natives(trainer)
            assert len(decoders) == 1 + ahead
            trainer.ahead.is_unattended = lambda: True
            hashes.append([metrics.state_hash for metrics in trainer.steps(3)])
            assert all(decode._arena is not None for decode in decoders)
        assert all(decode._arena is None for decode in decoders)
    assert hashes[0] == hashes[1]
    assert len(set(hashes[0])) == 3
