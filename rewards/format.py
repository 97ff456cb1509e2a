"""Rewards for the form of a response, not for being right. Keep their weight small: 0.05 to 0.2 of the accuracy's."""

from __future__ import annotations

import re
from collections.abc import Callable

from rewards.base import Explanation, MeasuringReward, Sample, Score, Span, Verdict
from rewards.finding.candidates import Extraction, Found, Source
from rewards.finding.extract import extract
from rewards.finding.visible import visible_text
from rewards.reading.parse import read
from rewards.reading.values import Unreadable

_MAX_AFTER = 80
_MAX_JUDGED = 200_000
_THINK_TAG = re.compile(r"<(/?)think>")
_ANSWER_TAG = re.compile(r"<(/?)answer>")


class FormatReward(MeasuringReward):
    r"""1.0 for exactly one stated, readable final answer at the end of the response, else 0.0.

    It is gated: without an answer that can be read there is nothing to pay for, so empty boxes and tags earn nothing.

    Args:
        style: the demanded form. ``stated``: any statement of an answer; ``boxed``: the answer in one ``\boxed{}``;
            ``hashes``: after ``####`` in the last line; ``answer_tags``: in one pair of ``<answer>`` tags;
            ``think_answer``: one ``<think>…</think>`` that is not empty, then one ``<answer>…</answer>``, nothing else.

    Raises:
        ValueError: there is no such style.
    """

    def __init__(self, *, style: str = "stated") -> None:
        if style not in STYLES:
            raise ValueError(f"style must be one of {', '.join(STYLES)}, not {style!r}")
        self._fault = STYLES[style]

    @property
    def name(self) -> str:
        """Component name."""
        return "format"

    def _score(self, sample: Sample) -> Score:
        completion = sample.completion
        if len(completion) > _MAX_JUDGED:
            return _format_score(f"it is longer than {_MAX_JUDGED} characters", None)
        extraction = extract(completion)
        span = extraction.answer.span if extraction.answer else None
        return _format_score(
            _fault_of_answer(completion, extraction) or self._fault(completion, extraction), span
        )


def _format_score(fault: str, span: Span | None) -> Score:
    if fault:
        why = Explanation(sentence=f"The form is not kept: {fault}.", span=span, rule="form not kept")
        return Score(value=0.0, verdict=Verdict.NOT_JUDGED, explanation=why)
    why = Explanation(sentence="One final answer is stated, readable and last.", span=span, rule="form kept")
    return Score(value=1.0, verdict=Verdict.NOT_JUDGED, explanation=why)


def _fault_of_answer(completion: str, extraction: Extraction) -> str:
    """What is wrong whatever the style: no single, readable, final answer."""
    answer = extraction.answer
    if answer is None or extraction.found is not Found.ANSWER:
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


def _nothing_more(_completion: str, _extraction: Extraction) -> str:
    return ""


def _demand(source: Source, words: str) -> Callable[[str, Extraction], str]:
    def fault(_completion: str, extraction: Extraction) -> str:
        answer = extraction.answer
        return "" if answer is not None and answer.source is source else f"the answer does not stand {words}"

    return fault


def _answer_tags_fault(completion: str, _extraction: Extraction) -> str:
    tags = [tag[1] for tag in _ANSWER_TAG.finditer(completion)]
    return "" if tags == ["", "/"] else "it needs exactly one pair of <answer> tags"


def _think_answer_fault(completion: str, extraction: Extraction) -> str:
    """One pair of each, in order, the thinking not empty, and nothing outside the two."""
    thinks = list(_THINK_TAG.finditer(completion))
    if [tag[1] for tag in thinks] != ["", "/"]:
        return "it needs exactly one pair of <think> tags"
    if not completion[thinks[0].end() : thinks[1].start()].strip():
        return "the thinking is empty"
    fault = _answer_tags_fault(completion, extraction)
    if fault:
        return fault
    answers = list(_ANSWER_TAG.finditer(completion))
    if answers[0].start() < thinks[1].end():
        return "the answer must follow the thinking"
    outside = (
        completion[: thinks[0].start()]
        + completion[thinks[1].end() : answers[0].start()]
        + completion[answers[1].end() :]
    )
    return "text stands outside the tags" if outside.strip() else ""


STYLES: dict[str, Callable[[str, Extraction], str]] = {
    "stated": _nothing_more,
    "boxed": _demand(Source.BOXED, "in a box"),
    "hashes": _demand(Source.HASHES, "after ####"),
    "answer_tags": _answer_tags_fault,
    "think_answer": _think_answer_fault,
}
"""What each style demands beyond one readable final answer: (completion, extraction) to a fault or an empty string."""
