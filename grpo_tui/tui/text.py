"""Text made safe and measured: every string that reaches a cell of the terminal goes through here.

Model output, prompts and exception messages are hostile by assumption: they may hold escape sequences,
bidirectional controls, zero-width characters or markup. Cleaning replaces each dangerous character by exactly
one visible one, so character offsets (the verifier's spans) stay true.
"""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import datetime
from functools import lru_cache

from rich.cells import cell_len, get_character_cell_size

Span = tuple[str, str]
"""Text and the names of its style roles (space separated, ``""`` for plain)."""
Line = tuple[Span, ...]

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
    if cells(text) <= width:
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


def first_line(text: str) -> str:
    """The first line that holds anything, cleaned."""
    return next((clean(line.strip()) for line in text.splitlines() if line.strip()), "")


def line_width(line: Line) -> int:
    """Width of a line in cells."""
    return sum(cells(text) for text, _ in line)


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


def _wrap_paragraph(text: str, width: int) -> list[tuple[int, int]]:
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


def wrapped(text: str, width: int, role: str = "") -> list[Line]:
    """Clean, wrap and style a text as lines (newlines break lines)."""
    body = "\n".join(clean(part) for part in text.split("\n"))
    return [((body[low:high], role),) for low, high in wrap(body, width)]


def number(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """A short number with a true minus sign; ``–`` for None and ``nan`` for not-a-number."""
    if value is None:
        return "–"
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "+∞" if value > 0 else "−∞"
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if value and abs(value) >= 10 ** (7 - digits):
        text = f"{value:.1e}"
    return text.replace("-", "−")


def compact(value: float | None) -> str:
    """Three significant digits, as short as they go: ``.021``, ``1.32``, ``86.4``, ``1.2e4``."""
    if value is None or not math.isfinite(value):
        return number(value)
    size = abs(value)
    if size >= 10_000:
        return f"{value:.1e}".replace("e+0", "e").replace("-", "−")
    if value and size < 0.0005:
        return f"{value:.0e}".replace("e-0", "e-").replace("-", "−")
    digits = 0 if size >= 1000 else 1 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:.{digits}f}".replace("-", "−")


def percent(share: float) -> str:
    """A share as whole percent."""
    return f"{100 * share:.0f}%"


def duration(seconds: float) -> str:
    """``0:47:10`` for long times, ``12.3 s`` for short ones."""
    if not math.isfinite(seconds) or seconds < 0:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"


def memory(num_bytes: int) -> str:
    """Bytes as MB or GB."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def count(number_of: int) -> str:
    """A large count, shortened: ``1.2M``, ``135M``, ``512``."""
    for size, suffix in ((1_000_000_000, "B"), (1_000_000, "M"), (10_000, "k")):
        if number_of >= size:
            scaled = number_of / (1000 if suffix == "k" else size)
            return f"{scaled:.1f}{suffix}" if scaled < 10 else f"{scaled:.0f}{suffix}"
    return str(number_of)


def clock(time: float) -> str:
    """Local wall-clock time."""
    try:
        return datetime.fromtimestamp(time).astimezone().strftime("%H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return "--:--:--"


def is_wide_safe(char: str) -> bool:
    """Whether a glyph takes exactly one cell (used by tests over the glyph table)."""
    return cell_len(char) == 1 and unicodedata.category(char) != "Cf"
