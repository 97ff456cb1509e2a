r"""Rewards for reinforcement fine-tuning: a math verifier that explains itself, and measures of form and length.

Public names are found on first use, so importing the package costs nothing and needs no sympy::

    from rewards import MathVerifier, Sample, judge

    judge("3/4", r"so \boxed{6/8}").explanation.sentence
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewards.base import Explanation, Reward, RunnerUp, Sample, Score, Span, Verdict
    from rewards.codec import score_from_json, score_to_json
    from rewards.compose import ComposedScore, WeightedReward
    from rewards.explanation import explain
    from rewards.failures import RewardError
    from rewards.judging import judge
    from rewards.math_verifier import MathVerifier
    from rewards.registry import UnknownRewardError, available_rewards, get_reward, reward

__all__ = [
    "ComposedScore",
    "Explanation",
    "MathVerifier",
    "Reward",
    "RewardError",
    "RunnerUp",
    "Sample",
    "Score",
    "Span",
    "UnknownRewardError",
    "Verdict",
    "WeightedReward",
    "available_rewards",
    "explain",
    "get_reward",
    "judge",
    "reward",
    "score_from_json",
    "score_to_json",
]

_HOMES = {
    **dict.fromkeys(
        ["Explanation", "Reward", "RunnerUp", "Sample", "Score", "Span", "Verdict"], "rewards.base"
    ),
    **dict.fromkeys(["score_from_json", "score_to_json"], "rewards.codec"),
    **dict.fromkeys(["ComposedScore", "WeightedReward"], "rewards.compose"),
    "MathVerifier": "rewards.math_verifier",
    "judge": "rewards.judging",
    **dict.fromkeys(["UnknownRewardError", "available_rewards", "get_reward", "reward"], "rewards.registry"),
    "RewardError": "rewards.failures",
    "explain": "rewards.explanation",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rewards' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names, whether they were asked for or not."""
    return sorted(__all__)
