"""The trusted sampler: the model's own forward with a key-value cache, one position at a time.

Plain on purpose: whatever runs in transformers runs here, and faster samplers are tested against it. Each
distinct prompt is prefilled once and its cache repeated over its completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from grpo_tui.config import machine
from grpo_tui.generation.drawing import MAX_ROWS, Cost, Drawn, draw_all
from grpo_tui.generation.threads import decoding_threads
from grpo_tui.generation.types import OnToken, SampledTokens, SampleRequest, SamplingSettings
from grpo_tui.heap import give_back_where_scarce
from grpo_tui.policy.policy import Policy, positions


class TrustedSampler:
    """Draws completions through ``model.forward`` alone."""

    def __init__(self, policy: Policy, max_rows: int = MAX_ROWS) -> None:
        self._policy = policy
        self._max_rows = max_rows

    @torch.no_grad()
    def sample(
        self, requests: Sequence[SampleRequest], settings: SamplingSettings, on_token: OnToken
    ) -> list[SampledTokens]:
        """One completion for each request, in order."""
        give_back_where_scarce(machine.free_memory())
        with decoding_threads(self._policy):
            return draw_all(
                self._policy,
                requests,
                settings,
                self._max_rows,
                lambda drawn, waiting, num, cost: _Round(self._policy, requests, drawn, waiting[:num], cost),
                on_token,
            )


class _Round:
    """One batch of rows being decoded together; those that are finished stay and draw padding."""

    def __init__(
        self,
        policy: Policy,
        requests: Sequence[SampleRequest],
        drawn: Drawn,
        rows: Sequence[int],
        cost: Cost,
    ) -> None:
        self._policy, self._drawn = policy, drawn
        self._rows_B = torch.tensor(rows, device=policy.device)
        self._running_B = torch.ones(len(rows), dtype=torch.bool, device=policy.device)
        prompts = [requests[row].prompt_ids for row in rows]
        with cost.prefill(sum(map(len, set(prompts))), policy.device):
            self._logits_B_V, self._cache, self._mask_B_S = self._prefill(prompts)
        self._next_position_B = self._mask_B_S.sum(dim=1)
        self._has_ended = False

    def _prefill(self, prompts: Sequence[tuple[int, ...]]) -> tuple[Tensor, Any, Tensor]:
        """Run each distinct prompt once; give logits, cache and mask for every row."""
        distinct = list(dict.fromkeys(prompts))
        place = {prompt: i for i, prompt in enumerate(distinct)}
        ids, mask = left_pad(distinct, self._policy.pad_id, self._policy.device)
        output = self._policy.model(
            input_ids=ids,
            attention_mask=mask.long(),
            position_ids=positions(mask),
            use_cache=True,
            logits_to_keep=1,
        )
        rows = torch.tensor([place[prompt] for prompt in prompts], device=self._policy.device)
        cache = output.past_key_values
        cache.batch_select_indices(rows)
        return output.logits[:, -1][rows], cache, mask[rows]

    def advance(self) -> bool:
        """Draw one more token for every running row; False when there was nothing left to draw."""
        if self._has_ended:
            return False
        running = self._running_B
        tokens, self._running_B = self._drawn.draw(self._logits_B_V, self._rows_B, running)
        self._has_ended = self._drawn.num_running == 0
        if not self._has_ended:
            self._forward(tokens, running)
        return True

    def _forward(self, tokens_B: Tensor, attended_B: Tensor) -> None:
        """Feed the tokens just drawn and take the logits of the next."""
        self._mask_B_S = torch.cat([self._mask_B_S, attended_B.unsqueeze(1)], dim=1)
        output = self._policy.model(
            input_ids=tokens_B.unsqueeze(1),
            attention_mask=self._mask_B_S.long(),
            position_ids=self._next_position_B.unsqueeze(1),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._next_position_B = self._next_position_B + attended_B
        self._logits_B_V = output.logits[:, -1]
        self._cache = output.past_key_values


def left_pad(prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompts in one rectangle, padded on the left: ids and boolean mask, each ``B_P``."""
    width = max(len(p) for p in prompts)
    ids = torch.tensor([[pad_id] * (width - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[False] * (width - len(p)) + [True] * len(p) for p in prompts], device=device)
    return ids, mask
