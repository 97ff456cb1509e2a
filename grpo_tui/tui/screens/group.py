"""The Group room: why did this group move?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.binding import BindingType
from textual.geometry import Region

from grpo_tui.tui.action import bindings
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.panels.group import (
    EarlierPanel,
    FactsPanel,
    GroupAnswersPanel,
    GroupHeadPanel,
    HistogramPanel,
)
from grpo_tui.tui.panels.groups import PromptPanel
from grpo_tui.tui.panels.response import ResponsePanel
from grpo_tui.tui.panels.versus import VersusPanel
from grpo_tui.tui.room_actions import GROUP_ACTIONS
from grpo_tui.tui.screens.zoom import ZoomScreen
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.lines import LinesView
from grpo_tui.tui.zoom_layout import GROUP_PANES, plan_group


class GroupScreen(ZoomScreen):
    """One group: its answers, what they add up to, and the same prompt in other steps."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(GROUP_ACTIONS)]
    PANES = GROUP_PANES
    MAIN = "answers"

    def __init__(self, view: RunView) -> None:
        super().__init__(view, id="group")

    def make_panels(self) -> list[Panel]:
        """Every panel once."""
        return [
            GroupHeadPanel(id="head", classes="-bare -fixed"),
            GroupAnswersPanel(id="answers"),
            VersusPanel(id="versus"),
            ResponsePanel(id="response"),
            HistogramPanel(id="histogram"),
            EarlierPanel(id="earlier"),
            FactsPanel(id="facts"),
            PromptPanel(id="prompt"),
        ]

    def plan(self, width: int, height: int) -> Mapping[str, Region]:
        """Where they stand."""
        return plan_group(
            width, height, pane=self.pane, group_size=self._group_size, zoom=self.zoom, acted=self.acted
        )

    @property
    def _group_size(self) -> int:
        group = self.view.group
        return len(group.completions) if group is not None else 8

    def shape(self) -> tuple[object, ...]:
        """Also how many answers there are."""
        return (*super().shape(), self._group_size)

    def action_zoom_in(self) -> None:
        """Open the response's tokens."""
        self.app.action_go_room("response")  # type: ignore[attr-defined]

    @property
    def earlier(self) -> EarlierPanel:
        """The panel of the prompt's other groups."""
        panel = self._panels["earlier"]
        assert isinstance(panel, EarlierPanel)
        return panel

    def action_move_earlier(self, by: int) -> None:
        """Select another of the prompt's groups."""
        past = self.view.earlier_groups() or ()
        self.earlier.row = max(0, min(len(past) - 1, self.earlier.row + by))
        self.sync_view()

    def action_open_earlier(self) -> None:
        """Look at the selected one of the prompt's groups."""
        past = self.view.earlier_groups() or ()
        if self.earlier.row < len(past):
            there = past[self.earlier.row]
            self.view.look_at(there.step, there.group_index)
            self._moved()

    def on_lines_view_row_clicked(self, message: LinesView.RowClicked) -> None:
        """Select what was clicked."""
        if message.view.id == "answers":
            self.view.pick_answer(message.row - GroupAnswersPanel.HEADER)
        elif message.view.id == "earlier":
            self.earlier.row = message.row
            self.action_open_earlier()
        self.sync_view()
