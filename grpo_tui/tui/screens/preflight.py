"""The Pre-flight room: what awaits the training, found out before step 1, and readable ever after."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical

from grpo_tui.events.commands import MeasureFit, Probe, Request, Withdraw
from grpo_tui.tui.action import bindings
from grpo_tui.tui.checking import pending, why_refused
from grpo_tui.tui.layout import size_class
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.panels.preflight import CheckBar, FitPanel, ProbePanel, PromptPanel
from grpo_tui.tui.room_actions import PREFLIGHT_ACTIONS
from grpo_tui.tui.screens.room import RoomScreen
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.keybar import KeyBar

SIZES = ("tiny", "narrow", "wide")


class PreflightScreen(RoomScreen):
    """Probe and fit on the left, the prompt on the right; one below the other where it is narrow."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(PREFLIGHT_ACTIONS)]
    DEFAULT_CSS = """
    PreflightScreen Panel { position: relative; }
    PreflightScreen #check { height: 1; border: none; padding: 0; }
    PreflightScreen #cards { height: 1fr; layout: horizontal; }
    PreflightScreen #left { width: 3fr; height: 100%; }
    PreflightScreen #probe { height: 3fr; }
    PreflightScreen #fit { height: 2fr; max-height: 14; }
    PreflightScreen #prompt { width: 2fr; height: 100%; }
    PreflightScreen.-narrow #cards { layout: vertical; }
    PreflightScreen.-narrow #left { width: 100%; height: 3fr; }
    PreflightScreen.-narrow #fit { height: 5; }
    PreflightScreen.-narrow #prompt { width: 100%; height: 5; }
    PreflightScreen.-tiny #left { width: 100%; }
    PreflightScreen.-tiny #prompt, PreflightScreen.-tiny #fit { display: none; }
    """

    def __init__(self, view: RunView) -> None:
        super().__init__(view, id="preflight")
        self._keys: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        """What the engine does, the cards, the keys."""
        yield CheckBar(id="check")
        with Container(id="cards"):
            with Vertical(id="left"):
                yield ProbePanel(id="probe")
                yield FitPanel(id="fit")
            yield PromptPanel(id="prompt")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Start at the probe."""
        self._lay_out()
        self.query_one("#probe").focus()
        self.sync_view(force=True)

    def on_resize(self) -> None:
        """Another size, another shape."""
        self._lay_out()
        self.call_after_refresh(self.sync_view)

    def _lay_out(self) -> None:
        here = size_class(*self.app.size)
        for size in SIZES:
            self.set_class(size == here, f"-{size}")

    def sync_view(self, *, force: bool = False) -> None:
        """Rebuild what is stale."""
        for each in self.query(Panel):
            each.sync(self.view, force=force)
        key = (pending(self.view), why_refused(self.view))
        if key != self._keys:
            self._keys = key
            self.refresh_bindings()

    # --- keys --------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """One check at a time; the key that asked for it takes it back."""
        what = pending(self.view)
        if action in ("probe", "measure_fit"):
            return not what and not why_refused(self.view)
        if action in ("stop_probe", "stop_fit"):
            return what == action.removeprefix("stop_")
        return True

    def action_probe(self) -> None:
        """Try some prompts."""
        self._ask(Probe())

    def action_measure_fit(self) -> None:
        """Run the worst step's parts."""
        self._ask(MeasureFit())

    def action_stop_probe(self) -> None:
        """Take it back."""
        self._withdraw()

    def action_stop_fit(self) -> None:
        """Take it back."""
        self._withdraw()

    def _ask(self, request: Request) -> None:
        if pending(self.view) or why_refused(self.view):
            return
        self.view.checks.asked, self.view.checks.ended_before = request, self.view.state.last_check
        self.view.ask(request)
        self.sync_view()

    def _withdraw(self) -> None:
        asked = self.view.checks.asked
        if asked is not None and pending(self.view):
            self.view.ask(Withdraw(asked))
            if self.view.state.checking is None:  # it still waited, so no event will tell its end
                self.view.checks.asked = None
            self.sync_view()
