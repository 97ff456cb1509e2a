"""The update rules: one module per family, one table.

To add one: a module with a function from :class:`LossInputs` to :class:`LossOutputs`, and a row in ``LOSSES``.
"""

from __future__ import annotations

from collections.abc import Callable

from grpo_tui.algorithms.grpo import grpo_loss
from grpo_tui.algorithms.loss import LossInputs, LossOutputs

LOSSES: dict[str, Callable[[LossInputs], LossOutputs]] = {"grpo": grpo_loss}

__all__ = ["LOSSES", "LossInputs", "LossOutputs"]
