"""What an action is: its keys, its words, its binding; and how a key is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from textual.binding import Binding
from textual.keys import key_to_character

KEY_NAMES = {
    "space": "Space",
    "full_stop": ".",
    "enter": "Enter",
    "escape": "Esc",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "question_mark": "?",
    "slash": "/",
    "plus": "+",
    "backspace": "Bksp",
}


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a person can do."""

    id: str
    keys: str
    action: str
    label: str
    """Word in the key bar."""
    help: str
    shown: str = ""
    """How the key is written; made from ``keys`` where empty."""
    footer: bool = False
    priority: bool = False

    @property
    def key_text(self) -> str:
        """The key, or pair of keys, as the key bar writes it."""
        return self.shown or self.key_name

    @property
    def key_name(self) -> str:
        """The first key by itself."""
        key = self.keys.split(",")[0]
        return KEY_NAMES.get(key, key.replace("ctrl+", "^"))

    def binding(self) -> Binding:
        """The Textual binding; its id lets a keymap move it."""
        return Binding(
            self.keys,
            self.action,
            self.label,
            show=self.footer,
            key_display=self.key_text,
            priority=self.priority,
            id=self.id,
            tooltip=self.help,
        )


def bindings(actions: Iterable[Action]) -> list[Binding]:
    """Bindings of some actions; one without a key is for the palette alone."""
    return [action.binding() for action in actions if action.keys]


def named(key: str) -> str:
    """A key as a person writes it."""
    first = key.split(",")[0].strip()
    shown = KEY_NAMES.get(first)
    if shown is None and len(first) > 1:
        shown = key_to_character(first) if "+" not in first else first.replace("ctrl+", "^")
    return shown if shown and shown.isprintable() else first


def key_of(action: Action, keymap: Mapping[str, str]) -> str:
    """The first key of an action where a person may have moved it."""
    moved = keymap.get(action.id)
    return named(moved) if moved else action.key_name
