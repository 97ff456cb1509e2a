"""Real data: reference solutions are right by their own gold and by no other, golds are right as they stand."""

import json
from pathlib import Path

import pytest

from rewards.base import Verdict
from rewards.judging import check_gold, judge

DATA = Path("/work/shared/data/gsm8k/train.jsonl")
CMATH = DATA.parents[1] / "cmath" / "dev.jsonl"


@pytest.mark.skipif(not DATA.exists(), reason="the GSM8K data is not on this machine")
def test_every_reference_solution_is_correct_by_its_own_gold() -> None:
    with DATA.open(encoding="utf-8") as lines:
        answers = [json.loads(line)["answer"] for line in lines]
    for answer in answers:
        gold = answer.rsplit("#### ", 1)[1]
        assert check_gold(gold) is None
        score = judge(gold, answer)
        assert score.verdict is Verdict.CORRECT, (answer, score.explanation.sentence)
        assert score.explanation.source == "hashes"
        assert judge(gold, f"So the answer is {gold}.").verdict is Verdict.CORRECT
        unstated = judge(gold, answer.rsplit("####", 1)[0])
        assert unstated.verdict is not Verdict.CORRECT or unstated.explanation.source == "phrase"


@pytest.mark.skipif(not DATA.exists(), reason="the GSM8K data is not on this machine")
def test_no_reference_solution_is_correct_by_the_gold_of_the_next_row() -> None:
    answers = [json.loads(line)["answer"] for line in DATA.read_text("utf-8").splitlines()]
    golds = [answer.rsplit("#### ", 1)[1] for answer in answers]
    paid = [
        answer
        for answer, own, gold in zip(answers, golds, golds[1:], strict=False)
        if own.replace(",", "") != gold.replace(",", "") and judge(gold, answer, lenient=True).value
    ]
    assert paid == []


@pytest.mark.skipif(not CMATH.exists(), reason="the CMATH data is not on this machine")
@pytest.mark.parametrize("form", ["答案是{}。", "答案是 {}", "所以答案：{}", "\\boxed{{{}}}", "{}"])
def test_every_cmath_gold_is_right_in_every_common_form(form: str) -> None:
    golds = [str(json.loads(line)["golden"]) for line in CMATH.read_text("utf-8").splitlines()]
    assert golds
    wrong = [gold for gold in golds if not judge(gold, form.format(gold), lenient=True).value]
    assert wrong == []
