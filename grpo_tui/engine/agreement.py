"""Whether what is paid for is what is true: how often a component orders answers as the verifier does."""

from __future__ import annotations

from collections.abc import Sequence

from grpo_tui.events.records import CompletionRecord, GroupRecord
from grpo_tui.ops.ranking import num_ordered
from rewards.base import Verdict


def agreement(groups: Sequence[GroupRecord]) -> tuple[dict[str, float], int]:
    """For each component that does not judge truth, how often it gives the right answer of a group more.

    A policy that is paid by such a component soon gives no more of the answers that the component can tell to be wrong.
    The share falls towards one half: what is paid then is noise, or (below one half) being wrong, and from there on
    the reward may rise while the accuracy falls.

    Args:
        groups: scored groups of a step. An answer is right or wrong by its verdict; one whose truth is not known
            (timed out, say) stands in no pair.

    Returns:
        Share of (right, wrong) pairs within groups, by component, ties counting half, and the number of those
        pairs. A component without a value for an answer has fewer; one with none at all is left out.
    """
    parts = [_by_truth(group) for group in groups]
    shares = {}
    for name in _measuring(groups):
        ordered, num_pairs = 0.0, 0
        for right, wrong in parts:
            right_values, wrong_values = _values(name, right), _values(name, wrong)
            ordered += num_ordered(right_values, wrong_values)
            num_pairs += len(right_values) * len(wrong_values)
        if num_pairs:
            shares[name] = ordered / num_pairs
    return shares, sum(len(right) * len(wrong) for right, wrong in parts)


def _by_truth(group: GroupRecord) -> tuple[list[CompletionRecord], list[CompletionRecord]]:
    known = [c for c in group.completions if c.verdict is not None and c.verdict.right is not None]
    right = [c for c in known if c.verdict is Verdict.CORRECT]
    return right, [c for c in known if c.verdict is not Verdict.CORRECT]


def _measuring(groups: Sequence[GroupRecord]) -> list[str]:
    """Components with no opinion on truth, in order."""
    found: dict[str, bool] = {}
    for group in groups:
        for completion in group.completions:
            for name, score in completion.scores.items():
                found[name] = found.get(name, True) and score.verdict is Verdict.NOT_JUDGED
    return [name for name, measures in found.items() if measures]


def _values(name: str, completions: Sequence[CompletionRecord]) -> list[float]:
    scores = (completion.scores.get(name) for completion in completions)
    return [score.value for score in scores if score is not None and score.value is not None]
