r"""One spelling for the notation of sets, intervals and systems, after :mod:`rewards.notation.normalize`.

``\SetR`` stands for ℝ; ``\cup``, ``\cap``, ``\setminus``, ``\in``, ``\notin`` stay; brackets of other schools become
the usual ones. Every pattern is linear.
"""

from __future__ import annotations

import re

_TRIGGER = re.compile(
    r"\\(?!(?:frac|sqrt|pi|log|ln|sin|cos|tan|theta|alpha|beta|binom|infty|pm|degrees?|cup|in)(?![A-Za-z]))[A-Za-z\\]"
    r"|(?<![A-Za-z\\])[A-Za-z]{2}|[\[\]]|[<=]\s*>|^<|[\u2205-\u22ff]|\+\s*/|[)\]}]\s*U|=\s*>"
)
_REWRITES = (
    (re.compile(r"\\begin\s*\{cases\}|\\left\s*\\\{\s*\\begin\{array\}\{[lcr| ]*\}"), " "),
    (re.compile(r"\\end\s*\{cases\}"), " "),
    (re.compile(r"\\math(?:bb|bf|rm)?\s*\{?\s*([RZNQC])\s*\}?(?![A-Za-z])"), r" \\Set\1 "),
    (re.compile(r"\\SetR\s*(?:\^\s*\{?\s*\+\s*\}?|_\s*\{?\s*(?:\+|>\s*0)\s*\}?|\+)"), r" (0,\\infty) "),
    (re.compile(r"\\SetR\s*(?:\^\s*\{?\s*-\s*\}?|_\s*\{?\s*(?:-|<\s*0)\s*\}?)"), r" (-\\infty,0) "),
    (re.compile(r"\\SetR\s*_\s*\{?\s*>=\s*0\s*\}?"), r" [0,\\infty) "),
    (re.compile(r"\\SetR\s*\^\s*\{?\s*\*\s*\}?"), r" \\SetR \\setminus \\{0\\} "),
    (re.compile(r"\\SetZ\s*(?:\^|_)\s*\{?\s*(?:\+|>\s*0)\s*\}?"), r" \\SetP "),
    (re.compile(r"\\(?:emptyset|varnothing)(?![A-Za-z])|∅"), r" \\Empty "),
    (re.compile(r"\\(?:setminus|smallsetminus|backslash)(?![A-Za-z])|∖"), r" \\setminus "),
    (re.compile(r"(\\SetR)\s*(?:\\?-|\\|/|\\ )?\s*(?=\\?\{)"), r"\1 \\setminus "),
    (re.compile(r"\\big(cup|cap)(?![A-Za-z])"), r" \\\1 "),
    (re.compile(r"(?<=[)\]}])\s*U\s*(?=[(\[{\\])"), r" \\cup "),
    (re.compile(r"\\not\s*="), "!="),
    (re.compile(r"\\(?:not\s*>|ngtr(?![A-Za-z]))"), "<="),
    (re.compile(r"\\(?:not\s*<|nless(?![A-Za-z]))"), ">="),
    (re.compile(r"\\not\s*\\in(?![A-Za-z])|\\notin(?![A-Za-z])"), r" \\notin "),
    (re.compile(r"\\(?:lor|vee)(?![A-Za-z])"), " or "),
    (re.compile(r"\\(?:land|wedge)(?![A-Za-z])"), " and "),
    (re.compile(r"\\langle(?![A-Za-z])"), "("),
    (re.compile(r"\\rangle(?![A-Za-z])"), ")"),
    (re.compile(r"\\(?:mid|vert)(?![A-Za-z])|∣"), "|"),
    (re.compile(r"\+\s*/\s*-|\bplus[ -]or[ -]minus\b", re.I), r"\\pm "),
    (re.compile(r"\bunion\b", re.I), r"\\cup "),
    (re.compile(r"\b(?:negative|minus)[ -](?:infinity|inf)\b", re.I), r" -\\infty "),
    (re.compile(r"\b(?:positive |plus )?(?:infinity|inf)\b", re.I), r" \\infty "),
    (re.compile(r"\bis\s+(?=[<>=])"), ""),
    (re.compile(r"(?<![A-Za-z\\])([A-Za-z])\s+is\s+(?=-?[\d.])"), r"\1 = "),
    (re.compile(r"(?<=[A-Za-z\d)])(?<!\bor)\s+(?:equals|is equal to)\s+(?=[-\d\\(.])"), " = "),
)
_NOUN = re.compile(
    r"(?:the\s+)?(?:ordered\s+)?(?:points?|pairs?|triples?|intervals?|sets?|vectors?|tuples?|coordinates?|matrix|ratio"
    r"|solution\s+set|domain|range|equation|line|function)\s+(?:are\s+|is\s+|of\s+)?(?=[A-Z]?\s*(?:\(|\[|\\\{|\\p?b?matrix|\d|[a-z]\s*[=(]))",
    re.I,
)
_CONCLUSION = re.compile(
    r"\\(?:implies|Rightarrow|Longrightarrow|iff|Leftrightarrow|therefore|Longleftrightarrow)(?![A-Za-z])|=>(?!=)"
)
_SYSTEM_BREAK = re.compile(r"\\\\\s*(?:\[[\d.]+\s*(?:pt|em|ex)\])?")
_ANGLED = re.compile(r"<([^<>=|]*,[^<>=|]*)>?")
_REVERSED = re.compile(r"(?:^|\\in|\\cup|=)\s*\]|\[\s*(?:$|\\cup|and\b|or\b)")
_INTERVAL = re.compile(r"([\[\]])([^\[\]()=<>|]{1,120})([\[\]])")
_COMPARED = tuple(
    (re.compile(rf"\s+(?:(?:is|are|be|must be|can be)\s+)?(?:{words})\s+(?=[-+\d\\.(])", re.I), sign)
    for words, sign in (
        (r"(?:greater|more|bigger|larger) than or equal to|at least|no less than|not less than", " >= "),
        (
            r"(?:less|smaller|fewer) than or equal to|at most|no more than|not more than|not greater than",
            " <= ",
        ),
        (r"(?:strictly )?(?:greater|more|bigger|larger) than", " > "),
        (r"(?:strictly )?(?:less|smaller|fewer) than", " < "),
        (r"not equal to|cannot equal|does not equal|cannot be|not", " != "),
    )
)
_BETWEEN = re.compile(
    r"(?:(?P<name>[A-Za-z])\s+)?(?:(?:is|lies)\s+)?(?:strictly\s+)?between\s+(?P<low>\S{1,40})\s+and\s+(?P<high>[^\s,]{1,40})"
    r"(?P<inclusive>,?\s*\(?inclusive\)?)?",
    re.I,
)


def set_notation(text: str) -> str:
    """Rewrite the notation of sets, intervals and systems in ``text``."""
    if not _TRIGGER.search(text):
        return text
    text = _NOUN.sub("", text, count=1) if text[:1].isalpha() else text
    concluded = (
        [part for part in _CONCLUSION.split(text) if part.strip()] if "\\" in text or "=>" in text else []
    )
    text = concluded[-1] if len(concluded) > 1 else text
    system = "cases}" in text or "\\begin" not in text
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    if system and "\\\\" in text:
        text = _SYSTEM_BREAK.sub(", ", text).strip(" ,")
    angled = _ANGLED.fullmatch(text.strip())
    if angled:
        text = f"({angled[1]})"
    if _REVERSED.search(text):
        text = _INTERVAL.sub(_usual_brackets, text)
    if " " in text and text[:1].isalpha():
        text = _in_signs(text)
    return " ".join(text.split())


def _usual_brackets(found: re.Match[str]) -> str:
    """``]1, 2[`` of the French school as ``(1, 2)``."""
    if "," not in found[2]:
        return found[0]
    return ("(" if found[1] == "]" else "[") + found[2] + (")" if found[3] == "[" else "]")


def _in_signs(text: str) -> str:
    """``a is at least 2`` as ``a >= 2``."""
    between = _BETWEEN.fullmatch(text.strip())
    if between:
        sign = "<=" if between["inclusive"] else "<"
        return f"{between['low']} {sign} {between['name'] or 'x'} {sign} {between['high']}"
    for pattern, sign in _COMPARED:
        text = pattern.sub(sign, text)
    return text
