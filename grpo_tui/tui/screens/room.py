"""What every room but Live shares: it stands on Live, reads one RunView, and Esc leads back."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.screen import Screen

from grpo_tui.tui.view import RunView


class RoomScreen(Screen[None]):
    """A room over a RunView. The app calls :meth:`sync_view` at every tick while the room is on top."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back", key_display="Esc", show=True, id="room.back"),
    ]
    DEFAULT_CSS = """
    RoomScreen { layout: vertical; overflow: hidden hidden; }
    RoomScreen KeyBar { position: relative; }
    """
    AUTO_FOCUS = ""

    def __init__(self, view: RunView, *, id: str) -> None:
        super().__init__(id=id)
        self.view = view

    def sync_view(self, *, force: bool = False) -> None:
        """Bring the room up to date with the view; cheap where nothing changed."""
        raise NotImplementedError

    def on_screen_resume(self) -> None:
        """Catch up with what happened while another screen was on top."""
        if self.is_mounted:
            self.sync_view(force=True)

    def action_back(self) -> None:
        """One layer out; a room with layers of its own goes through them first."""
        self.app.pop_screen()
