"""While some completions are still drawn, those that have ended are handed to the reward, so that *score* waits less.

Only workers begin on them: scores are asked for, and told, in the phase *score*, group by group, as if nothing had been done
before. It is done where processors are idle meanwhile, and where answers lately needed a worker at all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import torch

from grpo_tui.engine.samples import sample_of
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.records import ProblemRecord
from grpo_tui.generation.types import Glimpse, TokenTick
from rewards.base import Sample

LOOK_SECONDS = 0.25
"""Shortest time between two looks: each waits for the device."""


class EarlyJudging:
    """One call of the sampler, looked at for completions that have ended."""

    def __init__(self, trainer: Trainer, problems: Sequence[ProblemRecord]) -> None:
        """``problems`` has one for each request."""
        self._trainer, self._problems = trainer, problems
        self._handed = [False] * len(problems)
        self._looked_at = 0.0
        self._is_wanted = trainer.reward.asks_workers

    def look(self, tick: TokenTick) -> None:
        """Hand over what has ended since the last look. Once all has, *score* asks for it anyway."""
        if not self._is_wanted or tick.num_finished == tick.num_total:
            return
        now = time.perf_counter()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        self._is_wanted = has_idle_processors(self._trainer.policy.device)
        if self._is_wanted and tick.num_finished > sum(self._handed):
            self._hand_over(tick)

    def _hand_over(self, tick: TokenTick) -> None:
        ended = tick.ended()
        rows = [row for row, handed in enumerate(self._handed) if ended[row] and not handed]
        self._trainer.reward.begin(
            [self._sample(self._problems[row], g) for row, g in zip(rows, tick.peek(rows), strict=True)]
        )
        self._handed = ended

    def _sample(self, problem: ProblemRecord, glimpse: Glimpse) -> Sample:
        trainer = self._trainer
        return sample_of(
            problem,
            trainer.policy.tokenizer.decode(glimpse.token_ids, skip_special_tokens=True),
            finish_reason=glimpse.finish_reason,
            num_tokens=len(glimpse.token_ids),
            max_tokens=trainer.config.sampling.max_completion_tokens,
        )


def has_idle_processors(device: torch.device) -> bool:
    """Whether sampling leaves processors alone: on an accelerator, or with fewer threads than there are processors.

    Where it does not, what workers do meanwhile slows it down by as much as they get done.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    num_processors = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return num_processors > (1 if device.type != "cpu" else torch.get_num_threads())
