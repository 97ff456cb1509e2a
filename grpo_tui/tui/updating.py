"""What the Update room knows apart from its widgets: the page, what was asked for, and why it cannot be asked now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grpo_tui.events.commands import (
    ChangeSettings,
    CompareLosses,
    FindMismatch,
    MakeReceipt,
    PreviewUpdate,
    Request,
    TwinUpdate,
    UpdateAs,
)
from grpo_tui.events.records import Mode, Phase
from grpo_tui.events.state import LogLine
from grpo_tui.events.update_records import LossChoice

if TYPE_CHECKING:
    from grpo_tui.tui.view import RunView

PAGES = ("Preview", "What-if", "Receipt", "Twin", "Mismatch")
PREVIEW, WHAT_IF, RECEIPT, TWIN, MISMATCH = PAGES
FIRST_TWINS = (
    LossChoice("as it is"),
    *(LossChoice(name, (("algorithm.name", name),)) for name in ("dr_grpo", "gspo", "rloo")),
)
"""What a twin update tries until others are marked on the bench."""
PROBES = 8
_KINDS: dict[type[Request], str] = {
    PreviewUpdate: PREVIEW,
    CompareLosses: WHAT_IF,
    MakeReceipt: RECEIPT,
    TwinUpdate: TWIN,
    FindMismatch: MISMATCH,
}


@dataclass(slots=True)
class UpdateDesk:
    """What the room remembers; it is the view's, so it is there again when the room is."""

    page: str = PREVIEW
    rows: dict[str, int] = field(default_factory=dict)
    """Selected row of each page."""
    after_update: bool = False
    """The bench looks from where one update would lead."""
    marked: tuple[LossChoice, ...] = FIRST_TWINS
    probes: int = 0
    asked: Request | None = None
    asked_at: tuple[int, int] = (0, 0)
    """Where the run stood then, as :func:`_place` tells it."""
    answered_by: object = None
    """What the page showed when it was asked: another one is the answer."""
    last_line: LogLine | None = None
    """Newest line of the log when it was asked."""


def desk_of(view: RunView) -> UpdateDesk:
    """The view's desk."""
    if view.update_desk is None:
        view.update_desk = UpdateDesk()
    return view.update_desk


def shown(view: RunView, page: str) -> object:
    """The record behind a page; None where there is none."""
    state = view.state
    return {
        PREVIEW: state.preview,
        WHAT_IF: state.what_if,
        RECEIPT: state.receipt,
        TWIN: state.twins,
        MISMATCH: state.mismatch,
    }[page]


def stands_before_update(view: RunView) -> bool:
    """Whether the run is paused where a step has its advantages and not yet its update."""
    state = view.state
    if state.mode is not Mode.PAUSED or state.current is None:
        return False
    return state.mode_detail in (f"before {Phase.REFERENCE}", f"before {Phase.UPDATE}")


def why_not(view: RunView, page: str) -> str:
    """Why a page cannot be computed now, with what to do; empty where it can."""
    if view.session.read_only:
        return "a recording: it shows what was computed while the run ran"
    if view.over:
        return "the run is over: it shows what was computed while it ran"
    if page == RECEIPT:
        return "" if view.state.last_step else "no update was taken yet: press s for a step"
    if not stands_before_update(view):
        return "needs the run paused before an update: Space pauses, then . goes phase by phase to 'before update'"
    return ""


def request_for(view: RunView, page: str) -> Request:
    """What computes a page."""
    desk, step = desk_of(view), view.training_step
    if page == PREVIEW:
        return PreviewUpdate(step)
    if page == WHAT_IF:
        return CompareLosses(step, after_update=desk.after_update)
    if page == TWIN:
        return TwinUpdate(step, desk.marked, desk.probes)
    if page == MISMATCH:
        return FindMismatch(step)
    return MakeReceipt(view.state.last_step)


def compute(view: RunView) -> bool:
    """Ask for the page shown; False where it cannot be, or is already."""
    desk = desk_of(view)
    if why_not(view, desk.page) or waiting(view) is not None:
        return False
    request = request_for(view, desk.page)
    desk.answered_by = shown(view, desk.page)
    desk.last_line = view.state.log[-1] if view.state.log else None
    desk.asked, desk.asked_at = request, _place(view)
    return view.ask(request)


def waiting(view: RunView) -> Request | None:
    """What was asked for and is not answered yet."""
    desk = desk_of(view)
    asked = desk.asked
    if asked is None or view.over:
        return None
    answered = shown(view, _KINDS[type(asked)]) is not desk.answered_by
    if answered or desk.asked_at != _place(view):
        # Forgotten for good: once the run goes elsewhere, the answer goes, which must not look as before it came.
        desk.asked = None
        return None
    return None if refused(view) else asked


def _place(view: RunView) -> tuple[int, int]:
    """The end of which step of which line the run stands at."""
    return view.state.branch, view.state.last_step


def refused(view: RunView) -> str:
    """What the engine said to the last question, where it could not answer it."""
    desk = desk_of(view)
    if desk.asked is None:
        return ""
    name = type(desk.asked).__name__
    for line in reversed(view.state.log):
        if line is desk.last_line:
            break
        if line.source == "request" and line.message.startswith(f"{name}: "):
            return line.message.removeprefix(f"{name}: ")
    return ""


def page_waits(view: RunView) -> bool:
    """Whether the page shown is being computed."""
    asked = waiting(view)
    return asked is not None and _KINDS[type(asked)] == desk_of(view).page


def selected_choice(view: RunView) -> LossChoice | None:
    """The loss or twin under the cursor."""
    desk, state = desk_of(view), view.state
    row = desk.rows.get(desk.page, 0)
    if desk.page == WHAT_IF and state.what_if is not None and row < len(state.what_if.rows):
        return state.what_if.rows[row].choice
    if desk.page == TWIN and state.twins is not None and row < len(state.twins.results):
        return state.twins.results[row].choice
    return None


def can_use(view: RunView) -> bool:
    """Whether what is under the cursor can be gone on with."""
    desk, choice = desk_of(view), selected_choice(view)
    if choice is None or view.session.read_only or view.over:
        return False
    if desk.page == WHAT_IF:
        return bool(choice.changes)
    twins = view.state.twins
    if twins is None or twins.step != view.training_step or not stands_before_update(view):
        return False
    chosen = view.state.update_choice
    return bool(choice.changes) or chosen is not None


def use(view: RunView) -> Request | None:
    """Go on with what is under the cursor: a loss from the next step on, a twin for this update alone."""
    choice = selected_choice(view)
    if choice is None or not can_use(view):
        return None
    request: Request = ChangeSettings(choice.changes)
    if desk_of(view).page == TWIN:
        request = UpdateAs(view.training_step, choice)
    view.ask(request)
    return request


def toggle_mark(view: RunView) -> None:
    """Put the loss under the cursor among the twins to be tried, or take it out."""
    desk, choice = desk_of(view), selected_choice(view)
    if choice is None:
        return
    if choice in desk.marked:
        if len(desk.marked) > 1:
            desk.marked = tuple(one for one in desk.marked if one != choice)
    else:
        desk.marked = (*desk.marked, choice)
