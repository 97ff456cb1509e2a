"""The update report against numbers found by hand, on rows whose ratios are planted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from grpo_tui.engine.advantages import add_advantages
from grpo_tui.engine.batch import prepare_batch
from grpo_tui.engine.gradient import UpdateResult
from grpo_tui.engine.report import QUANTILES, emit_token_weights, report_update
from grpo_tui.engine.rows import Row, make_rows, token_batch
from grpo_tui.engine.scoring import score_groups
from grpo_tui.engine.trainer import Trainer
from grpo_tui.engine.update import update_policy
from grpo_tui.events.records import GroupRecord, UpdateReport
from grpo_tui.events.types import TokensWeighed
from tests.engine.support import (
    ALTERNATING,
    Events,
    free_gate,
    sampled,
    small_config,
    take_steps,
    trainer_of,
)

RATIOS = (1.5, 0.5, 0.5, 1.5, 1.3, 0.9, 1.05, 1.0)
"""Of the eight rows. Advantages alternate in sign: two clipped above, one below, and five that are not."""


@pytest.fixture(scope="module")
def trainer() -> Iterator[Trainer]:
    """Off-policy by two epochs, whose learning rate is 0, so that both see the planted ratios."""
    config = small_config(
        "algorithm.num_epochs=2",
        "algorithm.beta=0",
        "optim.lr=0",
        "optim.max_grad_norm=0",
        reward=ALTERNATING,
    )
    with trainer_of(config, Events()) as trainer:
        yield trainer


def scored(trainer: Trainer) -> tuple[list[Row], list[GroupRecord]]:
    gate, rollout = free_gate(trainer), sampled(trainer)
    score_groups(trainer, 1, rollout, gate)
    rows = make_rows(trainer, rollout.prompts, rollout.groups)
    groups = add_advantages(trainer, 1, rollout.groups, rows, gate)
    prepare_batch(trainer, 1, rows, gate)
    return rows, groups


@pytest.fixture(scope="module")
def reported(trainer: Trainer) -> tuple[list[Row], UpdateReport, UpdateResult]:
    rows, groups = scored(trainer)
    for row, ratio in zip(rows, RATIOS, strict=True):
        assert row.old_logprobs_T is not None
        row.old_logprobs_T = row.old_logprobs_T - torch.tensor(ratio).log()
    result = update_policy(trainer, 1, rows, free_gate(trainer))
    kl_ref = [np.full(row.num_tokens, 0.01, dtype=np.float32) for row in rows]
    kl_ref[5][2] = 0.7
    return rows, report_update(trainer, rows, groups, result, kl_ref), result


def test_the_effective_weights_are_a_rho_unclipped_and_the_aggregation_s(
    reported: tuple[list[Row], UpdateReport, UpdateResult],
) -> None:
    # Seen to fail: the sign; a factor of 2.
    rows, report, _ = reported
    weights = []
    for row, ratio in zip(rows, RATIOS, strict=True):
        clipped = (row.advantage > 0 and ratio > 1.2) or (row.advantage < 0 and ratio < 0.8)
        expected = 0.0 if clipped else row.advantage * ratio / (len(rows) * row.num_tokens)
        assert row.weight_T is not None
        np.testing.assert_allclose(row.weight_T, np.full(row.num_tokens, expected), rtol=1e-4, atol=1e-8)
        weights += [expected] * row.num_tokens
    assert report.push_up == pytest.approx(sum(w for w in weights if w > 0), rel=1e-4)
    assert report.push_down == pytest.approx(sum(w for w in weights if w < 0), rel=1e-4)
    assert report.zero_weight_fraction == pytest.approx(weights.count(0.0) / len(weights))


def test_the_shares_clipped_on_either_side(reported: tuple[list[Row], UpdateReport, UpdateResult]) -> None:
    # Seen to fail: low and high changed for each other.
    rows, report, result = reported
    total = sum(row.num_tokens for row in rows)
    assert [row.advantage > 0 for row in rows] == [True, False] * 4
    assert report.clip_fraction_high == pytest.approx((rows[0].num_tokens + rows[4].num_tokens) / total)
    assert report.clip_fraction_low == pytest.approx(rows[1].num_tokens / total)
    assert result.clip_fraction == pytest.approx(report.clip_fraction_low + report.clip_fraction_high)


def test_the_quantiles_of_the_ratio(reported: tuple[list[Row], UpdateReport, UpdateResult]) -> None:
    rows, report, _ = reported
    tokens = np.concatenate([np.full(row.num_tokens, ratio) for row, ratio in zip(rows, RATIOS, strict=True)])
    expected = {f"{q:g}": value for q, value in zip(QUANTILES, np.quantile(tokens, QUANTILES), strict=True)}
    assert report.ratio_quantiles == pytest.approx(expected, abs=1e-4)
    assert (report.ratio_quantiles["0"], report.ratio_quantiles["1"]) == pytest.approx((0.5, 1.5), abs=1e-4)


def test_the_worst_tokens_stand_where_they_are(
    trainer: Trainer, reported: tuple[list[Row], UpdateReport, UpdateResult]
) -> None:
    # Seen to fail: the place in the rollout batch for the place in the group.
    rows, report, _ = reported
    worst = report.kl_ref_worst
    assert worst is not None
    assert (worst.group, worst.completion, worst.token) == (1, 1, 2)
    assert worst.value == pytest.approx(0.7)
    assert worst.text == trainer.policy.tokenizer.decode([int(rows[5].completion_ids_T[2])]) != ""
    # KL(π_old ‖ π_θ) by k3 is ρ − ln ρ − 1: 0.19 at ½ and 0.09 at 1.5, so the rows of ratio ½ are the farthest.
    worst = report.kl_old_worst
    assert worst is not None
    assert worst.value == pytest.approx(np.log(2) - 0.5, abs=1e-3)
    assert (worst.group, worst.completion) in ((0, 1), (0, 2))


def test_the_spread_of_the_advantages(reported: tuple[list[Row], UpdateReport, UpdateResult]) -> None:
    rows, report, _ = reported
    advantages = np.array([row.advantage for row in rows])
    assert report.advantage_std == pytest.approx(advantages.std(ddof=1))
    assert (report.advantage_min, report.advantage_max) == (advantages.min(), advantages.max())


def test_the_norms_of_modules_are_those_before_clipping(
    reported: tuple[list[Row], UpdateReport, UpdateResult],
) -> None:
    _, report, result = reported
    squares = sum(norm**2 for norm in report.grad_norm_by_module.values())
    # Both epochs have the same gradient, so their mean is either's.
    assert squares == pytest.approx(result.grad_norms[0] ** 2, rel=1e-4)
    assert result.grad_norms[0] == pytest.approx(result.grad_norms[1], rel=1e-6)


def test_what_is_told_of_every_token(
    trainer: Trainer, reported: tuple[list[Row], UpdateReport, UpdateResult]
) -> None:
    events = Events()
    rows = reported[0]
    trainer.emit = events.append
    emit_token_weights(trainer, 1, rows)
    [told] = events.of(TokensWeighed)
    assert [len(group) for group in told.weights_P_G] == [len(group) for group in told.ratios_P_G] == [4, 4]
    flat = [ratio_T for group in told.ratios_P_G for ratio_T in group]
    for ratio_T, ratio in zip(flat, RATIOS, strict=True):
        np.testing.assert_allclose(ratio_T, np.full(len(ratio_T), ratio), rtol=1e-4)


def test_sequence_ratios_are_told_at_every_token(trainer: Trainer) -> None:
    """And the coupling of a completion's tokens through one ratio is in their weights: all get the same."""
    config = trainer.config
    trainer.config = replace(config, algorithm=replace(config.algorithm, ratio="sequence_mean", clip="none"))
    rows, _ = scored(trainer)
    for row in rows:
        assert row.old_logprobs_T is not None
        row.old_logprobs_T = row.old_logprobs_T - torch.linspace(-0.1, 0.3, row.num_tokens)
    update_policy(trainer, 1, rows, free_gate(trainer))
    trainer.config = config
    for row in rows:
        ratio = float(torch.linspace(-0.1, 0.3, row.num_tokens).mean().exp())
        expected = row.advantage * ratio / (len(rows) * row.num_tokens)
        assert row.weight_T is not None
        assert row.ratio_T is not None
        np.testing.assert_allclose(row.ratio_T, np.full(row.num_tokens, ratio), rtol=1e-4)
        np.testing.assert_allclose(row.weight_T, np.full(row.num_tokens, expected), rtol=1e-4)


# --- how far the update moved ----------------------------------------------------------------------------


def test_kl_step_is_the_exact_kl_between_before_and_after() -> None:
    # Seen to fail: the other direction of KL; the temperature left out.
    config = small_config("algorithm.measure_kl_step=true", "optim.lr=1e-2")
    with trainer_of(config) as trainer:
        rows, _ = scored(trainer)
        batch = token_batch(rows, trainer.policy)

        def distributions() -> torch.Tensor:
            with torch.no_grad():
                logits = trainer.policy.logits(batch)[batch.completion_mask_B_T].double()
            return torch.log_softmax(logits / 1.5, -1)

        before = distributions()
        result = update_policy(trainer, 1, rows, free_gate(trainer))
        after = distributions()
    expected = float((before.exp() * (before - after)).sum(-1).mean())
    assert expected > 1e-5
    assert result.kl_step == pytest.approx(expected, rel=1e-3)
    assert result.kl_step_positions == sum(row.num_tokens for row in rows)


@pytest.mark.parametrize(("lr", "moves"), [("0", False), ("1e-3", True)])
def test_kl_step_is_0_exactly_where_nothing_moved(lr: str, moves: bool) -> None:
    with trainer_of(small_config("algorithm.measure_kl_step=true", f"optim.lr={lr}")) as trainer:
        [metrics] = take_steps(trainer, 1)
    assert metrics.update is not None
    assert metrics.update.kl_step is not None
    assert (metrics.update.kl_step > 0) == moves
    assert moves or metrics.update.kl_step == 0.0


def test_what_is_not_asked_for_is_not_measured() -> None:
    with trainer_of(small_config()) as trainer:
        [metrics] = take_steps(trainer, 1)
    report = metrics.update
    assert report is not None
    assert (report.kl_step, report.gradient_variance, report.gradient_signal) == (None, None, None)
    assert (report.critic, report.trust_region) == (None, None)
    assert report.ratio_quantiles == {}
    assert report.kl_old_worst is None


def test_measuring_changes_no_weight() -> None:
    asked = ("algorithm.measure_kl_step=true", "algorithm.measure_gradient_noise=true")
    hashes = []
    for overrides in ((), asked[:1], asked):
        with trainer_of(small_config(*overrides)) as trainer:
            [metrics] = take_steps(trainer, 1)
            hashes.append((metrics.state_hash, trainer.policy.adapter_state()))
    assert hashes[0][0] == hashes[1][0]
    # Halves add up in another order: the same gradient but for rounding.
    for name, weight in hashes[0][1].items():
        torch.testing.assert_close(hashes[2][1][name], weight, rtol=0, atol=1e-4)
    assert metrics.update is not None
    assert metrics.update.gradient_variance is not None
    assert metrics.update.gradient_variance > 0.0
