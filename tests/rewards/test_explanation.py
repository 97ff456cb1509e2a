"""What an explanation carries: spans of the original text, what lost and why, both sides, difference, time, version."""

import pytest

from rewards.base import Explanation, RunnerUp, Score, Span, Verdict
from rewards.codec import score_from_json, score_to_json
from rewards.judging import VERIFIER_VERSION, judge


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("The answer is 12.", "12"),
        ("The answer\u200b is\u200b 12.", "12"),
        ("\ufeffThe answer is 1\u200b2.", "1\u200b2"),
        ("one\r\ntwo\r\n#### 12\r\n", "12"),
        ("The answer is １２.", "１２"),
        ("**Answer:** **12**", "12"),
        ("<think>no\u200b</think>\r\nSo she has 12 apples.", "12"),
        ("48 <<40+8=48>>48. So she has <<12>>12 apples.", "12"),
        (r"<answer>\boxed{12}</answer>", "12"),
    ],
)
def test_the_span_points_into_the_original_response(text: str, shown: str) -> None:
    score = judge("12", text, lenient=True)
    assert score.verdict is Verdict.CORRECT, score.explanation.sentence
    span = score.explanation.span
    assert span is not None
    assert text[span.start : span.end] == shown == score.explanation.answer_text


def test_everything_the_issue_names_is_there() -> None:
    text = r"Perhaps \boxed{4}. No: \boxed{7}"
    why = judge("5", text).explanation
    assert (why.answer_text, why.normalized_text, why.parsed_answer) == ("7", "7", "integer 7")
    assert (why.gold_text, why.normalized_gold, why.parsed_gold) == ("5", "5", "integer 5")
    assert why.difference == "2"
    assert why.rule
    assert why.sentence.endswith(".")
    assert why.version == VERIFIER_VERSION
    assert why.elapsed_ms >= 0
    assert [text[s.start : s.end] for s in why.runner_up_spans] == ["4"]
    assert [(other.text, other.source, other.reason) for other in why.runner_ups] == [
        ("4", "boxed", "a later one replaces it")
    ]


def test_near_miss_and_difference_of_a_wrong_number() -> None:
    why = judge("5", "The answer is -5.").explanation
    assert (why.near_miss, why.difference) == ("sign", "-10")
    assert judge("1/2", r"\boxed{x}").explanation.difference == ""


def test_no_text_in_it_is_unbounded() -> None:
    long = "9" * 30_000
    for text in (
        f"The answer is {long}",
        rf"\boxed{{{long}}}",
        f"#### {long}",
        long,
        rf"\boxed{{{long}}} \boxed{{5}}",
    ):
        why = judge("5", text, lenient=True).explanation
        for name in (
            "sentence",
            "answer_text",
            "normalized_text",
            "parsed_answer",
            "gold_text",
            "difference",
        ):
            assert len(getattr(why, name)) < 1_000
        assert all(len(other.text) <= 80 for other in why.runner_ups)
    assert len(judge("x" * 9_000, "5").explanation.gold_text) < 1_000


def test_many_candidates_are_cut_to_a_few() -> None:
    assert len(judge("5", r"\boxed{5} " * 500).explanation.runner_ups) <= 16


def test_it_survives_json_and_old_records_are_read() -> None:
    score = judge("5", r"\boxed{4}, no, \boxed{7}")
    assert score_from_json(score_to_json(score)) == score
    old = {"value": 1.0, "verdict": "correct", "explanation": {"sentence": "s", "runner_up_spans": [[0, 1]]}}
    assert score_from_json(old).explanation == Explanation(sentence="s", runner_up_spans=(Span(0, 1),))
    full = Score(
        value=0.0,
        verdict=Verdict.WRONG,
        explanation=Explanation(
            sentence="s", strict=False, lenient=True, runner_ups=(RunnerUp(Span(1, 2), "x", "tag", "why"),)
        ),
    )
    assert score_from_json(score_to_json(full)) == full
