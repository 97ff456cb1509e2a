"""Statements of an answer in words: "the answer is …", "Final answer: …", "12 is the answer", 答案是….

Finds where such a phrase puts its value and how far the value reaches. All scans are linear in the text.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from rewards.candidates import ANYTHING, Kind, Wanted
from rewards.clause import value_in

MAX_STATEMENTS = 64
_MAX_STATEMENT = 1_600
UNCLEAR = "its words make something else of the value"
"""The fault of "42 doubled", "at least 42", "between 4 and 6"."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Half-open range of the stated value, and whether the words were "final answer" or a correction."""

    start: int
    end: int
    is_final: bool
    fault: str = ""
    """Why it states nothing after all (a question, a denial, a supposition), or empty."""


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
    r"[*_\"”]{0,4}(?:应该|应当|应|就|也就|便|即|正|恰好|刚好|一共|总共|分别|只能|可能|一定)*(?P<verb>(?=不是|并不是|并非)|是|为|共|等于|选择?|即|得)?[*_]{0,3}\s*(?P<colon>[:：=】])?"
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
_OPENING = re.compile(
    r"(?:[\s*_:：>\"“`|]|(?:####|#{1,6}[ \t])|(?:is|that|therefore|thus|hence|simply|just|exactly|actually|then|indeed|clearly|now"
    r"|equal to|given by|as follows|approximately|about|option|choice|<answer>)\b[,:]?|\\(?:Large|large|displaystyle)\b|[}\]](?=\s)|=(?!=)|[-–—](?=\s)(?!\s\d))*",
    re.I,
)
_CLAUSE_END = re.compile(
    r"[!?](?!\s*(?:[=+*/×÷^-]\s*[\d\\(]|ways\b))(?=\s|$|[*\"'”)<}\\])|[.](?=\s|$|[*\"'”)<}|](?!\d)|(?<![ .][A-Za-z].)[A-Z\u4e00-\u9fff])|[。！？；;\n]|</|<\||\.\.\.|…"
    r"|,?\s+(?:because|since|which|where|given that|due to|so that|so|thus|therefore|hence|as (?:the|we|it|he|she|they|there|both|each|all|computed|shown|required|desired|claimed|\d)|instead of|rather than|whereas)\b"
    r"|,\s*(?:i\.e\.|that is\b|namely|or equivalently|in other words)|，?(?:因为|所以|因此|而不是|希望)",
    re.I,
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:[ap]\.m|approx|sq|cu|ft|in|no|vs|e\.g|i\.e|Mr|Mrs|Ms|Dr|St|Rs|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|[A-Z]))$",
    re.I,
)
_NOT_BUT = re.compile(
    r"(?:not|n't|不是|不)\s*\$?(?:\$[^$\n]{1,40}\$|[^,.\n，。]{1,40}?)(?:[,，])?\s*(?:\bbut(?: rather)?\b|(?<=, )it(?:'s| is)\b|\brather\b|而是)\s*",
    re.I,
)
_DENIED = re.compile(
    r"[*_$ ]*(?:not|never|unknown|unclear|wrong|incorrect|none|n/a|impossible to|undetermined|anything|no longer|cannot|can't"
    r"|不|未知|无法)(?![A-Za-z])(?!\s*(?:real |)solutions?\b)",
    re.I,
)
_THEN_NOT = re.compile(r",?\s+(?:and\s+|but\s+)?not\s|,?\s+n't\s|[,，]?\s*(?:而)?不是", re.I)
_WRONG = re.compile(
    r"\b(?:is|was|are|were|being)\s+(?:\w+\s+)?(?:wrong|incorrect|not\s+(?:right|correct|possible|it|valid)|false|mistaken|a mistake|impossible|extraneous)"
    r"|\b(?:isn't|wasn't|aren't)\b|是错|不对|不正确",
    re.I,
)
_SELF_CORRECTION = re.compile(
    r"(?:,|\.{2,}|…|—|–|-)?\s*\b(?:no,?\s+wait|wait,?\s+no|wait|no|actually|sorry|I mean|scratch that)\b[,:]?\s",
    re.I,
)
_NEXT_ITEM = re.compile(r"\s*(?:and\s+)?[-$\\(\d]")
_YES_OR_NO = re.compile(r"\W*(?:yes|no|true|false)\b(?!\s+\w)", re.I)
_POSSIBLE = re.compile(r"\b(?:could|may|might) be\b", re.I)
_OTHER_QUESTION = re.compile(
    r"\b(?:similar|previous|other|different|another|earlier|next|wrong|easier|harder)\b", re.I
)
_OF_ANSWER = re.compile(
    r"(?:opposite|negation|inverse|reciprocal|square|cube|half|twice|double|root|negative|digits?|sum)\s+(?:of\s+)?(?:the\s+|our\s+)?(?:final\s+|correct\s+)?$",
    re.I,
)
_MATH = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))
_VALUE = re.compile(r"\d|\\[A-Za-z]|=|^\s*\(?[A-Za-z]\)?\s*$|[∅ℝ∞π√]")
_HEDGE = re.compile(r"\b(?:or|either|maybe|perhaps|possibly|alternatively)\b|或者|或|可能", re.I)


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


def looks_like_value(text: str) -> bool:
    """Tell a value from prose by what any value has: a digit, a LaTeX command, an equals sign, or one letter."""
    return bool(_VALUE.search(text)) or len(text.split()) == 1


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


_AFTER_CONDITION = re.compile(
    r",\s*(?:then\s+)?(?:so\s+)?(?:(?:the|our|my)\s+)?(?:final\s+|correct\s+)?$", re.I
)


def _answers_back(context: str, at: int) -> bool:
    """Tell whether the supposition ended before the statement began: "I thought it was 17, but the answer is 18"."""
    return bool(
        re.search(
            r"\b(?:but|however|whereas|then|so|therefore|thus|hence)\b|但|而|那么|所以", context[at:], re.I
        )
    ) and not re.match(r"\W*(?:if|suppose|assume)\b", context, re.I)


def value_range(text: str, start: int, wanted: Wanted) -> tuple[int, int, str] | None:
    """Range of the value that begins at or after ``start``, and its fault; None if nothing is there."""
    begin = _skip_opening(text, start)
    window = text[begin : begin + _MAX_STATEMENT]
    not_but = _NOT_BUT.match(window)
    if not_but:
        begin += not_but.end()
        window = text[begin : begin + _MAX_STATEMENT]
    elif _DENIED.match(window) and not _is_denial_wanted(window, wanted):
        return begin, begin + max(1, clause_length(window, 0)[0]), "it is denied"
    display = leading_math(window)
    length, mark = clause_length(window, display[2] if display else 0)
    while wanted.several and mark in (";", "；") and _NEXT_ITEM.match(window, length + 1):
        length, mark = clause_length(window, length + 1)
    clause = window[:length].replace(";", ",") if wanted.several else window[:length]
    if not clause.strip(" \t*_$"):
        return None
    decided = wanted.kind is Kind.WORDS and _YES_OR_NO.match(clause)
    fault = (
        "it is called wrong"
        if _WRONG.search(clause) and not decided
        else "it is asked, not stated"
        if mark in ("?", "？")
        else ""
    )
    if display and not _HEDGE.search(clause, display[2]) and not _goes_on(clause[display[2] :]):
        return begin + display[0], begin + display[1], fault
    denied = _THEN_NOT.search(clause)
    clause = (clause[: denied.start()] if denied and denied.start() else clause).rstrip(' \t*_,:"”`>|，')
    corrected = _SELF_CORRECTION.search(clause)
    if corrected and corrected.start():
        fault = fault or "it is taken back"
        clause = clause[: corrected.start()]
    if (
        mark == "."
        and _SELF_CORRECTION.match(window[length:].lstrip(".… "))
        and window[length : length + 2] in ("..", "…")
    ):
        fault = "it is taken back"
    inner = value_in(clause, wanted)
    if inner is None:
        return begin, begin + max(1, len(clause)), fault or UNCLEAR
    first, last = inner
    return (begin + first, begin + last, fault) if last > first else None


def _is_denial_wanted(window: str, wanted: Wanted) -> bool:
    """Tell whether the gold itself is a denial: "none of the above", "not possible", 不够."""
    return wanted.kind is Kind.WORDS and window.lower().lstrip("*_$ ")[:2] == wanted.words.lower()[:2]


def _goes_on(rest: str) -> bool:
    """Tell whether the value goes on after a formula: more numbers, or a unit."""
    return bool(
        re.search(r"\d|^\s*(?:\\?%|°|[A-Za-zµ\u4e00-\u9fff/²³^]+[\s.]*$)|^\s*(?:and|,)\s*[$\\]", rest)
    )


def _skip_opening(text: str, start: int) -> int:
    """Skip blanks, markdown and the like, but no more than a few line ends."""
    found = _OPENING.match(text, start, min(len(text), start + 80))
    end = found.end() if found else start
    breaks = [m.start() for m in re.finditer("\n", text[start:end])]
    return start + breaks[4] if len(breaks) > 4 else end


def leading_math(window: str) -> tuple[int, int, int] | None:
    """Where a formula in delimiters at the start of ``window`` begins and ends, and where its delimiter ends."""
    for opening, closing in _MATH:
        if window.startswith(opening):
            end = window.find(closing, len(opening))
            if end > 0 and (opening != "$" or "\n" not in window[:end]):
                return len(opening), end, end + len(closing)
            return None
    return None


def clause_length(window: str, start: int) -> tuple[int, str]:
    """Length of the clause at the start of ``window`` and the first character of what ended it."""
    for found in _CLAUSE_END.finditer(window, start):
        if (
            found[0] == "."
            and _ABBREVIATION.search(window, max(0, found.start() - 8), found.start())
            and found.start() + 1 < len(window)
        ):
            follows = window[found.end() :].lstrip(" ")[:1]
            if follows.islower() or follows.isdigit():
                continue
        if found[0] in ("...", "…") and window[found.start() - 1 : found.start()].isdigit():
            continue  # 0.333... goes on
        return found.start(), found[0][:1]
    return len(window), ""
