"""The Live room: is it learning, why did this group move, why this reward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.geometry import Region
from textual.screen import Screen

from grpo_tui.events.records import Mode
from grpo_tui.tui.action import bindings
from grpo_tui.tui.actions import LOOK_ACTIONS
from grpo_tui.tui.checking import is_due
from grpo_tui.tui.layout import CHAIN, Shape, plan, size_class
from grpo_tui.tui.panels.acts import ActsPanel, act_lines
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.panels.groups import AnswersPanel, GroupsPanel, PromptPanel
from grpo_tui.tui.panels.health import HealthPanel
from grpo_tui.tui.panels.phase_bar import PhaseBar
from grpo_tui.tui.panels.response import ResponsePanel, WhyPanel
from grpo_tui.tui.panels.status import (
    Banner,
    BriefPanel,
    EventsPanel,
    FailurePanel,
    LoadingPanel,
    failure_lines,
)
from grpo_tui.tui.panels.trends import ChartPanel, EvalsPanel, TrendsPanel, charted
from grpo_tui.tui.room_actions import LIVE_ACTIONS
from grpo_tui.tui.screens.acting import ACT_BINDINGS, Acting
from grpo_tui.tui.screens.looking import Looking
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView


class LiveScreen(Acting, Looking, Screen[None]):
    """All panels over one RunView. It places them, passes keys on to the view's cursor, and repaints."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(LOOK_ACTIONS),
        *bindings(LIVE_ACTIONS),
        *ACT_BINDINGS,
    ]
    DEFAULT_CSS = "LiveScreen { layout: vertical; overflow: hidden hidden; }"
    ESCAPE_TO_MINIMIZE = False
    AUTO_FOCUS = ""

    def __init__(self, view: RunView) -> None:
        super().__init__(id="live")
        self.view = view
        self.drill = CHAIN[0]
        self.zoom = ""
        self.charting = False
        self._size_class = self._wanted_chart = ""
        self._placed: tuple[object, ...] = ()
        self._panels: dict[str, Panel] = {}
        self.wanted_focus = CHAIN[0]
        self._stand_in = ""

    def compose(self) -> ComposeResult:
        """Make every panel once; the plan decides which are seen."""
        panels: list[Panel] = [
            PhaseBar(id="header", classes="-bare -fixed"),
            Banner(id="banner", classes="-bare -fixed"),
            ActsPanel(id="acts", classes="-bare -fixed"),
            FailurePanel(id="failure", classes="-fixed"),
            LoadingPanel(id="loading", classes="-fixed"),
            TrendsPanel(id="trends", classes="-fixed"),
            ChartPanel(id="chart", classes="-fixed"),
            EvalsPanel(id="evals", classes="-fixed"),
            HealthPanel(id="health", classes="-fixed"),
            GroupsPanel(id="groups"),
            AnswersPanel(id="answers"),
            PromptPanel(id="prompt"),
            ResponsePanel(id="response"),
            WhyPanel(id="why"),
            EventsPanel(id="events", classes="-fixed"),
            BriefPanel(id="brief", classes="-bare -fixed"),
        ]
        self._panels = {panel.id or "": panel for panel in panels}
        yield from panels
        yield KeyBar(id="keys")

    # --- painting ----------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Place the panels for the first time."""
        self.sync_view(force=True)

    def on_resize(self) -> None:
        """Place the panels anew."""
        self.sync_view(force=True)

    def on_screen_resume(self) -> None:
        """Catch up with what happened while another room was open."""
        self.view.release()
        self.sync_view(force=True)

    def _shape(self) -> Shape:
        state = self.view.state
        past = self.view.session.read_only and bool(state.history)
        loading = (state.mode is Mode.LOADING and not past) or (
            state.mode is Mode.FAILED and not state.history and not state.current
        )
        detail = self.view.detail
        groups = detail.groups if detail is not None else ()
        return Shape(
            loading=loading,
            failed=self._failure_lines(),
            browsing=not self.view.is_live,
            acted=0 if loading else len(act_lines(self.view, max(1, self.app.size.width - 2))),
            drill=self.drill,
            zoom="" if loading else self.zoom,
            num_groups=len(groups) or self.view.groups_per_step or 8,
            group_size=len(groups[0].completions) if groups else 8,
            charting=self.charting,
        )

    def _failure_lines(self) -> int:
        failure = self.view.state.failure
        if failure is None or failure is self.view.dismissed:
            return 0
        return len(failure_lines(self.view, max(20, self.app.size.width - 4)))

    def sync_view(self, *, force: bool = False) -> None:
        """Bring the screen up to date: place panels if the shape changed, rebuild those that are stale."""
        size = self.app.size
        self._recall_layout(size_class(*size))
        shape = self._shape()
        if force or self._placed != (size, shape):
            self._place(size.width, size.height, shape)
            self._placed = (size, shape)
        for panel in self._panels.values():
            panel.sync(self.view, force=force)

    def _recall_layout(self, kind: str) -> None:
        """Each size class has a zoom and a curve of its own, remembered from one day to the next."""
        remembering = getattr(self.app, "remembering", None)
        if remembering is None:
            return
        if kind != self._size_class:
            kept = remembering.layout(kind, "zoom")
            self._size_class = kind
            if kept in self._panels:
                self.zoom = self.wanted_focus = kept
            self._wanted_chart = remembering.layout(kind, "chart")
        remembering.keep_layout(kind, "zoom", self.zoom)
        if self._wanted_chart and self.view.state.history:
            names = [measure.name for measure in charted(self.view)]
            if self._wanted_chart in names:
                self.view.chart, self.charting = names.index(self._wanted_chart) + 1, kind == "narrow"
            self._wanted_chart = ""

    def _place(self, width: int, height: int, shape: Shape) -> None:
        regions = plan(width, height, shape)
        with self.app.batch_update():
            for widget in self.query(LinesView):
                region = regions.get(widget.id or "")
                widget.display = region is not None
                if region is not None:
                    widget.styles.offset = (region.x, region.y)
                    widget.styles.width = region.width
                    widget.styles.height = region.height
        self._place_focus(regions, loading=shape.loading)
        self.call_after_refresh(self._sync_panels)

    def _place_focus(self, regions: Mapping[str, Region], *, loading: bool) -> None:
        """Focus what the person looks at, or a stand-in while that is hidden."""
        focused = self.focused
        if loading:
            self.set_focus(None)
        elif focused is None or not focused.display or focused.id == self._stand_in:
            wanted = self.zoom or self.wanted_focus
            for name in (wanted, *CHAIN, *regions):
                panel = self._panels.get(name)
                if name in regions and panel is not None and panel.can_focus:
                    self._stand_in = name if name != wanted else ""
                    self.set_focus(panel)
                    break

    def _sync_panels(self) -> None:
        for panel in self._panels.values():
            panel.sync(self.view)

    # --- keys --------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Hide keys that do nothing now."""
        if action == "next_chart":
            return bool(self.view.state.history)
        if action == "probe_first":
            return is_due(self.view)
        if action in ("zoom_in", "toggle_zoom"):
            return self.view.detail is not None and bool(self.view.detail.groups)
        acting = self.check_acting(action)
        looking = self.check_looking(action) if acting is None else acting
        return True if looking is None else looking

    def action_probe_first(self) -> None:
        """Open the Pre-flight room and probe."""
        self.app.action_go_room("preflight")  # type: ignore[attr-defined]
        opened = self.app.screen
        opened.call_after_refresh(opened.action_probe)  # type: ignore[attr-defined]

    def action_toggle_zoom(self) -> None:
        """Give the focused panel the whole screen, or take it back."""
        focused = self.focused
        if self.zoom:
            self.zoom = ""
        elif isinstance(focused, Panel) and focused.id:
            self.zoom = self.wanted_focus = focused.id
        self.sync_view()

    def _go(self, name: str) -> None:
        self.drill = self.wanted_focus = name
        if self.zoom:
            self.zoom = name
        self.sync_view()
        panel = self._panels[name]
        if panel.display:
            self.set_focus(panel)

    def _depth(self) -> int:
        focused = self.focused.id if self.focused is not None else ""
        if size_class(*self.app.size) == "narrow":
            return CHAIN.index(self.drill)
        return CHAIN.index(focused) if focused in CHAIN else -1

    def action_zoom_in(self) -> None:
        """Groups → answers → text → the room of its tokens; from Health to its room."""
        if self.focused is not None and self.focused.id == "health":
            self._open_health()
            return
        if self._depth() == len(CHAIN) - 1:
            self.app.action_go_room("response")  # type: ignore[attr-defined]
            return
        self._go(CHAIN[min(len(CHAIN) - 1, self._depth() + 1)])

    def action_zoom_out(self) -> None:
        """One layer back: zoom, then text → answers → groups, then the past."""
        depth = self._depth()
        if self.zoom:
            self.zoom = ""
            self.sync_view()
        elif depth > 0:
            self._go(CHAIN[depth - 1])
        elif depth < 0:
            self._go(CHAIN[0])
        elif not self.view.is_live:
            self.action_go_live()

    def on_lines_view_row_clicked(self, message: LinesView.RowClicked) -> None:
        """Select what was clicked."""
        if message.view.id == "groups":
            self.view.pick_row(message.row - GroupsPanel.HEADER)
        elif message.view.id == "answers":
            self.view.pick_answer(message.row - AnswersPanel.HEADER)
        elif isinstance(message.view, ChartPanel):
            step = message.view.step_at(message.column)
            if step is not None and self.view.go_to_step(step):
                self.refresh_bindings()
        elif message.view.id == "health":
            self._open_health()
            return
        self.sync_view()

    def _open_health(self) -> None:
        self.app.action_go_room("health")  # type: ignore[attr-defined]

    def action_next_chart(self) -> None:
        """The next curve; a narrow screen shows curves in the place of the trends, and after the last those again."""
        narrow = size_class(*self.app.size) == "narrow" and not self.zoom
        if narrow and not self.charting:
            self.charting, self.view.chart = True, 1
        else:
            self.view.chart = (self.view.chart + 1) % (len(charted(self.view)) + 1)
            self.charting = self.charting and self.view.chart > 0
        remembering = getattr(self.app, "remembering", None)
        if remembering is not None:
            name = charted(self.view)[self.view.chart - 1].name if self.view.chart else ""
            remembering.keep_layout(size_class(*self.app.size), "chart", name)
        self.sync_view()

    def on_descendant_focus(self) -> None:
        """Remember what the person looks at, so that a new layout keeps it."""
        focused = self.focused
        if focused is not None and focused.id and focused.id != self._stand_in and not self.zoom:
            self.wanted_focus, self._stand_in = focused.id, ""
