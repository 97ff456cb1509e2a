"""What is judged at a glance is judged as the whole verifier judges it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.base import Sample, Score
from rewards.cases import LabelledCase
from rewards.comparing.near_miss import near_miss, near_miss_of_integers
from rewards.evident import judge_evident
from rewards.judging import judge
from tests.rewards.case_files import load, stems

NUMBERS = st.one_of(
    st.integers(-2000, 2000),
    st.integers(-(10**14), 10**14),
    st.sampled_from([0, 1, -1, 10, 72, 7200, 1000, 1001]),
)
ENDINGS = (
    "so \\boxed{{{}}}",
    "Thus the total is $\\boxed{{{}}}$.",
    "\\[ x = \\boxed{{{}}} \\]",
    "She sold 48 + 24 clips.\n#### {}",
    "The answer is \\boxed{{{}}}.",
)


def sample(gold: str, completion: str, prompt: str = "") -> Sample:
    return Sample(problem_id="p", prompt=prompt, completion=completion, gold=gold)


def without_times(score: Score) -> Score:
    return replace(score, explanation=replace(score.explanation, elapsed_ms=0.0, stage_ms={}))


@given(NUMBERS, NUMBERS, st.sampled_from(ENDINGS), st.booleans())
def test_integers_at_a_glance_and_in_full(gold: int, answer: int, ending: str, commas: bool) -> None:
    completion = ending.format(f"{answer:,}" if commas else answer)
    quick = judge_evident(sample(str(gold), completion))
    assert quick is not None
    assert without_times(quick) == without_times(judge(str(gold), completion))


@given(NUMBERS, NUMBERS)
def test_near_misses_of_integers(gold: int, answer: int) -> None:
    if gold != answer:
        assert near_miss_of_integers(gold, answer) == near_miss(Fraction(gold), Fraction(answer))


CASES = [case for stem in stems() for case in load(stem)]


def test_every_labelled_case_that_is_evident_is_judged_alike() -> None:
    evident = 0
    for case in CASES:
        quick = judge_evident(sample(case.gold, case.response, case.prompt))
        if quick is None:
            continue
        evident += 1
        full = judge(case.gold, case.response, case.prompt)
        assert without_times(quick) == without_times(full), case.id
        assert quick.explanation.lenient == case.correct, case.id
    assert evident > 200


@pytest.mark.parametrize(
    "completion",
    [
        "The answer is 72.",
        "72",
        "\\boxed{72} clips",
        "\\boxed{72} \\boxed{72}",
        "not \\boxed{72}",
        "-\\boxed{72}",
        "<think>\\boxed{72}",
        "\\boxed{72\\text{ cm}}",
        "#### 72\n#### 72",
        "#### 72\nQuestion: what?",
        "答案是 \\boxed{72}",
        "",
    ],
)
def test_whatever_is_not_plain_goes_the_long_way(completion: str) -> None:
    assert judge_evident(sample("72", completion)) is None


def test_a_gold_that_is_no_plain_number_or_a_cut_response_goes_the_long_way() -> None:
    assert judge_evident(sample("72 cm", "\\boxed{72}")) is None
    assert judge_evident(sample("x", "\\boxed{72}")) is None
    assert judge_evident(replace(sample("72", "\\boxed{72}"), finish_reason="length")) is None
    assert judge_evident(sample("72", "\n#### 72"), form="boxed") is None


def test_the_same_case_files_hold_distinct_ids() -> None:
    ids = [case.id for case in CASES]
    assert len(ids) == len(set(ids))
    assert all(isinstance(case, LabelledCase) for case in CASES)
