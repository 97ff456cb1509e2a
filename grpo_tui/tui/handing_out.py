"""What leaves the app by a key: copies, cards, screenshots, Parquet. Always a file, whose path is told."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from textual.notifications import SeverityLevel

from grpo_tui.export import EXPORTS
from grpo_tui.export.card import Card, make_card, render
from grpo_tui.export.errors import ExportError
from grpo_tui.tui.clipboard import osc52
from grpo_tui.tui.text import compact, number
from grpo_tui.tui.widgets.lines import LinesView

if TYPE_CHECKING:
    from grpo_tui.tui.app import GrpoApp

PROMPTS, ANSWERS = ("groups", "prompt"), ("answers", "response")
"""Panels in which the prompt, or the response, of the cursor is what a person means to copy."""
PIECES = {
    "prompt": "the prompt",
    "response": "the response",
    "gold": "the gold answer",
    "numbers": "its numbers",
}
CARDS = {"txt": "card as text", "json": "as JSON", "md": "as a Markdown card", "svg": "as an SVG card"}
NOT_HERE = "nothing to copy here; select a response first"


class HandingOut:
    """The ways out of one app. Files are written on threads of their own."""

    def __init__(self, app: GrpoApp) -> None:
        self._app = app
        self._temporary: Path | None = None

    # --- copying -----------------------------------------------------------------------------------------

    def copy(self) -> None:
        """Copy what is looked at: what the screen says, the prompt or response of the panel, or the panel as it is."""
        found = self._looked_at()
        if found is None:
            self._say(NOT_HERE, "warning")
        else:
            self.send(*found)

    def copy_piece(self, name: str) -> None:
        """Copy one of :data:`PIECES` of the selected response."""
        card = self.card()
        if card is None:
            self._say(NOT_HERE, "warning")
            return
        numbers = (
            f"reward {number(card.reward, 4)}  advantage {number(card.advantage, 4, sign=True)}  "
            f"kl_ref {compact(card.kl_ref)}"
        )
        text = {"prompt": card.prompt, "response": card.text, "gold": card.gold, "numbers": numbers}[name]
        self.send(PIECES[name], text, f"{_stem(card)}-{name}.txt")

    def copy_card(self, form: str) -> None:
        """Copy the selected response as a card; an SVG goes to a file alone."""
        card = self.card()
        if card is None:
            self._say(NOT_HERE, "warning")
            return
        name = f"card-{_stem(card)}.{form}"
        if form == "svg":
            self._in_thread(lambda: f"SVG card: {self._written(name, render(card, form))}")
        else:
            self.send(CARDS[form], render(card, form), name)

    def choose(self) -> None:
        """Ask for the form."""
        from grpo_tui.tui.screens.copy import CopyScreen

        card = self.card()
        if card is None:
            self._say(NOT_HERE, "warning")
            return
        self._app.push_screen(CopyScreen(f"{card.title}  {card.sign}"), self._chosen)

    def _chosen(self, choice: str | None) -> None:
        if choice in PIECES:
            self.copy_piece(choice)
        elif choice in CARDS:
            self.copy_card(choice)

    def send(self, what: str, text: str, name: str) -> None:
        """Send a text to the terminal's clipboard, and write it to a file: nobody knows whether the first worked."""
        sequence = osc52(text, in_tmux=bool(os.environ.get("TMUX")))
        if sequence is not None:
            self._app.send_to_terminal(sequence)
            said = f"{what}: sent to the terminal; if it is not in the clipboard: "
        else:
            said = f"{what}: too long for the terminal's clipboard; it is in "
        self._in_thread(lambda: f"{said}{self._written(name, text)}")

    def card(self) -> Card | None:
        """The card of the selected response."""
        view = self._app.view
        if view is None or view.group is None or view.completion is None:
            return None
        run = self._app.run_dir.name if self._app.run_dir is not None else "run"
        return make_card(run, view.shown_step, view.group, view.completion)

    def _looked_at(self) -> tuple[str, str, str] | None:
        """What is meant by *this*: (words for it, its text, a name for the file)."""
        screen = self._app.screen
        own = getattr(screen, "copied", None)
        found = own() if own is not None else None
        if found is not None:
            what, text = found
            return str(what), str(text), f"{screen.id}.txt"
        focused = screen.focused
        card = self.card()
        if card is not None and focused is not None and focused.id in (*PROMPTS, *ANSWERS):
            name = "prompt" if focused.id in PROMPTS else "response"
            text = card.prompt if name == "prompt" else card.text
            return PIECES[name], text, f"{_stem(card)}-{name}.txt"
        if isinstance(focused, LinesView) and focused.plain.strip():
            return f"panel {focused.id}", f"{focused.plain}\n", f"panel-{focused.id}.txt"
        return None

    # --- files -------------------------------------------------------------------------------------------

    def screenshot(self) -> None:
        """The screen as it is, as SVG."""
        svg = self._app.export_screenshot(title=self._app.title)
        name = f"screenshot-{time.strftime('%Y%m%d-%H%M%S')}.svg"
        self._in_thread(lambda: f"screenshot: {self._written(name, svg)}")

    def export(self, *, whole: bool) -> None:
        """The step looked at, or the whole run, as Parquet."""
        view, run_dir = self._app.view, self._app.run_dir
        if view is None or run_dir is None:
            self._say("this run has no folder to export from", "warning")
            return
        step = None if whole else view.shown_step
        name = "completions.parquet" if step is None else f"completions-step-{step:06d}.parquet"
        out = self.folder() / name

        def write() -> str:
            from grpo_tui.export.tables import write_completions

            return f"{write_completions(run_dir, out, step=step, replace=True)} responses: {out}"

        self._say(f"writing {name}…")
        self._in_thread(write)

    def offers(self, action: str) -> bool:
        """Whether an action can be done now."""
        view = self._app.view
        if view is None:
            return False
        if action == "copy_as":
            return view.completion is not None
        return self._app.run_dir is not None and bool(view.state.history)

    def folder(self) -> Path:
        """Where files go: as the preferences say, else in the run's folder, else in one of our own."""
        if self._app.preferences.exports is not None:
            return self._app.preferences.exports
        if self._app.run_dir is not None:
            return self._app.run_dir / EXPORTS
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="grpo-tui-"))
        return self._temporary

    def _written(self, name: str, text: str) -> Path:
        from grpo_tui.export.files import write_text

        return write_text(self.folder() / name, text, replace=True)

    def _in_thread(self, work: Callable[[], str]) -> None:
        def run() -> None:
            from grpo_tui.runs.schema import RunFileError

            severity: SeverityLevel = "information"
            try:
                said = work()
            except (ExportError, RunFileError, OSError) as error:
                said, severity = str(error), "error"
            if self._app.is_running:
                self._app.call_from_thread(self._say, said, severity)

        threading.Thread(target=run, name="handing-out", daemon=True).start()

    def _say(self, text: str, severity: SeverityLevel = "information") -> None:
        self._app.notify(text, severity=severity, markup=False, timeout=8)


def _stem(card: Card) -> str:
    return f"step-{card.step:06d}-g{card.group}-r{card.answer}"
