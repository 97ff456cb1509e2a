"""Statements of an answer in words: "the answer is …", "Final answer: …", "12 is the answer", 答案是….

Finds where such a phrase puts its value and how far the value reaches. All scans are linear in the text.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from rewards.finding.candidates import ANYTHING, Kind, Wanted
from rewards.finding.clause import value_in
from rewards.finding.value_range import looks_like_value, value_range

MAX_STATEMENTS = 64
_KEYWORD = re.compile(
    r"(?<![A-Za-z\\])(?:answers?|ans|solutions?|results?|option|choice|value|A(?=:))(?![A-Za-z](?!\*))|答案|得数|结果|答(?=\s?[:：])"
    r"|(?<![不可被备])(?<!不能)(?<!不应)(?<!不要)(?<!不该)选择?(?:项)?(?=\s*[:：]?\s*[(（]?[A-J](?![A-Za-z]))|选项",
    re.I,
)
_PREFILTER = (
    "nswer",
    "NSWER",
    "ans",
    "Ans",
    "ANS",
    "olution",
    "OLUTION",
    "esult",
    "ESULT",
    "ption",
    "hoice",
    "alue",
    "A:",
)
_CHINESE_PREFILTER = ("答", "得数", "结果", "选")
_DETAIL = r"(?:(?:to|for|of|in|as|that|which|we|you|after|when|rounded|from|here|then|thus|therefore|must|now)\b|\()"
_LINK = re.compile(
    r"[*_\"'”’}\])]{0,4}"
    rf"(?:,?[ \t]+{_DETAIL}[^.\n:：=?|]{{0,100}}?)??"
    r"[*_ \t}\])]{0,6},?"
    r"(?:(?P<colon>[:：=→⇒|]|[-=]{1,2}>|[–—]|-(?=\s))"
    r"|(?P<verb>(?:\s+|(?<=[\s*_,)}\]]))(?:(?:then|thus|therefore|hence|simply|actually),?\s+)?"
    r"(?:is|are|was|were|equals?|becomes?|will be|would be|should be|must be|has to be|could be|may be|might be|comes? (?:out )?(?:to|as|at)"
    r"|turns? out to be|works? out (?:to|as)|of)\b)"
    r"|(?P<heading>[*_# \t]*(?:\n|$)))",
    re.I,
)
_JSON_KEY = re.compile(r"[\"']\s*:")
_ANS_POINT = re.compile(r"\.\s+(?=\S)")
_BARE_LABEL = re.compile(
    r"(?P<colon>[ \t]+(?=[-$\\]?\d[^\n]{0,24}(?:\n|$)))(?P<verb>\Z\A)?(?P<heading>\Z\A)?"
)
_ORDINAL = re.compile(
    r"\b(?:first|second|third|fourth|fifth|another|alternative|other|possible|potential|candidate|\d(?:st|nd|rd|th)|wrong|incorrect|naive|intermediate|partial|previous|initial)[ \t]+$",
    re.I,
)
_CHINESE_LINK = re.compile(
    r"[*_\"”]{0,4}(?:应该|应当|应|就|也就|便|正|恰好|刚好|一共|总共|分别|只能|可能|一定)*(?P<verb>(?=不是|并不是|并非)|即?是|即?为|共|等于|选择?|即|得)?[*_]{0,3}\s*(?P<colon>[:：=】])?"
)
_FINAL = re.compile(r"(?:\bfinal|\bultimate|最终的?|最后的?)[ \t*_]*(?:\w+[ \t]+)?$", re.I)
_CORRECT = re.compile(r"\b(?:correct|right|best|true)[ \t]*$", re.I)
_CORRECTION = re.compile(
    r"\b(?:wait|actually|correction|corrected|oops|sorry|no|edit|instead|rather|correct|mistake|wrong|recheck(?:ing)?|revised)\b|等等|不对|更正|错了|正确",
    re.I,
)
_REVERSED = re.compile(
    r"\s+(?:is|are|was|would be|must be|should be)\s+(?:(?:the|our|my|your|a)\s+)?(?:(?:final|correct|right|required|desired|only|best)\s+)*$",
    re.I,
)
_LETTER_IS_RIGHT = re.compile(
    r"[ \t]*\(?([A-J])\)?[ \t]+(?:is|must be)[ \t]+(?:the[ \t]+)?(?:correct|right)", re.I
)
_SENTENCE_START = re.compile(
    r"[.!?。！？；\n](?=\s|$|[\u4e00-\u9fff])|[。！？；\n]|,\s+(?:so|thus|hence|therefore)\b"
)
_UNREAL = re.compile(
    r"\b(?:if|suppose|supposing|assume|assuming|whether|imagine|pretend|say that|were|might think|may think|could think|would think"
    r"|would guess|might guess|thought|used to think|guess(?:ed)?|(?:do|does|did)(?: not|n't) (?:think|believe)|doubt|not true|false to|false that|wrong to|incorrect to"
    r"|mistakenly|wrong|incorrect|cannot say|can't say|no way|not|impossible|tempting|people think|claims?|says|said|student's)\b"
    r"|如果|假设|假如|若|是否|以为|不认为|不知道|错误",
    re.I,
)
_POSSIBLE = re.compile(r"\b(?:could|may|might) be\b", re.I)
_OTHER_QUESTION = re.compile(
    r"\b(?:similar|previous|other|different|another|earlier|next|wrong|easier|harder)\b", re.I
)
_OF_ANSWER = re.compile(
    r"(?:opposite|negation|inverse|reciprocal|square|cube|half|twice|double|root|negative|digits?|sum)\s+(?:of\s+)?(?:the\s+|our\s+)?(?:final\s+|correct\s+)?$",
    re.I,
)
_AFTER_CONDITION = re.compile(
    r",\s*(?:then\s+)?(?:so\s+)?(?:(?:the|our|my)\s+)?(?:final\s+|correct\s+)?$", re.I
)


@dataclass(frozen=True, slots=True)
class Statement:
    """Half-open range of the stated value, and whether the words were "final answer" or a correction."""

    start: int
    end: int
    is_final: bool
    fault: str = ""
    """Why it states nothing after all (a question, a denial, a supposition), or empty."""


def statement_after(text: str, start: int = 0, wanted: Wanted = ANYTHING) -> Iterator[Statement]:
    """Yield the statements of an answer from ``start`` on, in order; of very many only the last ones."""
    if not any(word in text for word in _PREFILTER) and (
        text.isascii() or not any(word in text for word in _CHINESE_PREFILTER)
    ):
        return
    for keyword in deque(_KEYWORD.finditer(text, start), MAX_STATEMENTS * 2):
        found = _statement(text, keyword, wanted)
        if found is not None:
            yield found


def _statement(text: str, keyword: re.Match[str], wanted: Wanted) -> Statement | None:
    word = keyword[0].lower()
    before = text[max(0, keyword.start() - 100) : keyword.start()]
    is_final = bool(_FINAL.search(before))
    if not word.isascii():
        link = _CHINESE_LINK.match(text, keyword.end())
        assert link is not None
        heading = is_final or (word == "答案" and ("\n" in link[0] or link.end() == len(text)))
        if not (link["verb"] is not None or link["colon"] or heading or word.startswith("选")):
            return None
        if (word == "结果" and not is_final) or (link["verb"] == "即" and not link["colon"] and word == "答"):
            return None
    else:
        reversed_ = _reversed(text, keyword, word, before, wanted)
        if reversed_ is not None:
            return reversed_
        if _JSON_KEY.match(text, keyword.end()):
            return None
        if word == "ans" and _ANS_POINT.match(text, keyword.end()):
            link = _ANS_POINT.match(text, keyword.end())
            found = value_range(text, keyword.end() + 1, wanted)
            return Statement(found[0], found[1], is_final, found[2]) if found else None
        link = _bare_label(text, keyword, word) or _LINK.match(text, keyword.end())
        if link is None or not _announces(text, keyword, link, word, before, is_final):
            return None
    found = value_range(text, link.end(), wanted)
    if found is None:
        return None
    begin, end, fault = found
    if word.startswith("solution") and not is_final and not looks_like_value(text[begin:end]):
        return None
    context = _same_sentence(before)
    if not fault and _is_unreal(context, link[0]):
        fault = "it is supposed or denied, not stated"
    if not fault and _POSSIBLE.search(link[0]):
        fault = "it is a possibility, not stated"
    if not fault and _OTHER_QUESTION.search(link[0]):
        fault = "it answers another question"
    if not fault and _OF_ANSWER.search(before):
        fault = "it is said of something else"
    if text[keyword.start() - 1 : keyword.start()] in ("?", "&") or (
        link[0].strip() == "=" and re.search(r"\bprint\(|^\s*(?:import|def)\b", text, re.M)
    ):
        fault = "it is code"
    if not fault and word.isascii() and _ORDINAL.search(before) and not is_final:
        fault = "it is one of several that are named"
    corrected = bool(_CORRECTION.search(before[-60:])) or bool(re.search(r"actually|instead", link[0], re.I))
    return Statement(begin, end, is_final or corrected, fault)


def _bare_label(text: str, keyword: re.Match[str], word: str) -> re.Match[str] | None:
    """The blank of "Answer 12" where that is all there is on the line."""
    line = text[text.rfind("\n", 0, keyword.start()) + 1 : keyword.start()]
    if word != "answer" or line.strip(" \t#*_>|-").lower() not in ("", "final"):
        return None
    return _BARE_LABEL.match(text, keyword.end())


def _announces(
    text: str, keyword: re.Match[str], link: re.Match[str], word: str, before: str, is_final: bool
) -> bool:
    """Tell whether keyword and link together announce an answer."""
    if word == "a":
        return before[-1:] in ("", "\n") or before[-2:] == "\n*"
    if word in ("result", "results", "value"):
        return is_final and not link["heading"]
    if word in ("option", "choice"):
        return bool(is_final or _CORRECT.search(before)) and bool(link["verb"] or link["colon"])
    if link["verb"] and link["verb"].strip().lower() == "of":
        return word == "answer" and bool(
            re.search(r"\b(?:an?|the|final|our)[ \t]+(?:final[ \t]+)?$", before, re.I)
        )
    if word.startswith("solution"):
        return bool(link["verb"]) or (is_final and not link["heading"])
    if word == "ans":
        return bool(link["colon"] or link["verb"]) or text[keyword.end() : keyword.end() + 2] == ". "
    if link["heading"]:
        line = text[text.rfind("\n", 0, keyword.start()) + 1 : keyword.start()]
        return is_final or not line.strip(" \t#*_>|-")
    if link["colon"] == "-":
        return True
    return True


def _reversed(text: str, keyword: re.Match[str], word: str, before: str, wanted: Wanted) -> Statement | None:
    """What stands before "is the answer" and inside "option B is correct"."""
    if wanted.kind is Kind.CHOICE and word in ("option", "choice", "answer"):
        letter = _LETTER_IS_RIGHT.match(text, keyword.end())
        if letter:
            return Statement(letter.start(1), letter.end(1), False)
    if not word.startswith(("answer", "option", "choice", "solution")):
        return None
    found = _REVERSED.search(before)
    if not found:
        return None
    head = before[: found.start()]
    cut = 0
    for boundary in _SENTENCE_START.finditer(head):
        cut = boundary.end()
    base = keyword.start() - len(before)
    lead = re.match(
        r"[\s*_>\"“]*(?:(?:so|thus|hence|therefore|and|then|finally|that)\b[,\s]*)*", head[cut:], re.I
    )
    start = cut + (lead.end() if lead else 0)
    clause = head[start:].rstrip(' *_$"”')
    if not clause or _UNREAL.search(clause) or not looks_like_value(clause):
        return None
    inner = value_in(clause, wanted)
    if inner is None:
        return None
    first, last = inner
    if re.match(r"(?:what|which|that|this|it|there|here)\b", clause, re.I):
        return None
    return Statement(base + start + first, base + start + last, False)


def _same_sentence(before: str) -> str:
    """What stands before the keyword in its sentence."""
    cut = 0
    for boundary in _SENTENCE_START.finditer(before):
        cut = boundary.end()
    return before[cut:]


def _is_unreal(context: str, link: str) -> bool:
    """Tell whether the sentence supposes, asks or denies before it comes to the answer."""
    for unreal in _UNREAL.finditer(context):
        if (
            unreal[0].lower() == "if"
            and _AFTER_CONDITION.search(context, unreal.end())
            and not re.search(r"would|were", link)
        ):
            continue
        if not _answers_back(context, unreal.end()):
            return True
    return False


def _answers_back(context: str, at: int) -> bool:
    """Tell whether the supposition ended before the statement began: "I thought it was 17, but the answer is 18"."""
    return bool(
        re.search(
            r"\b(?:but|however|whereas|then|so|therefore|thus|hence)\b|但|而|那么|所以", context[at:], re.I
        )
    ) and not re.match(r"\W*(?:if|suppose|assume)\b", context, re.I)
