"""Scores as plain JSON objects: for the worker pipes, the run file and the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rewards.base import Explanation, RunnerUp, Score, Span, Verdict

Json = dict[str, Any]


def score_to_json(score: Score) -> Json:
    """Return ``score`` as a JSON-ready object; empty fields of the explanation are left out."""
    why = score.explanation
    explanation: Json = {"sentence": why.sentence}
    if why.span is not None:
        explanation["span"] = [why.span.start, why.span.end]
    if why.runner_up_spans:
        explanation["runner_up_spans"] = [[span.start, span.end] for span in why.runner_up_spans]
    if why.runner_ups:
        explanation["runner_ups"] = [
            [other.span.start, other.span.end, other.text, other.source, other.reason]
            for other in why.runner_ups
        ]
    for name in ("strict", "lenient"):
        if getattr(why, name) is not None:
            explanation[name] = getattr(why, name)
    if why.stage_ms:
        explanation["stage_ms"] = dict(why.stage_ms)
    for name in _TEXTS:
        if getattr(why, name):
            explanation[name] = getattr(why, name)
    if why.elapsed_ms:
        explanation["elapsed_ms"] = why.elapsed_ms
    return {"value": score.value, "verdict": score.verdict.value, "explanation": explanation}


def score_from_json(data: Mapping[str, Any]) -> Score:
    """Rebuild a score.

    Raises:
        ValueError: ``data`` is not what :func:`score_to_json` writes.
    """
    try:
        why = data["explanation"]
        span = why.get("span")
        explanation = Explanation(
            sentence=str(why["sentence"]),
            span=None if span is None else Span(int(span[0]), int(span[1])),
            runner_up_spans=tuple(
                Span(int(start), int(end)) for start, end in why.get("runner_up_spans", ())
            ),
            runner_ups=tuple(_runner_up(*other) for other in why.get("runner_ups", ())),
            strict=_flag(why.get("strict")),
            lenient=_flag(why.get("lenient")),
            stage_ms={str(name): _finite(ms) for name, ms in why.get("stage_ms", {}).items()},
            elapsed_ms=_finite(why.get("elapsed_ms", 0.0)),
            **{name: str(why.get(name, "")) for name in _TEXTS},
        )
        value = data["value"]
        return Score(
            value=None if value is None else _finite(value),
            verdict=Verdict(data["verdict"]),
            explanation=explanation,
        )
    except (KeyError, TypeError, IndexError, AttributeError, ArithmeticError, RecursionError) as problem:
        raise ValueError(f"not a score: {problem!r}") from problem


def _runner_up(start: Any, end: Any, text: Any, source: Any, reason: Any) -> RunnerUp:
    return RunnerUp(Span(int(start), int(end)), str(text), str(source), str(reason))


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"not a score: {number} stands for a number")
    return number


def _flag(value: Any) -> bool | None:
    return None if value is None else bool(value)


_TEXTS = (
    "source",
    "answer_text",
    "normalized_text",
    "parsed_answer",
    "gold_text",
    "normalized_gold",
    "parsed_gold",
    "rule",
    "near_miss",
    "difference",
    "version",
)
