"""The explanation of one verdict as plain text for a person: what stood where, how it was read, what decided."""

from __future__ import annotations

from rewards.base import Explanation, Sample, Score, Span

_AROUND = 40
_SHOWN = 160
_MAX_RUNNER_UPS = 8
_WIDTH = 12


def explain(sample: Sample, score: Score) -> str:
    """Everything a score says of itself, one fact a line; control characters are shown as blanks."""
    why = score.explanation
    lines = [_line("verdict", f"{score.verdict.value}{_readings(why)}"), _line("why", why.sentence)]
    if why.span is not None:
        where = f"characters {why.span.start} to {why.span.end}"
        lines.append(_line("answer", f"{why.answer_text or '(empty)'}   [{why.source}, {where}]"))
        lines.append(_line("stands in", excerpt(sample.completion, why.span)))
    if why.parsed_answer:
        lines.append(_line("read as", why.parsed_answer))
    gold = f"{sample.gold}   read as {why.parsed_gold}" if why.parsed_gold else sample.gold
    lines.append(_line("gold", gold))
    for name, text in (
        ("rule", why.rule),
        ("near miss", why.near_miss),
        ("difference", why.difference),
        ("took", f"{why.elapsed_ms:.2f} ms"),
    ):
        if text:
            lines.append(_line(name, text))
    for runner_up in why.runner_ups[:_MAX_RUNNER_UPS]:
        lines.append(_line("not taken", f"{runner_up.text}   [{runner_up.source}] {runner_up.reason}"))
    hidden = len(why.runner_ups) - _MAX_RUNNER_UPS
    if hidden > 0:
        lines.append(_line("not taken", f"and {hidden} more"))
    return "\n".join(lines) + "\n"


def excerpt(text: str, span: Span) -> str:
    """The span between ⟦ and ⟧ with a little of what stands around it."""
    before = text[max(0, span.start - _AROUND) : span.start]
    after = text[span.end : span.end + _AROUND]
    inside = text[span.start : span.end]
    if len(inside) > _SHOWN:
        inside = f"{inside[:_SHOWN]}…"
    left = "…" if span.start > _AROUND else ""
    right = "…" if span.end + _AROUND < len(text) else ""
    return f"{left}{before}⟦{inside}⟧{after}{right}"


def _readings(why: Explanation) -> str:
    if why.strict is None or why.lenient is None:
        return ""
    return f"   (strict {_yes(why.strict)}, lenient {_yes(why.lenient)})"


def _yes(flag: bool) -> str:
    return "right" if flag else "not right"


def _line(name: str, text: str) -> str:
    """One aligned line; line ends become ⏎, other control and formatting characters become blanks."""
    shown = "".join(
        char if char.isprintable() else " " for char in text.replace("\r\n", "\n").replace("\n", "⏎")
    )
    limit = 4 * _SHOWN
    return f"{name:<{_WIDTH}}{shown if len(shown) <= limit else shown[: limit - 1] + '…'}"
