"""Every sentence about an update that did nothing, or seems to, provoked on a real trainer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from grpo_tui.engine.batch import prepare_batch
from grpo_tui.engine.explain import explain_update
from grpo_tui.engine.gradient import UpdateResult
from grpo_tui.engine.rows import Row
from grpo_tui.engine.trainer import Trainer
from grpo_tui.engine.update import update_policy
from grpo_tui.events.records import StepMetrics
from tests.engine.support import (
    ALTERNATING,
    CONSTANT,
    HALF_DEAD,
    free_gate,
    rows_of,
    small_config,
    take_steps,
    trainer_of,
)


def one_step(*overrides: str, reward: str = ALTERNATING) -> StepMetrics:
    with trainer_of(small_config(*overrides, reward=reward)) as trainer:
        [metrics] = take_steps(trainer, 1)
    return metrics


def said(metrics: StepMetrics) -> tuple[str, ...]:
    assert metrics.update is not None
    return metrics.update.explanations


def test_equal_rewards_and_nothing_that_pulls() -> None:
    # Seen to fail: no skip, so that Adam's memory would move the weights.
    assert said(one_step("algorithm.beta=0", reward=CONSTANT)) == (
        "No update: all rewards are equal, so every advantage is 0 and the gradient is exactly 0.",
    )


def test_rewards_equal_in_each_group_but_not_between_them() -> None:
    with trainer_of(small_config("algorithm.beta=0")) as trainer:
        rows = rows_of(trainer)
        for row in rows:
            row.reward, row.advantage = float(row.group), 0.0
        result = update_policy(trainer, 1, rows, free_gate(trainer))
        assert explain_update(trainer.config.algorithm, rows, result) == (
            "No update: every group's rewards are equal and no KL term pulls, so the gradient is exactly 0.",
        )


def test_kl_to_the_old_policy_with_one_update_pulls_nothing() -> None:
    """β is there, yet its value and its gradient are 0: the same sentence as without it."""
    # Seen to fail: β > 0 alone taken for a pull.
    anchored = one_step("algorithm.kl_anchor=old", "algorithm.beta=0.5", reward=CONSTANT)
    assert anchored.update_skipped.startswith("all rewards are equal")
    again = one_step("algorithm.kl_anchor=old", "algorithm.num_epochs=2", reward=CONSTANT)
    assert again.update_skipped.startswith("all rewards are equal")
    moved = one_step("algorithm.kl_anchor=old", "algorithm.beta=0.5")
    free = one_step("algorithm.beta=0")
    assert moved.grad_norm == pytest.approx(free.grad_norm, rel=1e-6)
    assert moved.kl_loss == 0.0


def test_equal_rewards_at_the_reference_itself() -> None:
    """The first step with a KL term to the reference: an update is made, and its gradient is 0."""
    first = one_step(reward=CONSTANT)
    assert (first.update_skipped, first.grad_norm) == ("", 0.0)
    assert said(first) == (
        "Nothing moved: every group's rewards are equal, and the policy is its KL anchor, where the KL term's "
        "gradient is 0.",
    )


def test_every_completion_masked() -> None:
    [sentence] = said(one_step("sampling.max_completion_tokens=2", "groups.mask_truncated=true"))
    assert sentence.startswith("No update: every completion was cut at the length limit")


def test_a_learning_rate_of_0() -> None:
    metrics = one_step("optim.lr=0")
    assert metrics.grad_norm > 0
    assert said(metrics)[0] == (
        f"Nothing moved: the learning rate is 0. The gradient is not (norm {metrics.grad_norm:.3g})."
    )


def test_a_policy_loss_that_is_0_by_construction() -> None:
    """On-policy the ratio is 1; the advantages of a group sum to 0; only the gradient tells that something is learnt."""
    metrics = one_step("algorithm.beta=0")
    assert abs(metrics.policy_loss) < 1e-6
    [sentence] = said(metrics)
    assert sentence.startswith("The policy loss is 0 by construction: the ratio is 1")
    assert f"norm {metrics.grad_norm:.3g}" in sentence


@pytest.mark.parametrize("name", ["cispo", "rloo", "reinforce"])
def test_where_the_loss_is_not_0_nothing_is_said_of_it(name: str) -> None:
    assert said(one_step(f"algorithm.name={name}")) == ()


def test_off_policy_steps_need_no_sentence() -> None:
    assert said(one_step("algorithm.num_epochs=2")) == ()


def test_a_critic_that_warms_up() -> None:
    metrics = one_step("algorithm.name=ppo", "critic.value_warmup_steps=3")
    assert said(metrics) == ("No update: the critic warms up (step 1 of 3): the policy is frozen.",)


def test_a_rejected_trust_region_step() -> None:
    """Too small a region for any point of a line search that hardly shrinks."""
    metrics = one_step(
        "algorithm.name=trpo",
        "trust_region.kl_limit=1e-13",
        "trust_region.line_search_steps=2",
        "trust_region.line_search_shrink=0.99",
        "trust_region.cg_iterations=2",
    )
    assert metrics.update is not None
    assert metrics.update.trust_region is not None
    assert not metrics.update.trust_region.accepted
    assert said(metrics)[0].startswith(
        "No update: none of 2 points of the line search was within KL 1e-13 and better"
    )
    assert said(metrics)[0].endswith("the weights were put back.")


def test_only_some_groups_dead_is_no_reason_to_say_anything_of_them() -> None:
    metrics = one_step("sampling.prompts_per_step=4", "algorithm.name=cispo", reward=HALF_DEAD)
    assert 0 < metrics.num_degenerate_groups < 4
    assert said(metrics) == ()


# --- every token clipped ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def off_policy() -> Iterator[Trainer]:
    with trainer_of(
        small_config("algorithm.num_epochs=2", "algorithm.beta=0", reward=ALTERNATING)
    ) as trainer:
        yield trainer


def planted(trainer: Trainer, up: float, down: float) -> list[Row]:
    """Rows whose ratio is ``up`` where the advantage is positive, and ``down`` where it is negative."""
    rows = rows_of(trainer)
    prepare_batch(trainer, 1, rows, free_gate(trainer))
    for row in rows:
        ratio = torch.tensor(up if row.advantage > 0 else down)
        assert row.old_logprobs_T is not None
        row.old_logprobs_T = row.old_logprobs_T - ratio.log()
    return rows


def updated(trainer: Trainer, rows: list[Row]) -> UpdateResult:
    snapshot = trainer.snapshot()
    result = update_policy(trainer, 1, rows, free_gate(trainer))
    trainer.restore(snapshot)
    return result


def test_every_token_clipped(off_policy: Trainer) -> None:
    # Seen to fail: the count of one side only.
    rows = planted(off_policy, up=1.5, down=0.5)
    before = off_policy.policy.adapter_state()
    result = update_policy(off_policy, 1, rows, free_gate(off_policy))
    assert all(p.equal(before[name]) for name, p in off_policy.policy.adapter_state().items())
    [sentence] = explain_update(off_policy.config.algorithm, rows, result)
    low = 2 * sum(row.num_tokens for row in rows if row.advantage < 0)
    high = 2 * sum(row.num_tokens for row in rows if row.advantage > 0)
    assert sentence == (
        f"Nothing moved: all {low + high} tokens with an advantage are clipped "
        f"({low} at the lower bound, {high} at the upper)."
    )
    assert result.clip_fraction == 1.0


@pytest.mark.parametrize(("up", "down"), [(1.5, 1.0), (1.0, 0.5), (0.5, 1.5)])
def test_with_one_side_unclipped_something_moves(off_policy: Trainer, up: float, down: float) -> None:
    result = updated(off_policy, planted(off_policy, up, down))
    assert max(result.grad_norms) > 1e-3


def test_a_mixture_is_told_most_decisive_first() -> None:
    with trainer_of(
        small_config("sampling.max_completion_tokens=12", "groups.mask_truncated=true", "optim.lr=0")
    ) as trainer:
        trainer.config = replace(
            trainer.config, sampling=replace(trainer.config.sampling, prompts_per_step=4)
        )
        [metrics] = take_steps(trainer, 1)
    sentences = said(metrics)
    assert sentences[0].startswith("Nothing moved: the learning rate is 0.")
    assert sentences[-1].endswith("completions were cut at the length limit and took no part.")
