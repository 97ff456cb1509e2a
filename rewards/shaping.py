"""Rewards that measure how a response is written, not whether it is right. Keep their weights small."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.base import Explanation, Sample, Score, Verdict
from rewards.extract import Extraction, Found, extract, visible_text
from rewards.parse import read
from rewards.values import Unreadable

_MAX_AFTER = 80


class FormatReward:
    """1.0 for exactly one stated, readable final answer at the end of the response, else 0.0.

    It is gated: without an answer that can be read there is nothing to pay for, so empty boxes and tags earn nothing.
    """

    @property
    def name(self) -> str:
        """Component name."""
        return "format"

    def score(self, samples: Sequence[Sample]) -> list[Score]:
        """Judge the form of each completion."""
        return [_format_score(sample.completion) for sample in samples]

    def check_gold(self, gold: str) -> str | None:  # noqa: ARG002 - part of the protocol
        """The form does not depend on the gold."""
        return None

    def close(self) -> None:
        """Nothing to free."""


class OverlongReward:
    """DAPO's soft penalty: 0 up to ``max_tokens - cache``, then linear down to -1 at ``max_tokens``.

    Lengths come from the sample's metadata, ``num_tokens`` and ``max_tokens`` (both counted in tokens). Without them
    a response that was cut off gets -1 and any other is not judged.

    Args:
        cache_share: width of the ramp as a share of ``max_tokens``.
    """

    def __init__(self, *, cache_share: float = 0.2) -> None:
        if not 0 < cache_share <= 1:
            raise ValueError("cache_share must lie between 0 and 1")
        self._cache_share = cache_share

    @property
    def name(self) -> str:
        """Component name."""
        return "overlong"

    def score(self, samples: Sequence[Sample]) -> list[Score]:
        """Penalise each completion for its length."""
        return [self._score(sample) for sample in samples]

    def check_gold(self, gold: str) -> str | None:  # noqa: ARG002 - part of the protocol
        """The length does not depend on the gold."""
        return None

    def close(self) -> None:
        """Nothing to free."""

    def _score(self, sample: Sample) -> Score:
        try:
            length, limit = int(sample.metadata["num_tokens"]), int(sample.metadata["max_tokens"])
        except (KeyError, ValueError):
            if sample.finish_reason == "length":
                return _measured(-1.0, "The response was cut off at its length limit.", "cut off")
            return _measured(None, "The length is not known.", "unknown length")
        penalty = soft_overlong_penalty(length, limit, limit * self._cache_share)
        return _measured(
            penalty, f"{length} of at most {limit} tokens: penalty {penalty:.2f}.", "soft overlong"
        )


def soft_overlong_penalty(length: int, limit: int, cache: float) -> float:
    """Equation 13 of DAPO: 0 within ``limit - cache``, -1 at ``limit`` and beyond, linear between."""
    over = length - (limit - cache)
    return -min(1.0, over / cache) if over > 0 else 0.0


def _format_score(completion: str) -> Score:
    extraction = extract(completion)
    fault = _fault(completion, extraction)
    span = extraction.answer.span if extraction.answer else None
    if fault:
        why = Explanation(sentence=f"The form is not kept: {fault}.", span=span, rule="form not kept")
        return Score(value=0.0, verdict=Verdict.NOT_JUDGED, explanation=why)
    why = Explanation(sentence="One final answer is stated, readable and last.", span=span, rule="form kept")
    return Score(value=1.0, verdict=Verdict.NOT_JUDGED, explanation=why)


def _fault(completion: str, extraction: Extraction) -> str:
    """What is wrong with the form, or an empty string."""
    answer = extraction.answer
    if answer is None:
        return extraction.note
    if extraction.found is not Found.ANSWER:
        return extraction.note
    if any(other.text.strip() != answer.text.strip() for other in extraction.others):
        return "more than one final answer is stated"
    try:
        read(answer.text)
    except Unreadable as problem:
        return f"the answer cannot be read ({problem})"
    after = visible_text(completion)[answer.span.end :].strip()
    if len(after) > _MAX_AFTER:
        return f"{len(after)} characters follow the answer"
    if completion.lower().count("<think>") > 1 or completion.lower().count("</think>") > 1:
        return "more than one think block"
    return ""


def _measured(value: float | None, sentence: str, rule: str) -> Score:
    return Score(
        value=value, verdict=Verdict.NOT_JUDGED, explanation=Explanation(sentence=sentence, rule=rule)
    )
