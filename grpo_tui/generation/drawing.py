"""What both samplers do alike: rounds of rows, the record of what was drawn, and when a row has ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from grpo_tui.generation.choice import choose
from grpo_tui.generation.streams import uniforms
from grpo_tui.generation.types import OnToken, SampledTokens, SampleRequest, SamplingSettings, TokenTick
from grpo_tui.policy.policy import Policy

_LOG = logging.getLogger("sampler")

MAX_ROWS = 256
"""Completions decoded together; more are drawn in several rounds."""


class Round(Protocol):
    """Rows being decoded together."""

    drawn: Drawn

    def advance(self) -> bool:
        """Draw one more token for every running row; False when there was nothing left to draw."""
        ...


@dataclass(slots=True)
class _Cost:
    """What one call has taken so far."""

    num_prompt_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0


def in_rounds(
    requests: Sequence[SampleRequest],
    max_rows: int,
    begin: Callable[[Sequence[SampleRequest]], Round],
    on_token: OnToken,
) -> list[SampledTokens]:
    """Draw all requests, ``max_rows`` at a time, telling each position.

    Where memory runs out a round is drawn again with half as many rows; each completion has its own stream, so it comes
    out the same.

    Raises:
        torch.OutOfMemoryError: not even one row fits.
    """
    results: list[SampledTokens] = []
    cost = _Cost()
    while len(results) < len(requests):
        rows = requests[len(results) : len(results) + max_rows]
        drawn = _draw_round(begin, rows, results, len(requests), on_token, cost)
        if drawn is not None:
            results += drawn.results()
            continue
        # Here the frames that held the tensors are gone.
        max_rows = max(1, len(rows) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _LOG.warning("out of memory in sampling: drawing at most %d completions at once", max_rows)
    return results


def _draw_round(
    begin: Callable[[Sequence[SampleRequest]], Round],
    rows: Sequence[SampleRequest],
    before: Sequence[SampledTokens],
    num_total: int,
    on_token: OnToken,
    cost: _Cost,
) -> Drawn | None:
    """One round; None where memory ran out and there are rows to leave for later."""
    tokens_before = sum(len(sample.token_ids_T) for sample in before)
    try:
        started = time.perf_counter()
        this = begin(rows)
        drawn = this.drawn
        if drawn.device.type == "cuda":
            torch.cuda.synchronize(drawn.device)  # else the prefill would count as decoding
        cost.prefill_seconds += time.perf_counter() - started
        cost.num_prompt_tokens += sum(map(len, {request.prompt_ids for request in rows}))
        while _advance(this, cost):
            on_token(
                TokenTick(
                    num_tokens=tokens_before + drawn.num_tokens,
                    num_finished=len(before) + drawn.num_finished,
                    num_total=num_total,
                    longest=drawn.length,
                    num_prompt_tokens=cost.num_prompt_tokens,
                    prefill_seconds=cost.prefill_seconds,
                    decode_seconds=cost.decode_seconds,
                    first=len(before),
                    peek=drawn.peek,
                )
            )
    except torch.OutOfMemoryError:
        if len(rows) == 1:
            raise
        return None
    return drawn


def _advance(this: Round, cost: _Cost) -> bool:
    started = time.perf_counter()
    try:
        return this.advance()
    finally:
        cost.decode_seconds += time.perf_counter() - started


class Drawn:
    """Tokens, log-probs and entropies of ``_B`` rows, column by column. ``_N`` are rows that are still fed."""

    def __init__(self, policy: Policy, requests: Sequence[SampleRequest], settings: SamplingSettings) -> None:
        self._settings, self._pad_id = settings, policy.pad_id
        self.device = policy.device
        self.num_rows, limit, device = len(requests), settings.max_new_tokens, policy.device
        shape = (self.num_rows, limit)
        streams = np.stack([uniforms(r.stream_key, limit) for r in requests])
        self._uniforms_B_T = torch.from_numpy(streams).to(device)
        self._tokens_B_T = torch.full(shape, policy.pad_id, dtype=torch.long, device=device)
        self._logprobs_B_T = torch.zeros(shape, device=device)
        self._entropies_B_T = torch.zeros(shape, device=device)
        self._lengths_B = torch.zeros(self.num_rows, dtype=torch.long, device=device)
        self._stopped_B = torch.zeros(self.num_rows, dtype=torch.bool, device=device)
        self._eos_ids = torch.tensor(policy.eos_ids, device=device)
        self.length = 0
        """Columns drawn."""
        self.num_tokens = 0
        self.num_finished = 0

    @property
    def is_finished(self) -> bool:
        """Whether every row has ended, or reached the limit."""
        return self.num_finished == self.num_rows

    def draw(self, logits_N_V: Tensor, rows_N: Tensor, running_N: Tensor) -> tuple[Tensor, Tensor]:
        """Draw the next column.

        Args:
            logits_N_V: what each row's token is drawn from.
            rows_N: which of all rows they are.
            running_N: which have not ended; the others get padding.

        Returns:
            The tokens to feed next, and which rows still run.
        """
        column = self.length
        chosen = choose(logits_N_V, self._uniforms_B_T[rows_N, column], self._settings)
        tokens_N = torch.where(running_N, chosen.tokens_N, self._pad_id)
        self._tokens_B_T[rows_N, column] = tokens_N
        self._logprobs_B_T[rows_N, column] = chosen.logprobs_N
        self._entropies_B_T[rows_N, column] = chosen.entropies_N
        self._lengths_B[rows_N] += running_N
        self.num_tokens += self.num_rows - self.num_finished
        ends_N = running_N & torch.isin(chosen.tokens_N, self._eos_ids)
        self._stopped_B[rows_N] |= ends_N
        running_N = running_N & ~ends_N
        self.length += 1
        at_limit = self.length == self._settings.max_new_tokens
        self.num_finished = self.num_rows if at_limit else self.num_rows - int(running_N.sum())
        return tokens_N, running_N

    def peek(self, rows: range) -> list[list[int]]:
        """Tokens drawn so far by some rows, moved to the host."""
        part = slice(rows.start, rows.stop)
        tokens = self._tokens_B_T[part, : self.length].tolist()
        lengths = self._lengths_B[part].tolist()
        return [row[:length] for row, length in zip(tokens, lengths, strict=True)]

    def results(self) -> list[SampledTokens]:
        """What was drawn, moved to the host in one go.

        Raises:
            FloatingPointError: the model's logits were no distribution.
        """
        tokens = self._tokens_B_T.int().cpu().numpy()
        logprobs = self._logprobs_B_T.float().cpu().numpy()
        if np.isnan(logprobs).any():
            raise FloatingPointError(
                "the model's logits are not finite, so that nothing can be drawn from them: it has diverged, or its "
                "weights are damaged; go back, or load it anew (model.dtype fp32 where bf16 overflows)"
            )
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
