"""Whole response → the statement of its final answer, with spans into the original text.

The strict reading pays only for an answer that is *stated*: boxed, after ``####``, in answer tags, or in a phrase
such as "the answer is". The lenient reading falls back on the value that the last sentence asserts. Every scan here is
linear, and only the last :data:`rewards.finding.visible.MAX_VIEW` characters are looked at.
"""

from __future__ import annotations

from dataclasses import replace

from rewards.base import Span
from rewards.finding.candidates import ANYTHING, Candidate, Extraction, Found, Loser, Source, Wanted
from rewards.finding.hedging import is_hedged
from rewards.finding.last_sentence import last_assertion
from rewards.finding.quick import quick_extraction
from rewards.finding.rivals import decide
from rewards.finding.stated import EMPTY, PART, RUN_ON, RUN_ON_MARKS, WEAKER, run_on, stated
from rewards.finding.value_range import UNCLEAR
from rewards.finding.visible import View, view_of, visible_text

__all__ = ["Candidate", "Extraction", "Found", "Source", "extract", "visible_text"]
_DEMANDED = (Source.BOXED, Source.TAG, Source.HASHES)


def extract(
    completion: str,
    wanted: Wanted = ANYTHING,
    *,
    lenient: bool = False,
    prompt: str = "",
    cut_off: bool = False,
) -> Extraction:
    """Find the final answer of ``completion``.

    Args:
        completion: the response exactly as decoded.
        wanted: the kind of answer that the gold is; it tells where a value ends, and whether several may be given.
        lenient: fall back on what the last sentence asserts when no answer is stated.
        prompt: the question; where the response repeats it, nothing is looked for.
        cut_off: the response ended at its length limit.
    """
    if not cut_off:
        evident = quick_extraction(completion, prompt)
        if evident is not None:
            return evident
    view = view_of(completion, prompt)
    found = _search(view.text, wanted, lenient, prompt, cut_off)
    return _in_original(found, completion, view) if found.answer or found.losers else found


def _search(text: str, wanted: Wanted, lenient: bool, prompt: str, cut_off: bool) -> Extraction:
    losers: list[Loser] = []
    candidates = stated(text, wanted, losers, cut_off)
    limit = run_on(text, [*candidates, *(loser.candidate for loser in losers if loser.reason == WEAKER)])
    if limit is not None:
        text, losers = text[:limit], []
        candidates = stated(text, wanted, losers, cut_off)
    last_box = next(
        (
            loser.candidate
            for loser in reversed(losers)
            if loser.reason == EMPTY and loser.candidate.source is Source.BOXED
        ),
        None,
    )
    if (
        candidates
        and last_box is not None
        and candidates[-1].source is not Source.BOXED
        and last_box.span.start > candidates[-1].span.end
    ):
        losers += [Loser(candidate, "an empty box follows") for candidate in candidates]
        return Extraction(Found.NOTHING, None, tuple(losers), "the box is empty or never closed")
    if candidates:
        return decide(text, candidates, losers, wanted)
    if text.rstrip().endswith("####"):
        losers.append(Loser(Candidate("", Span(len(text), len(text)), Source.HASHES), EMPTY))
    unclear = next((loser for loser in reversed(losers) if loser.reason == UNCLEAR), None)
    if unclear is not None:
        others = tuple(loser for loser in losers if loser is not unclear)
        is_choice_of_two = is_hedged(unclear.candidate.text, wanted.words) and not wanted.several
        note = "more than one answer is offered" if is_choice_of_two else UNCLEAR
        return Extraction(
            Found.HEDGED if is_choice_of_two else Found.UNCLEAR, unclear.candidate, others, note
        )
    note = _why_nothing(text)
    if lenient and not any(
        loser.reason in (EMPTY, PART) and loser.candidate.source in _DEMANDED for loser in losers
    ):
        asserted, reason = _last_of(text, losers, wanted, prompt, cut_off)
        if asserted is not None:
            if is_hedged(asserted.text, wanted.words) and not wanted.several:
                return Extraction(Found.HEDGED, asserted, tuple(losers), "more than one answer is offered")
            return Extraction(Found.ANSWER, asserted, tuple(losers))
        note = reason if note == "no answer is stated" else note
    if losers and note == "no answer is stated":
        note = f"{note} ({losers[-1].reason})"
    return Extraction(Found.NOTHING, None, tuple(losers), note)


def _last_of(
    text: str, losers: list[Loser], wanted: Wanted, prompt: str, cut_off: bool
) -> tuple[Candidate | None, str]:
    """The lenient reading, up to a hallucinated next question where something is asserted before it."""
    run_on = RUN_ON.search(text, 1) if any(mark in text for mark in RUN_ON_MARKS) else None
    if run_on and text[: run_on.start()].strip():
        found = last_assertion(text[: run_on.start()], wanted, prompt)
        if found[0] is not None:
            return found
    asserted, reason = last_assertion(text, wanted, prompt, cut_off=cut_off)
    if asserted is not None and losers:
        last = losers[-1]
        if asserted.span.start <= last.candidate.span.end and last.candidate.span.start < asserted.span.end:
            return None, last.reason
        if last.candidate.source is Source.PHRASE and asserted.span.end <= last.candidate.span.start:
            return None, last.reason
    return asserted, reason


def _in_original(found: Extraction, completion: str, view: View) -> Extraction:
    """The same with spans, and text as it stands, in the original response."""
    if not view.base and not view.cuts and view.text == completion:
        return found
    return replace(
        found,
        answer=_moved(found.answer, completion, view) if found.answer else None,
        losers=tuple(
            replace(loser, candidate=_moved(loser.candidate, completion, view)) for loser in found.losers
        ),
    )


def _moved(candidate: Candidate, completion: str, view: View) -> Candidate:
    span = view.origin(candidate.span)
    is_verbatim = view.text[candidate.span.start : candidate.span.end] == candidate.text
    text = completion[span.start : span.end]
    if not is_verbatim or text == candidate.text:
        return replace(candidate, span=span)
    return replace(candidate, span=span, text=text, cleaned=candidate.text)


def _why_nothing(text: str) -> str:
    if "\\boxed" in text or "\\fbox" in text:
        return "the box is empty or never closed"
    return "no answer is stated" if text.strip() else "there is no text outside the thinking"
