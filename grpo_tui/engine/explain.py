"""Why nothing moved, or why the loss reads 0 though something did: sentences for a person."""

from __future__ import annotations

from collections.abc import Sequence

from grpo_tui.config.schema import AlgorithmConfig
from grpo_tui.engine.gradient import UpdateResult
from grpo_tui.engine.rows import Row, is_on_policy
from grpo_tui.events.records import TrustRegionReport

NOTHING = 1e-12
"""Gradient norms below this are rounding."""
ROUNDING = 1e-6
"""Losses below this are 0 but for rounding."""


def explain_update(config: AlgorithmConfig, rows: Sequence[Row], result: UpdateResult) -> tuple[str, ...]:
    """Sentences about an update that did nothing or seems to, most decisive first; usually none."""
    if result.skipped:
        return (f"No update: {result.skipped}.",)
    found = []
    norm = max(result.grad_norms, default=0.0)
    if norm <= NOTHING:
        found.append(_why_no_gradient(config, rows, result))
    elif result.trust_region is not None and not result.trust_region.accepted:
        found.append(_why_rejected(result.trust_region))
    elif result.learning_rate == 0 and config.update == "gradient":
        found.append(f"Nothing moved: the learning rate is 0. The gradient is not (norm {norm:.3g}).")
    if norm > NOTHING and is_on_policy(config, rows) and abs(result.policy_losses[-1]) < ROUNDING:
        found.append(
            "The policy loss is 0 by construction: the ratio is 1 and the advantages of a group sum to 0. "
            f"The gradient is not (norm {norm:.3g})."
        )
    masked = sum(not row.trains for row in rows)
    if masked:
        found.append(f"{masked} of {len(rows)} completions were cut at the length limit and took no part.")
    return tuple(found)


def _why_rejected(region: TrustRegionReport) -> str:
    if not region.num_tries:
        return "No update: KL has no curvature along the gradient, so no step has a length."
    return (
        f"No update: none of {region.num_tries} points of the line search was within KL {region.kl_limit:g} and better "
        f"(the last: KL {region.kl:.2g}, gain {region.surrogate_gain:.2g}); the weights were put back."
    )


def _why_no_gradient(config: AlgorithmConfig, rows: Sequence[Row], result: UpdateResult) -> str:
    clipped = result.num_clipped_low + result.num_clipped_high
    pushed = sum(row.num_tokens for row in rows if row.has_signal)
    if pushed and clipped and clipped >= pushed:
        return (
            f"Nothing moved: all {clipped} tokens with an advantage are clipped "
            f"({result.num_clipped_low} at the lower bound, {result.num_clipped_high} at the upper)."
        )
    if not pushed and config.beta > 0:
        return (
            "Nothing moved: every group's rewards are equal, and the policy is its KL anchor, where the KL term's "
            "gradient is 0."
        )
    return "Nothing moved: the gradient is exactly 0."
