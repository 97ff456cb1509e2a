"""The learning rate as a pure function of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math

from grpo_tui.config.schema import OptimConfig


def learning_rate(config: OptimConfig, step: int, total_steps: int) -> float:
    """Rate used in ``step`` (from 1): linear warm-up to ``lr``, then constant, or linear or cosine towards 0."""
    if step <= config.warmup_steps:
        return config.lr * step / config.warmup_steps
    remaining = total_steps - config.warmup_steps
    progress = (step - config.warmup_steps - 1) / remaining if remaining > 0 else 0.0
    progress = min(1.0, progress)
    if config.schedule == "linear":
        return config.lr * (1.0 - progress)
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1.0 + math.cos(math.pi * progress))
    return config.lr
