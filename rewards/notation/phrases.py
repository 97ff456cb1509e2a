"""Answers in words: fixed phrases that name a set or a value, and the plain form in which words are compared."""

from __future__ import annotations

import re

_ANY_WORDS = re.compile(r"[^\W_][^\\=<>^_{}*+|\[\]]*", re.UNICODE)
_ARTICLES = re.compile(r"\b(?:the|a|an)\b")
_PUNCTUATION = re.compile(r"[-‐_/\"“”‘’'`.,:;!?()\[\]{}$*，。！？、：；（）《》「」]+")
_OPENING = re.compile(r"^(?:(?:it|that|this|there|he|she|they) (?:is|are|was|were)|it s|因为|是|为)\s*")
_CHINESE_ENDING = re.compile(r"(?<=[\u4e00-\u9fff])(?:的|呢|啊)$")
_LIMIT = re.compile(r"^(?:limit|value|derivative|integral|answer|expression|it|sum|function|solution) ")
_NOTHING = re.compile(
    r"(?:has |have |it has |equation has |system has )?(?:no|zero|0) (?:real |possible |such |valid )*"
    r"(?:solutions?|roots?|values?|numbers?|answers?|x|intersections?|zeros?)(?: exists?)?"
    r"|no (?:real )?solutions? in (?:reals|real numbers)|empty set|null set|inconsistent|无解|没有解|无实数解|空集"
    r"|no (?:such |real )*(?:values?|numbers?|x)? ?(?:exists?|satisf(?:y|ies)\b.{0,40})"
)
_REALS = re.compile(
    r"(?:x (?:is|can be|may be|belongs to) )?(?:set of )?(?:all|any|every|each)?(?: of)? ?(?:possible )?"
    r"(?:reals?|real numbers?|real values?|real x|numbers? real|real values? of [a-z]|real numbers? [a-z])"
    r"|全体实数|所有实数|一切实数|任意实数|实数集"
)
_PART_OF_REALS = re.compile(
    r"(?:(?:x is|set of) )?(?:all |any |every )?(?P<sign>positive|negative|non ?negative|non ?positive|nonzero|non zero)"
    r" (?:reals?|real numbers?|real values?)(?: of [a-z])?"
)
_OTHER_SETS = {
    "integers": "Z",
    "all integers": "Z",
    "set of integers": "Z",
    "set of all integers": "Z",
    "any integer": "Z",
    "every integer": "Z",
    "整数": "Z",
    "全体整数": "Z",
    "positive integers": "P",
    "all positive integers": "P",
    "natural numbers": "N",
    "all natural numbers": "N",
    "rational numbers": "Q",
    "all rational numbers": "Q",
    "complex numbers": "C",
    "all complex numbers": "C",
}
_INTERVALS = {
    "positive": "(0,\\infty)",
    "negative": "(-\\infty,0)",
    "nonnegative": "[0,\\infty)",
    "nonpositive": "(-\\infty,0]",
    "nonzero": "\\SetR \\setminus \\{0\\}",
}
_EXCEPT = re.compile(
    r"(?:the set of )?(?:all|any|every) (?:real numbers?|reals|real values?(?: of [a-z])?|real [a-z]|numbers|values)"
    r"(?: [a-z])?,?\s+"
    r"(?:except(?: for)?(?: when)?|excluding|other than|but(?: not)?|besides|apart from|not equal to|without)\s+(?P<rest>.+)",
    re.I | re.S,
)
_LISTED = re.compile(r"(?:[^<>=!A-Za-z]|\\[A-Za-z]+|[a-z](?![A-Za-z]))+")
_SUCH_THAT = re.compile(
    r"(?:the set of )?(?:all|any|every) (?:real numbers?|reals|real values?|values|numbers|real)?\s*(?:of\s+)?(?P<name>[a-z])?,?\s*"
    r"(?:such that|where|for which|with|satisfying|in|\\in|that are)?\s+(?P<rest>.*[<>=\\!].*)",
    re.I | re.S,
)
_WORD_SIGNS = (
    (re.compile(r"(?:greater|more|larger|bigger) than or equal to|at least", re.I), "[{},\\infty)"),
    (re.compile(r"(?:less|smaller) than or equal to|at most", re.I), "(-\\infty,{}]"),
    (re.compile(r"(?:greater|more|larger|bigger) than", re.I), "({},\\infty)"),
    (re.compile(r"(?:less|smaller) than", re.I), "(-\\infty,{})"),
)
_COMPARED_REALS = re.compile(
    r"(?:(?:the set of )?(?:all|any|every) (?:real )?(?:reals|numbers?|values?)\s+)?(?:that are |which are )?"
    r"(?P<sign>(?:greater|more|larger|bigger|less|smaller) than(?: or equal to)?|at least|at most)\s+(?P<bound>[-+]?[^,A-Za-z]{1,60})",
    re.I,
)

SYNONYMS = {
    "dne": "does not exist",
    "d n e": "does not exist",
    "do not exist": "does not exist",
    "doesn t exist": "does not exist",
    "not exist": "does not exist",
    "nonexistent": "does not exist",
    "limit does not exist": "does not exist",
    "not defined": "undefined",
    "infinitely many": "infinitely many solutions",
    "infinite solutions": "infinitely many solutions",
    "infinite number of solutions": "infinitely many solutions",
    "infinitely many solutions exist": "infinitely many solutions",
    "infinite many solutions": "infinitely many solutions",
    "无穷多解": "infinitely many solutions",
    "无数个": "infinitely many solutions",
    "none of above": "none of these",
    "none of options": "none of these",
    "not enough info": "not enough information",
    "cannot be determined": "not enough information",
    "can t be determined": "not enough information",
    "对": "正确",
    "错": "错误",
    "不对": "错误",
    "正确的": "正确",
    "错误的": "错误",
}
"""Words that mean the same as an answer. Yes and true are kept apart."""


def plain_words(text: str) -> str:
    """Lower-case words without articles, punctuation and hyphens, with synonyms replaced."""
    words = " ".join(_PUNCTUATION.sub(" ", text.casefold()).split())
    words = " ".join(_ARTICLES.sub(" ", words).split()) or words
    words = _CHINESE_ENDING.sub("", _OPENING.sub("", words) or words)
    shorter = _LIMIT.sub("", words)
    if shorter in SYNONYMS or shorter in ("does not exist", "undefined"):
        words = shorter
    return SYNONYMS.get(words, words)


def set_phrase(text: str) -> str | None:
    """Notation for a set that ``text`` names in words, for example ``all real numbers except 2``; None if it does not."""
    if len(text) > 200 or not any(char.isalpha() for char in text):
        return None
    words = plain_words(text)
    if _NOTHING.fullmatch(words):
        return "\\Empty"
    if _REALS.fullmatch(words) and words != "real":
        return "\\SetR"
    if words in _OTHER_SETS:
        return f"\\Set{_OTHER_SETS[words]}"
    part = _PART_OF_REALS.fullmatch(words)
    if part:
        return _INTERVALS[part["sign"].replace(" ", "")]
    return _restricted(text.strip())


def _restricted(text: str) -> str | None:
    """``all real numbers except 2``, ``all x such that x > 2``, ``all numbers greater than 2``."""
    excluded = _EXCEPT.fullmatch(text)
    if excluded:
        rest = excluded["rest"].strip()
        listed = re.sub(r"\s*\b(?:and|or)\b\s*|\s*,\s*", ",", re.sub(r"[A-Za-z]\s*=\s*", "", rest))
        return f"\\SetR \\setminus \\{{{listed}\\}}" if _LISTED.fullmatch(listed) else None
    compared = _COMPARED_REALS.fullmatch(text)
    if compared:
        form = next(form for pattern, form in _WORD_SIGNS if pattern.fullmatch(compared["sign"]))
        return form.format(compared["bound"].strip())
    condition = _SUCH_THAT.fullmatch(text)
    if not condition:
        return None
    rest = condition["rest"].strip()
    return f"\\{{x | x {rest}\\}}" if rest[0] in "<>!" else rest


def is_words(text: str) -> bool:
    """Tell whether unreadable text may stand as a word answer: it has a letter and no formula in it."""
    return bool(_ANY_WORDS.fullmatch(text)) and any(char.isalpha() for char in text)
