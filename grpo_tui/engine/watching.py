"""Watching a group being sampled: what someone wants to see, and the engine's look at it. Needs no torch.

Nobody pays who does not look: without a watcher, sampling reads one attribute for each decoded position.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from grpo_tui.events.types import GrowingAnswer, Preview
from grpo_tui.generation.detokenize import Unfolding
from grpo_tui.generation.types import Glimpse, TokenTick

LOOK_SECONDS = 0.2
"""Shortest time between two looks: five a second are as many as a person can follow."""
TAIL_CHARACTERS = 2000
"""How much of a response's end is kept: more than any screen holds of it."""


class Watch:
    """Shared between who watches and who samples. Each attribute is set whole by one side, so no lock is needed."""

    def __init__(self) -> None:
        self.group: int | None = None
        """Which group of the step is wanted, counted from 0; None while nobody watches."""
        self.latest: Preview | None = None
        """What was seen last."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """A group that is being sampled: where its rows are among all requests, and what was drawn for it before."""

    group: int
    question: str
    first: int
    """Its first request."""
    count: int
    drawn_before: int


class Following:
    """One call of the sampler, looked at."""

    def __init__(
        self,
        watch: Watch,
        tokenizer: Any,
        step: int,
        groups: Sequence[Sampled],
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._watch, self._tokenizer, self._step, self._now = watch, tokenizer, step, now
        self._groups = {sampled.group: sampled for sampled in groups}
        self._texts: dict[tuple[int, int], Unfolding] = {}
        self._looked_at = -LOOK_SECONDS
        self._group: int | None = None

    def look(self, tick: TokenTick) -> None:
        """Show the watched group, unless it was shown just now."""
        now, wanted = self._now(), self._watch.group
        if (
            now - self._looked_at < LOOK_SECONDS
            and wanted == self._group
            and tick.num_finished < tick.num_total
        ):
            return
        self._looked_at, self._group = now, wanted
        sampled = self._groups.get(-1 if wanted is None else wanted)
        if sampled is None:
            return
        rows = range(sampled.first, sampled.first + sampled.count)
        answers = [
            self._answer(sampled.group, sampled.drawn_before + offset, glimpse)
            for offset, glimpse in enumerate(tick.peek(rows))
            if glimpse.token_ids  # the others wait for a place
        ]
        if answers:
            self._watch.latest = Preview(
                step=self._step, group=sampled.group, question=sampled.question, answers=tuple(answers)
            )

    def _answer(self, group: int, index: int, glimpse: Glimpse) -> GrowingAnswer:
        text = self._texts.setdefault((group, index), Unfolding(self._tokenizer))
        return GrowingAnswer(
            index=index,
            num_tokens=len(glimpse.token_ids),
            text=text.follow(glimpse.token_ids)[-TAIL_CHARACTERS:],
            finished=glimpse.finished,
        )
