"""The policy of rewards/README.md, one pair at a time."""

import pytest

from rewards.base import Verdict
from rewards.judging import check_gold, judge
from tests.rewards import cases
from tests.rewards.cases import Case

TABLE = [
    *((case, Verdict.CORRECT) for case in cases.CORRECT),
    *((case, Verdict.WRONG) for case in cases.WRONG),
    *((case, Verdict.NO_ANSWER) for case in cases.NO_ANSWER),
    *((case, Verdict.UNPARSED) for case in cases.UNREADABLE),
]


@pytest.mark.parametrize(("case", "verdict"), TABLE, ids=lambda value: str(value)[:60])
def test_verdict(case: Case, verdict: Verdict) -> None:
    score = judge(case.gold, case.completion, case.prompt)
    assert score.verdict is verdict, score.explanation.sentence
    assert score.value == (1.0 if verdict is Verdict.CORRECT else 0.0)


@pytest.mark.parametrize("case", [*cases.CORRECT, *cases.WRONG], ids=lambda case: str(case)[:60])
def test_the_span_points_at_the_answer_in_the_original_text(case: Case) -> None:
    why = judge(case.gold, case.completion, case.prompt).explanation
    assert why.span is not None
    found = case.completion[why.span.start : why.span.end]
    assert found == why.answer_text or all(part in found for part in why.answer_text.split(", "))
    assert why.sentence
    assert why.rule


@pytest.mark.parametrize("gold", cases.BAD_GOLDS, ids=lambda gold: gold[:20])
def test_a_gold_that_cannot_be_read_is_told_and_never_paid(gold: str) -> None:
    complaint = check_gold(gold)
    assert complaint is not None
    assert "\n" not in complaint
    assert len(complaint) < 300
    score = judge(gold, f"The answer is {gold}")
    assert (score.verdict, score.value) == (Verdict.BAD_GOLD, 0.0)


@pytest.mark.parametrize("gold", sorted({case.gold for case in [*cases.CORRECT, *cases.WRONG]}))
def test_every_gold_of_the_table_is_readable_and_equals_itself(gold: str) -> None:
    assert check_gold(gold) is None
    assert judge(gold, f"\\boxed{{{gold}}}").verdict is Verdict.CORRECT


@pytest.mark.parametrize(
    ("gold", "answer", "slip"),
    [
        ("5", "-5", "sign"),
        ("3/4", "4/3", "reciprocal"),
        ("0.5", "50", "percent"),
        ("17", "18", "off by one"),
        ("17", "34", "factor"),
        ("1000", "1001.5", "rounding"),
        ("7", "3+4", "unsimplified"),
        ("5 cm", "5 m", "unit"),
        ("(1, 2)", "(2, 1)", "order"),
        ("1, 2", "1", "subset"),
        ("1, 2", "1, 2, 3", "superset"),
        ("x^2 - 1", "1 - x^2", "sign"),
        ("x^2 - 1", "2x^2 - 2", "factor"),
        (r"\sqrt{2}", r"-\sqrt{2}", "sign"),
        ("17", "1234", ""),
    ],
)
def test_near_misses_are_classified(gold: str, answer: str, slip: str) -> None:
    score = judge(gold, f"\\boxed{{{answer}}}")
    assert score.verdict is Verdict.WRONG
    assert score.explanation.near_miss == slip


def test_the_lenient_reading_takes_the_last_asserted_number() -> None:
    text = "She has 3 boxes of 24, so 72 in all. That 70 is wrong."
    assert judge("72", text).verdict is Verdict.NO_ANSWER
    assert judge("70", text, lenient=True).verdict is Verdict.WRONG
    score = judge("72", text, lenient=True)
    assert score.verdict is Verdict.CORRECT
    assert score.explanation.source == "last sentence"
    assert judge("12", "The answer is 12. I checked it 3 times.", lenient=True).verdict is Verdict.CORRECT


def test_a_response_that_was_cut_off_says_so() -> None:
    why = judge("5", "Let us add", finish_reason="length").explanation
    assert "cut off" in why.sentence


def test_losing_candidates_are_shown() -> None:
    why = judge("5", r"\boxed{4} no, \boxed{5}").explanation
    assert len(why.runner_up_spans) == 1
