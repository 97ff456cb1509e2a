"""Completions cut at the length limit: kept out of the update where asked, and the soft overlong penalty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from grpo_tui.config.schema import RewardConfig, RunConfig
from grpo_tui.engine.rewarding import make_reward
from grpo_tui.events.types import GroupScored, TokensWeighed
from rewards.base import Sample
from tests.engine.support import Events, rows_of, sampled, small_config, take_steps, trainer_of

LONGER = ("sampling.max_completion_tokens=12", "sampling.prompts_per_step=4")
"""Some answers end by themselves within these, and some do not."""


def test_masked_completions_weigh_nothing_and_are_counted() -> None:
    """They stay in their group's mean: only the loss is without them."""
    # Seen to fail: the loss's mask without them left out; the metric counting those that train.
    events = Events()
    masked = small_config(*LONGER, "groups.mask_truncated=true", "algorithm.beta=0")
    with trainer_of(masked, events) as trainer:
        rows = rows_of(trainer)
        cut = [row.num_tokens for row in rows if not row.trains]
        reasons = [c.finish_reason for group in sampled(trainer).groups for c in group.completions]
        assert [row.trains for row in rows] == [reason == "stop" for reason in reasons]
        assert 0 < len(cut) < len(rows)
        events.clear()
        [metrics] = take_steps(trainer, 1)
    with trainer_of(small_config(*LONGER, "algorithm.beta=0")) as trainer:
        plain = rows_of(trainer)
        [unmasked] = take_steps(trainer, 1)
    assert [row.advantage for row in rows] == [row.advantage for row in plain]
    assert metrics.num_masked_completions == metrics.num_truncated == len(cut)
    assert unmasked.num_masked_completions == 0
    assert unmasked.grad_norm != metrics.grad_norm
    [told] = events.of(TokensWeighed)
    flat = [weight_T for group in told.weights_P_G for weight_T in group]
    for row, weight_T in zip(rows, flat, strict=True):
        expected = row.advantage / (len(rows) * row.num_tokens) if row.trains else 0.0
        np.testing.assert_allclose(weight_T, np.full(row.num_tokens, expected), rtol=1e-5)
    assert metrics.update is not None
    assert metrics.update.explanations[-1] == (
        f"{len(cut)} of {len(rows)} completions were cut at the length limit and took no part."
    )


@pytest.mark.parametrize("aggregation", ["token_mean", "token_mean_minibatch"])
def test_means_over_tokens_are_over_those_that_train(aggregation: str) -> None:
    events = Events()
    config = small_config(*LONGER, "groups.mask_truncated=true", f"algorithm.aggregation={aggregation}")
    with trainer_of(config, events) as trainer:
        rows = rows_of(trainer)
        take_steps(trainer, 1)
    [told] = events.of(TokensWeighed)
    training = sum(row.num_tokens for row in rows if row.trains)
    flat = [weight_T for group in told.weights_P_G for weight_T in group]
    for row, weight_T in zip(rows, flat, strict=True):
        expected = row.advantage / training if row.trains else 0.0
        np.testing.assert_allclose(weight_T, np.full(row.num_tokens, expected), rtol=1e-5, atol=1e-9)


def test_with_every_completion_cut_there_is_no_update() -> None:
    # Seen to fail: without that reason to skip.
    config = small_config("sampling.max_completion_tokens=2", "groups.mask_truncated=true")
    with trainer_of(config) as trainer:
        before = trainer.policy.adapter_state()
        [metrics] = take_steps(trainer, 1)
        assert all(p.equal(before[name]) for name, p in trainer.policy.adapter_state().items())
    assert metrics.num_masked_completions == metrics.num_completions == 8
    assert metrics.update_skipped.startswith("every completion was cut at the length limit")
    assert metrics.num_optimizer_steps == 0
    assert metrics.update is not None
    assert metrics.update.explanations == (f"No update: {metrics.update_skipped}.",)


# --- the soft overlong penalty ---------------------------------------------------------------------------


def overlong_weight(config: RunConfig) -> float | None:
    reward = make_reward(config)
    reward.close()
    return reward.weights.get("overlong")


def test_dapo_brings_its_penalty_once() -> None:
    # Seen to fail: a second component beside the user's.
    dapo = small_config("algorithm.name=dapo")
    assert overlong_weight(dapo) == 0.5
    assert overlong_weight(small_config("algorithm.name=grpo")) is None
    assert overlong_weight(small_config("algorithm.name=dapo", "groups.overlong_penalty=0")) is None
    assert overlong_weight(small_config("groups.overlong_penalty=0.3")) == 0.3
    own = replace(dapo, reward=RewardConfig(weights={"format": 1.0, "overlong": 0.25}))
    assert overlong_weight(own) == 0.25


def test_the_ramp_is_as_wide_as_the_config_says() -> None:
    """DAPO's: 0 up to L − c, then down to −1 at L."""
    config = small_config("algorithm.name=dapo", "groups.overlong_cache=0.5")
    reward = make_reward(config)

    def penalty(num_tokens: int) -> float | None:
        sample = Sample(
            problem_id="p",
            prompt="",
            completion="",
            gold="",
            finish_reason="stop",
            metadata={"num_tokens": str(num_tokens), "max_tokens": "8"},
        )
        return reward.score([sample])[0].components["overlong"].value

    assert [penalty(n) for n in (1, 4, 5, 6, 8)] == pytest.approx([0, 0, -0.25, -0.5, -1])
    reward.close()


def test_a_step_of_dapo_pays_it() -> None:
    events = Events()
    with trainer_of(small_config("algorithm.name=dapo"), events) as trainer:
        [metrics] = take_steps(trainer, 1)
    scores = [s for e in events.of(GroupScored) for s in e.scores_G]
    rewards = [r for e in events.of(GroupScored) for r in e.rewards_G]
    assert all(set(s) == {"letters", "overlong"} for s in scores)
    for reward, parts in zip(rewards, scores, strict=True):
        assert reward == pytest.approx(
            (parts["letters"].value or 0.0) + 0.5 * (parts["overlong"].value or 0.0)
        )
    assert metrics.component_means["overlong"] < -0.5
