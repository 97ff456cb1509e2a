"""Rewards for reinforcement fine-tuning: a sympy-based math verifier that explains itself, and shaping terms."""

from rewards.base import Explanation, Reward, Sample, Score, Span, Verdict
from rewards.codec import score_from_json, score_to_json
from rewards.compose import ComposedScore, WeightedReward
from rewards.functions import RewardError
from rewards.math_verifier import MathVerifier, judge
from rewards.registry import UnknownRewardError, available_rewards, get_reward, reward

__all__ = [
    "ComposedScore",
    "Explanation",
    "MathVerifier",
    "Reward",
    "RewardError",
    "Sample",
    "Score",
    "Span",
    "UnknownRewardError",
    "Verdict",
    "WeightedReward",
    "available_rewards",
    "get_reward",
    "judge",
    "reward",
    "score_from_json",
    "score_to_json",
]
