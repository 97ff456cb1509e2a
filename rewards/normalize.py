"""Answer text → one plain notation that the parser reads.

Only notation is changed here: Unicode look-alikes, LaTeX dressing, currency, thousands separators, units.
Nothing is computed, and every pattern runs in linear time on text whose length the caller has limited.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from rewards.units import NOT_UNITS, canonical_unit


@dataclass(frozen=True, slots=True)
class Normalized:
    """Plain text and the unit that stood beside it (canonical name, or empty)."""

    text: str
    unit: str = ""


_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_VULGAR = {
    **{
        "½": (1, 2),
        "⅓": (1, 3),
        "⅔": (2, 3),
        "¼": (1, 4),
        "¾": (3, 4),
        "⅕": (1, 5),
        "⅖": (2, 5),
        "⅗": (3, 5),
    },
    **{
        "⅘": (4, 5),
        "⅙": (1, 6),
        "⅚": (5, 6),
        "⅐": (1, 7),
        "⅛": (1, 8),
        "⅜": (3, 8),
        "⅝": (5, 8),
        "⅞": (7, 8),
    },
    **{"⅑": (1, 9), "⅒": (1, 10)},
}
_CHARACTERS: dict[str, str] = {
    **dict.fromkeys("−–—‐‑‒﹣－", "-"),
    **dict.fromkeys("×✕⨯·⋅∙∗＊", "*"),
    **dict.fromkeys("÷⁄∕／", "/"),
    **dict.fromkeys("\u2009\u202f\u2006\u2008", "\\,"),
    **dict.fromkeys("\u00a0\u2002\u2003\u3000", " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u2062\u2063", ""),
    **dict.fromkeys("，、", ","),
    **dict.fromkeys("“”„", '"'),
    **dict.fromkeys("‘’′", "'"),
    **{
        "π": "\\pi ",
        "√": "\\sqrt ",
        "∞": "\\infty ",
        "±": "\\pm ",
        "≤": "<=",
        "≥": ">=",
        "≠": "!=",
        "⩽": "<=",
    },
    **{
        "⩾": ">=",
        "∪": "\\cup ",
        "∈": "\\in ",
        "°": "^\\circ ",
        "％": "%",
        "：": ":",
        "。": ".",
        "≈": "\\approx ",
    },
    **{"θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ", "γ": "\\gamma ", "λ": "\\lambda ", "φ": "\\phi "},
    **{mark: f"\\frac{{{top}}}{{{bottom}}}" for mark, (top, bottom) in _VULGAR.items()},
}

_PLAIN_INTEGER = re.compile(r"[+-]?\d{1,18}")
_DRESSING = re.compile(
    r"\\(?:left|right|bigg?[lr]?|Bigg?[lr]?|displaystyle|textstyle|limits)(?![A-Za-z])\.?"
    r"|\\[!;:>](?=.)|\\q?quad(?![A-Za-z])|\\(?:hspace|vspace|phantom)\{[^{}]*\}|\\\\(?=\s*$)"
)
_WRAPPER = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|hbox|operatorname|bm|boldsymbol|boxed|fbox"
    r"|underline|emph|mathbb|mathcal)\s*\{([^{}]*)\}"
)
_OUTER = (
    (re.compile(r"\$\$(.*)\$\$", re.S), "$"),
    (re.compile(r"\$(.*[^\\])\$", re.S), "$"),
    (re.compile(r"\\\((.*)\\\)", re.S), "\\)"),
    (re.compile(r"\\\[(.*)\\\]", re.S), "\\]"),
    (re.compile(r"\*\*(.*)\*\*", re.S), "**"),
    (re.compile(r"\"(.*)\"", re.S), '"'),
    (re.compile(r"`(.*)`", re.S), "`"),
)
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|\\,|,\\!)(?=\d{3}(?!\d))")
_COMMANDS = (
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:cdot|times|ast)(?![A-Za-z])"), "*"),
    (re.compile(r"\\div(?![A-Za-z])"), "/"),
    (re.compile(r"\\(?:leq?|leqslant)(?![A-Za-z])"), "<="),
    (re.compile(r"\\(?:geq?|geqslant)(?![A-Za-z])"), ">="),
    (re.compile(r"\\(?:neq?)(?![A-Za-z])"), "!="),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"\\(?:lbrace|\{)"), r"\\{"),
    (re.compile(r"\\(?:rbrace|\})"), r"\\}"),
    (re.compile(r"\\[lr]?vert(?![A-Za-z])"), "|"),
    (re.compile(r"\\(?:d?binom|tbinom)(?![A-Za-z])"), r"\\binom"),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\[$#&]"), lambda found: "$" if found[0] == "\\$" else " "),
    (re.compile(r"\\[, ()\[\]]|~"), " "),
)
_DEGREES = re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degrees?(?![A-Za-z])")
_PERCENT_WORD = re.compile(r"(?<=[\d.}\s])(?:percent|per cent|个?百分点)(?![A-Za-z])", re.I)
_LEADING_WORDS = re.compile(
    r"(?:(?:exactly|approximately|about|roughly|around|only|just|simply|option|choice|equal to)\s+|\\approx\s*|≈\s*|~\s*)+",
    re.I,
)
_LABEL = re.compile(r"([A-Za-z][A-Za-z' ]{1,60}?)(?:_\{?\w{1,20}\}?)?\s*(?:=|:|\bis\b)\s*(?=\S)")
_FUNCTION_LABEL = re.compile(r"[A-Za-z]\s*\(\s*[A-Za-z]\s*\)\s*=\s*(?=\S)")
_CURRENCY = re.compile(r"(?:US|CA|AU|HK)?\$|[€£¥￥]|\b(?:USD|EUR|GBP|RMB|CNY)\b")
_TRAILING = re.compile(r"[\s.,;:。，；、?]*$")
_WITH_UNIT = re.compile(
    r"(?P<value>(?:[^A-Za-z\u4e00-\u9fff]|(?<=\\)(?:frac|sqrt|pi)(?![A-Za-z]))*(?:(?<=[\d})%])|(?<=\\pi))"
    r"|[-+]?[\d.,]*\d\s*pi)"
    r"\s*-?\(?(?P<unit>[A-Za-z\u4e00-\u9fff](?:[A-Za-z\u4e00-\u9fff' .,/(){}-]|\^\s*\{?-?[23]\}?|(?<=m)[23](?!\w))*)",
    re.S,
)
_PREPOSITIONS = frozenset(["of", "in", "per", "out", "all", "for", "at", "on", "to"])


def normalize(raw: str) -> Normalized:
    """Return the plain notation of ``raw`` and the unit split off it."""
    text = raw.strip()
    if _PLAIN_INTEGER.fullmatch(text):
        return Normalized(text)
    text = plain_notation(text)
    text, currency = _split_currency(text)
    text, unit = _split_unit(text)
    return Normalized(text, unit or currency)


def plain_notation(raw: str) -> str:
    """Undress ``raw``: delimiters, Unicode and LaTeX variants, labels. Units and currency stay."""
    text = _strip_outer(raw.strip())
    if not text.isascii():
        text = _to_ascii(text)
    if "\\" in text or "~" in text or "{" in text:
        text = _plain_latex(text)
    text = _strip_outer(text)
    text = _PERCENT_WORD.sub("%", text)
    text = text.strip()
    if text[:1].isalpha() or text[:1] in "\\~≈":
        text = _drop_label(_LEADING_WORDS.sub("", text, count=1))
    return _strip_outer(text)


def _strip_outer(text: str) -> str:
    """Remove trailing punctuation and matching delimiters around the whole text, layer by layer."""
    for _ in range(6):
        before = text
        text = _TRAILING.sub("", text, count=1).strip() if text[-1:] in " .,;:。，；、?" else text
        for pattern, delimiter in _OUTER:
            found = pattern.fullmatch(text)
            if found and delimiter not in found[1]:
                text = found[1].strip()
        if text == before:
            break
    return text.strip("* ") if "**" in (text[:2], text[-2:]) else text


def _to_ascii(text: str) -> str:
    out: list[str] = []
    raised = lowered = False
    for char in text:
        up, down = char in _SUPERSCRIPTS, char in _SUBSCRIPTS
        if (raised and not up) or (lowered and not down):
            out.append("}")
        if up and not raised:
            out.append("^{")
        if down and not lowered:
            out.append("_{")
        raised, lowered = up, down
        if up or down:
            out.append(_SUPERSCRIPTS.get(char) or _SUBSCRIPTS[char])
        else:
            out.append(_CHARACTERS[char] if char in _CHARACTERS else _compatible(char))
    if raised or lowered:
        out.append("}")
    return "".join(out)


def _compatible(char: str) -> str:
    """Full-width and mathematical letters and the digits of other scripts become ASCII; anything else stays."""
    if char.isascii():
        return char
    if char.isdecimal():
        return str(int(char))
    plain = unicodedata.normalize("NFKC", char)
    return plain if plain.isascii() else char


def _plain_latex(text: str) -> str:
    text = _DEGREES.sub(" degrees", text)
    text = _THOUSANDS.sub("", text)
    text = _DRESSING.sub(" ", text)
    for pattern, replacement in _COMMANDS:
        text = pattern.sub(replacement, text)
    for _ in range(4):
        text, count = _WRAPPER.subn(r" \1 ", text)
        if not count:
            break
    return text


def _drop_label(text: str) -> str:
    """Drop ``Total cost =``, ``Area:`` or ``f(x) =`` before the value; single-letter names stay."""
    found = _FUNCTION_LABEL.match(text)
    if not found:
        found = _LABEL.match(text)
        words = found[1].lower().split() if found else []
        if not any(len(word) > 2 for word in words) or not NOT_UNITS.isdisjoint(
            w for w in words if len(w) > 1
        ):
            return text
    return text[found.end() :] if found else text


def _split_currency(text: str) -> tuple[str, str]:
    if "$" in text and text.count("$") % 2 == 0:
        return text.replace("$", " ").strip(), ""  # left-over math delimiters
    found = _CURRENCY.search(text)
    if not found:
        return text, ""
    name = {"€": "euro", "EUR": "euro", "£": "pound", "GBP": "pound"}.get(found[0], "")
    name = name or ("yuan" if found[0] in ("¥", "￥", "RMB", "CNY") else "dollar")
    return _CURRENCY.sub("", text).strip(), name


def _split_unit(text: str) -> tuple[str, str]:
    r"""Split ``12 meters`` into ``12`` and ``meter``; leave variables such as ``2x`` or ``3 \pi`` alone."""
    label, equals, tail = text.rpartition("=")
    found = _WITH_UNIT.fullmatch(tail)
    if not found:
        return text, ""
    value, words = found["value"], found["unit"].strip()
    head = re.match(r"[A-Za-z]*", words)
    word, apart = head[0] if head else "", tail[len(value)].isspace()
    unit = canonical_unit(words)
    if word.lower() in NOT_UNITS or not ((unit and (apart or len(word) != 1)) or _is_noun(word, apart)):
        return text, ""
    return (label + equals + value).strip(), unit


def _is_noun(word: str, apart: bool) -> bool:
    """Tell a noun (*apples*, *of the cake*) from a run of variables (``xy``). No Latin letters means Chinese."""
    if not word or len(word) > 3 or (apart and word in _PREPOSITIONS):
        return True
    return apart and len(word) == 3 and not set("aeiou").isdisjoint(word.lower())
