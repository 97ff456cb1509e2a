"""Rewards that measure how a response is written: form, length, repetition."""

import pytest

from rewards.base import Sample, Verdict
from rewards.format import STYLES, FormatReward
from rewards.length import LengthReward, OverlongReward, RepetitionReward, repeated_share


def sample(completion: str, finish_reason: str = "stop", **metadata: str) -> Sample:
    return Sample(
        problem_id="p",
        prompt="",
        completion=completion,
        gold="5",
        finish_reason=finish_reason,
        metadata=metadata,
    )


def form(completion: str, style: str = "stated") -> float | None:
    score = FormatReward(style=style).score([sample(completion)])[0]
    assert score.verdict is Verdict.NOT_JUDGED
    assert score.explanation.sentence
    return score.value


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        ("2 + 3 = 5\nAnswer: 5", 1.0),
        (r"<think>2 + 3</think> \boxed{5}", 1.0),
        (r"\boxed{5}", 1.0),
        (r"\boxed{}", 0.0),
        ("<answer></answer>", 0.0),
        ("<think></think>", 0.0),
        ("5", 0.0),
        (r"\boxed{4} \boxed{5}", 0.0),
        ("The answer is 3 or 4", 0.0),
        (r"\boxed{5} " + "and so on " * 30, 0.0),
        (r"<think>a</think><think>b</think>\boxed{5}", 0.0),
        (r"\boxed{)(}", 0.0),
    ],
)
def test_format_pays_for_exactly_one_stated_final_answer(completion: str, value: float) -> None:
    assert form(completion) == value


GOOD = {
    "stated": "so the answer is 5.",
    "boxed": r"so \boxed{5}",
    "hashes": "2 + 3 = 5\n#### 5",
    "answer_tags": "2 + 3 = 5 <answer>5</answer>",
    "think_answer": "<think>2 + 3 = 5</think>\n<answer>5</answer>",
}


@pytest.mark.parametrize("style", STYLES)
def test_every_style_pays_for_its_own_form(style: str) -> None:
    assert form(GOOD[style], style) == 1.0


@pytest.mark.parametrize(
    ("style", "completion"),
    [
        ("boxed", "The answer is 5."),
        ("boxed", r"\boxed{5} \boxed{6}"),
        ("hashes", r"\boxed{5}"),
        ("answer_tags", "<answer>5</answer> <answer>5</answer>"),
        ("answer_tags", "The answer is 5."),
        ("think_answer", "<answer>5</answer>"),
        ("think_answer", "<think></think><answer>5</answer>"),
        ("think_answer", "<think> \n </think><answer>5</answer>"),
        ("think_answer", "<answer>5</answer><think>why</think>"),
        ("think_answer", "<think>a</think>junk<answer>5</answer>"),
        ("think_answer", "<think>a</think><answer>5</answer>junk"),
        ("think_answer", "<think>a</think><think>b</think><answer>5</answer>"),
        ("think_answer", "<think>a</think><answer></answer>"),
    ],
)
def test_a_style_does_not_pay_for_another_form(style: str, completion: str) -> None:
    assert form(completion, style) == 0.0


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(ValueError, match="style must be one of stated"):
        FormatReward(style="xml")


def test_a_very_long_response_is_not_in_form() -> None:
    assert form("a " * 150_000 + "Answer: 5") == 0.0


@pytest.mark.parametrize(("tokens", "penalty"), [(0, 0.0), (80, 0.0), (90, -0.5), (100, -1.0), (300, -1.0)])
def test_overlong_is_the_ramp_of_dapo(tokens: int, penalty: float) -> None:
    scores = OverlongReward().score([sample("x", num_tokens=str(tokens), max_tokens="100")])
    assert scores[0].value == pytest.approx(penalty)


def test_overlong_without_lengths_judges_only_what_was_cut_off() -> None:
    values = [s.value for s in OverlongReward().score([sample("x"), sample("x", finish_reason="length")])]
    assert values == [None, -1.0]


def test_length_charges_for_the_share_of_the_budget() -> None:
    samples = [sample("x", num_tokens=tokens, max_tokens="200") for tokens in ("0", "50", "200", "900")]
    assert [score.value for score in LengthReward().score([*samples, sample("x")])] == [
        0,
        -0.25,
        -1,
        -1,
        None,
    ]


def test_repetition_charges_for_ngrams_that_come_again() -> None:
    # Words 1..8 in twos: seven pairs, none twice. "a b a b a b": five pairs, of which ab and ba are new.
    assert repeated_share("1 2 3 4 5 6 7 8", 2) == 0
    assert repeated_share("a b a b a b", 2) == pytest.approx(3 / 5)
    assert repeated_share("我们我们我们", 2) == pytest.approx(3 / 5)
    assert repeated_share("", 2) == repeated_share("one", 2) == 0
    loop, prose = RepetitionReward().score([sample("so x is 4 and " * 50), sample("Two and three are five.")])
    assert loop.value is not None
    assert loop.value < -0.95
    assert prose.value == 0
    with pytest.raises(ValueError, match="at least 2"):
        RepetitionReward(ngram=1)
