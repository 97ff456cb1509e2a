"""Two lines under the header: why the run stopped, and what was changed by hand or could be."""

from __future__ import annotations

from textual.geometry import Size

from grpo_tui.events.breakpoints import Hit
from grpo_tui.events.records import Mode
from grpo_tui.tui.glyphs import ACTED
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.text import Line, Span, cells, clean, clip, line_width
from grpo_tui.tui.view import RunView

ON: Line = (("  .", "key"), (" next phase  ", ""), ("Space", "key"), (" go on ", ""))
WAYS = (("O", "verdict is wrong"), ("x", "keep out"), ("W", "reward"), ("R", "draw anew"), ("+", "more"))


def hit_line(hit: Hit, width: int, *, keys: bool) -> Line:
    """Where it stopped, by which breakpoint, and what matched; the numbers are what is cut last."""
    lead = f" ‖ stopped {hit.where}"
    by = clean(hit.breakpoint.condition)
    by = f"'{by}'" if by else f"breakpoint {hit.breakpoint.id}"
    tail = f": {clean(hit.found)}" if hit.found else ""
    # The key bar has the keys as well; the numbers stand nowhere else.
    on: Line = ON if keys and cells(f"{lead} by {by}{tail}") + line_width(ON) <= width else ()
    room = max(0, width - len(lead))
    by = clip(by, max(min(cells(by), 14), room - cells(tail) - 4))
    body = clip(f" by {by}{tail}", room)
    spans: list[Span] = [(lead, "warn bold"), (body, "bold")]
    gap = width - line_width((*spans, *on))
    return (*spans, (" " * max(0, gap), ""), *on)


def act_line(view: RunView, width: int) -> Line | None:
    """What was refused, waits, was changed, or could be; None where there is nothing to say."""
    acts, state = view.acts, view.state
    if acts.refused:
        return ((clip(f" ✖ {clean(acts.refused)}", width), "dim" if acts.refused == acts.why_not else "bad"),)
    if acts.asked:
        return ((clip(f" ◌ {clean(acts.waiting_text)}", width), "warn"),)
    done = acts.standing
    if done:
        more = f" (+{len(done) - 1} more)" if len(done) > 1 else ""
        note = f" ({clean(done[-1].note)})" if done[-1].note else ""
        back: Line = (("Bksp", "key"), (" takes it back ", "")) if acts.can_undo else ()
        said = f" {ACTED} changed by {clean(done[-1].by)}: {clean(done[-1].sentence)}{note}"
        room = width - line_width(back) - len(more) - 1
        if room < 20:
            back, room = (), width - len(more) - 1
        text = clip(said, room) + more
        return ((text, "accent bold"), (" " * max(1, width - line_width(((text, ""), *back))), ""), *back)
    if state.hit is None or view.session.read_only:
        return None
    why_not = acts.why_not
    if why_not:
        return ((clip(f"   {clean(why_not)}", width), "dim"),)
    spans: list[Span] = [("   ", "")]
    for key, words in WAYS:
        if line_width(tuple(spans)) + len(key) + len(words) + 3 <= width:
            spans += [(key, "key"), (f" {words}  ", "")]
    return tuple(spans)


def act_lines(view: RunView, width: int) -> list[Line]:
    """The lines there are: none while nothing was stopped or changed by hand."""
    lines: list[Line] = []
    hit = view.state.hit
    if hit is not None and view.state.mode is Mode.PAUSED:
        lines.append(hit_line(hit, width, keys=not view.session.read_only))
    acted = act_line(view, width)
    return [*lines, acted] if acted is not None else lines


class ActsPanel(Panel, can_focus=False):
    """Why the run stopped, and what was changed by hand."""

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The hit, the acts, and what decides whether there can be more."""
        state = view.state
        return (state.hit, state.acts, state.mode, state.mode_detail, state.phase, state.current, state.phase_seconds,
                view.acts.version, view.shown_step)  # fmt: skip

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """One line or two."""
        return act_lines(view, size.width), None
