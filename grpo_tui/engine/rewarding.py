"""The reward that a config asks for: its components with their options and weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from grpo_tui.config.schema import RunConfig
from grpo_tui.events.types import Event, Notice
from rewards.canaries import run_canaries, summary
from rewards.compose import WeightedReward
from rewards.registry import get_reward


@dataclass(frozen=True, slots=True)
class Component:
    """One component as the config has it."""

    name: str
    options: Mapping[str, Any]
    weight: float


def components(run_config: RunConfig) -> list[Component]:
    """The components a config names, with the soft overlong penalty where its algorithm has one."""
    config, groups = run_config.reward, run_config.groups
    weights = dict(config.weights)
    if groups.overlong_penalty > 0:
        weights.setdefault("overlong", groups.overlong_penalty)
    parts = []
    for name, weight in weights.items():
        options: dict[str, Any] = {}
        if name in ("math", "math_lenient"):
            options = {
                "workers": config.workers,
                "deadline_s": config.timeout_seconds,
                "form": config.answer_form,
            }
        elif name == "format":
            options = {"style": config.answer_form}
        elif name == "overlong":
            options = {"cache_share": groups.overlong_cache}
        elif name == "learned":
            options = {"model": config.learned_model, "device": run_config.model.device}
        parts.append(Component(name, options, weight))
    return parts


def make_reward(config: RunConfig) -> WeightedReward:
    """Build the weighted reward a config asks for.

    Raises:
        ValueError: a component does not exist, or does not take its options.
    """
    return WeightedReward(
        [(get_reward(part.name, **part.options), part.weight) for part in components(config)]
    )


def differs_by_more_than_weights(old: RunConfig, new: RunConfig) -> bool:
    """Whether going from one config to the other takes other components, not just other weights of the same."""
    return [(part.name, part.options) for part in components(old)] != [
        (part.name, part.options) for part in components(new)
    ]


def try_canaries(reward: WeightedReward, emit: Callable[[Event], None]) -> None:
    """Tell what a policy could be paid for without solving the problem, if anything."""
    found = summary(run_canaries(reward))
    if found:
        emit(Notice(time=time.time(), level="warning", message=found, source="reward"))
