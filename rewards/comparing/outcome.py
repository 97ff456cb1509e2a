"""The result of one comparison: a verdict, the rule that decided, a reason, a near-miss class."""

from __future__ import annotations

from dataclasses import dataclass

from rewards.base import Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a comparison came to: ``because`` is a clause that completes "…: "."""

    verdict: Verdict
    rule: str
    because: str
    near_miss: str = ""

    @property
    def correct(self) -> bool:
        """Whether the answer counts as right."""
        return self.verdict is Verdict.CORRECT


def right(rule: str, because: str) -> Outcome:
    """A correct outcome."""
    return Outcome(Verdict.CORRECT, rule, because)


def wrong(rule: str, because: str, slip: str = "") -> Outcome:
    """A wrong outcome, with the near-miss class if there is one."""
    return Outcome(Verdict.WRONG, rule, because, slip)


def undecided(rule: str, because: str) -> Outcome:
    """No decision; pays nothing and is counted apart from wrong answers."""
    return Outcome(Verdict.UNPARSED, rule, because)
