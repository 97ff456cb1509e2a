"""Rows decoded together by the fast sampler. A row that has ended makes place: for a completion that waits, or for nobody.

All rows are written at one column of the cache. A completion that takes a place is put there so that its prompt ends where the
next token is written; so each row looks from a column of its own on, and none has to be moved.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from grpo_tui.generation.captured import Captured
from grpo_tui.generation.drawing import Drawn
from grpo_tui.generation.prompts import Prompts, Taken
from grpo_tui.generation.slab import SlabCache
from grpo_tui.generation.straight import Straight

LEAVE_AT = 0.75
"""Where nobody waits, finished rows leave once so small a share of the batch still runs: leaving copies the cache."""
LEAVE_CAPTURED_AT, FEW_ROWS = 0.5, 16
"""The same where decoding is captured, for then leaving takes a new graph too; below so many rows it would gain nothing."""
REFILL_AT = 0.125
"""Places are given to others once such a share is free, or all that wait have place: it takes a prefill and some copies."""
TRIM_AT = 0.25
"""Columns of which no row needs any more are dropped once they are such a share: dropping copies the others."""
SPARE = 0.0625
"""Columns beyond what the longest row can need, as a share, so that a full cache is not trimmed at every position."""

Decode = Callable[[Tensor, Tensor, Tensor | None, SlabCache], Tensor]
"""Tokens ``B``, their positions ``B``, what they may look at, and the cache → logits ``B_V``."""


class Rows:
    """A batch of ``_N`` places, each with the row of one completion."""

    def __init__(
        self, prompts: Prompts, decode: Decode, drawn: Drawn, max_rows: int, forget: Callable[[], None]
    ) -> None:
        """Nothing is done yet.

        Args:
            prompts: the completions that are to be drawn.
            decode: feeds one token a row.
            drawn: their record.
            max_rows: places at most.
            forget: called where a cache that ``decode`` knows is not used any more.
        """
        self._prompts, self._decode, self._drawn, self._forget = prompts, decode, drawn, forget
        self._max_rows, self._device = max_rows, drawn.device
        self._capacity = prompts.longest + drawn.max_new_tokens
        if len(prompts) > max_rows:
            self._capacity += 1 + int(SPARE * self._capacity)
        self._num_running = 0
        self._cache: SlabCache | None = None
        self._next_N: Tensor
        self._running_N: Tensor

    def advance(self) -> bool:
        """Draw one more token for every running row; False when there was nothing left to draw."""
        if self._num_running:
            self._forward()
            self._refill()
        elif self._prompts:
            self._begin()
        else:
            return False
        self._next_N, self._running_N = self._drawn.draw(self._logits_N_V, self._rows_N, self._running_N)
        self._num_running = self._drawn.num_running
        if not self._prompts and self._is_time_to_leave():
            self._leave()
        return True

    def _is_time_to_leave(self) -> bool:
        num_rows = len(self._rows_N)
        if isinstance(self._decode, Captured):
            return 0 < self._num_running <= LEAVE_CAPTURED_AT * num_rows and num_rows > FEW_ROWS
        return 0 < self._num_running <= LEAVE_AT * num_rows

    def _begin(self) -> None:
        """Give all places, where no row runs."""
        self._cache = None
        self._forget()
        taken = self._prompts.take(min(self._max_rows, len(self._prompts)))
        part, num_rows, width = taken.portions[0].part, len(taken.rows), max(taken.lengths)
        turns_keys = isinstance(self._decode, Straight) and self._decode.turns_keys
        self._cache = part.cache.like(num_rows, width, self._capacity, turns_keys=turns_keys)
        self._logits_N_V = part.logits_P_V.new_empty(num_rows, part.logits_P_V.shape[1])
        self._rows_N, self._position_N, self._start_N = torch.zeros(
            3, num_rows, dtype=torch.long, device=self._device
        )
        self._running_N = torch.ones(num_rows, dtype=torch.bool, device=self._device)
        self._put(torch.arange(num_rows, device=self._device), taken)

    def _refill(self) -> None:
        """Give the places of rows that have ended to completions that wait, where it is time to."""
        num_free = len(self._rows_N) - self._num_running
        count = min(num_free, len(self._prompts))
        if not count or (count < len(self._prompts) and num_free < REFILL_AT * len(self._rows_N)):
            return
        free = (~self._running_N).nonzero().squeeze(1)
        taken = self._prompts.take(count)
        self._trim(max(taken.lengths), TRIM_AT)
        self._put(free[:count], taken)

    def _put(self, places_M: Tensor, taken: Taken) -> None:
        """Let completions begin: their prompts end where the next token will be written."""
        assert self._cache is not None
        for portion in taken.portions:
            places = places_M[portion.which_M]
            self._cache.put(places, portion.part.cache, portion.rows_M)
            self._logits_N_V[places] = portion.part.logits_P_V[portion.rows_M]
        self._rows_N[places_M] = torch.tensor(taken.rows, device=self._device)
        self._position_N[places_M] = lengths_M = torch.tensor(taken.lengths, device=self._device)
        self._start_N[places_M] = self._cache.get_seq_length() - lengths_M
        self._running_N[places_M] = True
        self._look()

    def _look(self) -> None:
        """Say where each row looks: from its start on. None where all look everywhere."""
        self._looks: Tensor | None = None
        if bool(self._start_N.any()):
            columns = torch.arange(self._capacity, device=self._device)
            self._looks = (columns >= self._start_N[:, None])[:, None, None]

    def _trim(self, needed: int, share: float) -> None:
        """Have ``needed`` columns before the next one, and drop those in front that no row needs, where they are many."""
        assert self._cache is not None
        length = self._cache.get_seq_length()
        first = int(self._start_N[self._running_N].min())
        dead = min(first, length - needed)
        if dead < 0 or dead > share * length:
            self._cache.shift(-dead)
            self._start_N = (self._start_N - dead).clamp_(min=0)
            self._look()

    def _leave(self) -> None:
        """Let the finished rows go."""
        assert self._cache is not None
        keep = self._running_N.nonzero().squeeze(1)
        self._rows_N, self._next_N = self._rows_N[keep], self._next_N[keep]
        self._position_N, self._running_N = self._position_N[keep], self._running_N[keep]
        self._start_N = self._start_N[keep]
        self._cache.select(keep)
        self._trim(1, TRIM_AT)
        self._look()

    def _forward(self) -> None:
        """Feed the tokens drawn last."""
        assert self._cache is not None
        if self._cache.get_seq_length() == self._capacity:
            self._trim(1, 0.0)
        looks = None if self._looks is None else self._looks[..., : self._cache.get_seq_length() + 1]
        self._logits_N_V = self._decode(self._next_N, self._position_N, looks, self._cache)
        # Who has ended stays where it was: beyond a model's context there are no positions.
        self._position_N = self._position_N + self._running_N
