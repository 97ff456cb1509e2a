"""The panels of the Breakpoints room: the list, what the line means, and what can be asked."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType
from textual.geometry import Size

from grpo_tui.events.breakpoints import Breakpoint
from grpo_tui.events.commands import RemoveBreakpoint, SetBreakpoint
from grpo_tui.tui.breaking import Checked, Offer, how_many, offers, try_it
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.text import Line, Span, cells, clean, clip, fit, line_width, wrapped
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.lines import list_keys

NAME = 26


class BreakpointsPanel(Panel):
    """One row for each breakpoint, and one for each that waits to be set."""

    BINDINGS: ClassVar[list[BindingType]] = list_keys("move_row")
    TITLE: ClassVar[str] = "Breakpoints"
    HELP: ClassVar[str] = (
        "Where the run stops by itself. Conditions are asked before advantages, reference and update, so what they stop can "
        "still be changed. a adds, Space switches off and on, Enter edits, o makes it stop once, d deletes."
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.row = 0

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The breakpoints, the hit, what waits, the selection."""
        return (view.state.breakpoints, view.state.hit, view.acts.version, view.served_now, self.row)

    def selected(self, view: RunView) -> Breakpoint | None:
        """The breakpoint under the cursor."""
        rows = view.state.breakpoints
        return rows[min(self.row, len(rows) - 1)] if rows else None

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """The rows."""
        width, rows = size.width, view.state.breakpoints
        on = sum(b.enabled for b in rows)
        self.set_title("Breakpoints", f"{on} of {len(rows)} on" if rows else "")
        lines = [self._row(view, breakpoint, width) for breakpoint in rows]
        when = "being set" if view.served_now else "waits for the end of the phase"
        for request in view.acts.asked:
            if isinstance(request, SetBreakpoint):
                text = request.condition or f"{'after' if request.after else 'before'} {request.phase}"
                lines.append(((clip(f" ◌ {when}: {clean(text)}", width), "warn"),))
            elif isinstance(request, RemoveBreakpoint):
                lines.append(((clip(f" ◌ {when}: {request.id} goes away", width), "warn"),))
        if view.acts.refused:
            lines += wrapped(f"✖ {view.acts.refused}", width, "bad")[:2]
        if not lines:
            why = (
                "a recording stops nowhere"
                if view.session.read_only
                else "none yet: write one in the line below"
            )
            return [((why, "dim"),)], None
        self.row = max(0, min(self.row, len(rows) - 1))
        return lines, self.row if rows else None

    def _row(self, view: RunView, breakpoint: Breakpoint, width: int) -> Line:
        hit = view.state.hit
        here = hit is not None and hit.breakpoint.id == breakpoint.id
        sign = "●" if breakpoint.enabled else "○"
        tail: list[Span] = [("  once", "accent")] if breakpoint.once else []
        if not breakpoint.enabled:
            tail.append(("  off", "dim"))
        if here:
            tail.append(("  ‖ stopped here", "warn bold"))
        lead: Line = (
            (fit(str(breakpoint.id), 3, right=True), "dim"),
            (f" {sign} ", "bad" if breakpoint.enabled else "dim"),
        )
        room = max(10, width - line_width((*lead, *tail)))
        text = clip(clean(str(breakpoint)), room)
        return (*lead, (text, "" if breakpoint.enabled else "dim"), *tail)


class CheckPanel(Panel, can_focus=False):
    """What is wrong with the line and where; or what it matches in the step looked at."""

    TITLE: ClassVar[str] = "Try it"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.text = ""
        self.checked = Checked()
        self.note = ""
        """Why it is not taken, though it can be read."""
        self.offer: Offer | None = None
        """The row of the guide that is looked at."""

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The line, and the step it is tried on."""
        return (
            self.text,
            self.checked,
            self.note,
            self.offer,
            view.detail,
            view.state.history,
            view.state.hit,
        )

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """One of: an error with its place, matches, when a phase comes, what stopped the run."""
        width, checked = size.width, self.checked
        self.set_title("Try it", f"step {view.shown_step}" if view.detail is not None else "")
        if self.note:
            return list(wrapped(self.note, width, "warn")), None
        if checked.error:
            return self._wrong(width), None
        if checked.breakpoint is None:
            return self._idle(view, width), None
        if not checked.breakpoint.condition:
            return list(wrapped(f"stops every step {checked.breakpoint}; Enter sets it", width, "good")), None
        matches = try_it(checked.breakpoint.condition, view.detail, view.state.history)
        if matches is None:
            return list(wrapped("can be read; no step to try it on yet; Enter sets it", width, "good")), None
        role = "warn" if matches else "dim"
        lines: list[Line] = wrapped(
            f"{how_many(matches, view.shown_step)}; Enter sets it", width, f"{role} bold"
        )
        lines += [((clip(f"  {clean(match.sentence)}", width), ""),) for match in matches]
        return lines, None

    def _wrong(self, width: int) -> list[Line]:
        """The line around the place, a caret under it, and what was expected there."""
        text, column = clean(self.text), min(self.checked.column, len(self.text))
        start = 0
        while cells(text[start:column]) > width - 2:
            start += max(1, width // 2)
        before = cells(text[start:column])
        return [
            ((clip(text[start:], width), "dim"),),
            ((" " * before, ""), ("^", "bad bold")),
            *wrapped(self.checked.error, width, "bad"),
        ]

    def _idle(self, view: RunView, width: int) -> list[Line]:
        hit = view.state.hit
        if hit is not None and self.offer is None:
            return list(wrapped(str(hit), width))
        if self.offer is not None:
            return [*wrapped(self.offer.text, width, "bold"), *wrapped(self.offer.help, width)]
        return list(wrapped("write a condition, or Tab to the examples and Enter to take one", width, "dim"))


class GuidePanel(Panel):
    """Everything that can be asked; Enter puts the row into the line."""

    BINDINGS: ClassVar[list[BindingType]] = list_keys("move_offer")
    TITLE: ClassVar[str] = "What can be asked"
    HELP: ClassVar[str] = (
        "Examples, phases, and every measure with its meaning. Arrows select, Enter puts it into the line. Without "
        "'any group:' or the like a measure is of the whole step."
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.offers = offers()
        self.row = 1

    def depends(self, view: RunView) -> tuple[object, ...]:  # noqa: ARG002
        """The selection."""
        return (self.row, self.has_focus)

    @property
    def offer(self) -> Offer:
        """The row under the cursor."""
        return self.offers[self.row]

    def names(self, row: int) -> bool:
        """Whether a row is something to put into the line, not a heading."""
        return 0 <= row < len(self.offers) and bool(self.offers[row].text)

    def move(self, by: int) -> None:
        """Select another row; headings are passed over."""
        last = len(self.offers) - 1
        row = max(0, min(last, self.row + by))
        step = 1 if by > 0 else -1
        while 0 <= row <= last and not self.offers[row].text:
            row += step
        if 0 <= row <= last:
            self.row = row

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:  # noqa: ARG002
        """Headings and rows."""
        self.set_title("What can be asked", "Enter takes it" if self.has_focus else "Tab comes here")
        name = min(NAME, max(14, size.width // 2))
        lines: list[Line] = []
        for offer in self.offers:
            if not offer.text:
                lines.append(((clip(offer.help, size.width), "accent bold"),))
            elif cells(offer.text) <= name:
                lines.append(
                    (
                        (f"  {fit(offer.text, name)} ", ""),
                        (clip(offer.help, max(0, size.width - name - 3)), "dim"),
                    )
                )
            else:
                rest = max(0, size.width - cells(offer.text) - 4)
                help = clip(offer.help, rest) if rest >= 8 else ""
                lines.append(((clip(f"  {offer.text}  ", size.width), ""), (help, "dim")))
        return lines, self.row
