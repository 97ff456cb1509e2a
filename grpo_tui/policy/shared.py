"""Prompts shared by their group: each goes through the model once, and its completions attend to what it left.

A group of G completions pays for its prompt once instead of G times, forward and backward: the prompt's keys and values stay
in the autograd graph, and gradients of all completions meet in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrompts:
    """The distinct prompts of a batch, padded on the left, and which of them each row continues."""

    ids_Q_P: Tensor
    mask_Q_P: Tensor
    prompt_of_B: Tensor


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


def shared_states(backbone: Any, prompts: SharedPrompts, completion_ids_B_T: Tensor) -> Tensor:
    """Last hidden states from which each completion token is predicted, ``B_T_D``.

    Slots after a completion's end hold finite numbers without meaning.
    """
    mask_Q_P, rows_B = prompts.mask_Q_P, prompts.prompt_of_B
    left = DynamicCache(config=backbone.config)
    before = backbone(
        input_ids=prompts.ids_Q_P,
        attention_mask=mask_Q_P.long(),
        position_ids=(mask_Q_P.long().cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=left,
        use_cache=True,
    ).last_hidden_state[:, -1]
    length = completion_ids_B_T.shape[1]
    if length == 1:
        first: Tensor = before[rows_B].unsqueeze(1)
        return first
    steps_T = torch.arange(length, device=rows_B.device)
    causal_T_T = steps_T[:, None] >= steps_T
    seen_B_P = mask_Q_P[rows_B]
    looks = torch.cat(
        [
            seen_B_P[:, None, None, :].expand(-1, 1, length, -1),
            causal_T_T.expand(len(rows_B), 1, -1, -1),
        ],
        dim=-1,
    )
    after = backbone(
        input_ids=completion_ids_B_T,
        attention_mask=looks,
        position_ids=seen_B_P.sum(dim=1, keepdim=True) + steps_T,
        past_key_values=Cache(layers=[_PrefixLayer(layer, rows_B) for layer in left.layers]),
        use_cache=True,
    ).last_hidden_state
    # The first token is predicted by its prompt's last, every other by the one before it.
    states: Tensor = torch.cat([before[rows_B].unsqueeze(1), after[:, :-1]], dim=1)
    return states
