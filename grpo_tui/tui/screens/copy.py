"""Copy as: which piece of the selected response, and in which form."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen

from grpo_tui.tui.text import Line, clean
from grpo_tui.tui.widgets.lines import LinesView

CHOICES = (
    ("p", "prompt", "the prompt"),
    ("a", "response", "the response as it is"),
    ("g", "gold", "the gold answer"),
    ("n", "numbers", "reward, advantage, kl_ref"),
    ("t", "txt", "all of it as text"),
    ("j", "json", "all of it as JSON"),
    ("m", "md", "all of it as Markdown, for an issue"),
    ("s", "svg", "an SVG card, for a paper (a file)"),
)


class CopyScreen(ModalScreen[str | None]):
    """Answers with one of the names in :data:`CHOICES`, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"dismiss('{name}')", words, id=f"copy.{name}") for key, name, words in CHOICES),
        Binding("escape,q,Y,shift+y", "dismiss(None)", "cancel", id="copy.cancel"),
    ]
    DEFAULT_CSS = """
    CopyScreen { align: center middle; }
    CopyScreen LinesView { width: 50; max-width: 100%; height: 12; max-height: 100%; border: round $accent;
        padding: 0 2; background: $surface; }
    """

    def __init__(self, title: str) -> None:
        super().__init__(id="copy-as")
        self._title = title

    def compose(self) -> ComposeResult:
        """The choices."""
        yield LinesView(id="forms")

    def on_mount(self) -> None:
        """Write them."""
        sheet = self.query_one("#forms", LinesView)
        sheet.border_title = Content(clean(f"Copy {self._title}"))
        sheet.border_subtitle = Content("Esc cancels")
        lines: list[Line] = [((key, "key"), (f"  {words}", "")) for key, _, words in CHOICES]
        lines.insert(4, (("", ""),))
        sheet.set_lines(lines)
