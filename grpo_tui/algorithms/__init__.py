"""The update rules, as functions of tensors: the policy-gradient loss from parts, and TRPO's trust region.

To add an algorithm made of known parts: a row in :mod:`grpo_tui.config.algorithms`. To add a part: a function in
:mod:`grpo_tui.ops`, a choice in the schema, and a case in :mod:`grpo_tui.algorithms.policy_loss`.
"""

from __future__ import annotations

from grpo_tui.algorithms.loss import LossInputs, LossOutputs
from grpo_tui.algorithms.policy_loss import effective_weights, policy_gradient_loss

__all__ = ["LossInputs", "LossOutputs", "effective_weights", "policy_gradient_loss"]
