"""Prompts shared by their group: each goes through the model once, and its completions attend to what it left.

A group of G completions pays for its prompt once instead of G times, forward and backward: the prompt's keys and values stay
in the autograd graph, and gradients of all completions meet in them. Completions of one prompt then stand behind each other
in rows as long as the longest of them, each seeing its prompt and itself, so that short ones cost no padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import embedding
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


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each completion stands: rows of one prompt each, filled by completions one behind the other."""

    rows: tuple[tuple[int, ...], ...]
    """The completions of each row, in order."""
    width: int
    """Positions of a row."""

    @property
    def num_positions(self) -> int:
        """Positions that go through the model."""
        return len(self.rows) * self.width


def pack(lengths_B: Sequence[int], prompt_of_B: Sequence[int]) -> Packing:
    """Put completions into as few rows as first-fit by falling length finds.

    The last token of a completion predicts nothing, so it needs no place.

    Args:
        lengths_B: tokens of each completion, at least 1.
        prompt_of_B: which prompt each continues; only completions of one prompt share a row.
    """
    needs = [length - 1 for length in lengths_B]
    width = max(needs, default=0)
    rows: list[list[int]] = []
    left: list[int] = []
    of_prompt: dict[int, list[int]] = {}
    for completion in sorted(range(len(needs)), key=lambda b: -needs[b]):
        if not needs[completion]:
            continue
        mine = of_prompt.setdefault(prompt_of_B[completion], [])
        row = next((row for row in mine if left[row] >= needs[completion]), None)
        if row is None:
            row = len(rows)
            rows.append([])
            left.append(width)
            mine.append(row)
        rows[row].append(completion)
        left[row] -= needs[completion]
    return Packing(tuple(map(tuple, rows)), width)


def shared_states(
    backbone: Any, prompts: SharedPrompts, completion_ids_B_T: Tensor, completion_mask_B_T: Tensor
) -> Tensor:
    """Last hidden states from which each completion token is predicted, ``B_T_D``.

    Slots after a completion's end hold finite numbers without meaning.
    """
    mask_Q_P, rows_B = prompts.mask_Q_P, prompts.prompt_of_B
    left = DynamicCache(config=backbone.config)
    before_Q_D = backbone(
        input_ids=prompts.ids_Q_P,
        attention_mask=mask_Q_P.long(),
        position_ids=(mask_Q_P.long().cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=left,
        use_cache=True,
    ).last_hidden_state[:, -1]
    lengths, prompt_of = completion_mask_B_T.sum(1).tolist(), rows_B.tolist()
    packing = pack(lengths, prompt_of)
    if not packing.rows:
        only: Tensor = before_Q_D[rows_B].unsqueeze(1).expand(-1, completion_ids_B_T.shape[1], -1)
        return only
    taken_R_W, owner_R_W, step_R_W = _layout(packing, lengths, completion_ids_B_T.shape[1])
    device = rows_B.device
    owner = torch.from_numpy(owner_R_W).to(device)
    step = torch.from_numpy(step_R_W).to(device)
    prompt_of_R = torch.tensor([prompt_of[row[0]] for row in packing.rows], device=device)
    seen_R_P = mask_Q_P[prompt_of_R]
    same = (owner[:, :, None] == owner[:, None, :]) & (step[:, :, None] >= step[:, None, :])
    looks = torch.cat([seen_R_P[:, None, :].expand(-1, packing.width, -1), same], dim=-1)
    after_R_W_D = backbone(
        input_ids=completion_ids_B_T.flatten()[torch.from_numpy(taken_R_W).to(device)],
        attention_mask=looks[:, None],
        position_ids=seen_R_P.sum(dim=1, keepdim=True) + step,
        past_key_values=Cache(layers=[_PrefixLayer(layer, prompt_of_R) for layer in left.layers]),
        use_cache=True,
    ).last_hidden_state
    # The first token is predicted by its prompt's last, every other by the one before it.
    states: Tensor = torch.cat([before_Q_D, after_R_W_D.flatten(0, 1)])
    source_B_T = rows_B[:, None].repeat(1, completion_ids_B_T.shape[1])
    owned = owner >= 0
    places = torch.arange(owned.numel(), device=device).view(owned.shape)[owned] + len(before_Q_D)
    source_B_T[owner[owned], step[owned] + 1] = places
    # Not states[source]: on several CPU threads its backward adds up what a prompt's completions send in no fixed order.
    return embedding(source_B_T, states)


def _layout(
    packing: Packing, lengths_B: Sequence[int], num_columns: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each position ``R_W``: which slot of ``B_T`` it takes its token from, whose it is (−1: nobody's), and its place."""
    shape = (len(packing.rows), packing.width)
    taken, owner = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
    step = np.tile(np.arange(packing.width), (len(packing.rows), 1))
    for row, completions in enumerate(packing.rows):
        at = 0
        for completion in completions:
            count = lengths_B[completion] - 1
            part = slice(at, at + count)
            owner[row, part] = completion
            step[row, part] = np.arange(count)
            taken[row, part] = completion * num_columns + np.arange(count)
            at += count
        step[row, at:] = np.arange(packing.width - at)
    return taken, owner, step
