"""What an algorithm is made of, in the words of the textbook's comparison: read from the parts, never from the name."""

from __future__ import annotations

from dataclasses import dataclass

from grpo_tui.config.schema import RunConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Nature:
    """Three cells of a table."""

    value_function: str
    advantage: str
    held_back_by: str


def describe(config: RunConfig) -> Nature:
    """Name the value function, the advantage, and what holds an update back."""
    return Nature(
        value_function="critic adapter" if config.algorithm.advantage == "gae" else "none",
        advantage=_advantage(config),
        held_back_by=_held_back_by(config),
    )


def _advantage(config: RunConfig) -> str:
    match config.algorithm.advantage:
        case "zscore":
            return "z-score in the group"
        case "mean":
            return "minus group mean"
        case "leave_one_out":
            return "minus mean of the others"
        case "batch":
            return "minus group mean, over the batch's spread"
        case "ema":
            return "minus running mean"
        case "gae":
            return f"GAE, λ {config.critic.gae_lambda:g}"
        case _:
            return "the reward itself"


def _held_back_by(config: RunConfig) -> str:
    algorithm = config.algorithm
    if algorithm.update == "trust_region":
        return f"trust region, KL ≤ δ {config.trust_region.kl_limit:.3g}"
    parts = [part for part in (_clip(config), _kl(config)) if part]
    return ", ".join(parts) or "nothing"


def _clip(config: RunConfig) -> str:
    algorithm = config.algorithm
    if algorithm.ratio == "none" or algorithm.clip == "none":
        return ""
    words = {
        "cispo": f"weight ≤ {algorithm.clip_high:g}",
        "sapo": "soft gate (SAPO)",
        "vespo": "soft weight (VESPO)",
    }
    bounds = f"ratio {1 - algorithm.clip_low:g} to {1 + algorithm.clip_high:g}"
    return words.get(algorithm.clip, bounds) + _idle(config)


def _kl(config: RunConfig) -> str:
    algorithm = config.algorithm
    if algorithm.beta == 0:
        return ""
    anchor = "reference" if algorithm.kl_anchor == "ref" else "old policy"
    idle = _idle(config) if algorithm.kl_anchor == "old" else ""
    return f"β {algorithm.beta:g} × KL to {anchor}{idle}"


def _idle(config: RunConfig) -> str:
    """With one gradient step a batch, at the weights that drew it, the ratio is 1: nothing that looks at it can act."""
    algorithm = config.algorithm
    one_gradient = algorithm.num_epochs == 1 and algorithm.num_minibatches == 1
    return " (idle)" if one_gradient and not config.sampling.ahead else ""
