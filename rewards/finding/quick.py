r"""The two commonest endings, found without a search: one ``\boxed{72}`` or one ``#### 72`` and nothing after it.

Whatever could make the full search decide otherwise (a second statement, a denial, tags, an echo of the question) sends
the response to it.
"""

from __future__ import annotations

import re

from rewards.base import Span
from rewards.finding.candidates import Candidate, Extraction, Found, Source

_BOX = "\\boxed{"
_HASHES = "\n#### "
EVIDENT_NUMBER = re.compile(r"-?\$?(?:\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.\d{1,15})?(?:/[1-9]\d{0,14})?%?")
"""An answer that is read at a glance: an integer, decimal or fraction, with a dollar or percent sign at most."""
_DOUBT = re.compile(
    r"not|n't|nor|never|wrong|incorrect|instead|rather|either|\bor\b|maybe|perhaps|possibly|if|format|intermediate|suppose|assume|confus|mistak|print|echo"
    r"|(?:[\d.]|[-+*/^<>][ \t$]*|\\[a-z]+[ \t]*\{?)\Z",
    re.I,
)
_CLOSING = "$.) \n*]\\"
_ELSEWHERE = (
    "<answer",
    "<Answer",
    "<ANSWER",
    "[ANSWER",
    "[answer",
    "</",
    "<|",
    "<th",
    "<Th",
    "<TH",
    "[TH",
    '"answer"',
)


def quick_extraction(text: str, prompt: str) -> Extraction | None:
    """The final answer where it is evident, else None."""
    box = text.rfind(_BOX)
    if box >= 0:
        found = _box(text, box)
    else:
        hashes = text.rfind(_HASHES)
        found = _hashes(text, hashes) if hashes >= 0 else None
    if found is None or not text.isascii() or (len(prompt) >= 12 and prompt.strip() in text):
        return None
    if ("<" in text or "[" in text or '"' in text) and any(mark in text for mark in _ELSEWHERE):
        return None
    return Extraction(Found.ANSWER, found)


def _box(text: str, at: int) -> Candidate | None:
    start = at + len(_BOX)
    end = text.find("}", start, start + 40)
    if end < 0 or text.find("box") != at + 1 or "####" in text or text[end + 1 :].strip(_CLOSING):
        return None
    body = text[start:end]
    if not EVIDENT_NUMBER.fullmatch(body) or _DOUBT.search(text, max(0, at - 60), at):
        return None
    if ("nswer" in text and text.count("nswer") > 1) or "NSWER" in text:
        return None
    return Candidate(body, Span(start, end), Source.BOXED)


def _hashes(text: str, at: int) -> Candidate | None:
    start = at + len(_HASHES)
    body = text[start:].rstrip()
    if len(body) > 40 or not EVIDENT_NUMBER.fullmatch(body) or text.find("####") != at + 1:
        return None
    if "box" in text or "nswer" in text or "NSWER" in text:
        return None
    return Candidate(body, Span(start, start + len(body)), Source.HASHES)
