"""Every gold of the real data set is readable, and every reference solution is right by its own gold."""

import json
from pathlib import Path

import pytest

from rewards.base import Verdict
from rewards.judging import check_gold, judge

DATA = Path("/work/shared/data/gsm8k/train.jsonl")


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
