"""Second judgements: what one answer was judged under the rules of its time, and what other rules make of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A recorded answer that other rules judge otherwise."""

    branch: int
    step: int
    group: int
    completion: int
    old: str
    """The recorded verdict."""
    new: str
    old_reward: float | None
    new_reward: float
    gold: str
    answer: str
    """The final answer that the verifier finds now; the end of the text where it finds none."""
    reason: str
    """The sentence of the new verdict."""

    @property
    def place(self) -> tuple[int, int, int, int]:
        """Branch, step, group and completion."""
        return self.branch, self.step, self.group, self.completion
