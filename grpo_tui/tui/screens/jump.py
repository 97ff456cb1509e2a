"""Jump mode: a letter on every panel; press it to go there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.screen import ModalScreen, Screen

from grpo_tui.tui.text import cells
from grpo_tui.tui.widgets.lines import LinesView

LETTERS = "asdfghjklqwertyuiopzxcvbnm"


@dataclass(frozen=True, slots=True)
class Target:
    """A panel that can have the focus."""

    letter: str
    id: str
    region: Region


def targets(screen: Screen[Any]) -> list[Target]:
    """The panels of a screen that can have the focus now, each with a letter: of its own name where that is free."""
    panels = [widget for widget in screen.focus_chain if widget.id and widget.region.area]
    letters = letters_for([str(panel.id) for panel in panels])
    return [
        Target(letter, str(panel.id), panel.region) for letter, panel in zip(letters, panels, strict=False)
    ]


def letters_for(names: Iterable[str]) -> list[str]:
    """A letter for each name, all different; as many as there are letters."""
    taken: list[str] = []
    for name in names:
        wanted = [char for char in name.lower() if char in LETTERS]
        free = next((char for char in (*wanted, *LETTERS) if char not in taken), None)
        if free is None:
            break
        taken.append(free)
    return taken


class Tag(LinesView, can_focus=False):
    """One letter at the corner of a panel."""

    DEFAULT_CSS = """
    Tag { position: absolute; height: 1; overflow: hidden hidden; background: $accent; color: $background;
        text-style: bold; }
    """


class JumpScreen(ModalScreen[str | None]):
    """Tags over the screen beneath. Answers with the id of the panel, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+o", "dismiss(None)", "cancel", id="jump.cancel"),
    ]
    DEFAULT_CSS = "JumpScreen { background: $background 40%; }"

    def __init__(self, found: list[Target]) -> None:
        super().__init__(id="jump")
        self._targets = found

    def compose(self) -> ComposeResult:
        """A tag for each panel."""
        for target in self._targets:
            yield Tag(id=f"tag-{target.letter}")

    def on_mount(self) -> None:
        """Put the tags in place."""
        for target in self._targets:
            tag = self.query_one(f"#tag-{target.letter}", Tag)
            text = f" {target.letter}  {target.id} "
            width = min(cells(text), max(3, target.region.width - 2))
            tag.styles.width = width
            tag.styles.offset = (target.region.x + 1, target.region.y)
            tag.set_lines([((text[:width], ""),)])

    def on_key(self, event: events.Key) -> None:
        """Go to the panel of the letter; any other key ends the mode."""
        if event.key in ("escape", "ctrl+o"):
            return
        event.stop()
        event.prevent_default()
        self.dismiss(next((target.id for target in self._targets if target.letter == event.key), None))
