"""Both readings come from one scoring: strict pays for a stated answer, lenient for one asserted at the end."""

import pytest

from rewards.base import Sample, Verdict
from rewards.judging import judge
from rewards.math_verifier import LenientMathVerifier, MathVerifier

CASES = [
    ("12", "The answer is 12.", True, True),
    ("12", r"\boxed{12}", True, True),
    ("12", "#### 12", True, True),
    ("12", "So she has 12 apples left.", False, True),
    ("12", "12", False, True),
    ("8", "5+3 = 8", False, True),
    ("12", "The answer is 13.", False, False),
    ("12", "She has 12 apples. The answer is 13.", False, False),
    ("12", "Is it 12?", False, False),
    ("12", "<think>12</think>", False, False),
    (r"\sqrt{2}", r"So the length is $\frac{2}{\sqrt{2}}$.", False, True),
]


@pytest.mark.parametrize(("gold", "text", "strict", "lenient"), CASES)
def test_one_judgement_gives_both(gold: str, text: str, strict: bool, lenient: bool) -> None:
    for reading in (False, True):
        score = judge(gold, text, lenient=reading)
        assert (score.explanation.strict, score.explanation.lenient) == (strict, lenient)
        assert score.value == float(lenient if reading else strict)


def test_the_two_rewards_differ_only_in_what_they_pay() -> None:
    samples = [Sample(problem_id=text, prompt="", completion=text, gold=gold) for gold, text, _, _ in CASES]
    strict, lenient = MathVerifier(), LenientMathVerifier()
    try:
        left, right = strict.score(samples), lenient.score(samples)
    finally:
        strict.close()
        lenient.close()
    assert [s.value for s in left] == [float(case[2]) for case in CASES]
    assert [s.value for s in right] == [float(case[3]) for case in CASES]
    for one, other in zip(left, right, strict=True):
        assert (one.explanation.strict, one.explanation.lenient) == (
            other.explanation.strict,
            other.explanation.lenient,
        )


def test_the_sentence_tells_a_right_answer_that_is_not_stated() -> None:
    score = judge("12", "So she has 12 apples left.")
    assert score.verdict is Verdict.NO_ANSWER
    assert score.explanation.sentence == (
        "No final answer is stated; the last sentence asserts integer 12, which is right."
    )
    assert score.explanation.near_miss == "format only"
    assert "which is wrong" in judge("11", "So she has 12 apples left.").explanation.sentence


def test_strict_implies_lenient_on_every_ending() -> None:
    for text in ("The answer is 3.", "3", r"\boxed{3}", "x = 3", "not 3", "3 or 4", "", "答案是3"):
        why = judge("3", text).explanation
        assert why.lenient or not why.strict
