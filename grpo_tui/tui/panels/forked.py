"""A fork of the response looked at: how often it ends well from before a token, after it, and after another."""

from __future__ import annotations

from typing import ClassVar

from textual.geometry import Size

from grpo_tui.events.commands import ForkResponse
from grpo_tui.events.records import CompletionRecord, GroupRecord
from grpo_tui.events.types import ResponseForked
from grpo_tui.tui.glyphs import verdict_glyph
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.playing import PassRate, pass_rate
from grpo_tui.tui.text import Line, clean, clip, duration, fit
from grpo_tui.tui.tokens import first_split, quoted, text_from, token_label
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.charts import interval_bar

SIDE = 18
SHOWN = 4
"""Continuations of each side that are told."""


def fork_of(view: RunView) -> ResponseForked | None:
    """The last fork, if it is of the response looked at."""
    forked, group, completion = view.state.forked, view.group, view.completion
    if forked is None or group is None or completion is None:
        return None
    here = (view.shown_step, group.index, completion.index)
    return forked if (forked.step, forked.group, forked.completion) == here else None


def fork_asked(view: RunView) -> bool:
    """Whether a fork of the response looked at was asked for and is not there yet."""
    group, completion = view.group, view.completion
    if group is None or completion is None:
        return False
    here = (view.shown_step, group.index, completion.index)
    return any(
        isinstance(r, ForkResponse) and (r.step, r.group, r.completion) == here for r in view.acts.asked
    )


def sides(forked: ResponseForked, completion: CompletionRecord) -> list[tuple[str, GroupRecord]]:
    """What was sampled from where, with a label for each."""
    label = token_label(completion, forked.token)
    found = [("before it", forked.before), (f"after {label}", forked.after)]
    if forked.instead is not None:
        found.append((f"after {_instead(forked)}", forked.instead))
    return found


def _instead(forked: ResponseForked) -> str:
    """The other token by its text, as it stands in a continuation."""
    group = forked.instead
    if group is None or not group.completions:
        return f"#{forked.instead_id}"
    one = group.completions[0]
    offsets = [*one.token_offsets_T.tolist(), len(one.text)]
    if forked.token + 1 >= len(offsets):
        return f"#{forked.instead_id}"
    return quoted(one.text[offsets[forked.token] : offsets[forked.token + 1]])


class ForkPanel(Panel):
    """Pass rates with 95 % Wilson intervals, then where single continuations part from the response."""

    TITLE: ClassVar[str] = "Fork"
    HELP: ClassVar[str] = (
        "f samples on from inside the response: from before the token under the cursor, after it, and after another in its "
        "place. Brackets are 95 % Wilson intervals: where they do not overlap, the token decides. Nothing of the step changes."
    )

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The fork, and the response it is of."""
        return (view.state.forked, view.completion, view.shown_step, view.acts.version, view.served_now)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """Rates of every side, then continuations."""
        forked, completion, width = fork_of(view), view.completion, size.width
        if fork_asked(view):
            self.set_title("Fork")
            return [((clip(f"◌ {clean(view.acts.waiting_text)}", width), "warn"),)], None
        if forked is None or completion is None:
            self.set_title("Fork")
            return [(("f", "key"), (" samples on from the token under the cursor", "dim"))], None
        self.set_title(
            f"Fork at token {forked.token + 1} {token_label(completion, forked.token)}",
            f"{duration(forked.seconds)}, n = {len(forked.before.completions)}",
        )
        lines: list[Line] = []
        for label, group in sides(forked, completion):
            lines.append(_rate_row(label, group, width))
        for label, group in sides(forked, completion):
            lines.append(((clip(label, width), "dim"),))
            lines += [_continuation(completion, other, width) for other in group.completions[:SHOWN]]
            if len(group.completions) > SHOWN:
                lines.append(((f"  … {len(group.completions) - SHOWN} more", "dim"),))
        return lines, None


def _rate_row(label: str, group: GroupRecord, width: int) -> Line:
    rate = pass_rate(group)
    head = fit(label, SIDE)
    if rate is None:
        return ((head, "bold"), (f" {len(group.completions)} drawn, not judged", "dim"))
    text = f" {fit(rate.text, 19)}"
    room = width - SIDE - len(text) - 1
    bar = f" {interval_bar(*_bounds(rate), min(room, 24))}" if room >= 8 else ""
    return ((head, "bold"), (text, ""), (bar, "info"))


def _bounds(rate: PassRate) -> tuple[float, float, float]:
    low, high = rate.interval
    return low, rate.num_correct / max(1, rate.num_samples), high


def _continuation(mine: CompletionRecord, other: CompletionRecord, width: int) -> Line:
    """Verdict, the first token at which it parts from the response, and how it goes on there."""
    glyph, role = verdict_glyph(other)
    split = first_split(mine, other)
    if split is None:
        return ((f"  {glyph} ", role), ("the same to the end", "dim"))
    lead = f"parts at {split + 1}: "
    text = text_from(other, split)[:400]
    return (
        (f"  {glyph} ", role),
        (lead, "dim"),
        (clip(quoted(text) if text else "ends there", max(0, width - len(lead) - 4)), ""),
    )
