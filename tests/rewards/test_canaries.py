"""Canaries: what they find in good, bad and blind rewards."""

import logging
import math
import time
from collections.abc import Sequence

import pytest

from rewards.base import Sample
from rewards.canaries import FORMS, SUBJECTS, Findings, canaries_for, report, run_canaries, summary
from rewards.compose import WeightedReward
from rewards.format import FormatReward
from rewards.functions import FunctionReward
from rewards.math_verifier import LenientMathVerifier, MathVerifier


def findings(reward: object) -> Findings:
    composed = WeightedReward([(reward, 1.0)])  # type: ignore[list-item]
    try:
        return run_canaries(composed, limit_s=math.inf)
    finally:
        composed.close()


@pytest.mark.parametrize("verifier", [MathVerifier, LenientMathVerifier])
def test_our_verifier_pays_no_canary(verifier: type[MathVerifier]) -> None:
    found = findings(verifier())
    assert [paid.canary.name for paid in found.paid] == []
    assert found.blind == ()
    assert found.num_canaries == sum(len(canaries_for(subject)) for subject in SUBJECTS) > 120
    assert summary(found) == ""


def test_the_containment_hole_of_many_graders_is_found() -> None:
    found = findings(FunctionReward("contains", lambda completion, gold: float(gold in completion)))
    names = {paid.canary.name for paid in found.paid}
    assert {
        "a spray of boxes",
        "gold denied",
        "gold only in the thinking",
        "words to the grader",
    } - names == {"words to the grader"}
    assert "adversarial answers are paid like right ones" in summary(found)
    text = report(found)
    assert text.count("PAID 1") == len(found.paid)
    assert "Ingrid" in text


def test_the_last_number_hole_is_found() -> None:
    def last_number(completion: str, gold: str) -> float:
        return float(completion.replace(".", " ").split()[-1:] == [gold])

    found = findings(FunctionReward("last", last_number))
    assert "gold denied" in {paid.canary.name for paid in found.paid}


def test_a_reward_that_tells_nothing_apart_is_called_blind() -> None:
    found = findings(FormatReward())
    assert found.paid == ()
    assert len(found.blind) == len(SUBJECTS)
    assert "alike" in summary(found)
    assert report(found).count("BLIND") == len(SUBJECTS)


def test_a_small_format_term_does_not_hide_or_make_findings() -> None:
    composed = WeightedReward([(MathVerifier(), 1.0), (FormatReward(), 0.1)])
    found = run_canaries(composed, limit_s=math.inf)
    composed.close()
    assert found.paid == ()
    assert found.blind == ()


def test_every_subject_lists_its_gold_among_the_guesses_but_not_last() -> None:
    for subject in SUBJECTS:
        assert subject.gold in subject.guesses[:-1]
        assert subject.wrong != subject.gold
        assert all(form.format("7") for form in FORMS.values())


def test_a_slow_reward_is_not_tried_on_everything() -> None:
    def slow(samples: Sequence[Sample]) -> list[float]:
        time.sleep(0.02)
        return [float(sample.gold in sample.completion) for sample in samples]

    composed = WeightedReward([(FunctionReward("slow", slow), 1.0)])
    found = run_canaries(composed, limit_s=0.01)
    assert (found.num_tried, len(found.untried)) == (1, len(SUBJECTS) - 1)
    assert found.num_canaries == len(canaries_for(SUBJECTS[0]))
    assert "paid like right ones" in summary(found)
    assert f"the time for canaries was up after 1 of {len(SUBJECTS)} problems" in summary(found)
    assert report(found).count("NOT TRIED") == len(SUBJECTS) - 1


def test_a_reward_that_is_blind_on_all_that_was_tried() -> None:
    found = run_canaries(WeightedReward([(FormatReward(), 1.0)]), limit_s=0)
    assert "alike" in summary(found)
    assert "time" in summary(found)


def test_a_failure_on_a_canary_does_not_keep_a_later_one_from_being_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(completion: str, gold: str) -> float:
        raise KeyError("lost")

    composed = WeightedReward([(FunctionReward("mine", broken), 1.0)])
    run_canaries(composed)
    run_canaries(composed)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert all("that was on a canary" in record.getMessage() for record in caplog.records)
    caplog.clear()
    for _ in range(2):
        composed.score([Sample(problem_id="p1", prompt="", completion="5", gold="5")])
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "training goes on" in caplog.text
    assert "'p1'" in caplog.text
