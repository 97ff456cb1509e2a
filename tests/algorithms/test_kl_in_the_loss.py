"""The KL term as part of the loss: its direction, its anchor, its weight, and when it does nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.algorithms.batches import NAMES, NAN, Batch, Enumerated, Worked, algorithm

ESTIMATORS = ("k1", "k2", "k3", "k3_ratio", "exact")
# Each token's −ρA, unclipped, so that the expectation of the policy term is the expected reward.
PLAIN = algorithm("trpo", beta=0.7)


@pytest.fixture
def batch() -> Batch:
    return Batch()


@pytest.mark.parametrize("on_policy", [True, False])
@pytest.mark.parametrize("estimator", ["k3_ratio", "exact"])
def test_loss_is_expected_reward_less_beta_kl(estimator: str, on_policy: bool) -> None:
    """The regularised objective itself, value and gradient, off-policy too."""
    # Seen to fail with: the sign of the policy term; β used twice; ρ of k3_ratio always 1.
    every = Enumerated(on_policy=on_policy)
    outputs = every.loss(replace(PLAIN, kl_estimator=estimator), rewarded=True)
    objective = -every.expected_reward() + 0.7 * every.kl(every.ref)
    assert outputs.loss.item() == pytest.approx(objective.item(), abs=1e-14)
    torch.testing.assert_close(every.gradient(outputs.loss), every.gradient(objective), rtol=0, atol=1e-14)


@pytest.mark.parametrize("estimator", ["k2", "k3_ratio", "exact"])
def test_the_reverse_kl_gradient(estimator: str) -> None:
    # Seen to fail with: k3_ratio without its ratio; a KL term detached.
    every = Enumerated(on_policy=True)
    outputs = every.loss(replace(PLAIN, kl_estimator=estimator), rewarded=False)
    expected = 0.7 * every.gradient(every.kl(every.ref))
    torch.testing.assert_close(every.gradient(outputs.loss), expected, rtol=0, atol=1e-14)


def test_k3_has_the_gradient_of_the_other_direction() -> None:
    # Seen to fail with: k3 multiplied by ρ.
    every = Enumerated(on_policy=True)
    outputs = every.loss(replace(PLAIN, kl_estimator="k3"), rewarded=False)
    expected = 0.7 * every.gradient(every.kl_from(every.ref))
    torch.testing.assert_close(every.gradient(outputs.loss), expected, rtol=0, atol=1e-14)
    assert (expected - 0.7 * every.gradient(every.kl(every.ref))).abs().max() > 0.03
    assert outputs.kl_loss.item() == pytest.approx(every.kl(every.ref).item(), abs=1e-14)


@pytest.mark.parametrize("anchor", ["ref", "old"])
def test_k1_has_the_value_and_no_expected_gradient(anchor: str) -> None:
    # Seen to fail with: k1 multiplied by ρ.
    every = Enumerated(on_policy=True)
    outputs = every.loss(replace(PLAIN, kl_estimator="k1", kl_anchor=anchor), rewarded=False)
    expected = every.kl(every.ref if anchor == "ref" else every.old)
    assert outputs.kl_loss.item() == pytest.approx(expected.item(), abs=1e-14)
    assert every.gradient(outputs.loss).abs().max() < 1e-14


@pytest.mark.parametrize("estimator", ["k2", "k3", "k3_ratio", "exact"])
@pytest.mark.parametrize("name", ["grpo", "grpo_basic", "cispo", "vespo", "rloo"])
def test_kl_to_old_with_one_update_does_nothing(batch: Batch, name: str, estimator: str) -> None:
    # Seen to fail with: the anchor always the reference.
    config = algorithm(name, beta=0.0, kl_in="loss", kl_anchor="old", kl_estimator=estimator)
    loss, gradient = batch.loss_and_gradient(config, on_policy=True)
    held, held_gradient = batch.loss_and_gradient(replace(config, beta=1e6), on_policy=True)
    assert held == pytest.approx(loss, abs=1e-9)
    torch.testing.assert_close(held_gradient, gradient, rtol=0, atol=1e-9)
    # It does once the policy has moved.
    assert batch.loss_and_gradient(replace(config, beta=1.0))[0] > batch.loss_and_gradient(config)[0] + 1e-3


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("anchor", ["ref", "old"])
def test_beta_scales_the_kl_term_alone(batch: Batch, estimator: str, anchor: str) -> None:
    # Seen to fail with: β² for β; the policy term scaled too.
    base = algorithm("grpo", beta=0.0, kl_estimator=estimator, kl_anchor=anchor)
    policy, policy_gradient = batch.loss_and_gradient(base)
    one, one_gradient = batch.loss_and_gradient(replace(base, beta=1.0))
    loss, gradient = batch.loss_and_gradient(replace(base, beta=0.25))
    assert abs(one - policy) > 1e-3
    assert loss == pytest.approx(policy + 0.25 * (one - policy), abs=1e-14)
    expected = policy_gradient + 0.25 * (one_gradient - policy_gradient)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-15)


def test_the_kl_term_pulls_towards_the_reference(batch: Batch) -> None:
    # Seen to fail with: the sign of the KL term.
    batch.advantages = torch.zeros_like(batch.advantages)
    config = algorithm("grpo", beta=1.0, kl_estimator="exact")
    before = batch.outputs(config)[0].kl_loss
    batch.logits = batch.logits - 0.1 * batch.loss_and_gradient(config)[1]
    assert batch.outputs(config)[0].kl_loss < before


def test_the_anchor_is_the_one_chosen() -> None:
    # Seen to fail with: ref and old swapped.
    # k2 to old: (ln ρ)²/2 of 2, 1, 0.6655 | 0.5, 1.62 | 0.9: 0.24022651, 0, 0.08291270 | 0.24022651, 0.11636750 | 0.00555042
    outputs = Worked(algorithm("grpo", beta=1.0, kl_estimator="k2", kl_anchor="old")).outputs
    expected = (0.24022651 + 0.08291270) / 9 + (0.24022651 + 0.11636750) / 6 + 0.00555042 / 3
    assert outputs.kl_loss.item() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("off", [{"beta": 0.0}, {"beta": 0.5, "kl_in": "reward"}])
def test_without_a_kl_term_the_loss_is_the_policy_term(name: str, off: dict[str, float | str]) -> None:
    # Seen to fail with: KL paid in the reward counted in the loss too.
    outputs = Worked(algorithm(name, **{"kl_in": "loss", **off})).outputs
    assert outputs.loss.item() == outputs.policy_loss.item()
    assert outputs.kl_loss.item() == 0.0


def test_a_reference_that_nothing_needs_is_not_looked_at(batch: Batch) -> None:
    # Seen to fail with: 0 · KL added, which is NaN here.
    batch.ref_logits = torch.full_like(batch.ref_logits, NAN)
    loss, gradient = batch.loss_and_gradient(algorithm("grpo", beta=0.0))
    assert loss == loss
    assert torch.isfinite(gradient).all()
