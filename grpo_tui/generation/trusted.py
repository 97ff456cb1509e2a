"""The trusted sampler: the model's own forward with a key-value cache, one position at a time.

Plain on purpose: whatever runs in transformers runs here, and faster samplers are tested against it. Each
distinct prompt is prefilled once and its cache repeated over its completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grpo_tui.generation.choice import choose
from grpo_tui.generation.streams import uniforms
from grpo_tui.generation.threads import decoding_threads
from grpo_tui.generation.types import OnToken, SampledTokens, SampleRequest, SamplingSettings, TokenTick
from grpo_tui.policy.policy import Policy, positions

MAX_ROWS = 256
"""Completions decoded together; more are drawn in several rounds."""


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
        with decoding_threads(self._policy):
            return self._rounds(requests, settings, on_token)

    def _rounds(
        self, requests: Sequence[SampleRequest], settings: SamplingSettings, on_token: OnToken
    ) -> list[SampledTokens]:
        drawn: list[SampledTokens] = []
        for start in range(0, len(requests), self._max_rows):
            rows = requests[start : start + self._max_rows]
            tokens_before = sum(len(s.token_ids_T) for s in drawn)
            run = _Run(self._policy, rows, settings)
            while run.advance():
                on_token(
                    TokenTick(
                        num_tokens=tokens_before + run.num_tokens,
                        num_finished=len(drawn) + run.num_finished,
                        num_total=len(requests),
                        longest=run.length,
                    )
                )
            drawn += run.results()
        return drawn


class _Run:
    """One batch of rows being decoded together."""

    def __init__(self, policy: Policy, requests: Sequence[SampleRequest], settings: SamplingSettings) -> None:
        self._policy = policy
        self._settings = settings
        self._num_rows = len(requests)
        limit = settings.max_new_tokens
        shape = (self._num_rows, limit)
        device = policy.device
        self._uniforms_B_T = torch.from_numpy(np.stack([uniforms(r.stream_key, limit) for r in requests])).to(
            device
        )
        self._tokens_B_T = torch.full(shape, policy.pad_id, dtype=torch.long, device=device)
        self._logprobs_B_T = torch.zeros(shape, device=device)
        self._entropies_B_T = torch.zeros(shape, device=device)
        self._lengths_B = torch.zeros(self._num_rows, dtype=torch.long, device=device)
        self._running_B = torch.ones(self._num_rows, dtype=torch.bool, device=device)
        self._eos_ids = torch.tensor(policy.eos_ids, device=device)
        self.length = 0
        self.num_tokens = 0
        self.num_finished = 0
        self._logits_B_V, self._cache, self._mask_B_S = self._prefill(requests)
        self._next_position_B = self._mask_B_S.sum(dim=1)

    def _prefill(self, requests: Sequence[SampleRequest]) -> tuple[Tensor, Any, Tensor]:
        """Run each distinct prompt once; give logits, cache and mask for every row."""
        distinct = list(dict.fromkeys(r.prompt_ids for r in requests))
        place = {prompt: i for i, prompt in enumerate(distinct)}
        ids, mask = left_pad(distinct, self._policy.pad_id, self._policy.device)
        output = self._policy.model(
            input_ids=ids,
            attention_mask=mask.long(),
            position_ids=positions(mask),
            use_cache=True,
            logits_to_keep=1,
        )
        rows = torch.tensor([place[r.prompt_ids] for r in requests], device=self._policy.device)
        cache = output.past_key_values
        cache.batch_select_indices(rows)
        return output.logits[:, -1][rows], cache, mask[rows]

    def advance(self) -> bool:
        """Draw one more token for every running row; False when there was nothing left to draw."""
        if self.num_finished == self._num_rows:
            return False
        column = self.length
        chosen = choose(self._logits_B_V, self._uniforms_B_T[:, column], self._settings)
        running = self._running_B
        self._tokens_B_T[:, column] = torch.where(running, chosen.tokens_N, self._policy.pad_id)
        self._logprobs_B_T[:, column] = chosen.logprobs_N
        self._entropies_B_T[:, column] = chosen.entropies_N
        self._lengths_B += running
        self.num_tokens += self._num_rows - self.num_finished
        self._running_B = running & ~torch.isin(chosen.tokens_N, self._eos_ids)
        self.length += 1
        self._stopped_B = ~self._running_B
        if self.length == self._settings.max_new_tokens:
            self.num_finished = self._num_rows
        else:
            self.num_finished = self._num_rows - int(self._running_B.sum())
        if self.num_finished < self._num_rows:
            self._forward(running, column)
        return True

    def _forward(self, attended_B: Tensor, column: int) -> None:
        """Feed the tokens of ``column`` and take the logits of the next."""
        self._mask_B_S = torch.cat([self._mask_B_S, attended_B.unsqueeze(1)], dim=1)
        output = self._policy.model(
            input_ids=self._tokens_B_T[:, column : column + 1],
            attention_mask=self._mask_B_S.long(),
            position_ids=self._next_position_B.unsqueeze(1),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._next_position_B = self._next_position_B + attended_B
        self._logits_B_V = output.logits[:, -1]
        self._cache = output.past_key_values

    def results(self) -> list[SampledTokens]:
        """What was drawn, moved to the host in one go."""
        tokens = self._tokens_B_T.int().cpu().numpy()
        logprobs = self._logprobs_B_T.float().cpu().numpy()
        entropies = self._entropies_B_T.float().cpu().numpy()
        stopped = self._stopped_B.cpu().tolist()
        return [
            SampledTokens(
                token_ids_T=tokens[row, :n].copy(),
                logprobs_T=logprobs[row, :n].copy(),
                entropies_T=entropies[row, :n].copy(),
                finish_reason="stop" if stopped[row] else "length",
            )
            for row, n in enumerate(self._lengths_B.tolist())
        ]


def left_pad(prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompts in one rectangle, padded on the left: ids and boolean mask, each ``B_P``."""
    width = max(len(p) for p in prompts)
    ids = torch.tensor([[pad_id] * (width - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[False] * (width - len(p)) + [True] * len(p) for p in prompts], device=device)
    return ids, mask
