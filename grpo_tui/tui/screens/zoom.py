"""What the Group and Response rooms share: panels placed by a plan, over the cursor shared by all rooms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.geometry import Region

from grpo_tui.tui.action import bindings
from grpo_tui.tui.actions import LOOK_ACTIONS
from grpo_tui.tui.layout import size_class
from grpo_tui.tui.panels.acts import ActsPanel, act_lines
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.screens.acting import ACT_BINDINGS, Acting
from grpo_tui.tui.screens.looking import Looking
from grpo_tui.tui.screens.room import RoomScreen
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.keybar import KeyBar


class ZoomScreen(Acting, Looking, RoomScreen):
    """Panels over one RunView, which stays at the step that is looked at while the training goes on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(a for a in LOOK_ACTIONS if a.id != "look.out"),
        *ACT_BINDINGS,
    ]
    DEFAULT_CSS = "ZoomScreen KeyBar { position: absolute; }"
    ESCAPE_TO_MINIMIZE = False
    PANES: ClassVar[tuple[str, ...]] = ()
    """Panels that take turns where there is no room for all."""
    MAIN: ClassVar[str] = ""
    """The panel that has the focus first."""

    def __init__(self, view: RunView, *, id: str) -> None:
        super().__init__(view, id=id)
        self.zoom = ""
        self.pane = self.PANES[0]
        self._panels: dict[str, Panel] = {}
        self._placed: tuple[object, ...] = ()

    def make_panels(self) -> list[Panel]:
        """Every panel once."""
        raise NotImplementedError

    def plan(self, width: int, height: int) -> Mapping[str, Region]:
        """Where they stand."""
        raise NotImplementedError

    def shape(self) -> tuple[object, ...]:
        """What the plan depends on besides the size."""
        return (self.pane, self.zoom, self.acted)

    @property
    def acted(self) -> int:
        """Lines about why the run stopped and what was changed by hand."""
        size = self.app.size
        lines = len(act_lines(self.view, max(1, size.width - 2)))
        return min(lines, 1) if size_class(*size) == "tiny" else lines

    def compose(self) -> ComposeResult:
        """Panels and keys."""
        panels = [*self.make_panels(), ActsPanel(id="acts", classes="-bare -fixed")]
        self._panels = {panel.id or "": panel for panel in panels}
        yield from panels
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Stay at this step; begin in the main panel."""
        self.view.hold()
        self.sync_view(force=True)
        self._panels[self.MAIN].focus()

    def on_resize(self) -> None:
        """Place the panels anew."""
        self.sync_view(force=True)

    def sync_view(self, *, force: bool = False) -> None:
        """Place panels if the shape changed, rebuild those that are stale."""
        size = self.app.size
        key = (size, *self.shape())
        if force or key != self._placed:
            self._placed = key
            self._place(self.plan(size.width, size.height))
        for panel in self._panels.values():
            panel.sync(self.view, force=force)

    def _place(self, regions: Mapping[str, Region]) -> None:
        with self.app.batch_update():
            for name, widget in (*self._panels.items(), ("keys", self.query_one(KeyBar))):
                region = regions.get(name)
                widget.display = region is not None
                if region is not None:
                    widget.styles.offset = (region.x, region.y)
                    widget.styles.width = region.width
                    widget.styles.height = region.height
        focused = self.focused
        if focused is None or not focused.display:
            shown = [name for name in (self.zoom, self.MAIN, *regions) if name in regions]
            target = next(
                (self._panels[n] for n in shown if n in self._panels and self._panels[n].can_focus), None
            )
            self.set_focus(target)
        self.call_after_refresh(self._sync_panels)

    def _sync_panels(self) -> None:
        for panel in self._panels.values():
            panel.sync(self.view)

    # --- keys ----------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Hide keys that do nothing now."""
        acting = self.check_acting(action)
        looking = self.check_looking(action) if acting is None else acting
        return True if looking is None else looking

    def action_toggle_zoom(self) -> None:
        """Give the focused panel the whole screen, or take it back."""
        focused = self.focused
        self.zoom = "" if self.zoom or focused is None else focused.id or ""
        self.sync_view()

    def action_zoom_in(self) -> None:
        """One level further in; the innermost room has none."""

    def action_next_pane(self) -> None:
        """The next of the panels that take turns, or the focus to it where all are there."""
        if size_class(*self.app.size) == "wide":
            shown = [name for name in self.PANES if self._panels[name].display]
            focused = self.focused.id if self.focused is not None else ""
            place = shown.index(focused) + 1 if focused in shown else 0
            if shown:
                self._panels[shown[place % len(shown)]].focus()
            return
        self.pane = self.PANES[(self.PANES.index(self.pane) + 1) % len(self.PANES)]
        self.zoom = ""
        self.sync_view()

    def action_back(self) -> None:
        """Out of the zoomed panel first, then out of the room."""
        if self.zoom:
            self.zoom = ""
            self.sync_view()
        else:
            self.leave()

    def leave(self) -> None:
        """One level out."""
        self.app.pop_screen()

    def change_lens(self, **changes: object) -> None:
        """Look differently."""
        self.view.lens = replace(self.view.lens, **changes)  # type: ignore[arg-type]
        self.sync_view()
        self.refresh_bindings()

    def action_next_versus(self) -> None:
        """Hold the response against the next of the others."""
        self.change_lens(versus=self.view.lens.versus + 1)

    def action_move_group(self, by: int) -> None:
        """Select another group; it is held against its most telling counterpart."""
        self._first_versus()
        super().action_move_group(by)

    def action_move_answer(self, by: int) -> None:
        """Select another answer; likewise."""
        self._first_versus()
        super().action_move_answer(by)

    def _first_versus(self) -> None:
        self.view.lens = replace(self.view.lens, versus=0)
