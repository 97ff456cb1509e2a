"""Checks of the policy and its updates: each both ways, and at its thresholds."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from grpo_tui.config.validate import USUAL_LR
from grpo_tui.events.records import UpdateReport, WorstToken
from grpo_tui.tui.health.checks import examine
from grpo_tui.tui.health.finding import MIN_STEPS, Level
from tests.tui.health_runs import finding, level, run

OK, WATCH, WARN = Level.OK, Level.WATCH, Level.WARN


def test_a_quiet_run_is_well() -> None:
    findings = examine(run())
    assert {f.check for f in findings} == {
        "dead groups", "unread answers", "truncation", "entropy", "KL", "updates", "grad norm", "learning rate",
    }  # fmt: skip
    assert {f.level for f in findings} == {OK}
    assert not any(f.advice or f.knobs or f.look for f in findings)


def test_too_few_steps_say_nothing_of_levels() -> None:
    assert [f.check for f in examine(run(MIN_STEPS - 1))] == ["learning rate"]
    assert len(examine(run(MIN_STEPS))) > 1
    assert examine(run(0)) == []


def test_the_worst_comes_first() -> None:
    state = run(changes=lambda _: {"num_truncated": 10, "entropy": 0.01})
    assert [(f.check, f.level) for f in examine(state)][:3] == [
        ("entropy", WARN), ("truncation", WATCH), ("dead groups", OK),
    ]  # fmt: skip


@pytest.mark.parametrize(("cut", "expected"), [(9, OK), (10, WATCH), (29, WATCH), (30, WARN)])
def test_truncation_at_10_and_30_percent(cut: int, expected: Level) -> None:
    state = run(changes=lambda _: {"num_completions": 100, "num_truncated": cut})
    assert level(state, "truncation") is expected


def test_truncation_that_rises_is_told_at_any_level() -> None:
    state = run(changes=lambda step: {"num_completions": 100, "num_truncated": 6 if step > 10 else 1})
    found = finding(state, "truncation")
    assert found is not None
    assert found.level is WATCH
    assert "6%), 1% of 1000 in the 10 steps before: rising" in found.evidence
    barely = run(changes=lambda step: {"num_completions": 100, "num_truncated": 5 if step > 10 else 1})
    assert level(barely, "truncation") is OK, "4 points are less than 5"


@pytest.mark.parametrize(("value", "expected"), [(0.15, OK), (0.149, WATCH), (0.05, WATCH), (0.049, WARN)])
def test_entropy_by_its_level(value: float, expected: Level) -> None:
    assert level(run(changes=lambda _: {"entropy": value}), "entropy") is expected


@pytest.mark.parametrize(
    ("left", "earns", "expected"),
    [
        (0.76, False, OK),
        (0.74, False, WATCH),
        (0.51, False, WATCH),
        (0.49, False, WARN),
        (0.49, True, WATCH),
        (0.74, True, OK),
    ],
)
def test_entropy_by_its_fall_which_is_milder_while_the_reward_rises(
    left: float, earns: bool, expected: Level
) -> None:
    state = run(
        changes=lambda step: {
            "entropy": left if step > 10 else 1.0,
            "reward_mean": 0.9 if earns and step > 10 else 0.5,
        }
    )
    assert level(state, "entropy") is expected


@pytest.mark.parametrize(("value", "expected"), [(0.099, OK), (0.1, WATCH), (0.499, WATCH), (0.5, WARN)])
def test_kl_by_its_mean(value: float, expected: Level) -> None:
    assert level(run(changes=lambda _: {"kl_ref": value}), "KL") is expected


def test_kl_that_doubles_is_worse_once_it_is_worth_speaking_of() -> None:
    def grown(now: float, before: float) -> Level:
        return level(run(changes=lambda step: {"kl_ref": now if step > 10 else before}), "KL")

    assert grown(0.2, 0.1) is WARN
    assert grown(0.2, 0.11) is WATCH
    assert grown(0.04, 0.01) is OK


@pytest.mark.parametrize(("value", "expected"), [(9.9, OK), (10.0, WATCH), (99.0, WATCH), (100.0, WARN)])
def test_kl_of_one_token(value: float, expected: Level) -> None:
    worst = WorstToken(value=value, group=2, completion=4, token=17, text="[b]")
    state = run(changes=lambda step: {"update": UpdateReport(kl_ref_worst=worst if step == 15 else None)})
    found = finding(state, "KL")
    assert found is not None
    assert found.level is expected
    assert "'[b]' in g3·r5 @15" in found.evidence
    assert ("step 15" in found.look) == bool(expected)


def test_kl_that_is_not_measured_is_not_spoken_of() -> None:
    assert finding(run(changes=lambda _: {"kl_ref": None}), "KL") is None


TWO_EPOCHS = "[algorithm]\nnum_epochs = 2\n"


@pytest.mark.parametrize(("share", "expected"), [(0.19, OK), (0.2, WATCH), (0.39, WATCH), (0.4, WARN)])
def test_clipping_at_20_and_40_percent(share: float, expected: Level) -> None:
    assert level(run(changes=lambda _: {"clip_fraction": share}, toml=TWO_EPOCHS), "clipping") is expected


def test_clipping_does_not_exist_at_one_update_a_batch_or_without_a_clip() -> None:
    assert finding(run(), "clipping") is None
    assert finding(run(toml=TWO_EPOCHS + 'clip = "none"\n'), "clipping") is None


@pytest.mark.parametrize(
    ("lr", "expected"),
    [
        (USUAL_LR[0], OK),
        (USUAL_LR[0] * 0.99, WATCH),
        (USUAL_LR[1], OK),
        (USUAL_LR[1] * 1.01, WARN),
        (0.0, WARN),
    ],
)
def test_learning_rate_at_the_ends_of_its_range(lr: float, expected: Level) -> None:
    assert level(run(changes=lambda _: {"learning_rate": lr}), "learning rate") is expected


def test_a_learning_rate_may_begin_and_end_low() -> None:
    warming = run(3, changes=lambda _: {"learning_rate": 1e-7}, toml="[optim]\nwarmup_steps = 10\n")
    assert level(warming, "learning rate") is OK
    decayed = run(changes=lambda step: {"learning_rate": 1e-4 if step < 10 else 1e-8})
    assert level(decayed, "learning rate") is OK


@pytest.mark.parametrize(("norm", "expected"), [(4.9, OK), (5.0, WATCH), (19.9, WATCH), (20.0, WARN)])
def test_gradient_spikes_against_the_median_of_the_others(norm: float, expected: Level) -> None:
    state = run(changes=lambda step: {"grad_norm": norm if step == 14 else 1.0})
    found = finding(state, "grad norm")
    assert found is not None
    assert found.level is expected
    assert "in step 14" in found.evidence


def test_a_gradient_that_is_no_number() -> None:
    state = run(changes=lambda step: {"grad_norm": math.nan if step == 18 else 1.0})
    found = finding(state, "grad norm")
    assert found is not None
    assert found.level is WARN
    assert "step 18" in found.evidence


@pytest.mark.parametrize(
    ("variance", "signal", "expected"),
    [(9.9, 1.0, OK), (10.0, 1.0, WATCH), (49.9, 1.0, WATCH), (50.0, 1.0, WARN), (1.0, -0.1, WARN)],
)
def test_gradient_noise(variance: float, signal: float, expected: Level) -> None:
    report = UpdateReport(gradient_variance=variance, gradient_signal=signal)
    assert level(run(changes=lambda _: {"update": report}), "gradient noise") is expected


def test_gradient_noise_is_told_only_where_it_is_measured() -> None:
    report = UpdateReport(gradient_variance=1.0, gradient_signal=1.0)
    assert (
        finding(run(changes=lambda _: {"update": replace(report, gradient_signal=None)}), "gradient noise")
        is None
    )
    few = run(changes=lambda step: {"update": report if step > 20 - MIN_STEPS + 1 else None})
    assert finding(few, "gradient noise") is None


@pytest.mark.parametrize(("skipped", "expected"), [(1, OK), (2, WATCH), (4, WATCH), (5, WARN)])
def test_steps_without_an_update(skipped: int, expected: Level) -> None:
    state = run(changes=lambda step: {"update_skipped": "every group is dead" if step > 20 - skipped else ""})
    found = finding(state, "updates")
    assert found is not None
    assert found.level is expected
    assert "every group is dead" in found.evidence
