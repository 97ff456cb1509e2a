"""Memory that runs out: the phase is taken again in smaller pieces, with the same outcome, and the run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from grpo_tui.engine import gradient
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.types import Notice
from grpo_tui.policy.policy import Policy
from tests.engine.support import Events, small_config, take_steps, trainer_of


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def trainer(events: Events) -> Iterator[Trainer]:
    with trainer_of(small_config(), events) as made:
        yield made


NO_REFERENCE = ("algorithm.beta=0", "algorithm.measure_kl_ref=false")
"""So that microbatches of the update are all that differs."""


def told(events: Events) -> list[str]:
    return [notice.message for notice in events.of(Notice) if notice.source == "memory"]


def test_the_update_is_taken_again_from_its_start(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: no restore before the second attempt; what the first attempt measured kept."""
    real = gradient._backward
    calls = 0

    def runs_out(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        outputs = real(*arguments)
        if calls == 1:  # after the backward pass: gradients and measurements are there already
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return outputs

    monkeypatch.setattr(gradient, "_backward", runs_out)
    with trainer_of(small_config(*NO_REFERENCE), events) as trainer:
        [metrics] = take_steps(trainer, 1)
        smaller = f"optim.max_tokens_per_microbatch={trainer.microbatch_tokens}"
    assert calls >= 3, "two microbatches after the one that did not fit"
    assert metrics.num_optimizer_steps == 1
    [line] = told(events)
    assert line.startswith("out of memory in the update: taking it again with microbatches of ")
    assert "instead of 8192" in line
    with trainer_of(small_config(*NO_REFERENCE, smaller)) as other:
        [expected] = take_steps(other, 1)
    assert metrics.state_hash == expected.state_hash
    assert metrics.loss == expected.loss


def test_the_reference_is_taken_again(
    trainer: Trainer, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Policy.logprobs
    sizes: list[int] = []

    def runs_out(policy: Policy, batch: Any, temperature: float, **options: Any) -> Any:
        sizes.append(len(batch.completion_ids_B_T))
        if len(sizes) == 1:
            raise torch.OutOfMemoryError
        return real(policy, batch, temperature, **options)

    monkeypatch.setattr(Policy, "logprobs", runs_out)
    [metrics] = take_steps(trainer, 1)
    assert metrics.kl_ref == 0.0
    assert sizes[0] == 8
    assert max(sizes[1:]) < 8
    assert told(events)[0].startswith("out of memory in reference: ")


def test_where_not_even_one_row_fits_the_error_is_told(
    trainer: Trainer, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = trainer.state_hash()

    def always(*_arguments: Any, **_options: Any) -> Any:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(gradient, "_backward", always)
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        take_steps(trainer, 1)
    assert trainer.state_hash() == before
    assert 2 <= len(told(events)) <= 8


def test_undoing_too_little_room_is_not_taken_for_another_attempt(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with: the snapshot put back inside the handler, whose own error was then retried."""
    tries = 0

    def runs_out(*_arguments: Any) -> Any:
        nonlocal tries
        tries += 1
        raise torch.OutOfMemoryError("first")

    def cannot(_trainer: Trainer, _snapshot: Any) -> None:
        raise torch.OutOfMemoryError("while undoing")

    monkeypatch.setattr(gradient, "_backward", runs_out)
    monkeypatch.setattr(Trainer, "restore", cannot)
    with pytest.raises(torch.OutOfMemoryError, match="while undoing"):
        take_steps(trainer, 1)
    assert tries == 1
