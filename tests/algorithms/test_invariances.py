"""What a loss must not see: the order of rows, padding, junk in it, and how a batch is cut into microbatches."""

from __future__ import annotations

import pytest
import torch

from tests.algorithms.batches import AGGREGATIONS, NAMES, NAN, Batch, algorithm

INF = float("inf")


@pytest.fixture
def batch() -> Batch:
    return Batch()


@pytest.mark.parametrize("name", NAMES)
def test_order_padding_and_split_change_nothing(batch: Batch, name: str) -> None:
    # Seen to fail with: M counted from the rows given; padding not zeroed in ℓ, ℓ° or A; the padded width as length.
    for aggregation in AGGREGATIONS:
        # KL in the loss too, whatever the name, so that its padding and its weights are seen.
        config = algorithm(name, beta=0.3, kl_in="loss", kl_estimator="k3_ratio", aggregation=aggregation)
        loss, gradient = batch.loss_and_gradient(config)
        assert gradient.abs().max() > 1e-3
        for other_loss, other_gradient in (
            batch.loss_and_gradient(config, order=[5, 3, 1, 0, 2, 4]),
            batch.loss_and_gradient(config, extra_padding=7, junk=-3.0),
            batch.loss_and_gradient(config, extra_padding=3, junk=NAN),
            batch.loss_and_gradient(config, extra_padding=3, junk=INF),
            batch.loss_and_gradient(config, extra_padding=3, junk=-INF),
            batch.loss_and_gradient(config, extra_padding=2, junk=NAN, left=True),
            batch.loss_and_gradient(config, split=[1, 5]),
            batch.loss_and_gradient(
                config, order=[2, 0, 4, 5, 1, 3], split=[1, 2, 3], extra_padding=2, junk=NAN
            ),
            batch.loss_and_gradient(config, split=[1] * 6),
        ):
            assert other_loss == pytest.approx(loss, abs=1e-13)
            torch.testing.assert_close(other_gradient, gradient, rtol=0, atol=1e-13)


@pytest.mark.parametrize("anchor", ["ref", "old"])
@pytest.mark.parametrize("estimator", ["k1", "k2", "k3", "exact"])
def test_junk_in_padding_does_not_reach_any_estimator(batch: Batch, estimator: str, anchor: str) -> None:
    # Seen to fail with: the padding of the KL term not zeroed.
    config = algorithm("grpo", beta=0.3, kl_estimator=estimator, kl_anchor=anchor)
    loss, gradient = batch.loss_and_gradient(config)
    for junk in (NAN, INF, -INF, 5.0):
        other_loss, other_gradient = batch.loss_and_gradient(config, extra_padding=3, junk=junk)
        assert other_loss == pytest.approx(loss, abs=1e-14)
        torch.testing.assert_close(other_gradient, gradient, rtol=0, atol=1e-15)


@pytest.mark.parametrize("ratio", ["token", "sequence_mean", "sequence_product", "none"])
def test_junk_in_the_advantages_of_padding_does_not_reach_a_ratio(batch: Batch, ratio: str) -> None:
    # Seen to fail with: padding of advantages not zeroed (0 · NaN in the gradient of an answer's ratio).
    config = algorithm("ppo", ratio=ratio)
    loss, gradient = batch.loss_and_gradient(config)
    for junk in (NAN, INF, 5.0):
        # One row at a time: widths of 2 to 5.
        other_loss, other_gradient = batch.loss_and_gradient(
            config, split=[1] * 6, extra_padding=1, junk=junk
        )
        assert other_loss == pytest.approx(loss, abs=1e-14)
        torch.testing.assert_close(other_gradient, gradient, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_a_completion_without_tokens_adds_nothing(batch: Batch, name: str) -> None:
    # Seen to fail with: the clamp of a completion's length left out.
    config = algorithm(name, beta=0.3, kl_in="loss")
    batch.lengths = torch.tensor([3, 0, 4, 2, 4, 3])
    loss, gradient = batch.loss_and_gradient(config, junk=NAN, extra_padding=1)
    without, gradient_without = batch.loss_and_gradient(config, order=[0, 2, 3, 4, 5])
    assert loss == pytest.approx(without, abs=1e-14)
    torch.testing.assert_close(gradient, gradient_without, rtol=0, atol=1e-15)
    assert (gradient[1] == 0).all()
