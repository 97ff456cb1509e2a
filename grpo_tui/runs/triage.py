"""Dead-group triage: which prompts give groups without a signal, why, what they have cost, and what would help.

A group of G answers is dead when all are right or all are wrong: with independent answers of pass rate p that happens
with probability p^G + (1−p)^G. p is not known but estimated from few answers, so the odds told here are its mean over
what is known of p: Jeffreys' posterior Beta(k + ½, n − k + ½) after k right of n, for which

    E[p^G] = Π_{i<G} (k + ½ + i) / (n + 1 + i)        (beta-binomial; Gelman et al., Bayesian Data Analysis, §2.4)

and likewise for 1 − p. Nothing here reads a file or draws a random number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from grpo_tui.ops.intervals import wilson_interval

RECENT_VISITS = 4
"""Visits that the pass rate is estimated from, newest first: the policy of long ago is not the present one."""
HOPELESS = 0.5
"""Odds of a dead group, even at four times the answers, from which on more answers are no remedy."""
LIKELY = 0.5
"""Odds of a dead group from which on something should be done about a prompt."""
TOO_EASY, TOO_HARD, SAME_TEXT, EQUAL, FORM_ONLY = (
    "too easy",
    "too hard",
    "identical text",
    "equal rewards",
    "form only",
)
CAUSES = (TOO_EASY, TOO_HARD, SAME_TEXT, EQUAL, FORM_ONLY)
"""Why a group teaches nothing, or only form: as :attr:`grpo_tui.events.records.GroupRecord.dead_cause` tells them apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVisit:
    """One group of a prompt, counted."""

    step: int
    group: int
    num_completions: int
    num_correct: int
    num_judged: int
    """Answers that were judged for truth."""
    num_tokens: int
    cause: str = ""
    """One of :data:`CAUSES`; empty where the group teaches."""

    @property
    def dead(self) -> bool:
        """Whether its rewards were all equal. One that is alive by its form only is not dead."""
        return bool(self.cause) and self.cause != FORM_ONLY


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptHistory:
    """Every group that a prompt had, oldest first."""

    problem_id: str
    question: str
    answer: str
    visits: tuple[PromptVisit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is known of one prompt, and what is to be expected of it."""

    history: PromptHistory
    num_seen: int
    """Groups that it had."""
    num_correct: int
    """Of its recent visits, as the next."""
    num_judged: int
    low: float
    """95 % Wilson interval of the pass rate."""
    high: float
    odds: Mapping[int, float]
    """Odds that its next group is dead, by the number of answers; the run's own first."""
    causes: Mapping[str, int]
    tokens: int
    tokens_wasted: int
    """Tokens of its dead groups."""

    @property
    def pass_rate(self) -> float | None:
        """Share of its recent answers that were right; None where none was judged."""
        return self.num_correct / self.num_judged if self.num_judged else None

    @property
    def last_cause(self) -> str:
        """Why its newest group taught nothing; empty where it did."""
        return self.history.visits[-1].cause if self.history.visits else ""

    @property
    def remedy(self) -> str:
        """What to do, in a sentence; empty where nothing need be done."""
        if not self.causes or (not self.last_cause and next(iter(self.odds.values())) < LIKELY):
            return ""
        size, most = next(iter(self.odds)), max(self.odds)
        cause = self.last_cause or max(self.causes, key=lambda name: self.causes[name])
        if cause == SAME_TEXT:
            return "raise the temperature: all its answers are one text"
        if cause == FORM_ONLY:
            return "only form is taught here: weigh the format term less, or put the prompt off"
        if cause == EQUAL:
            return "the reward does not tell its answers apart: look at the reward"
        learnt = cause == TOO_EASY and self.num_correct == self.num_judged
        if not learnt and self.odds[most] < HOPELESS and self.odds[most] < self.odds[size]:
            gain = f"{100 * self.odds[size]:.0f} → {100 * self.odds[most]:.0f} %"
            return f"more answers: {most} instead of {size} lower the odds {gain}"
        if cause == TOO_EASY:
            return "drop it, or put it off: it is learnt"
        return "put it off until the policy is better, or drop it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Triage:
    """All prompts of a run, those that wasted most first."""

    group_size: int
    outlooks: tuple[Outlook, ...] = ()
    num_groups: int = 0
    num_dead: int = 0
    tokens: int = 0
    tokens_wasted: int = 0
    by_cause: Mapping[str, int] = field(default_factory=dict)

    @property
    def share_wasted(self) -> float:
        """Tokens of dead groups among all sampled tokens that were trained on."""
        return self.tokens_wasted / self.tokens if self.tokens else 0.0


def dead_odds(pass_rate: float, group_size: int) -> float:
    """p^G + (1−p)^G: odds of a dead group where the pass rate is known."""
    return float(pass_rate**group_size + (1.0 - pass_rate) ** group_size)


def expected_dead_odds(num_correct: int, num_judged: int, group_size: int) -> float:
    """The same where the pass rate is known by ``num_correct`` of ``num_judged`` only: its mean over Jeffreys' posterior."""
    right, wrong = num_correct + 0.5, num_judged - num_correct + 0.5
    return _all_alike(right, num_judged, group_size) + _all_alike(wrong, num_judged, group_size)


def _all_alike(weight: float, num_judged: int, group_size: int) -> float:
    return math.prod((weight + i) / (num_judged + 1 + i) for i in range(group_size))


def cause_of(*, equal: bool, num_completions: int, num_correct: int, num_judged: int, num_texts: int) -> str:
    """Why a scored group of at least two answers teaches nothing, or nothing but form; empty where it teaches.

    The same distinctions as :attr:`grpo_tui.events.records.GroupRecord.dead_cause`, from counts.
    """
    if num_completions < 2:
        return ""
    if not equal:
        return FORM_ONLY if num_judged and num_correct in (0, num_completions) else ""
    if num_correct == num_completions:
        return TOO_EASY
    if num_texts == 1:
        return SAME_TEXT
    return TOO_HARD if num_judged and not num_correct else EQUAL


def outlook(history: PromptHistory, group_size: int) -> Outlook:
    """What is to be expected of a prompt at the run's group size, at twice and at four times it."""
    recent = history.visits[-RECENT_VISITS:]
    correct = sum(visit.num_correct for visit in recent)
    judged = sum(visit.num_judged for visit in recent)
    low, high = wilson_interval(correct, judged)
    return Outlook(
        history=history,
        num_seen=len(history.visits),
        num_correct=correct,
        num_judged=judged,
        low=low,
        high=high,
        odds={
            size: expected_dead_odds(correct, judged, size)
            for size in (group_size, 2 * group_size, 4 * group_size)
        },
        causes=Counter(visit.cause for visit in history.visits if visit.cause),
        tokens=sum(visit.num_tokens for visit in history.visits),
        tokens_wasted=sum(visit.num_tokens for visit in history.visits if visit.dead),
    )


def triage(histories: Sequence[PromptHistory], group_size: int) -> Triage:
    """Every prompt, those that wasted most tokens first; of equals, the one most likely dead again."""
    outlooks = [outlook(history, group_size) for history in histories]
    outlooks.sort(key=lambda one: (-one.tokens_wasted, -one.odds[group_size], one.history.problem_id))
    visits = [visit for history in histories for visit in history.visits]
    return Triage(
        group_size=group_size,
        outlooks=tuple(outlooks),
        num_groups=len(visits),
        num_dead=sum(visit.dead for visit in visits),
        tokens=sum(visit.num_tokens for visit in visits),
        tokens_wasted=sum(visit.num_tokens for visit in visits if visit.dead),
        by_cause=Counter(visit.cause for visit in visits if visit.cause),
    )
