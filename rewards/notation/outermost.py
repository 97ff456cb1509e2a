"""Where a text falls apart at its outermost level: separators, brackets, joining words.

Everything inside brackets is masked first, so that one regular expression per separator sees only the top level.
All scans are linear in the text.
"""

from __future__ import annotations

import re

HIDDEN = "\x00"
_OPENING = frozenset("([{")
_CLOSING = frozenset(")]}")
_GROUPED = re.compile(r"(?<![\w.,])[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)")
_JOINT = re.compile(
    r"\s*,\s*(?:(?P<after>and|or)\b\s*)?|\s*(?<![A-Za-z\\])(?P<word>and|or)\b\s*|\s*(?P<chinese>或者|或|以及|和|及|与|且)\s*",
    re.I,
)
_OR = frozenset(("or", "或者", "或"))


def mask(text: str) -> str:
    """``text`` with everything inside brackets replaced by NUL; the outermost brackets stay."""
    if not any(char in text for char in "([{"):
        return text
    out: list[str] = []
    depth = 0
    for char in text:
        if char in _CLOSING:
            depth = max(0, depth - 1)
        out.append(char if depth == 0 else HIDDEN)
        depth += char in _OPENING
    return "".join(out)


def joined(text: str) -> tuple[list[str], list[str]]:
    """Parts of ``text`` between top-level commas and joining words, and the joints: ``,``, ``and`` or ``or``.

    A comma that groups digits (``1,234``) is none; inside brackets it would separate.
    """
    masked = _GROUPED.sub(lambda found: found[0].replace(",", HIDDEN), mask(text))
    parts: list[str] = []
    joints: list[str] = []
    start = 0
    for found in _JOINT.finditer(masked):
        word = (found["after"] or found["word"] or found["chinese"] or ",").lower()
        parts.append(text[start : found.start()])
        joints.append("or" if word in _OR else "," if word == "," else "and")
        start = found.end()
    parts.append(text[start:])
    return parts, joints


def split(text: str, separator: re.Pattern[str]) -> list[str]:
    """Parts of ``text`` between the top-level matches of ``separator``."""
    parts: list[str] = []
    start = 0
    for found in separator.finditer(mask(text)):
        parts.append(text[start : found.start()])
        start = found.end()
    parts.append(text[start:])
    return parts


def items(text: str) -> list[str]:
    """Items between top-level commas, as inside brackets: every comma separates."""
    parts: list[str] = []
    start = 0
    for index, char in enumerate(mask(text)):
        if char == ",":
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    return parts


def bracketed(text: str) -> tuple[str, str, str] | None:
    r"""Opening bracket, inside and closing bracket when one pair encloses all of ``text``; ``\{`` reads as ``{``."""
    body = text.removeprefix("\\") if text.startswith("\\{") else text
    if not body or body[0] not in _OPENING or body[-1] not in _CLOSING:
        return None
    inner = mask(body)[1:-1]
    if inner.strip(HIDDEN) or (body[0] == "{") != (body[-1] == "}"):
        return None
    inside = body[1:-1]
    return body[0], inside.removesuffix("\\") if body[-1] == "}" else inside, body[-1]


def semicolons_as_commas(text: str) -> str:
    """Where semicolons separate, a comma between two digits of the same level is a decimal comma: ``(3,5; 2)``."""
    depth = 0
    levels = {0: False}
    for char in text:
        depth += (char in _OPENING) - (char in _CLOSING)
        levels[depth] = levels.get(depth, False) or char == ";"
    out: list[str] = []
    depth = 0
    for index, char in enumerate(text):
        depth += (char in _OPENING) - (char in _CLOSING)
        between = 0 < index < len(text) - 1 and text[index - 1].isdigit() and text[index + 1].isdigit()
        if char == ";" and text[index - 1 : index] != "\\":
            out.append(", ")
        else:
            out.append("." if char == "," and levels[depth] and between else char)
    return "".join(out)
