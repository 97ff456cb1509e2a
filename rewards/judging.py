"""One judgement: extract, read, compare, explain. No deadline here; :mod:`rewards.math_verifier` sets one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from rewards.base import Explanation, RunnerUp, Sample, Score, Verdict
from rewards.comparing.equivalence import decide, decide_exactly
from rewards.comparing.forms import restates_question
from rewards.comparing.oracle import is_undefined
from rewards.comparing.outcome import Outcome, wrong
from rewards.finding.candidates import Extraction, Found, Loser, Source, Wanted, wanted_by
from rewards.finding.extract import extract
from rewards.reading.parse import choice_letter, read
from rewards.reading.values import (
    Choice,
    Equation,
    LimitExceeded,
    Reading,
    Scalar,
    Unreadable,
    Value,
    describe,
)
from rewards.trees.tree import Number, clip

Decision = Callable[[Reading, Reading], Outcome]
VERIFIER_VERSION = "grpo-tui math 2"
"""Stands in every explanation; raised when a rule changes what is right."""

_REASON_RULES = {Found.HEDGED: "hedged", Found.SPRAY: "several answers", Found.UNCLEAR: "not a plain value"}
_SHOWN_RUNNER_UPS = 16
_SHOWN_TEXT = 500


@dataclass(slots=True)
class Trial:
    """One completion on its way to a score: what was found and read so far, and what the explanation will need."""

    gold: Reading
    extraction: Extraction
    prompt: str
    lenient: bool
    form: str
    clock: list[float]
    reading: Reading | None = None

    @property
    def answer(self) -> Reading:
        """The answer as it was read."""
        assert self.reading is not None
        return self.reading


def judge(
    gold: str,
    completion: str,
    prompt: str = "",
    *,
    lenient: bool = False,
    form: str = "stated",
    finish_reason: str = "stop",
) -> Score:
    """Judge one completion in this process, without a deadline. For untrusted text prefer :class:`MathVerifier`.

    Without sympy: identities are decided at test points, and an integral or limit in a gold is not worked out.

    Both readings are in the explanation (``strict``, ``lenient``), whichever decides the value.

    Args:
        gold: the final answer as the data set writes it.
        completion: the response exactly as decoded.
        prompt: the question; an answer that hands back its formula unworked is then seen.
        lenient: pay for the value that the last sentence asserts when no answer is stated.
        form: the form that the strict reading demands, one of :data:`~rewards.finding.candidates.FORMS`.
        finish_reason: ``"length"`` if the response was cut off.
    """
    sample = Sample(
        problem_id="", prompt=prompt, completion=completion, gold=gold, finish_reason=finish_reason
    )
    return judge_sample(sample, lenient=lenient, form=form, decide_fully=decide_fully)


def judge_sample(sample: Sample, *, lenient: bool, form: str, decide_fully: Decision) -> Score:
    """Judge one sample; ``decide_fully`` compares what exact arithmetic cannot."""
    prepared = prepare(
        sample.gold,
        sample.completion,
        sample.prompt,
        lenient=lenient,
        form=form,
        finish_reason=sample.finish_reason,
    )
    if isinstance(prepared, Score):
        return prepared
    outcome = decide_exactly(prepared.gold, prepared.answer) or decide_fully(prepared.gold, prepared.answer)
    return conclude(prepared, outcome)


def decide_fully(gold: Reading, answer: Reading) -> Outcome:
    """Decide by values to many digits with mpmath, imported here and not before. Workers also prove with sympy."""
    from rewards.comparing.algebra import same_by_algebra

    return decide(gold, answer, same_by_algebra)


def check_gold(gold: str) -> str | None:
    """Return None if ``gold`` can be judged against, else one line saying why not."""
    try:
        read_gold(gold)
    except Unreadable as problem:
        return f"the gold answer {clip(gold, 60)!r} cannot be read: {problem}"
    return None


def prepare(
    gold: str,
    completion: str,
    prompt: str = "",
    *,
    lenient: bool = False,
    form: str = "stated",
    finish_reason: str = "stop",
) -> Score | Trial:
    """Extract and read; return a score where that already decides, else the pair to compare. Needs no sympy."""
    clock = [time.perf_counter()]
    try:
        gold_reading, wanted = read_gold(gold)
    except Unreadable as problem:
        outcome = Outcome(Verdict.BAD_GOLD, "unreadable gold", f"The gold answer cannot be read: {problem}.")
        return _unjudged(outcome, clock, gold)
    cut_off = finish_reason == "length"
    extraction = extract(completion, wanted, lenient=True, prompt=prompt, cut_off=cut_off)
    clock.append(time.perf_counter())
    trial = Trial(gold_reading, extraction, prompt, lenient, form, clock)
    if extraction.answer is None:
        cut = ", and the response was cut off at its length limit" if cut_off else ""
        because = f"No final answer: {extraction.note}{cut}."
        return _unjudged(Outcome(Verdict.NO_ANSWER, "no answer", because), clock, gold, extraction)
    if extraction.found is not Found.ANSWER:
        return conclude(trial, wrong(_REASON_RULES[extraction.found], extraction.note))
    try:
        trial.reading = _read_answer(gold_reading, extraction.answer.value_text)
    except Unreadable as problem:
        rule = "limit" if isinstance(problem, LimitExceeded) else "unreadable"
        return conclude(
            trial, Outcome(Verdict.UNPARSED, rule, f"it cannot be read as an answer ({clip(str(problem))})")
        )
    clock.append(time.perf_counter())
    return trial


@lru_cache(maxsize=4096)
def read_gold(gold: str) -> tuple[Reading, Wanted]:
    """The gold as read, and the kind of answer it asks for.

    Raises:
        Unreadable: it cannot be judged against.
    """
    reading = read(gold)
    if isinstance(reading.value, Scalar) and is_undefined(reading.value.node):
        raise Unreadable("it divides by zero")
    return reading, wanted_by(reading.value)


def _read_answer(gold: Reading, text: str) -> Reading:
    if isinstance(gold.value, Choice) and (letter := choice_letter(text)):
        return Reading(text, letter, "", Choice(letter))
    return read(text)


def conclude(trial: Trial, outcome: Outcome) -> Score:
    """Turn an outcome into a score with its explanation, for the reading that the trial is judged by."""
    if outcome.correct and _restates(trial):
        outcome = wrong("restates the question", "it hands back a formula of the question", "unsimplified")
    stated = trial.extraction.is_stated(trial.form)
    counts = stated or trial.lenient
    verdict = outcome.verdict if counts else Verdict.NO_ANSWER
    return Score(
        value=1.0 if verdict is Verdict.CORRECT else 0.0,
        verdict=verdict,
        explanation=_explanation(trial, outcome, stated, counts),
    )


def _explanation(trial: Trial, outcome: Outcome, stated: bool, counts: bool) -> Explanation:
    answer, gold, reading = trial.extraction.answer, trial.gold, trial.reading
    assert answer is not None
    losers = trial.extraction.losers[-_SHOWN_RUNNER_UPS:]
    parsed = _described(reading) if reading else ""
    parsed_gold = _described(gold)
    shown = parsed or clip(answer.text.strip(), 60)
    return Explanation(
        sentence=_sentence(outcome, shown, answer.source, parsed_gold, counts),
        span=answer.span,
        source=answer.source.value,
        runner_up_spans=tuple(loser.candidate.span for loser in losers) if losers else (),
        runner_ups=tuple(map(_runner_up, losers)) if losers else (),
        strict=outcome.correct and stated,
        lenient=outcome.correct,
        answer_text=_bounded(answer.text),
        normalized_text=_bounded(reading.text) if reading else "",
        parsed_answer=parsed,
        gold_text=_bounded(gold.raw),
        normalized_gold=_bounded(gold.text),
        parsed_gold=parsed_gold,
        rule=outcome.rule if counts else "not stated",
        near_miss=outcome.near_miss if counts or not outcome.correct else "format only",
        difference="" if outcome.correct or reading is None else _difference(gold.value, reading.value),
        elapsed_ms=_since(trial.clock[0]),
        stage_ms=_stages(trial.clock),
        version=VERIFIER_VERSION,
    )


def _described(reading: Reading) -> str:
    return f"{describe(reading.value)} {reading.unit}" if reading.unit else describe(reading.value)


def _sentence(outcome: Outcome, shown: str, source: Source, parsed_gold: str, counts: bool) -> str:
    if counts:
        caption = _CAPTIONS[outcome.verdict]
        return f"{caption}: {shown} ({source.value}) against the gold {parsed_gold}: {outcome.because}."
    where = "the last sentence asserts" if source is Source.LAST_SENTENCE else f"only as {source.value}:"
    missing = "No final answer is stated" if source is Source.LAST_SENTENCE else "Not in the demanded form"
    if outcome.verdict in (Verdict.CORRECT, Verdict.WRONG):
        truth = "right" if outcome.correct else f"wrong: {outcome.because}"
        return f"{missing}; {where} {shown}, which is {truth}."
    return f"{missing}; {where} {shown}: {outcome.because}."


def _restates(trial: Trial) -> bool:
    if not trial.prompt or trial.reading is None:
        return False
    gold, answer = trial.gold.value, trial.reading.value
    if isinstance(answer, Equation):
        answer = Scalar(answer.sides[-1])
    if not isinstance(gold, Scalar) or not isinstance(answer, Scalar):
        return False
    return restates_question(trial.prompt, gold.node, answer.node)


def _runner_up(loser: Loser) -> RunnerUp:
    lost = loser.candidate
    return RunnerUp(lost.span, clip(lost.text.strip(), 80), lost.source.value, loser.reason)


def _difference(gold: Value, answer: Value) -> str:
    """Answer minus gold of two plain numbers of moderate size, or an empty string."""
    if not isinstance(gold, Scalar) or not isinstance(answer, Scalar):
        return ""
    if not isinstance(gold.node, Number) or not isinstance(answer.node, Number):
        return ""
    left, right = answer.node.value, gold.node.value
    if left.denominator == right.denominator == 1:
        between = left.numerator - right.numerator
        return str(between) if between and abs(between) < 10**15 else ""
    if max(abs(left), abs(right)) > 10**15 or max(left.denominator, right.denominator) > 10**15:
        return ""
    return str(left - right) if left != right else ""


def _unjudged(outcome: Outcome, clock: list[float], gold: str = "", found: Extraction | None = None) -> Score:
    """A score without an answer to point at."""
    losers = found.losers[-_SHOWN_RUNNER_UPS:] if found else ()
    why = Explanation(
        sentence=outcome.because,
        runner_up_spans=tuple(loser.candidate.span for loser in losers),
        runner_ups=tuple(map(_runner_up, losers)),
        strict=False,
        lenient=False,
        gold_text=_bounded(gold),
        rule=outcome.rule,
        elapsed_ms=_since(clock[0]),
        version=VERIFIER_VERSION,
    )
    return Score(value=0.0, verdict=outcome.verdict, explanation=why)


def _bounded(text: str) -> str:
    return text if len(text) <= _SHOWN_TEXT else clip(text, _SHOWN_TEXT)


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)


def _stages(clock: list[float]) -> dict[str, float]:
    """Milliseconds between the marks of the clock; comparing lasts until now."""
    marks = [*clock, time.perf_counter()]
    names = ("extract", "read", "compare")
    return {
        name: round((marks[i + 1] - marks[i]) * 1000, 3) for i, name in enumerate(names[: len(marks) - 1])
    }


_CAPTIONS = {
    Verdict.CORRECT: "Correct",
    Verdict.WRONG: "Wrong",
    Verdict.UNPARSED: "Not judged",
}
