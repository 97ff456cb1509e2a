"""Losses that are each other under some condition: on-policy, equal bounds, equal lengths."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from grpo_tui.ops.masking import completion_mask
from tests.algorithms.batches import AGGREGATIONS, F64, NAMES, Batch, algorithm


@pytest.fixture
def batch() -> Batch:
    return Batch()


def _same(one: tuple[float, Tensor], other: tuple[float, Tensor], factor: float = 1.0) -> None:
    assert other[1].abs().max() > 1e-3
    assert one[0] == pytest.approx(factor * other[0], abs=1e-14)
    torch.testing.assert_close(one[1], factor * other[1], rtol=0, atol=1e-14)


def _reinforce_gradient(batch: Batch, advantages: Tensor, aggregation: str) -> Tensor:
    """Gradient of −Σ A log π / normaliser, written down anew."""
    logits = batch.logits.clone().requires_grad_()
    logprobs = torch.log_softmax(logits, -1).gather(-1, batch.tokens.unsqueeze(-1)).squeeze(-1)
    objective = torch.zeros((), dtype=F64)
    for row, length in enumerate(batch.lengths.tolist()):
        normaliser = {
            "sequence_mean": 6 * length,
            "token_mean": 20,
            "token_mean_minibatch": 17,
            "constant": 54,
            "sequence_sum": 6,
            "answer_sum": length,
        }[aggregation]
        for t in range(length):
            advantage = advantages[row, t if advantages.shape[1] > 1 else 0]
            objective = objective - advantage * logprobs[row, t] / normaliser
    return torch.autograd.grad(objective, logits)[0]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_on_policy_gradient_is_that_of_reinforce(batch: Batch, name: str, aggregation: str) -> None:
    """With the same baseline, and up to the normaliser of the ratio: a product moves with each of its tokens."""
    # Seen to fail with: the sign of ρA in TRPO's term; 2/τ in SAPO; e^λ left out of VESPO; the weight of CISPO squared.
    config = algorithm(name, beta=0.0, aggregation=aggregation)
    _, gradient = batch.loss_and_gradient(config, on_policy=True)
    advantages = batch.token_advantages if config.advantage == "gae" else batch.advantages
    if name == "grpo_basic":
        # Each of the answer's losses, one for each token, has the whole answer's gradient: length times too many.
        advantages = advantages * batch.lengths.unsqueeze(1)
    expected = _reinforce_gradient(batch, advantages, aggregation)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("clip", [0.0, 1e-6])
def test_on_policy_the_narrowest_clip_lets_the_gradient_through(batch: Batch, clip: float) -> None:
    # Seen to fail with: ≤ and ≥ bounds, which would clip ρ = 1 (1 + ε taken as 1 − ε).
    config = algorithm("grpo", beta=0.0, clip_low=clip, clip_high=clip)
    _, gradient = batch.loss_and_gradient(config, on_policy=True)
    expected = _reinforce_gradient(batch, batch.advantages, "sequence_mean")
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-15)


def test_on_policy_ratios_are_exactly_one(batch: Batch) -> None:
    # Seen to fail with: the ratio of ρ and its old value rounded (exp ℓ / exp ℓ°).
    for name in NAMES:
        outputs, _ = batch.outputs(algorithm(name), on_policy=True)
        assert (outputs.ratio_B_T == 1.0).all()
        assert not outputs.clipped_B_T.any()


def test_dapo_without_its_extras_is_grpo_by_tokens(batch: Batch) -> None:
    # Seen to fail with: dapo's token_mean by sequences.
    dapo = batch.loss_and_gradient(algorithm("dapo", clip_high=0.2))
    _same(dapo, batch.loss_and_gradient(algorithm("grpo", beta=0.0, aggregation="token_mean")))
    assert dapo[0] != batch.loss_and_gradient(algorithm("dapo"))[0]


def test_ppo_with_one_advantage_for_an_answer_is_dapo_with_its_bounds(batch: Batch) -> None:
    # Seen to fail with: ppo's aggregation by sequences.
    batch.token_advantages = batch.advantages.expand(6, 4).clone()
    _same(
        batch.loss_and_gradient(algorithm("ppo")), batch.loss_and_gradient(algorithm("dapo", clip_high=0.2))
    )


@pytest.mark.parametrize(
    ("name", "changes", "other", "other_changes"),
    [
        # bounds that nothing reaches
        ("grpo", {"beta": 0.0, "clip_low": 1.0, "clip_high": 1e9, "aggregation": "token_mean"}, "trpo", {}),
        # a cap that nothing reaches leaves the gradient of ρA, though not its value
        ("rloo", {}, "reinforce", {}),
        ("dr_grpo", {"aggregation": "sequence_mean"}, "grpo", {"beta": 0.0}),
        ("bnpo", {"aggregation": "sequence_mean"}, "grpo", {"beta": 0.0}),
        (
            "luspo",
            {"aggregation": "sequence_mean", "clip_low": 3e-4, "clip_high": 4e-4},
            "gspo",
            {},
        ),
        ("grpo", {"clip_delta": 1e9}, "grpo", {}),
        ("gspo", {"ratio": "token", "clip_low": 0.2, "clip_high": 0.2}, "grpo", {"beta": 0.0}),
    ],
)
def test_one_algorithm_with_a_part_changed_is_another(
    batch: Batch, name: str, changes: dict[str, Any], other: str, other_changes: dict[str, Any]
) -> None:
    # Seen to fail with: another aggregation in trpo's row; other bounds in gspo's.
    one = batch.loss_and_gradient(algorithm(name, **changes))
    _same(one, batch.loss_and_gradient(algorithm(other, **other_changes)))


def test_uncapped_cispo_has_the_gradient_of_the_plain_ratio(batch: Batch) -> None:
    # Seen to fail with: CISPO's weight not detached.
    cispo, trpo = (
        batch.loss_and_gradient(algorithm(name, **changes))[1]
        for name, changes in (("cispo", {"clip_high": 1e9}), ("trpo", {}))
    )
    torch.testing.assert_close(cispo, trpo, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_equal_lengths(batch: Batch, name: str) -> None:
    # Seen to fail with: a normaliser of constant or sequence_sum broken (L_max, M).
    length, limit = 4, 9
    batch.lengths = torch.full((6,), length)
    batch.size = batch.size._replace(num_tokens=6.0 * length, num_minibatch_tokens=6.0 * length)
    policy = {
        kind: batch.loss_and_gradient(algorithm(name, beta=0.0, aggregation=kind)) for kind in AGGREGATIONS
    }
    mean = policy["sequence_mean"]
    _same(policy["token_mean"], mean)
    _same(policy["token_mean_minibatch"], mean)
    _same(policy["constant"], mean, length / limit)
    _same(policy["sequence_sum"], mean, length)
    _same(policy["answer_sum"], mean, 6)


@pytest.mark.parametrize("name", ["grpo", "grpo_basic", "gspo", "vespo", "rloo", "ppo"])
def test_answer_sum_is_sequence_mean_times_the_answers_whatever_the_lengths(batch: Batch, name: str) -> None:
    # Seen to fail with: answer_sum 1 for each token.
    answer, mean = (
        batch.loss_and_gradient(algorithm(name, beta=0.0, aggregation=kind))
        for kind in ("answer_sum", "sequence_mean")
    )
    _same(answer, mean, 6)


def test_bnpo_is_token_mean_where_there_is_one_minibatch(batch: Batch) -> None:
    # Seen to fail with: the token counts of the two swapped.
    by_batch = algorithm("bnpo", aggregation="token_mean")
    # Two minibatches, of which this is the shorter: 17 tokens where the even share is 20.
    _same(batch.loss_and_gradient(algorithm("bnpo")), batch.loss_and_gradient(by_batch), 20 / 17)
    batch.size = batch.size._replace(num_tokens=17.0)
    _same(batch.loss_and_gradient(algorithm("bnpo")), batch.loss_and_gradient(by_batch))


def test_one_token_answers_have_one_ratio(batch: Batch) -> None:
    # Seen to fail with: the padded width as the length in the mean ratio.
    batch.lengths = torch.ones(6, dtype=torch.int64)
    one, *others = (
        batch.loss_and_gradient(algorithm("grpo", ratio=ratio))
        for ratio in ("token", "sequence_mean", "sequence_product")
    )
    for other in others:
        _same(other, one)


def test_one_step_against_the_gradient_raises_the_better_answer(batch: Batch) -> None:
    """The sign, seen from outside: descending makes tokens of A > 0 likelier and of A < 0 unlikelier."""
    # Seen to fail with: the sign of the clipped term.
    for name in NAMES:
        config = algorithm(name, beta=0.0)
        batch.token_advantages = batch.advantages.expand(6, 4).clone()
        _, gradient = batch.loss_and_gradient(config, on_policy=True)
        before, after = (
            torch.log_softmax(logits, -1).gather(-1, batch.tokens.unsqueeze(-1)).squeeze(-1)
            for logits in (batch.logits, batch.logits - 0.02 * gradient)
        )
        mask = completion_mask(batch.lengths, 4)
        for row, advantage in enumerate(batch.advantages.flatten().tolist()):
            change = (after - before)[row][mask[row]]
            assert (change * advantage > 0).all() if advantage else (change == 0).all()
