"""Registry, composition, plain functions, shaping and the codec."""

import json
from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from rewards import registry
from rewards.base import Explanation, Reward, Sample, Score, Span, Verdict
from rewards.codec import score_from_json, score_to_json
from rewards.compose import ComposedScore, WeightedReward
from rewards.functions import FunctionReward, RewardError
from rewards.math_verifier import MathVerifier, judge
from rewards.registry import UnknownRewardError, available_rewards, get_reward, reward
from rewards.shaping import FormatReward, OverlongReward
from tests.rewards import cases


def sample(completion: str, gold: str = "5", finish_reason: str = "stop", **metadata: str) -> Sample:
    return Sample(
        problem_id="p7",
        prompt="",
        completion=completion,
        gold=gold,
        finish_reason=finish_reason,
        metadata=metadata,
    )


def shout(completion: str, gold: str) -> float:
    return float(completion.isupper())


def lengths(samples: Sequence[Sample]) -> list[float | None]:
    return [len(s.completion) if s.completion else None for s in samples]


def broken(completion: str, gold: str) -> float:
    raise KeyError("lost")


@pytest.fixture(autouse=True)
def clean_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


# -- registry


@pytest.mark.parametrize("name", ["math", "math_lenient", "format", "overlong"])
def test_built_in_rewards_satisfy_the_protocol_under_their_own_name(name: str) -> None:
    found = get_reward(name)
    assert isinstance(found, Reward)
    assert found.name == name
    found.close()


def test_options_reach_the_reward() -> None:
    verifier = get_reward("math", lenient=True)
    assert verifier.score([sample("so 5 in all")])[0].value == 1.0
    with pytest.raises(UnknownRewardError, match="lenientt"):
        get_reward("math", lenientt=True)


@pytest.mark.parametrize("name", ["mth", "maths", "Format"])
def test_an_unknown_name_is_answered_with_the_nearest(name: str) -> None:
    with pytest.raises(UnknownRewardError, match=r"did you mean (math|format)") as caught:
        get_reward(name)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("tests.rewards.test_composition:shoot", "did you mean shout"),
        ("no.such.module:f", "no.such"),
        (":f", "module:function"),
        ("tests.rewards.test_composition:TABLE", "no 'TABLE'"),
        ("nowhere.py:f", "no file"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(path: str, part: str) -> None:
    with pytest.raises(UnknownRewardError, match=part):
        get_reward(path)


def test_a_function_by_path_takes_pairs_or_batches() -> None:
    by_pair = get_reward("tests.rewards.test_composition:shout")
    assert by_pair.name == "shout"
    assert [score.value for score in by_pair.score([sample("A"), sample("a")])] == [1.0, 0.0]
    in_batch = get_reward("tests.rewards.test_composition:lengths")
    assert [score.value for score in in_batch.score([sample("abc"), sample("")])] == [3.0, None]


def test_a_function_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def always(completion, gold):\n    return 1\n")
    assert get_reward(f"{file}:always").score([sample("x")])[0].value == 1.0


def test_registered_functions_and_classes_are_found_by_name() -> None:
    reward("loud")(shout)

    @reward("mine")
    class Mine(FormatReward):
        pass

    assert {"loud", "mine", "math"} <= set(available_rewards())
    assert get_reward("loud").name == "loud"
    assert isinstance(get_reward("mine"), Mine)
    with pytest.raises(ValueError, match="built in"):
        reward("math")(shout)


# -- functions and composition


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (broken, "KeyError"),
        (lambda completion, gold: "much", "not a number"),
        (lambda samples: [], "0 values for 1 samples"),
        (lambda completion, gold: float("nan"), "nan"),
        (lambda samples: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_failing_function_names_the_component(function: Any, reason: str) -> None:
    composed = WeightedReward([(FunctionReward("mine", function), 1.0)])
    with pytest.raises(RewardError, match=reason) as caught:
        composed.score([sample("x")])
    assert caught.value.component == "mine"


def test_the_error_names_the_problem() -> None:
    with pytest.raises(RewardError, match="'p7'"):
        FunctionReward("mine", broken).score([sample("x")])


def test_every_component_is_kept_and_none_is_left_out_of_the_sum() -> None:
    parts: list[tuple[Reward, float]] = [
        (MathVerifier(), 1.0),
        (FormatReward(), 0.1),
        (FunctionReward("len", lengths), 0.5),
    ]
    composed = WeightedReward(parts)
    right, empty = composed.score([sample("Answer: 5"), sample("")])
    assert list(right.components) == ["math", "format", "len"]
    assert right.total == pytest.approx(1.0 + 0.1 + 0.5 * 9)
    assert right.verdict is Verdict.CORRECT
    assert empty.components["len"].value is None
    assert (empty.total, empty.verdict) == (0.0, Verdict.NO_ANSWER)
    assert composed.weights == {"math": 1.0, "format": 0.1, "len": 0.5}
    with pytest.raises(FrozenInstanceError):
        right.total = 2.0  # type: ignore[misc]
    assert composed.check_gold("5") is None
    assert "cannot be read" in (composed.check_gold("3 +") or "")
    composed.close()
    composed.close()


def test_a_total_can_be_worked_out_again_after_an_override() -> None:
    composed = WeightedReward([(FormatReward(), 0.2), (FunctionReward("len", lengths), 1.0)])
    score = composed.score([sample("abc")])[0]
    changed = {
        **score.components,
        "len": Score(value=7.0, verdict=Verdict.CORRECT, explanation=_why("by hand")),
    }
    assert ComposedScore(composed.total(changed), changed).total == pytest.approx(7.0)


@pytest.mark.parametrize(
    "parts", [[], [(FormatReward(), 1.0), (FormatReward(), 1.0)], [(FormatReward(), float("inf"))]]
)
def test_a_senseless_composition_is_refused(parts: list[tuple[Reward, float]]) -> None:
    with pytest.raises(ValueError, match=r"component|weight"):
        WeightedReward(parts)


# -- shaping


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
    score = FormatReward().score([sample(completion)])[0]
    assert (score.value, score.verdict) == (value, Verdict.NOT_JUDGED), score.explanation.sentence


@pytest.mark.parametrize(("tokens", "penalty"), [(0, 0.0), (80, 0.0), (90, -0.5), (100, -1.0), (300, -1.0)])
def test_overlong_is_the_ramp_of_dapo(tokens: int, penalty: float) -> None:
    scores = OverlongReward().score([sample("x", num_tokens=str(tokens), max_tokens="100")])
    assert scores[0].value == pytest.approx(penalty)


def test_overlong_without_lengths_judges_only_what_was_cut_off() -> None:
    values = [s.value for s in OverlongReward().score([sample("x"), sample("x", finish_reason="length")])]
    assert values == [None, -1.0]


# -- codec


def _why(sentence: str) -> Explanation:
    return Explanation(sentence=sentence)


@pytest.mark.parametrize("case", [*cases.CORRECT[:20], *cases.WRONG, *cases.NO_ANSWER, *cases.UNREADABLE])
def test_a_score_survives_json(case: cases.Case) -> None:
    score = judge(case.gold, case.completion, case.prompt)
    assert score_from_json(json.loads(json.dumps(score_to_json(score)))) == score


def test_a_score_without_value_survives_json() -> None:
    why = Explanation(sentence="s", span=Span(1, 2), runner_up_spans=(Span(0, 1),), elapsed_ms=1.5)
    score = Score(value=None, verdict=Verdict.NOT_JUDGED, explanation=why)
    assert score_from_json(score_to_json(score)) == score


@pytest.mark.parametrize(
    "data", [{}, {"value": 1}, {"value": 1, "verdict": "?", "explanation": {"sentence": ""}}]
)
def test_what_is_no_score_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"not a score|not a valid"):
        score_from_json(data)
