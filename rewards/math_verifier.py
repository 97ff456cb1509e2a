"""The math verifier: extract, read, compare, explain.

:func:`judge` does all of it in this process. :class:`MathVerifier` is the same as a reward: what needs no sympy is
decided here, everything else in worker processes that are killed at a deadline.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rewards.base import Explanation, Sample, Score, Verdict
from rewards.codec import outcome_from_json
from rewards.equivalence import decide, decide_exactly
from rewards.extract import Extraction, Found, extract
from rewards.forms import restates_question
from rewards.isolation import Failure, Reply, WorkerPool
from rewards.outcome import Outcome, wrong
from rewards.parse import choice_letter, read
from rewards.tree import clip
from rewards.values import Choice, LimitExceeded, Reading, Scalar, Unordered, Unreadable, describe

_REASON_RULES = {Found.HEDGED: "hedged", Found.SPRAY: "several answers"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A pair of readings that waits for a decision, with what the explanation will need."""

    gold: Reading
    answer: Reading
    extraction: Extraction
    prompt: str
    started: float


def judge(
    gold: str, completion: str, prompt: str = "", *, lenient: bool = False, finish_reason: str = "stop"
) -> Score:
    """Judge one completion in this process, without a deadline. For untrusted text prefer :class:`MathVerifier`.

    Args:
        gold: the final answer as the data set writes it.
        completion: the response exactly as decoded.
        prompt: the question; an answer that hands back its formula unworked is then seen.
        lenient: fall back on the last asserted number when no answer is stated.
        finish_reason: ``"length"`` if the response was cut off.
    """
    prepared = prepare(gold, completion, prompt, lenient=lenient, finish_reason=finish_reason)
    if isinstance(prepared, Score):
        return prepared
    outcome = decide_exactly(prepared.gold, prepared.answer) or decide_fully(prepared.gold, prepared.answer)
    return conclude(prepared, outcome)


def decide_fully(gold: Reading, answer: Reading) -> Outcome:
    """Decide with sympy, which is imported here and not before."""
    from rewards.algebra import same_by_algebra

    return decide(gold, answer, same_by_algebra)


def check_gold(gold: str) -> str | None:
    """Return None if ``gold`` can be judged against, else one line saying why not."""
    try:
        read(gold)
    except Unreadable as problem:
        return f"the gold answer {clip(gold, 60)!r} cannot be read: {problem}"
    return None


def prepare(
    gold: str, completion: str, prompt: str = "", *, lenient: bool = False, finish_reason: str = "stop"
) -> Score | Comparison:
    """Extract and read; return a score where that already decides, else the pair to compare. Needs no sympy."""
    started = time.perf_counter()
    try:
        gold_reading = read(gold)
    except Unreadable as problem:
        outcome = Outcome(Verdict.BAD_GOLD, "unreadable gold", f"The gold answer cannot be read: {problem}.")
        return _unjudged(outcome, started)
    several = isinstance(gold_reading.value, Unordered)
    extraction = extract(completion, lenient=lenient, several=several)
    if extraction.answer is None:
        cut = ", and the response was cut off at its length limit" if finish_reason == "length" else ""
        outcome = Outcome(Verdict.NO_ANSWER, "no answer", f"No final answer: {extraction.note}{cut}.")
        return _unjudged(outcome, started)
    return _read_answer(gold_reading, extraction, prompt, started)


def _read_answer(gold: Reading, extraction: Extraction, prompt: str, started: float) -> Score | Comparison:
    assert extraction.answer is not None
    text = extraction.answer.text
    parsed_gold = describe(gold.value)
    if extraction.found is not Found.ANSWER:
        outcome = wrong(_REASON_RULES[extraction.found], extraction.note)
        return _explained(extraction, outcome, started, parsed_gold=parsed_gold)
    try:
        if isinstance(gold.value, Choice) and (letter := choice_letter(text)):
            return Comparison(gold, Reading(text, letter, "", Choice(letter)), extraction, prompt, started)
        return Comparison(gold, read(text), extraction, prompt, started)
    except Unreadable as problem:
        rule = "limit" if isinstance(problem, LimitExceeded) else "unreadable"
        outcome = Outcome(Verdict.UNPARSED, rule, f"it cannot be read as an answer ({problem})")
        return _explained(extraction, outcome, started, parsed_gold=parsed_gold)


def conclude(comparison: Comparison, outcome: Outcome) -> Score:
    """Turn an outcome into a score with its explanation."""
    gold, answer = comparison.gold, comparison.answer
    if outcome.correct and _restates(comparison):
        outcome = wrong("restates the question", "it hands back a formula of the question", "format only")
    return _explained(
        comparison.extraction,
        outcome,
        comparison.started,
        normalized=answer.text,
        parsed_answer=describe(answer.value),
        parsed_gold=describe(gold.value),
    )


def _restates(comparison: Comparison) -> bool:
    gold, answer = comparison.gold.value, comparison.answer.value
    if not isinstance(gold, Scalar) or not isinstance(answer, Scalar):
        return False
    return restates_question(comparison.prompt, gold.node, answer.node)


def _explained(
    extraction: Extraction,
    outcome: Outcome,
    started: float,
    *,
    normalized: str = "",
    parsed_answer: str = "",
    parsed_gold: str = "",
) -> Score:
    answer = extraction.answer
    assert answer is not None
    shown = parsed_answer or clip(answer.text.strip(), 60)
    return Score(
        value=1.0 if outcome.correct else 0.0,
        verdict=outcome.verdict,
        explanation=Explanation(
            sentence=f"{_CAPTIONS[outcome.verdict]}: {shown} ({answer.source}) against the gold {parsed_gold}: "
            f"{outcome.because}.",
            span=answer.span,
            source=answer.source.value,
            runner_up_spans=tuple(other.span for other in extraction.others),
            answer_text=answer.text,
            normalized_text=normalized,
            parsed_answer=parsed_answer,
            parsed_gold=parsed_gold,
            rule=outcome.rule,
            near_miss=outcome.near_miss,
            elapsed_ms=_since(started),
        ),
    )


def _unjudged(outcome: Outcome, started: float) -> Score:
    """A score without an answer to point at."""
    why = Explanation(sentence=outcome.because, rule=outcome.rule, elapsed_ms=_since(started))
    return Score(value=0.0, verdict=outcome.verdict, explanation=why)


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)


_CAPTIONS = {
    Verdict.CORRECT: "Correct",
    Verdict.WRONG: "Wrong",
    Verdict.UNPARSED: "Not judged",
    Verdict.TIMEOUT: "Timed out",
    Verdict.CRASH: "Verifier crashed",
}


class MathVerifier:
    """The math verifier as a reward: 1.0 for a correct final answer, else 0.0.

    Verdicts that need no sympy are given in this process. The rest go to worker processes, equal pairs once; a pair
    that runs past the deadline or kills its worker gets a verdict of its own (timeout, crash) and pays nothing.

    Args:
        lenient: fall back on the last asserted number when no answer is stated.
        workers: number of worker processes; they start when first needed, or with :meth:`warm_up`.
        deadline_s: wall-clock limit of one comparison.
        memory_mb: address-space limit of one worker.
    """

    def __init__(
        self, *, lenient: bool = False, workers: int = 2, deadline_s: float = 2.0, memory_mb: int = 1024
    ) -> None:
        self._lenient = lenient
        self._pool = WorkerPool(workers=workers, deadline_s=deadline_s, memory_mb=memory_mb)

    @property
    def name(self) -> str:
        """Component name."""
        return "math"

    def warm_up(self) -> None:
        """Start the workers now, without waiting for them, so that the first group does not."""
        self._pool.start()

    def check_gold(self, gold: str) -> str | None:
        """Return None if ``gold`` can be judged against, else one line saying why not."""
        return check_gold(gold)

    def close(self) -> None:
        """End the worker processes. Safe to call twice; a later score starts them again."""
        self._pool.close()

    def score(self, samples: Sequence[Sample]) -> list[Score]:
        """Judge ``samples`` in order. Never raises on any text."""
        scores: list[Score | None] = [None] * len(samples)
        waiting: dict[tuple[str, str], list[tuple[int, Comparison]]] = {}
        for index, sample in enumerate(samples):
            judged = self._judge_here(sample)
            if isinstance(judged, Score):
                scores[index] = judged
            else:
                waiting.setdefault((judged.gold.raw, judged.answer.raw), []).append((index, judged))
        replies = self._pool.run([{"gold": gold, "answer": answer} for gold, answer in waiting])
        for reply, members in zip(replies, waiting.values(), strict=True):
            outcome = _outcome_of(reply)
            for index, comparison in members:
                scores[index] = conclude(comparison, outcome)
        return [score for score in scores if score is not None]

    def _judge_here(self, sample: Sample) -> Score | Comparison:
        """Judge ``sample`` without sympy, or return what a worker has to compare."""
        started = time.perf_counter()
        try:
            prepared = prepare(
                sample.gold,
                sample.completion,
                sample.prompt,
                lenient=self._lenient,
                finish_reason=sample.finish_reason,
            )
            if isinstance(prepared, Score):
                return prepared
            outcome = decide_exactly(prepared.gold, prepared.answer)
            return conclude(prepared, outcome) if outcome else prepared
        except (
            Exception
        ) as problem:  # a defect of ours must not end a training run: it is a verdict, and shown
            because = f"The verifier failed on this text: {type(problem).__name__}: {clip(str(problem))}."
            return _unjudged(Outcome(Verdict.CRASH, "verifier error", because), started)


def _outcome_of(reply: Reply) -> Outcome:
    if reply.result is not None:
        try:
            return outcome_from_json(reply.result)
        except (KeyError, ValueError):
            return Outcome(Verdict.CRASH, "worker crash", "the worker sent an unreadable reply")
    verdict = Verdict.TIMEOUT if reply.failure is Failure.TIMEOUT else Verdict.CRASH
    return Outcome(verdict, f"worker {reply.failure}", reply.detail)


class LenientMathVerifier(MathVerifier):
    """The same with the lenient reading: for reporting beside the strict one, not for training."""

    def __init__(self, *, workers: int = 2, deadline_s: float = 2.0, memory_mb: int = 1024) -> None:
        super().__init__(lenient=True, workers=workers, deadline_s=deadline_s, memory_mb=memory_mb)

    @property
    def name(self) -> str:
        """Component name."""
        return "math_lenient"
