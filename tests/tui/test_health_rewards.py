"""Checks of what is paid for: each both ways, and at its thresholds."""

from __future__ import annotations

import pytest

from grpo_tui.tui.health.finding import MIN_STEPS, WINDOW, Level
from grpo_tui.tui.health.of_rewards import FORM_GAIN, difference
from tests.tui.health_runs import evaluation, finding, level, run

OK, WATCH, WARN = Level.OK, Level.WATCH, Level.WARN


@pytest.mark.parametrize(("dead", "expected"), [(2, OK), (3, WATCH), (4, WATCH), (5, WARN), (10, WARN)])
def test_dead_groups_at_30_and_50_percent(dead: int, expected: Level) -> None:
    state = run(changes=lambda _: {"num_groups": 10, "num_degenerate_groups": dead})
    assert level(state, "dead groups") is expected


@pytest.mark.parametrize(
    ("cause", "knob"),
    [
        ("too easy", "groups.resample_tries"),
        ("too hard", "sampling.group_size"),
        ("identical text", "sampling.temperature"),
        ("equal rewards", "reward.weights"),
    ],
)
def test_dead_groups_are_told_by_cause_and_advised_by_the_main_one(cause: str, knob: str) -> None:
    causes = {"too easy": 1, "too hard": 1, "identical text": 1, "equal rewards": 1, cause: 3}
    state = run(changes=lambda _: {"num_degenerate_groups": 6, "degenerate_causes": causes})
    found = finding(state, "dead groups")
    assert found is not None
    assert f"75% of 80 groups in the last {WINDOW} steps" in found.evidence
    assert f"30 {cause}" in found.evidence
    assert f"10 {next(c for c in causes if c != cause)}" in found.evidence
    assert knob in found.knobs


def test_old_steps_do_not_count() -> None:
    state = run(30, changes=lambda step: {"num_degenerate_groups": 8 if step <= 20 else 0})
    assert level(state, "dead groups") is OK
    found = finding(state, "dead groups", upto=20)
    assert found is not None
    assert found.level is WARN, "as it stood at the step looked at"


def test_dead_groups_are_no_matter_where_rewards_are_not_compared_inside_a_group() -> None:
    state = run(changes=lambda _: {"num_degenerate_groups": 8}, toml='[algorithm]\nadvantage = "ema"\n')
    assert finding(state, "dead groups") is None


def test_runs_recorded_before_groups_were_counted_take_the_settings_number() -> None:
    toml = "[sampling]\nprompts_per_step = 4\n"
    state = run(changes=lambda _: {"num_groups": 0, "num_degenerate_groups": 2}, toml=toml)
    found = finding(state, "dead groups")
    assert found is not None
    assert found.brief == "50% of 40"


@pytest.mark.parametrize(("unread", "expected"), [(9, OK), (10, WATCH), (29, WATCH), (30, WARN)])
@pytest.mark.parametrize("verdict", ["unparsed", "no answer"])
def test_unread_answers_at_10_and_30_percent(unread: int, verdict: str, expected: Level) -> None:
    counts = {"wrong": 100 - unread, verdict: unread}
    state = run(changes=lambda _: {"num_completions": 100, "verdict_counts": counts})
    assert level(state, "unread answers") is expected


def test_nothing_is_unread_where_nothing_is_judged() -> None:
    assert finding(run(changes=lambda _: {"verdict_counts": {"not judged": 64}}), "unread answers") is None


def formed(gain: float, accuracy: float = 0.0, steps: int = 20):  # type: ignore[no-untyped-def]
    def changes(step: int) -> dict[str, object]:
        late = step > 10
        truth = 0.5 + (accuracy if late else 0.0)
        return {
            "component_means": {"math": truth, "format": 0.2 + (gain if late else 0.0)},
            "accuracy": truth,
        }

    return run(steps, changes)


def test_form_that_rises_while_accuracy_is_flat() -> None:
    assert level(formed(0.3), "form") is WARN
    assert level(formed(0.3, accuracy=0.2), "form") is OK, "both rise"
    assert level(formed(0.0), "form") is OK
    assert level(formed(-0.3), "form") is OK


def test_form_at_its_threshold() -> None:
    assert FORM_GAIN == 0.05
    assert level(formed(FORM_GAIN + 1e-6), "form") is WARN
    assert level(formed(FORM_GAIN - 1e-6), "form") is OK


def test_accuracy_that_rises_by_a_hundredth_is_flat() -> None:
    assert level(formed(0.3, accuracy=0.0099), "form") is WARN
    assert level(formed(0.3, accuracy=0.0101), "form") is OK


def test_no_form_in_the_reward_is_nothing_to_say() -> None:
    assert finding(run(), "form") is None
    assert finding(formed(0.3, steps=10 + MIN_STEPS - 1), "form") is None, "too few steps before"


WEIGHTS = "[reward]\nweights = { math = 1.0, format = 0.1 }\n"


@pytest.mark.parametrize(
    ("math", "form", "expected"),
    [(0.5, 0.5, OK), (0.05, 9.4, OK), (0.05, 9.5, WARN), (0.19, 0.1, WATCH), (0.1, 0.1, OK)],
)
def test_one_part_pays_all(math: float, form: float, expected: Level) -> None:
    state = run(changes=lambda _: {"component_means": {"math": math, "format": form}}, toml=WEIGHTS)
    assert level(state, "reward parts") is expected


def test_a_reward_of_one_part_is_no_finding() -> None:
    assert finding(run(toml="[reward]\nweights = { math = 1.0, format = 0 }\n"), "reward parts") is None


def test_held_out_needs_two_evaluations() -> None:
    assert finding(run(evals=[evaluation(0, 100)]), "held-out") is None


def test_a_difference_within_the_interval_is_not_called_a_change() -> None:
    found = finding(run(evals=[evaluation(0, 100), evaluation(20, 112)]), "held-out")
    assert found is not None
    assert "no clear change" in found.brief
    assert "n = 200" in found.evidence
    assert found.level is OK
    more = finding(run(evals=[evaluation(0, 100), evaluation(20, 130)]), "held-out")
    assert more is not None
    assert more.brief.endswith("up")


def test_the_interval_of_a_difference_is_newcombes() -> None:
    # Newcombe 1998, Statistics in Medicine 17, p. 876, method 10, 56/70 against 48/80.
    low, high = difference(evaluation(1, 56, 70), evaluation(0, 48, 80))
    assert low == pytest.approx(0.0524, abs=5e-4)
    assert high == pytest.approx(0.3339, abs=5e-4)


def learning(step: int) -> dict[str, object]:
    return {"accuracy": 0.3 + 0.02 * step}


def test_held_out_flat_while_training_accuracy_rises() -> None:
    flat = [evaluation(0, 100), evaluation(20, 101)]
    assert level(run(changes=learning, evals=flat), "held-out") is WATCH
    assert level(run(evals=flat), "held-out") is OK, "training does not rise either"
    assert level(run(changes=learning, evals=[evaluation(0, 60), evaluation(20, 120)]), "held-out") is OK


def test_held_out_that_fell_from_its_best() -> None:
    state = run(evals=[evaluation(0, 80), evaluation(10, 140), evaluation(20, 100)])
    found = finding(state, "held-out")
    assert found is not None
    assert found.level is WARN
    assert "0.70 at 10" in found.advice
    slightly = [evaluation(0, 80), evaluation(10, 140), evaluation(20, 130)]
    assert level(run(evals=slightly), "held-out") is OK
