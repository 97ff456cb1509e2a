"""A value function on the policy's own frozen base: a second LoRA adapter and a float32 linear head.

PPO on an adapter needs no second model: the base is shared, and only the adapter that is active differs. The head
starts at 0, so the first values are 0 everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from grpo_tui.policy.policy import POLICY_ADAPTER, Policy, TokenBatch, states_before_tokens

CRITIC_ADAPTER = "critic"


class Critic:
    """V(state) for the state before each token of a completion."""

    def __init__(self, policy: Policy, *, seed: int) -> None:
        """Lay a second adapter, of the same shape as the policy's, over its base.

        Args:
            policy: whose base is shared.
            seed: of the adapter's initialisation.
        """
        self._policy = policy
        model = policy.model
        torch.manual_seed(seed)
        model.add_adapter(CRITIC_ADAPTER, model.peft_config[POLICY_ADAPTER])
        size = int(model.config.get_text_config().hidden_size)
        self.head = torch.nn.Linear(size, 1, device=policy.device, dtype=torch.float32)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)
        model.set_adapter(POLICY_ADAPTER)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Adapter and head by name, in a fixed order."""
        adapter = {
            name: p
            for name, p in self._policy.model.named_parameters()
            if f".{CRITIC_ADAPTER}." in name and "lora_" in name
        }
        return adapter | {f"head.{name}": p for name, p in self.head.named_parameters()}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within: the model computes with the critic's adapter, whose parameters take gradients.

        A backward pass through values must run inside too.
        """
        model: Any = self._policy.model
        model.set_adapter(CRITIC_ADAPTER)
        try:
            yield
        finally:
            model.set_adapter(POLICY_ADAPTER)

    def values(self, batch: TokenBatch) -> Tensor:
        """V of the state before each token, ``B_T``, float32. Call it inside :meth:`active`.

        Slots outside the completion mask hold finite numbers without meaning.
        """
        # The model under its language-model head: the last hidden state is all that is kept, and no logits are made.
        states = states_before_tokens(self._policy.model.get_base_model().base_model, batch)
        values: Tensor = self.head(states.float()).squeeze(-1)
        return values

    def state(self) -> dict[str, Tensor]:
        """A copy of the parameters, on their device."""
        return {name: p.detach().clone() for name, p in self.parameters().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put parameters back, in place."""
        parameters = self.parameters()
        assert parameters.keys() == state.keys(), "the state belongs to another critic"
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(state[name])
