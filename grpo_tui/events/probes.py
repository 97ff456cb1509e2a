"""Probes: pinned prompts, read around updates. What one reading holds, and what a row of readings says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from grpo_tui.events.lines import limits
from grpo_tui.events.records import BranchRecord
from rewards.base import Verdict

if TYPE_CHECKING:
    from grpo_tui.events.types import ProbesRead


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """One answer to a probe. ``text`` is empty in old readings that a run's state keeps only the numbers of."""

    text: str
    num_tokens: int
    finish_reason: str
    verdict: Verdict | None = None
    """None where there is no gold answer."""
    reward: float | None = None
    answer: str = ""
    """The final answer that the verifier found."""
    reason: str = ""
    """Its sentence."""

    @property
    def correct(self) -> bool:
        """Whether it is right."""
        return self.verdict is Verdict.CORRECT


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReading:
    """What one set of weights makes of one probe."""

    probe: int
    greedy: ProbeAnswer
    sample: ProbeAnswer
    """Drawn from the same random stream in every reading: two differ by the weights alone."""
    gold_logprob: float | None = None
    """Σ ln p of the gold answer's tokens straight after the prompt, nats, at temperature 1; None without a gold."""
    num_gold_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePoint:
    """A reading and the step whose weights it read."""

    step: int
    reading: ProbeReading


def points(
    probe: int, read: Iterable[ProbesRead], tree: Mapping[int, BranchRecord], branch: int, last_step: int
) -> tuple[ProbePoint, ...]:
    """The readings of a probe on the line that ends in ``branch``, up to a step, oldest first; the last of each step."""
    ends = limits(tree, branch, last_step)
    found: dict[int, ProbePoint] = {}
    for event in read:
        if event.step > ends.get(event.branch, -1):
            continue
        for reading in event.readings:
            if reading.probe == probe:
                found[event.step] = ProbePoint(step=event.step, reading=reading)
    return tuple(point for _, point in sorted(found.items()))


def flips(history: Sequence[ProbePoint]) -> tuple[tuple[int, bool], ...]:
    """Steps at which the greedy answer turned right (True) or wrong (False)."""
    return tuple(
        (after.step, after.reading.greedy.correct)
        for before, after in pairwise(history)
        if before.reading.greedy.correct != after.reading.greedy.correct
    )
