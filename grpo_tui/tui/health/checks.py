"""All checks, and what they find in a run: the worst first."""

from __future__ import annotations

from grpo_tui.events.state import RunState
from grpo_tui.tui.health import of_policy, of_rewards
from grpo_tui.tui.health.finding import Check, Facts, Finding, Level
from grpo_tui.tui.run_settings import settings_of

CHECKS: tuple[Check, ...] = (
    of_rewards.held_out,
    of_rewards.dead_groups,
    of_rewards.form_against_truth,
    of_policy.entropy,
    of_policy.kl,
    of_policy.truncation,
    of_rewards.unread_answers,
    of_policy.updates,
    of_policy.grad_norm,
    of_policy.clipping,
    of_policy.learning_rate,
    of_policy.gradient_noise,
    of_rewards.one_component,
)
"""What matters most first, among findings of one level."""


def examine(state: RunState, upto: int | None = None) -> list[Finding]:
    """Every finding of a run, worst first; as it stood after step ``upto``, where that is given."""
    last = state.last_step if upto is None else upto
    facts = Facts(
        history=tuple(m for m in state.history if m.step <= last),
        evals=tuple(sorted((e for e in state.evals if e.step <= last), key=lambda e: e.step)),
        config=settings_of(state),
    )
    found = [finding for check in CHECKS if (finding := check(facts)) is not None]
    return sorted(found, key=lambda finding: -finding.level)


def worst(findings: list[Finding]) -> Level:
    """The worst level of all; OK of none."""
    return max((finding.level for finding in findings), default=Level.OK)
