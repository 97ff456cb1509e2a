"""Prompts shared by their group: each goes through the model once, and its completions attend to what it left.

A group of G completions pays for its prompt once instead of G times, forward and backward: the prompt's keys and values stay
in the autograd graph, and gradients of all completions meet in them. Completions of one prompt then stand behind each other
in rows as long as the longest of them, each seeing its prompt and itself, so that short ones cost no padding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer

from grpo_tui.policy.packing import Packed


class _PrefixLayer(CacheLayerMixin):  # type: ignore[misc,unused-ignore]
    """Puts the prompt's keys and values before those of the completions. Nothing is remembered."""

    is_sliding = False

    def __init__(self, prompt: Any, prompt_of_B: Tensor) -> None:
        super().__init__()
        self._keys = prompt.keys.index_select(0, prompt_of_B)
        self._values = prompt.values.index_select(0, prompt_of_B)
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to allocate."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Prompt and completion together."""
        return torch.cat([self._keys, key_states], dim=-2), torch.cat([self._values, value_states], dim=-2)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that a query sees."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Prompt positions."""
        return int(self._keys.shape[-2])

    def get_max_length(self) -> int:
        """No limit."""
        return -1


def can_share(config: Any) -> bool:
    """Whether the model keeps plain keys and values in every layer, which is what a prompt leaves to its completions."""
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=config.get_text_config()).layers)


def shared_states(backbone: Any, packed: Packed) -> Tensor:
    """Last hidden states at every packed position, ``N_D``, through the model's own modules."""
    left = DynamicCache(config=backbone.config)
    before_Q_P_D = backbone(
        input_ids=packed.ids_Q_P,
        attention_mask=packed.mask_Q_P.long(),
        position_ids=packed.positions_Q_P,
        past_key_values=left,
        use_cache=True,
    ).last_hidden_state
    states: Tensor = before_Q_P_D.flatten(0, 1)
    if not packed.ids_R_W.numel():
        return states
    after_R_W_D = backbone(
        input_ids=packed.ids_R_W,
        attention_mask=packed.looks_R_W_S[:, None],
        position_ids=packed.positions_R_W,
        past_key_values=Cache(layers=[_PrefixLayer(layer, packed.prompt_of_R) for layer in left.layers]),
        use_cache=True,
    ).last_hidden_state
    return torch.cat([states, after_R_W_D.flatten(0, 1)])
