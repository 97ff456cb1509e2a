"""The what-if bench: one batch, many losses."""

from __future__ import annotations

import math

import numpy as np
import pytest

import grpo_tui.engine.what_if as what_if
from grpo_tui.config.load import apply_overrides
from grpo_tui.engine.what_if import compute_what_if, default_choices
from grpo_tui.events.update_records import LossChoice, LossComparison
from tests.engine.support import CONSTANT, small_config, step_looking, take_steps, trainer_of


def bench(*overrides: str, reward: str = "", **options: object) -> LossComparison:
    config = small_config(*overrides, **({"reward": reward} if reward else {}))
    seen: list[LossComparison] = []
    with trainer_of(config) as trainer:
        take_steps(trainer, 1)
        step_looking(trainer, lambda step: seen.append(compute_what_if(trainer, step, **options)))  # type: ignore[arg-type]
    return seen[0]


@pytest.mark.parametrize(
    "changes", [(), ("algorithm.name=rloo",), ("algorithm.name=grpo_basic",), ("algorithm.beta=1",)]
)
def test_a_row_has_the_gradient_that_a_run_under_it_takes(changes: tuple[str, ...]) -> None:
    # Seen to fail: advantages of the run's own algorithm under every loss.
    pairs = tuple(tuple(change.split("=", 1)) for change in changes)
    choices = (LossChoice("own"), LossChoice("other", pairs))  # type: ignore[arg-type]
    comparison = bench("optim.lr=1e-3", "optim.max_grad_norm=0", choices=choices)
    config = small_config("optim.lr=1e-3", "optim.max_grad_norm=0")
    with trainer_of(config) as trainer:
        take_steps(trainer, 1)
        trainer.reconfigure(apply_overrides(config, changes))
        metrics = take_steps(trainer, 1)[0]
    assert comparison.rows[1].norm == pytest.approx(metrics.grad_norm, rel=1e-4)


def test_cosines_are_those_of_whole_gradients_and_of_multiples() -> None:
    choices = (
        LossChoice("own"),
        LossChoice("ten times", (("algorithm.aggregation", "sequence_sum"),)),
        LossChoice("none", (("algorithm.advantage", "none"),)),
    )
    comparison = bench("algorithm.beta=0", choices=choices)
    cosine = comparison.cosine_N_N
    assert comparison.projected_to == 0
    assert np.allclose(np.diag(cosine), 1.0, atol=1e-6)
    assert np.allclose(cosine, cosine.T)
    assert abs(cosine[0, 2]) < 0.99
    assert comparison.rows[2].same_as is None


def test_losses_that_differ_by_their_clip_agree_until_the_policy_has_moved() -> None:
    choices = (
        LossChoice("own"),
        LossChoice("tight", (("algorithm.clip_low", "1e-5"), ("algorithm.clip_high", "1e-5"))),
    )
    at_rest = bench("optim.lr=1e-2", "algorithm.beta=0", choices=choices)
    assert at_rest.ratio_spread == 0.0
    assert at_rest.rows[1].same_as == 0
    assert at_rest.cosine_N_N[0, 1] == pytest.approx(1.0)
    assert at_rest.rows[1].norm == pytest.approx(at_rest.rows[0].norm)
    moved = bench("optim.lr=1e-2", "algorithm.beta=0", choices=choices, after_update=True)
    assert moved.after_update
    assert moved.ratio_spread > 1e-5
    assert moved.rows[1].same_as is None
    assert moved.rows[1].zero_share > moved.rows[0].zero_share


def test_a_projection_keeps_norms_and_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = (
        LossChoice("own"),
        LossChoice("none", (("algorithm.advantage", "none"),)),
        LossChoice("k1", (("algorithm.kl_estimator", "k1"),)),
    )
    exact = bench("optim.lr=1e-3", choices=choices)
    monkeypatch.setattr(what_if, "MAX_ELEMENTS", 1)
    rough = bench("optim.lr=1e-3", choices=choices)
    assert rough.projected_to == what_if.PROJECTED
    for a, b in zip(exact.rows, rough.rows, strict=True):
        assert b.norm == pytest.approx(a.norm, rel=0.05)
    assert np.allclose(exact.cosine_N_N, rough.cosine_N_N, atol=0.05)


def test_every_algorithm_and_every_part_has_a_row() -> None:
    comparison = bench()
    names = [row.choice.name for row in comparison.rows]
    assert names == [choice.name for choice in default_choices(small_config())]
    assert {"as it is", "grpo", "trpo", "clip sapo", "ratio none", "aggregation token_mean", "beta 0"} <= set(
        names
    )
    unavailable = {row.choice.name: row.unavailable for row in comparison.rows if row.unavailable}
    assert set(unavailable) == {"ppo"}
    assert "critic" in unavailable["ppo"]
    place = names.index("ppo")
    assert np.isnan(comparison.cosine_N_N[place]).all()
    for row in comparison.rows:
        if not row.unavailable:
            assert row.num_tokens > 0
            assert math.isfinite(row.norm)


def test_a_batch_that_teaches_nothing_has_no_direction() -> None:
    choices = (LossChoice("own"), LossChoice("again"), LossChoice("none", (("algorithm.advantage", "none"),)))
    comparison = bench("algorithm.beta=0", reward=CONSTANT, choices=choices)
    own, again, _ = comparison.rows
    assert own.norm == again.norm == 0.0
    assert own.zero_share == 1.0
    assert np.isnan(comparison.cosine_N_N[0]).all()
