"""Registry, composition, plain functions and the codec."""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from rewards import registry
from rewards.base import Explanation, Reward, Sample, Score, Span, Verdict
from rewards.codec import score_from_json, score_to_json
from rewards.compose import ComposedScore, WeightedReward
from rewards.format import FormatReward
from rewards.functions import FunctionReward
from rewards.judging import judge
from rewards.math_verifier import MathVerifier
from rewards.registry import UnknownRewardError, available_rewards, get_reward, reward
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


class Odd:
    """Raises when it is taken for a number."""

    def __float__(self) -> float:
        raise RuntimeError("odd")


class Half:
    """A number of another library, such as a tensor with one element."""

    def __float__(self) -> float:
        return 0.5


class Unprintable(Exception):
    """Has no message."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def raise_(problem: BaseException) -> float:
    raise problem


def scores_of(value: Any, samples: Sequence[Sample]) -> list[Score]:
    return [Score(value=value, verdict=Verdict.NOT_JUDGED, explanation=_why("so")) for _ in samples]


@pytest.fixture(autouse=True)
def clean_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


# -- registry


@pytest.mark.parametrize("name", ["math", "math_lenient", "format", "length", "overlong", "repetition"])
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


def test_a_file_may_hold_dataclasses_and_another_file_of_its_name(tmp_path: Path) -> None:
    source = (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class Point:\n"
        "    x: int = {number}\n"
        "def point(completion, gold):\n"
        "    return Point().x\n"
    )
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "mine.py").write_text(source.format(number=number))
    one, two = (get_reward(f"{tmp_path}/{number}/mine.py:point") for number in (1, 2))
    assert [found.score([sample("x")])[0].value for found in (one, two)] == [1.0, 2.0]


@pytest.mark.parametrize("statement", ["raise SystemExit(3)", "1 / 0", "import sys; sys.exit('x')", "def"])
def test_a_file_that_fails_while_it_is_imported(tmp_path: Path, statement: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"{statement}\n")
    before = set(sys.modules)
    with pytest.raises(UnknownRewardError, match="cannot import"):
        get_reward(f"{file}:f")
    assert not [name for name in set(sys.modules) - before if "mine" in name]


@pytest.mark.parametrize(
    "problem", [RuntimeError("r"), FileNotFoundError("f"), SystemExit(2), TypeError("t"), KeyError("k")]
)
def test_a_factory_that_fails(problem: BaseException) -> None:
    reward("mine")(lambda: raise_(problem))
    with pytest.raises(UnknownRewardError, match=r"'mine' cannot be built: "):
        get_reward("mine")


def test_an_entry_point_that_exits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "module_that_exits.py").write_text("raise SystemExit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    offered = [EntryPoint("gone", "module_that_exits:f", registry.ENTRY_POINTS)]
    monkeypatch.setattr(registry, "entry_points", lambda *, group: offered)
    with pytest.raises(UnknownRewardError, match="SystemExit"):
        get_reward("gone")


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


def test_an_installed_package_offers_rewards_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = [
        EntryPoint("loud", "tests.rewards.test_composition:shout", registry.ENTRY_POINTS),
        EntryPoint("gone", "no.such.module:f", registry.ENTRY_POINTS),
    ]
    monkeypatch.setattr(
        registry, "entry_points", lambda *, group: offered if group == registry.ENTRY_POINTS else []
    )
    assert {"loud", "gone"} <= set(available_rewards())
    assert get_reward("loud").score([sample("A")])[0].value == 1.0
    with pytest.raises(UnknownRewardError, match=r"cannot load 'no\.such\.module:f'"):
        get_reward("gone")


# -- functions and composition


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (broken, "KeyError"),
        (lambda completion, gold: "much", "not a number"),
        (lambda completion, gold: 10**400, "too large"),
        (lambda completion, gold: "1", "a str, not a number"),
        (lambda completion, gold: Odd(), "an? Odd, not a number"),
        (lambda completion, gold: sys.exit("enough"), "SystemExit: enough"),
        (lambda completion, gold: raise_(Unprintable()), "Unprintable"),
        (lambda completion, gold: Score(value=1.0, verdict=None, explanation=_why("")), "verdict is a None"),  # type: ignore[arg-type]
        (lambda completion, gold: Score(value=1.0, verdict=Verdict.CORRECT, explanation=None), "explanation"),  # type: ignore[arg-type]
        (lambda samples: {"a": 1.0}, "a dict, not a list"),
        (lambda samples: "1", "a str, not a list"),
        (lambda samples: sys.exit(3), "SystemExit"),
        (lambda samples: [], "0 values for 1 samples"),
        (lambda completion, gold: float("nan"), "nan"),
        (lambda samples: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_failing_function_scores_none_and_is_told_once_with_its_traceback(
    function: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    composed = WeightedReward([(FunctionReward("mine", function), 1.0), (FormatReward(), 0.5)])
    for _ in range(3):
        (score,) = composed.score([sample("Answer: 5")])
        assert score.components["mine"].value is None
        assert re.search(reason, score.components["mine"].explanation.sentence)
        assert score.total == 0.5
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "'mine'" in caplog.text
    if "Error" in reason:
        assert "Traceback" in caplog.text


def test_a_function_that_fails_on_one_sample_still_judges_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def picky(completion: str, gold: str) -> float:
        return {"a": 1.0, "b": 2.0}[completion]

    scores = FunctionReward("picky", picky).score([sample("a"), sample("?"), sample("b")])
    assert [score.value for score in scores] == [1.0, None, 2.0]
    assert "on problem 'p7'" in caplog.text


class Broken(FormatReward):
    """A reward class of the user's own with a defect."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def score(self, samples: Sequence[Sample]) -> list[Score]:
        return self.answer(samples)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda samples: 1 / 0, "ZeroDivisionError"),
        (lambda samples: sys.exit(1), "SystemExit"),
        (lambda samples: None, "TypeError"),
        (lambda samples: (1 / 0 for _ in samples), "ZeroDivisionError"),
        (lambda samples: [1.0 for _ in samples], "a float, not a Score"),
        (lambda samples: scores_of("1", samples), "a str, not a number"),
        (lambda samples: scores_of(10**400, samples), "too large"),
        (lambda samples: [], "0 scores for 2 samples"),
        (
            lambda samples: [
                Score(value=float("inf"), verdict=Verdict.NOT_JUDGED, explanation=_why("much"))
                for _ in samples
            ],
            "inf",
        ),
    ],
)
def test_a_failing_class_is_left_out_of_the_sum(
    answer: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    composed = WeightedReward([(Broken(answer), 1.0), (FunctionReward("one", lambda c, g: 1.0), 0.25)])
    scores = composed.score([sample("x"), sample("y")])
    assert [score.total for score in scores] == [0.25, 0.25]
    assert reason in scores[0].components["format"].explanation.sentence
    assert len(caplog.records) == 1


def test_numbers_and_sequences_of_any_kind_are_taken() -> None:
    composed = WeightedReward([(Broken(lambda samples: iter(scores_of(Half(), samples))), 1.0)])
    (score,) = composed.score([sample("x")])
    assert type(score.components["format"].value) is float
    assert score.total == 0.5
    assert [
        s.value
        for s in FunctionReward("half", lambda samples: (Half() for _ in samples)).score([sample("x")])
    ] == [0.5]


def test_one_bad_value_of_a_batch_costs_only_its_own_sample(caplog: pytest.LogCaptureFixture) -> None:
    function = FunctionReward("mine", lambda samples: [1.0, 10**400, Odd(), "2", None, 3][: len(samples)])
    scores = function.score([sample(str(number)) for number in range(6)])
    assert [score.value for score in scores] == [1.0, None, None, None, None, 3.0]
    assert len(caplog.records) == 3


class Careless(FormatReward):
    """Raises wherever it can."""

    closed = 0

    def check_gold(self, gold: str) -> str | None:
        raise KeyError("gold")

    def warm_up(self) -> None:
        raise OSError("cold")

    def close(self) -> None:
        Careless.closed += 1
        raise SystemExit("closing")


def test_a_part_that_raises_elsewhere_spares_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Picky(FormatReward):
        name = "picky"
        closed = False

        def check_gold(self, gold: str) -> str | None:
            return f"I do not like {gold}"

        def close(self) -> None:
            self.closed = True

    picky = Picky()
    composed = WeightedReward([(Careless(), 1.0), (picky, 1.0)])
    composed.warm_up()
    assert composed.check_gold("5") == composed.check_gold("5") == "I do not like 5"
    composed.close()
    assert Careless.closed == 1
    assert picky.closed
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "OSError",
        "KeyError",
        "SystemExit",
    ]


def test_failures_at_different_lines_are_all_told(caplog: pytest.LogCaptureFixture) -> None:
    def twofold(completion: str, gold: str) -> float:
        if completion == "a":
            raise KeyError("one")
        raise KeyError("other")

    mine = FunctionReward("mine", twofold)
    for _ in range(2):
        mine.score([sample("a"), sample("b"), sample("c")])
    assert [record.getMessage().count("one") for record in caplog.records] == [1, 0]


def test_a_message_cannot_steer_the_terminal(caplog: pytest.LogCaptureFixture) -> None:
    hostile = "\x1b[2J\x07\u202ehidden\r\nERROR forged"
    mine = FunctionReward("mine", lambda completion, gold: raise_(ValueError(hostile)))
    (score,) = mine.score([sample("a")])
    shown = caplog.text + score.explanation.sentence
    assert not {"\x1b", "\x07", "\u202e", "\r"} & set(shown)
    assert "ValueError" in caplog.text
    assert "Traceback" in caplog.text
    assert "in raise_" in caplog.text


@pytest.mark.parametrize("lenient_first", [True, False])
def test_math_goes_before_math_lenient(lenient_first: bool) -> None:
    strict = Score(value=0.0, verdict=Verdict.WRONG, explanation=_why("strict"))
    lenient = Score(value=1.0, verdict=Verdict.CORRECT, explanation=_why("lenient"))
    pairs = [("math", strict), ("math_lenient", lenient)]
    components = dict(reversed(pairs) if lenient_first else pairs)
    assert ComposedScore(0.0, components).verdict is Verdict.WRONG
    failed = Score(value=None, verdict=Verdict.NOT_JUDGED, explanation=_why("failed"))
    assert ComposedScore(0.0, {**components, "math": failed}).verdict is Verdict.CORRECT


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
    "data",
    [
        {},
        {"value": 1},
        {"value": 1, "verdict": "?", "explanation": {"sentence": ""}},
        {"value": float("nan"), "verdict": "correct", "explanation": {"sentence": ""}},
        {"value": 10**400, "verdict": "correct", "explanation": {"sentence": ""}},
        {"value": 1, "verdict": "correct", "explanation": {"sentence": "", "elapsed_ms": float("inf")}},
        {"value": 1, "verdict": "correct", "explanation": {"sentence": "", "span": [0, float("inf")]}},
        {
            "value": 1,
            "verdict": "correct",
            "explanation": {"sentence": "", "stage_ms": {"read": float("nan")}},
        },
    ],
)
def test_what_is_no_score_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"not a score|not a valid"):
        score_from_json(data)
