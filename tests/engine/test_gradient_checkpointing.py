"""``optim.gradient_checkpointing`` through whole steps: it takes part, and changes nothing but memory and time."""

from __future__ import annotations

from typing import Any

import pytest
from torch.utils import checkpoint as recomputing

from tests.engine.support import small_config, take_steps, trainer_of

PPO = ("algorithm.name=ppo", "critic.value_warmup_steps=1")


@pytest.mark.parametrize("overrides", [(), ("model.adapter_layers=peft",), PPO])
def test_the_same_weights_come_out(overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: the critic's or the policy's update left out."""
    calls = 0
    plain = recomputing.checkpoint

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return plain(*args, **kwargs)

    monkeypatch.setattr(recomputing, "checkpoint", counted)
    hashes, counts = [], []
    for on in ("false", "true"):
        calls = 0
        with trainer_of(small_config(*overrides, f"optim.gradient_checkpointing={on}")) as trainer:
            hashes.append([metrics.state_hash for metrics in take_steps(trainer, 2)])
            layers = trainer.policy.model.config.num_hidden_layers
        counts.append(calls)
    # Each step of PPO trains the critic; in the first the policy is frozen.
    updates = 3 if overrides == PPO else 2
    assert counts[0] == 0
    assert counts[1] % layers == 0
    assert counts[1] >= updates * layers
    assert hashes[0] == hashes[1]
