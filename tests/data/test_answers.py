"""The gold final answer is taken from its column, or there is a reason why not."""

from __future__ import annotations

from decimal import Decimal

import pytest

from grpo_tui.data.answers import NoAnswerError, answer_text, extract_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so 5.\n#### 5", "5"),
        ("#### 1,234,567", "1234567"),
        ("#### -1,080.5", "-1080.5"),
        ("#### 1,2", "1,2"),
        ("#### 12,3456", "12,3456"),
        ("#### 1\n#### 2", "2"),
        ("####7\n\n", "7"),
        ("#### 3 apples\nand more", "3 apples"),
    ],
)
def test_after_hashes(text: str, answer: str) -> None:
    assert extract_answer(text, "after_hashes") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\boxed{5}", "5"),
        ("first \\boxed{1}, then \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{\\left\\{ x \\right.}", "\\left\\{ x \\right."),
        ("\\boxed{ {a}{b} } and {c}", "{a}{b}"),
        ("\\fbox{7}", "7"),
        ("\\boxed {8}", "8"),
        ("$\\boxed 2$", "2"),
        ("\\boxed{x} \\boxedtext{y}", "x"),
        ("\\boxed{\\boxed{3}}", "3"),
    ],
)
def test_last_boxed(text: str, answer: str) -> None:
    assert extract_answer(text, "last_boxed") == answer


@pytest.mark.parametrize(
    ("text", "answer_format", "reason"),
    [
        ("just 5", "after_hashes", "there is no ####"),
        ("5 ####  ", "after_hashes", "nothing follows"),
        ("just 5", "last_boxed", "there is no \\boxed"),
        ("\\boxed{5", "last_boxed", "do not close"),
        ("\\boxed{1} \\boxed{ }", "last_boxed", "is empty"),
        ("\\boxed", "last_boxed", "holds nothing"),
    ],
)
def test_no_answer_in_the_format(text: str, answer_format: str, reason: str) -> None:
    with pytest.raises(NoAnswerError, match=reason.replace("\\", r"\\")):
        extract_answer(text, answer_format)


def test_raw_answers_lose_only_the_blanks_around_them() -> None:
    assert extract_answer("  a, b \n", "raw") == "a, b"


@pytest.mark.parametrize(
    ("value", "text"),
    [("7", "7"), (7, "7"), (2.5, "2.5"), (Decimal("1.50"), "1.50"), (True, "True"), (["7"], "7"), ([7], "7")],
)
def test_values_that_can_be_answers(value: object, text: str) -> None:
    assert answer_text(value) == text


@pytest.mark.parametrize("value", [None, "", "  \n", [None], [""]])
def test_empty_values_are_a_reason(value: object) -> None:
    with pytest.raises(NoAnswerError):
        answer_text(value)


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], [], b"7"])
def test_other_values_are_a_mistake_in_the_mapping(value: object) -> None:
    with pytest.raises(TypeError):
        answer_text(value)
