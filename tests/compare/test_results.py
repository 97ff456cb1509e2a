from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from grpo_tui.compare.plan import Choice
from grpo_tui.compare.results import HeldOut, RunResult, read_result, read_sweep_result
from grpo_tui.compare.summary import AlgorithmResult, summarize, unequal_starts
from grpo_tui.events.records import CriticReport, TrustRegionReport, UpdateReport
from tests.compare.support import planned, usual_steps, write_run
from tests.events.builders import metrics

CRITIC = CriticReport(
    value_loss=0.1,
    explained_variance=0.3,
    value_mean=0.0,
    return_mean=0.0,
    grad_norm=1.0,
    warming_up=False,
)
REGION = TrustRegionReport(
    accepted=True,
    kl=0.005,
    kl_limit=0.01,
    surrogate_gain=0.1,
    num_tries=1,
    scale=1.0,
    num_positions=10,
    step_norm=1.0,
)


def test_a_run_file_as_a_result(tmp_path: Path) -> None:
    run = planned(tmp_path)
    write_run(run, usual_steps(8, seconds=1.5, peak_memory_bytes=1000), before=40, after=60)
    result = read_result(run)
    assert (result.name, result.algorithm, result.seed, result.step_size) == ("grpo-seed0", "grpo", 0, 0.001)
    assert result.before == HeldOut(step=0, correct=40, num_problems=100, correct_lenient=40)
    assert result.after == HeldOut(step=8, correct=60, num_problems=100, correct_lenient=60)
    assert (result.steps, result.tokens, result.seconds, result.eval_seconds) == (8, 2000, 12.0, 4.0)
    assert (result.peak_memory_bytes, result.state_bytes) == (1000, 1000)
    # Rewards 0.1 to 0.8: the first and last two of eight.
    assert (result.reward_first, result.reward_last) == pytest.approx((0.15, 0.75))
    assert result.kl_steps == (0.01,) * 8
    assert (result.gradient_variances, result.gradient_signals) == ((6.0,) * 8, (2.0,) * 8)
    assert (result.num_trust_region_steps, result.max_kl_over_limit, result.explained_variance) == (
        0,
        None,
        None,
    )
    assert result.model is not None
    assert result.model.device == "cpu"


def test_what_was_not_measured_is_none(tmp_path: Path) -> None:
    run = planned(tmp_path)
    write_run(run, [metrics(1), metrics(2)], before=None, after=None)
    result = read_result(run)
    assert (result.before, result.after, result.kl_steps, result.gradient_signals) == (None, None, (), ())
    row = summarize(run.config, choice(), [result])
    assert (row.before, row.rise, row.rise_over_seeds, row.noise_to_signal, row.kl_mean, row.learns) == (
        None,
        None,
        None,
        None,
        None,
        "–",
    )


def test_an_evaluation_on_the_way_is_not_the_end(tmp_path: Path) -> None:
    run = planned(tmp_path)
    write_run(run, usual_steps(2), after=None)
    assert read_result(run).after is None


def test_tokens_of_a_file_that_knows_no_sampled_tokens(tmp_path: Path) -> None:
    run = planned(tmp_path)
    write_run(run, [metrics(1, num_completion_tokens=70)])
    assert read_result(run).tokens == 70


def test_kl_is_of_updates_that_moved_the_policy(tmp_path: Path) -> None:
    still = [
        UpdateReport(kl_step=0.0, critic=replace(CRITIC, warming_up=True)),
        UpdateReport(kl_step=0.0, trust_region=replace(REGION, accepted=False)),
        UpdateReport(kl_step=0.0),
    ]
    steps = [metrics(number, update=report) for number, report in enumerate(still, start=1)]
    steps[2] = replace(steps[2], update_skipped="all advantages are 0", num_optimizer_steps=0)
    run = planned(tmp_path)
    write_run(run, [*steps, metrics(4, update=UpdateReport(kl_step=0.25))])
    result = read_result(run)
    assert (result.kl_steps, result.num_updates, result.num_warmup_steps) == ((0.25,), 1, 1)


def test_what_a_trust_region_did(tmp_path: Path) -> None:
    tried = [(True, 0.005), (True, 0.008), (False, 0.02), (True, 0.001)]
    steps = [
        metrics(
            number, update=UpdateReport(kl_step=kl, trust_region=replace(REGION, accepted=accepted, kl=kl))
        )
        for number, (accepted, kl) in enumerate(tried, start=1)
    ]
    run = planned(tmp_path, "trpo")
    write_run(run, steps)
    result = read_result(run)
    assert (result.num_accepted, result.num_trust_region_steps) == (3, 4)
    assert result.max_kl_over_limit == pytest.approx(0.8)
    assert result.kl_steps == (0.005, 0.008, 0.001)
    row = summarize(run.config, choice(), [result])
    assert (row.accepted, row.step_size_key) == (0.75, "trust_region.kl_limit")


def test_what_a_critic_did(tmp_path: Path) -> None:
    explained = [0.1, 0.4, math.nan]
    steps = [
        metrics(
            number,
            update=UpdateReport(critic=replace(CRITIC, explained_variance=value, warming_up=value < 0.2)),
        )
        for number, value in enumerate(explained, start=1)
    ]
    run = planned(tmp_path, "ppo")
    write_run(run, steps)
    result = read_result(run)
    assert (result.explained_variance, result.num_warmup_steps) == (0.4, 1)


def test_the_sweep_sees_training_reward_alone(tmp_path: Path) -> None:
    run = replace(planned(tmp_path), measured=False)
    write_run(run, usual_steps(4), before=10, after=99)
    result = read_sweep_result(run, finished=True)
    assert (result.reward, result.steps, result.tokens) == (0.4, 4, 1000)
    assert read_sweep_result(run, finished=False).reward is None


# --- pooling ---------------------------------------------------------------------------------------------


def choice(factor: float = 1.0) -> Choice:
    return Choice(algorithm="grpo", factor=factor, step_size=0.001, at_edge=False)


def result(tmp_path: Path, before: int, after: int, seed: int = 0, **changes: object) -> RunResult:
    run = planned(tmp_path / f"{seed}-{before}-{after}")
    write_run(run, usual_steps(2), before=before, after=after)
    return replace(read_result(run), seed=seed, **changes)  # type: ignore[arg-type]


def pooled(tmp_path: Path, *runs: RunResult) -> AlgorithmResult:
    return summarize(planned(tmp_path).config, choice(), runs)


def test_the_rise_over_all_answers_and_over_seeds(tmp_path: Path) -> None:
    row = pooled(tmp_path, result(tmp_path, 40, 60), result(tmp_path, 50, 60, 1), result(tmp_path, 30, 60, 2))
    assert (row.before, row.after, row.num_answers) == (0.4, 0.6, 300)
    assert row.rises == pytest.approx((0.2, 0.1, 0.3))
    # Wilson of 120/300: 0.34617 to 0.45636; of 180/300: 0.54364 to 0.65383.
    assert row.rise == pytest.approx((0.2, 0.12029, 0.27613), abs=1e-4)
    # 0.2 ± 4.3027 × 0.1 / √3
    assert row.rise_over_seeds == pytest.approx((0.2, -0.0484, 0.4484), abs=1e-4)
    assert row.learns == "yes"


@pytest.mark.parametrize(
    ("after", "learns"), [(80, "yes"), (45, "not shown"), (40, "not shown"), (10, "falls")]
)
def test_learns_where_the_interval_excludes_nothing_gained(tmp_path: Path, after: int, learns: str) -> None:
    row = pooled(tmp_path, result(tmp_path, 40, after))
    assert row.learns == learns
    assert row.rise_over_seeds is None


def test_noise_over_signal_divides_means_not_steps(tmp_path: Path) -> None:
    one = result(tmp_path, 40, 60, gradient_variances=(4.0, 8.0), gradient_signals=(3.0, -1.0))
    two = result(tmp_path, 40, 60, 1, gradient_variances=(6.0,), gradient_signals=(1.0,))
    assert pooled(tmp_path, one, two).noise_to_signal == pytest.approx(6.0)
    row = pooled(tmp_path, replace(one, gradient_signals=(1.0, -1.5)))
    assert (row.noise_to_signal, row.gradient_signal) == (None, -0.25)


def test_means_and_extremes_over_runs(tmp_path: Path) -> None:
    one = result(tmp_path, 40, 60, kl_steps=(0.1, 0.2), peak_memory_bytes=5, seconds=10.0)
    two = result(tmp_path, 40, 60, 1, kl_steps=(0.6,), peak_memory_bytes=7, seconds=20.0)
    row = pooled(tmp_path, one, two)
    assert row.kl_mean == pytest.approx(0.3)
    assert (row.kl_max, row.num_kl_updates) == (0.6, 3)
    assert (row.peak_memory_bytes, row.seconds, row.tokens) == (7, 15.0, 500)


# --- equal starts ----------------------------------------------------------------------------------------


def test_equal_starts(tmp_path: Path) -> None:
    grpo, rloo = planned(tmp_path), planned(tmp_path, "rloo")
    write_run(grpo, usual_steps(1), after=50)
    write_run(rloo, usual_steps(1), after=70)
    results = [read_result(grpo), read_result(rloo)]
    assert results[0].start_digest
    assert unequal_starts(results) == {}


def test_another_first_batch_is_another_start(tmp_path: Path) -> None:
    grpo, rloo = planned(tmp_path), planned(tmp_path, "rloo")
    write_run(grpo, usual_steps(1))
    write_run(rloo, usual_steps(1), start=1)
    assert unequal_starts([read_result(grpo), read_result(rloo)]) == {0: (("grpo",), ("rloo",))}


def test_an_algorithm_that_replaces_groups_is_held_to_the_evaluation_alone(tmp_path: Path) -> None:
    grpo, dapo = planned(tmp_path), planned(tmp_path, "dapo")
    write_run(grpo, usual_steps(1))
    write_run(dapo, usual_steps(1), start=1)
    results = [read_result(dapo), read_result(grpo)]
    assert results[0].start_digest == ""
    assert unequal_starts(results) == {}
    assert unequal_starts([replace(results[0], before=results[0].after), results[1]]) == {
        0: (("grpo",), ("dapo",))
    }
