"""Text made visible and measured in terminal cells: what the screens, the cards and the exports all need.

Model output, prompts and exception messages are hostile by assumption: they may hold escape sequences,
bidirectional controls or zero-width characters. Cleaning replaces each dangerous character by exactly one visible
one, so character offsets (the verifier's spans) stay true.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rich.cells import cell_len, get_character_cell_size

INVISIBLE = "◌"
BIDI = "⇄"
_SUSPECT = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _visible(match: re.Match[str]) -> str:
    char = match.group()
    code = ord(char)
    if char == "\n":
        return "⏎"
    if char == "\t":
        return "⇥"
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if code < 0xA0:
        return "␦"
    if 0xD800 <= code <= 0xDFFF:
        return "�"
    return BIDI if char in _BIDI_CONTROLS else INVISIBLE


def clean(text: str) -> str:
    """Return ``text`` with every control or invisible character replaced by one visible character."""
    return _SUSPECT.sub(_visible, text)


def cells(text: str) -> int:
    """Width in terminal cells."""
    return len(text) if text.isascii() else cell_len(text)


def clip(text: str, width: int) -> str:
    """Cut to ``width`` cells, the last one an ellipsis if anything was lost."""
    if width <= 0:
        return ""
    whole, text = text, text[: 8 * width + 64]  # enough for any width; a line may be a megabyte
    if len(whole) == len(text) and cells(text) <= width:
        return text
    used, kept = 0, []
    for char in text:
        size = get_character_cell_size(char)
        if used + size > width - 1:
            break
        kept.append(char)
        used += size
    return "".join(kept) + "…"


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Clip or pad to exactly ``width`` cells."""
    text = clip(text, width)
    pad = " " * (width - cells(text))
    return pad + text if right else text + pad


@lru_cache(maxsize=128)
def wrap(text: str, width: int) -> tuple[tuple[int, int], ...]:
    """Word-wrap to ``width`` cells; return half-open character ranges, one for each row.

    Newlines break rows and belong to none. Ranges index the text as given, so spans can be laid over rows.
    """
    rows: list[tuple[int, int]] = []
    width = max(1, width)
    start = 0
    for paragraph in text.split("\n"):
        rows.extend((start + low, start + high) for low, high in _wrap_paragraph(paragraph, width))
        start += len(paragraph) + 1
    return tuple(rows)


def _wrap_ascii(text: str, width: int) -> list[tuple[int, int]]:
    """The same where every character is one cell, a row at a time instead of a character at a time."""
    rows: list[tuple[int, int]] = []
    begin = 0
    while len(text) - begin > width:
        space = text.rfind(" ", begin, begin + width)
        end = space if space > begin else begin + width
        rows.append((begin, end))
        begin = end + 1 if space > begin else end
    rows.append((begin, len(text)))
    return rows


def _wrap_paragraph(text: str, width: int) -> list[tuple[int, int]]:
    if text.isascii():
        return _wrap_ascii(text, width)
    rows: list[tuple[int, int]] = []
    begin = used = 0
    space = -1
    index = 0
    while index < len(text):
        char = text[index]
        size = 1 if char.isascii() else max(0, get_character_cell_size(char))
        if used + size > width and index > begin:
            end = space if space > begin else index
            rows.append((begin, end))
            begin = end + 1 if space > begin else end
            used, space, index = 0, -1, begin
            continue
        if char == " ":
            space = index
        used += size
        index += 1
    rows.append((begin, len(text)))
    return rows
