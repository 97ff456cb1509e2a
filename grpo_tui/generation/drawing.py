"""What both samplers do alike: the record of what was drawn, when a row has ended, and what is told on the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from grpo_tui.generation.captured import Fixed
from grpo_tui.generation.choice import Choose, choose
from grpo_tui.generation.streams import uniforms
from grpo_tui.generation.types import (
    Glimpse,
    OnToken,
    SampledTokens,
    SampleRequest,
    SamplingSettings,
    TokenTick,
)
from grpo_tui.policy.policy import Policy

_LOG = logging.getLogger("sampler")

MAX_ROWS = 256
"""Completions decoded together; more of them wait until there is place."""


class Round(Protocol):
    """Rows being decoded together."""

    def advance(self) -> bool:
        """Draw one more token for every running row; False when there was nothing left to draw."""
        ...


@dataclass(slots=True)
class Cost:
    """What one call has taken so far."""

    num_prompt_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0

    @contextmanager
    def prefill(self, num_tokens: int, device: torch.device) -> Iterator[None]:
        """Within: so many prompt tokens go through the model."""
        _wait(device)  # else decoding would count as prefill,
        started = time.perf_counter()
        yield
        _wait(device)  # and prefill as decoding
        self.prefill_seconds += time.perf_counter() - started
        self.num_prompt_tokens += num_tokens

    def advance(self, this: Round) -> bool:
        """Advance a round; its time counts as decoding, apart from the prompts that went through in it."""
        started, prefilled = time.perf_counter(), self.prefill_seconds
        try:
            return this.advance()
        finally:
            self.decode_seconds += time.perf_counter() - started - (self.prefill_seconds - prefilled)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


Begin = Callable[["Drawn", Sequence[int], int, Cost], Round]
"""From the record, which requests wait (some at least), how many rows may be decoded together, and what it costs, to a round.

A round may leave some that wait for another one.
"""


def draw_all(
    policy: Policy,
    requests: Sequence[SampleRequest],
    settings: SamplingSettings,
    max_rows: int,
    begin: Begin,
    on_token: OnToken,
    *,
    captures: bool = False,
    choose: Choose = choose,
) -> list[SampledTokens]:
    """Draw all requests, at most ``max_rows`` together, telling each position.

    Where memory runs out, what has not ended is drawn again with half as many rows; each completion has its own stream, so
    it comes out the same. ``captures``: the record is kept over fixed addresses, on CUDA by a graph. ``choose``: draws the tokens.

    Raises:
        torch.OutOfMemoryError: not even one row fits.
    """
    if not requests:
        return []
    drawn, cost = Drawn(policy, requests, settings, captures=captures, choose=choose), Cost()
    try:
        while waiting := drawn.unfinished():
            max_rows = min(max_rows, len(waiting))
            if _draw_round(begin, drawn, waiting, max_rows, cost, on_token):
                continue
            # Here the frames that held the tensors are gone.
            max_rows = max_rows // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            _LOG.warning("out of memory in sampling: drawing at most %d completions at once", max_rows)
    finally:
        drawn.release()
    return drawn.results()


def _draw_round(
    begin: Begin, drawn: Drawn, waiting: Sequence[int], max_rows: int, cost: Cost, on_token: OnToken
) -> bool:
    """One round; False where memory ran out and there are rows to leave for later."""
    try:
        this = begin(drawn, waiting, max_rows, cost)
        while cost.advance(this):
            on_token(
                TokenTick(
                    num_tokens=drawn.num_tokens,
                    num_finished=drawn.num_finished,
                    num_total=drawn.num_rows,
                    longest=drawn.longest,
                    num_prompt_tokens=cost.num_prompt_tokens,
                    prefill_seconds=cost.prefill_seconds,
                    decode_seconds=cost.decode_seconds,
                    peek=drawn.peek,
                    ended=drawn.ended,
                )
            )
    except torch.OutOfMemoryError:
        if max_rows == 1:
            raise
        return False
    return True


class Drawn:
    """Tokens, log-probs and entropies of all ``_B`` completions of one call. ``_N`` are the rows that are fed now."""

    def __init__(
        self,
        policy: Policy,
        requests: Sequence[SampleRequest],
        settings: SamplingSettings,
        *,
        captures: bool = False,
        choose: Choose = choose,
    ) -> None:
        self._choose = choose
        self._settings, self._pad_id = settings, policy.pad_id
        self._fixed = Fixed() if captures else None
        self.num_rows, self.device, self.max_new_tokens = (
            len(requests),
            policy.device,
            settings.max_new_tokens,
        )
        device = policy.device
        # A row that has ended and is fed all the same writes behind its end, so there is a column behind the last.
        shape = (self.num_rows, self.max_new_tokens + 1)
        streams = np.stack([uniforms(r.stream_key, shape[1]) for r in requests])
        self._uniforms_B_T = torch.from_numpy(streams).to(device)
        self._tokens_B_T = torch.full(shape, policy.pad_id, dtype=torch.long, device=device)
        self._logprobs_B_T = torch.zeros(shape, device=device)
        self._entropies_B_T = torch.zeros(shape, device=device)
        self._lengths_B = torch.zeros(self.num_rows, dtype=torch.long, device=device)
        self._stopped_B = torch.zeros(self.num_rows, dtype=torch.bool, device=device)
        self._eos_ids = torch.tensor(policy.eos_ids, device=device)
        self.num_tokens = 0
        self.num_finished = 0
        self.num_running = 0
        """Of the rows that were fed last."""
        self.longest = 0
        """Tokens of the longest completion that was drawn from last."""

    def unfinished(self) -> list[int]:
        """Which completions have not ended. What was drawn of them is forgotten: they begin anew."""
        ended_B = self._ended_B()
        self._lengths_B[~ended_B] = 0
        self.num_tokens, self.num_finished = int(self._lengths_B.sum()), int(ended_B.sum())
        waiting: list[int] = (~ended_B).nonzero().squeeze(1).tolist()
        return waiting

    def draw(self, logits_N_V: Tensor, rows_N: Tensor, running_N: Tensor) -> tuple[Tensor, Tensor]:
        """Draw each row's next token.

        Args:
            logits_N_V: what it is drawn from.
            rows_N: which of all completions they are.
            running_N: which have not ended; the others get padding.

        Returns:
            The tokens to feed next, and which rows still run; the next call may write over both.
        """
        inputs = (logits_N_V, rows_N, running_N, self._lengths_B[rows_N])
        if self._fixed is None:
            next_N, runs_on_N, counts = self._drawn(*inputs)
        else:
            next_N, runs_on_N, counts = self._fixed(self._drawn, *inputs)
        num_drawn, self.num_running, self.longest = counts.tolist()
        self.num_tokens += num_drawn
        self.num_finished += num_drawn - self.num_running
        return next_N, runs_on_N

    def _drawn(
        self, logits_N_V: Tensor, rows_N: Tensor, running_N: Tensor, columns_N: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw and record, without waiting for the device; ``columns_N`` are how many tokens each row has."""
        chosen = self._choose(logits_N_V, self._uniforms_B_T[rows_N, columns_N], self._settings)
        tokens_N = torch.where(running_N, chosen.tokens_N, self._pad_id)
        lengths_N = columns_N + running_N
        ends_N = running_N & (chosen.tokens_N[:, None] == self._eos_ids).any(1)
        stopped_N = self._stopped_B[rows_N] | ends_N
        runs_on_N = running_N & ~ends_N & (lengths_N < self.max_new_tokens)
        counts = torch.stack((running_N.sum(), runs_on_N.sum(), (lengths_N * running_N).max()))
        # What can run out of memory is done by now, so that no token is recorded by halves.
        self._tokens_B_T[rows_N, columns_N] = tokens_N
        self._logprobs_B_T[rows_N, columns_N] = chosen.logprobs_N
        self._entropies_B_T[rows_N, columns_N] = chosen.entropies_N
        self._lengths_B[rows_N] = lengths_N
        self._stopped_B[rows_N] = stopped_N
        return tokens_N, runs_on_N, counts

    def release(self) -> None:
        """Let a graph and its memory go, though what was told on the way still holds this record."""
        self._fixed = None

    def peek(self, rows: Sequence[int]) -> list[Glimpse]:
        """What was drawn so far of some completions, moved to the host."""
        rows_M = torch.tensor(rows, dtype=torch.long, device=self.device)
        lengths = self._lengths_B[rows_M].tolist()
        tokens = self._tokens_B_T[rows_M, : max(lengths, default=0)].tolist()
        ended, stopped = self._ended_B()[rows_M].tolist(), self._stopped_B[rows_M].tolist()
        return [
            Glimpse(row[:n], _reason(stop) if end else "")
            for row, n, end, stop in zip(tokens, lengths, ended, stopped, strict=True)
        ]

    def ended(self) -> list[bool]:
        """Which completions are finished."""
        ended: list[bool] = self._ended_B().tolist()
        return ended

    def _ended_B(self) -> Tensor:
        return self._stopped_B | (self._lengths_B == self.max_new_tokens)

    def results(self) -> list[SampledTokens]:
        """What was drawn, moved to the host in one go.

        Raises:
            FloatingPointError: the model's logits were no distribution.
        """
        tokens = self._tokens_B_T.int().cpu().numpy()
        logprobs = self._logprobs_B_T[:, :-1].float().cpu().numpy()
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
                finish_reason=_reason(stopped[row]),
            )
            for row, n in enumerate(self._lengths_B.tolist())
        ]


def _reason(stopped: bool) -> str:
    return "stop" if stopped else "length"
