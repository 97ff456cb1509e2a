"""Plain numbers at a plain end, judged at a glance: most answers to word problems are that.

What is looked at here is bounded or scanned once, so no text can hold up the process that calls it. Everything that is
said of an answer is what :mod:`rewards.judging` says of it, which the tests compare.
"""

from __future__ import annotations

import re
import time

from rewards.base import Explanation, Sample, Score, Verdict
from rewards.comparing.equivalence import decide_exactly
from rewards.comparing.near_miss import near_miss_of_integers
from rewards.finding.candidates import Candidate
from rewards.finding.quick import EVIDENT_NUMBER, quick_extraction
from rewards.judging import VERIFIER_VERSION, Trial, conclude
from rewards.reading.parse import read

_INTEGER = re.compile(r"-?(?:[1-9]\d{0,2}(?:,\d{3})+|\d{1,15})")


def judge_evident(sample: Sample, *, form: str = "stated") -> Score | None:
    """Judge a plain number that stands evidently at the end, against a plain number; None for everything else.

    An evident answer is a stated one, so the strict and the lenient reading agree on it.
    """
    started = time.perf_counter()
    gold = sample.gold.strip()
    if sample.finish_reason == "length" or not EVIDENT_NUMBER.fullmatch(gold):
        return None
    extraction = quick_extraction(sample.completion, sample.prompt)
    if extraction is None or extraction.answer is None or not extraction.is_stated(form):
        return None
    answer = extraction.answer
    if _INTEGER.fullmatch(gold) and _INTEGER.fullmatch(answer.text):
        return _integers(sample, gold, answer, started)
    clock = [started, time.perf_counter()]
    trial = Trial(read(sample.gold), extraction, sample.prompt, False, form, clock, read(answer.value_text))
    outcome = decide_exactly(trial.gold, trial.answer)
    return None if outcome is None else conclude(trial, outcome)


def _integers(sample: Sample, gold_text: str, answer: Candidate, started: float) -> Score:
    gold, given = int(gold_text.replace(",", "")), int(answer.text.replace(",", ""))
    same = gold == given
    parsed, parsed_gold = f"integer {given}", f"integer {gold}"
    caption, because = ("Correct", "both are the same number") if same else ("Wrong", f"it is {given}")
    between = given - gold
    now = time.perf_counter()
    return Score(
        value=1.0 if same else 0.0,
        verdict=Verdict.CORRECT if same else Verdict.WRONG,
        explanation=Explanation(
            sentence=f"{caption}: {parsed} ({answer.source.value}) against the gold {parsed_gold}: {because}.",
            span=answer.span,
            source=answer.source.value,
            strict=same,
            lenient=same,
            answer_text=answer.text,
            normalized_text=answer.text,
            parsed_answer=parsed,
            gold_text=sample.gold,
            normalized_gold=gold_text,
            parsed_gold=parsed_gold,
            rule="same number" if same else "different number",
            near_miss="" if same else near_miss_of_integers(gold, given),
            difference=str(between) if between and abs(between) < 10**15 else "",
            elapsed_ms=round((now - started) * 1000, 3),
            version=VERIFIER_VERSION,
        ),
    )
