"""How far an update moved the policy: exact KL(old ‖ new) at positions of the rollout batch.

Keeping the distributions from before the update costs positions × vocabulary numbers. Where that is too much, either a
sample of whole completions is measured (enough for a screen), or, where every position must count (TRPO's constraint),
the old distributions are computed again, one microbatch at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from grpo_tui.engine.rows import Row, split_by_tokens, token_batch
from grpo_tui.engine.seeds import derived_seed
from grpo_tui.engine.trainer import Trainer
from grpo_tui.ops.kl import exact_kl

MAX_ELEMENTS = 1 << 26
"""Positions × vocabulary held from before the update: 256 MB in float32."""
SAMPLED_POSITIONS = 512
"""Where not every position must count, so many do for the screen."""


class KlProbe:
    """Made at the weights before the update; :meth:`measure` then compares the present weights with them."""

    def __init__(
        self,
        trainer: Trainer,
        step: int,
        rows: Sequence[Row],
        *,
        all_positions: bool = False,
        adapter: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Remember the policy as it is.

        Args:
            trainer: whose policy.
            step: seeds the sample of completions.
            rows: the rollout batch.
            all_positions: measure all of it, however large.
            adapter: the present adapter, which all positions of a large batch need.
        """
        self._trainer = trainer
        vocab = int(trainer.policy.model.config.get_text_config().vocab_size)
        budget = max(1, MAX_ELEMENTS // vocab)
        if not all_positions:
            sampled = min(budget, SAMPLED_POSITIONS)
            rows = sample_rows(rows, sampled, derived_seed(trainer.config.run.seed, "kl probe", step))
        fits = sum(row.num_tokens for row in rows) <= budget
        limit = min(trainer.microbatch_tokens, budget)
        self._microbatches = split_by_tokens(rows, limit)
        self._adapter = adapter
        self._before: list[Tensor] | None = None
        if fits or not all_positions:
            self._before = [self._logits(microbatch) for microbatch in self._microbatches]
        self.num_positions = sum(row.num_tokens for row in rows)

    def measure(self) -> float:
        """Mean KL(π_before ‖ π_now) in nats a token."""
        temperature = self._trainer.config.sampling.temperature
        total = 0.0
        for place, microbatch in enumerate(self._microbatches):
            now = self._logits(microbatch)
            with torch.no_grad():
                kl_N = exact_kl(self._logits_before(place), now, temperature=temperature)
            # A KL is never negative; the rounding of its sum can be.
            total += float(kl_N.double().clamp(min=0.0).sum())
        return total / self.num_positions

    def _logits_before(self, place: int) -> Tensor:
        if self._before is not None:
            return self._before[place]
        assert self._adapter is not None, "a batch too large to remember is measured against its adapter"
        with self._trainer.policy.weights(self._adapter):
            return self._logits(self._microbatches[place])

    @torch.no_grad()
    def _logits(self, rows: Sequence[Row]) -> Tensor:
        return self._trainer.policy.token_logits(token_batch(rows, self._trainer.policy))


def sample_rows(rows: Sequence[Row], max_tokens: int, seed: int) -> list[Row]:
    """Whole rows in a random order, as many as fit into so many completion tokens; all where all fit, at least one."""
    if sum(row.num_tokens for row in rows) <= max_tokens:
        return list(rows)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen: list[Row] = []
    used = 0
    for i in order:
        if chosen and used + rows[i].num_tokens > max_tokens:
            break
        chosen.append(rows[i])
        used += rows[i].num_tokens
    return chosen
