"""Text made safe and measured: every string that reaches a cell of the terminal goes through here.

Model output, prompts and exception messages are hostile by assumption; :mod:`grpo_tui.visible` cleans and measures
them, here they become styled lines.
"""

from __future__ import annotations

import math
from datetime import datetime

from grpo_tui.visible import BIDI as BIDI
from grpo_tui.visible import INVISIBLE as INVISIBLE
from grpo_tui.visible import cells as cells
from grpo_tui.visible import clean as clean
from grpo_tui.visible import clip as clip
from grpo_tui.visible import fit as fit
from grpo_tui.visible import wrap as wrap

Span = tuple[str, str]
"""Text and the names of its style roles (space separated, ``""`` for plain)."""
Line = tuple[Span, ...]
LONGEST = 20_000
"""Characters of one text that are laid out: a megabyte on one line must not hold up a key."""


def first_line(text: str) -> str:
    """The first line that holds anything, cleaned; of a very long one its beginning."""
    lines = text[:LONGEST].splitlines()
    return next((clean(line.strip()) for line in lines if line.strip()), "")


def line_width(line: Line) -> int:
    """Width of a line in cells."""
    return sum(cells(text) for text, _ in line)


def clip_line(line: Line, width: int) -> Line:
    """The beginning of a line, at most ``width`` cells of it."""
    kept: list[Span] = []
    for text, role in line:
        if width <= 0:
            break
        kept.append((clip(text, width), role))
        width -= cells(kept[-1][0])
    return tuple(kept)


def wrapped(text: str, width: int, role: str = "") -> list[Line]:
    """Clean, wrap and style a text as lines (newlines break lines); of a very long one its beginning."""
    body = "\n".join(clean(part) for part in text[:LONGEST].split("\n"))
    lines: list[Line] = [((body[low:high], role),) for low, high in wrap(body, width)]
    if len(text) > LONGEST:
        lines.append(((f"⋯ {count(len(text) - LONGEST)} more characters", "dim"),))
    return lines


def labelled(label: str, text: str, width: int, role: str = "", *, room: int) -> list[Line]:
    """A text beside its label, wrapped within what the label's ``room`` cells leave of the width."""
    rows = wrapped(text, max(4, width - room), role)
    return [((fit(label, room), "dim"), *rows[0]), *(((" " * room, ""), *row) for row in rows[1:])]


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
