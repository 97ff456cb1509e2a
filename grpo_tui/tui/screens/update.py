"""The Update room: what an update will do, would do under other settings, and did."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from grpo_tui.events.commands import ChangeSettings
from grpo_tui.tui.action import bindings
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.panels.update import PageTabs, UpdateSheet
from grpo_tui.tui.room_actions import UPDATE_ACTIONS
from grpo_tui.tui.screens.room import RoomScreen
from grpo_tui.tui.updating import (
    PAGES,
    PROBES,
    TWIN,
    WHAT_IF,
    can_use,
    compute,
    desk_of,
    selected_choice,
    shown,
    toggle_mark,
    use,
    waiting,
    why_not,
)
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView


class UpdateScreen(RoomScreen):
    """Five pages over one desk, which is the view's."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(UPDATE_ACTIONS)]
    DEFAULT_CSS = """
    UpdateScreen Panel { position: relative; }
    UpdateScreen #tabs { height: 1; border: none; padding: 0 1; }
    UpdateScreen #sheet { height: 1fr; }
    """

    def __init__(self, view: RunView) -> None:
        super().__init__(view, id="update")
        self._keys: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        """Pages, the one shown, keys."""
        yield PageTabs(id="tabs", classes="-fixed")
        yield UpdateSheet()
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Arrows go through the rows."""
        self.query_one("#tabs").can_focus = False
        self._sheet.focus()
        self.call_after_refresh(self.sync_view, force=True)

    def on_resize(self) -> None:
        """Cut to the new width."""
        self.call_after_refresh(self.sync_view, force=True)

    @property
    def _sheet(self) -> UpdateSheet:
        return self.query_one(UpdateSheet)

    def sync_view(self, *, force: bool = False) -> None:
        """Rebuild what is stale."""
        for panel in self.query(Panel):
            panel.sync(self.view, force=force)
        page = desk_of(self.view).page
        key = (page, waiting(self.view), why_not(self.view, page), can_use(self.view), shown(self.view, page))
        if len(key) != len(self._keys) or any(
            a is not b and a != b for a, b in zip(key, self._keys, strict=True)
        ):
            self._keys = key
            self.refresh_bindings()

    # --- keys --------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Hide keys that do nothing now."""
        view = self.view
        page = desk_of(view).page
        if action == "compute":
            return not why_not(view, page) and waiting(view) is None
        if action == "use_row":
            return can_use(view)
        if action == "toggle_mark":
            return page == WHAT_IF and selected_choice(view) is not None
        if action == "toggle_after":
            return page == WHAT_IF
        if action == "toggle_probes":
            return page == TWIN
        if action in ("move_row", "open_row"):
            page_shown = self._sheet.page if self.is_mounted else None
            return page_shown is not None and any(
                action == "move_row" or target is not None for target in page_shown.targets
            )
        return True

    def action_turn_page(self, by: int) -> None:
        """The next page, or the one before."""
        desk = desk_of(self.view)
        desk.page = PAGES[(PAGES.index(desk.page) + by) % len(PAGES)]
        self._sheet.scroll_home(animate=False)
        self.sync_view()

    def action_compute(self) -> None:
        """Compute the page shown."""
        compute(self.view)
        self.sync_view()

    def action_toggle_after(self) -> None:
        """Look from where one update would lead, or from here; computed at once where it can be."""
        desk = desk_of(self.view)
        desk.after_update = not desk.after_update
        if not compute(self.view):
            where = "after one update" if desk.after_update else "at the weights that sampled"
            self.app.notify(f"the next g looks {where}", markup=False)
        self.sync_view()

    def action_toggle_probes(self) -> None:
        """Answer held-out problems after each twin, or not."""
        desk = desk_of(self.view)
        desk.probes = 0 if desk.probes else PROBES
        text = (
            f"the next g answers up to {PROBES} held-out problems after each" if desk.probes else "no probes"
        )
        self.app.notify(text, markup=False)

    def action_toggle_mark(self) -> None:
        """Try the loss as a twin, or not."""
        toggle_mark(self.view)
        self.sync_view()

    def action_use_row(self) -> None:
        """Go on with what is under the cursor."""
        request = use(self.view)
        if request is None:
            return
        what = (
            "asked for: these settings from the next step on (u in Tune takes them back)"
            if isinstance(request, ChangeSettings)
            else "asked for: this update alone is taken so"
        )
        self.app.notify(what, markup=False)
        self.sync_view()

    def action_move_row(self, by: int) -> None:
        """Select another row."""
        desk, rows = desk_of(self.view), self._sheet.page.rows
        if rows:
            here = min(desk.rows.get(desk.page, 0), len(rows) - 1)
            desk.rows[desk.page] = max(0, min(len(rows) - 1, here + by))
            self.sync_view()

    def action_open_row(self) -> None:
        """Open the response under the cursor."""
        desk, page = desk_of(self.view), self._sheet.page
        step = getattr(shown(self.view, desk.page), "step", None)
        if not page.targets or step is None:
            return
        target = page.targets[min(desk.rows.get(desk.page, 0), len(page.targets) - 1)]
        if target is None:
            return
        if step == self.view.training_step and self.view.state.current is not None:
            self.view.go_live()
        else:
            self.view.look_at(step)
        groups = self.view.groups
        place = next((i for i, group in enumerate(groups) if group.index == target.group), None)
        if place is None:
            self.app.notify(f"the answers of step {step} are not at hand", markup=False)
            return
        self.view.pick_row(place)
        self.view.pick_answer(target.completion)
        self.view.pick_token(target.token)
        self.app.action_go_room("response")  # type: ignore[attr-defined]

    def on_lines_view_row_clicked(self, message: LinesView.RowClicked) -> None:
        """Select the row that was clicked."""
        rows = self._sheet.page.rows
        if message.view is self._sheet and message.row in rows:
            desk = desk_of(self.view)
            desk.rows[desk.page] = rows.index(message.row)
            self.sync_view()
