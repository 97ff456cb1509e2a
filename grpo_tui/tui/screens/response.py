"""The Response room: why this reward, and which tokens paid?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.binding import BindingType
from textual.geometry import Region

from grpo_tui.events.commands import ForkResponse
from grpo_tui.tui.action import bindings
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.panels.forked import ForkPanel, fork_asked, fork_of
from grpo_tui.tui.panels.groups import PromptPanel
from grpo_tui.tui.panels.token import TokenPanel, alternatives
from grpo_tui.tui.panels.tokens import LegendPanel, TokensPanel, is_mono, next_channel
from grpo_tui.tui.panels.verifier import VerifierPanel
from grpo_tui.tui.panels.versus import VersusPanel
from grpo_tui.tui.room_actions import RESPONSE_ACTIONS
from grpo_tui.tui.screens.acting import complaint, read_count
from grpo_tui.tui.screens.ask import Answer, AskScreen, Blank, Choice
from grpo_tui.tui.screens.zoom import ZoomScreen
from grpo_tui.tui.text import compact
from grpo_tui.tui.tokens import quoted, token_label
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.lines import LinesView
from grpo_tui.tui.zoom_layout import RESPONSE_PANES, plan_response


class ResponseScreen(ZoomScreen):
    """One response, token by token."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(RESPONSE_ACTIONS)]
    PANES = RESPONSE_PANES
    MAIN = "tokens"

    def __init__(self, view: RunView) -> None:
        super().__init__(view, id="response")

    def make_panels(self) -> list[Panel]:
        """Every panel once."""
        return [
            LegendPanel(id="head", classes="-bare -fixed"),
            TokensPanel(id="tokens"),
            TokenPanel(id="token"),
            VerifierPanel(id="verifier"),
            VersusPanel(id="versus"),
            ForkPanel(id="fork"),
            PromptPanel(id="prompt"),
        ]

    @property
    def tokens(self) -> TokensPanel:
        """The heat map."""
        panel = self._panels["tokens"]
        assert isinstance(panel, TokensPanel)
        return panel

    def plan(self, width: int, height: int) -> Mapping[str, Region]:
        """Where they stand."""
        return plan_response(
            width,
            height,
            pane=self.pane,
            diff=self.view.lens.diff,
            zoom=self.zoom,
            forked=self._forked,
            acted=self.acted,
        )

    @property
    def _forked(self) -> bool:
        return fork_asked(self.view) or fork_of(self.view) is not None

    def shape(self) -> tuple[object, ...]:
        """Also whether another response stands beside this one."""
        return (*super().shape(), self.view.lens.diff, self._forked)

    def sync_view(self, *, force: bool = False) -> None:
        """Ask the engine for a look where that keeps nobody waiting; then as every room."""
        if self.view.inspections.wanted:
            self.view.inspections.ask()
        super().sync_view(force=force)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is nothing further in."""
        if action == "zoom_in":
            return False
        if action == "toggle_diff":
            return self.view.counterpart is not None
        if action == "next_versus":
            return self.view.counterpart is not None and self._panels["versus"].display
        if action == "inspect":
            return self.view.inspections.possible
        if action == "fork":
            return not self.view.acts.why_no_fork
        return super().check_action(action, parameters)

    def leave(self) -> None:
        """Out to the group."""
        self.app.action_go_room("group")  # type: ignore[attr-defined]

    # --- the token cursor ----------------------------------------------------------------------------------

    def action_move_token(self, by: int) -> None:
        """Left or right: whole characters, where one is made of several tokens."""
        layout = self.tokens.layout_for(self.view)
        if layout is None or not layout.units:
            return
        unit = layout.unit_of(self.view.token) + by
        self.view.pick_token(layout.units[max(0, min(len(layout.units) - 1, unit))].first)
        self.sync_view()

    def action_move_token_row(self, by: int) -> None:
        """Up or down a row."""
        layout = self.tokens.layout_for(self.view)
        if layout is None or not layout.units:
            return
        unit = layout.above(layout.unit_of(self.view.token), by)
        self.view.pick_token(layout.units[unit].first)
        self.sync_view()

    def on_lines_view_row_clicked(self, message: LinesView.RowClicked) -> None:
        """Look at the token that was clicked."""
        layout = self.tokens.layout_for(self.view)
        if message.view is not self.tokens or layout is None:
            return
        two = len(self.tokens.lines) == 2 * len(layout.rows) and len(layout.rows) > 0
        unit = layout.unit_at(message.row // 2 if two else message.row, message.column)
        if unit is not None:
            self.view.pick_token(layout.units[unit].first)
            self.sync_view()

    # --- forks ---------------------------------------------------------------------------------------------

    def action_fork(self) -> None:
        """Ask how many to sample from the token under the cursor, and which other token to try in its place."""
        group, completion = self.view.group, self.view.completion
        if group is None or completion is None:
            return
        step, token = self.view.shown_step, self.view.token
        others = self._others(token)

        def answered(answer: Answer | None) -> None:
            if answer is None:
                return
            count, instead = read_count(answer.blanks["count"]), int(answer.choice) if answer.choice else None
            self.view.acts.ask(ForkResponse(step, group.index, completion.index, token, count, instead))
            self.pane = "fork"
            self.change_lens(diff=False)

        none = Choice("", "no other token: only before it and after it")
        self.app.push_screen(
            AskScreen(
                f"Fork g{group.index + 1}·r{completion.index + 1} at token {token + 1} {token_label(completion, token)}",
                "Samples on from before the token, from after it, and from another in its place. Nothing of the step changes."
                + ("" if others else " i first asks the engine which others were likely."),
                choices=[none, *others] if others else (),
                blanks=[Blank("count", "samples a side", "8")],
                check=lambda answer: complaint(read_count, answer.blanks["count"]),
            ),
            answered,
        )

    def _others(self, token: int) -> list[Choice]:
        """The likeliest other tokens at a place, as far as the engine was asked for them."""
        seen = self.view.inspections.current
        if seen is None or token >= seen.now.top_ids_T_K.shape[0]:
            return []
        ids = seen.now.top_ids_T_K[token].tolist()
        found = zip(ids, alternatives(seen, seen.now, token), strict=True)
        return [
            Choice(str(id), f"{quoted(text)} instead, p {compact(share).removeprefix('0')}")
            for id, (text, share, drawn) in found
            if not drawn
        ]

    # --- the lens ------------------------------------------------------------------------------------------

    def action_next_channel(self, by: int) -> None:
        """Heat of something else."""
        self.change_lens(channel=next_channel(self.view.lens.channel, by))

    def action_look_through(self, source: str) -> None:
        """Look through the base, or the weights in memory; again to look as it was sampled."""
        view = self.view
        now = "sampled" if view.lens.source == source else source
        if now != "sampled" and view.inspections.current is None and view.inspections.pending is None:
            view.inspections.ask()
        self.change_lens(source=now)

    def action_inspect(self) -> None:
        """Ask the engine to score the response again, with its present weights."""
        self.view.inspections.ask()
        self.sync_view()

    def action_toggle_diff(self) -> None:
        """Hold the response against another of its group, or stop that."""
        diff = not self.view.lens.diff
        self.pane = "versus" if diff else "token"
        self.change_lens(diff=diff, versus=0)

    def action_toggle_mono(self) -> None:
        """Shades of characters instead of colours, or back."""
        self.change_lens(mono=not is_mono(self.view, self.tokens))
