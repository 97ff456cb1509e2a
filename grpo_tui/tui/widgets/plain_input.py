"""A line to type into that no pasted text can break out of."""

from __future__ import annotations

from textual.widgets import Input

from grpo_tui.tui.text import clean


class PlainInput(Input):
    """One line of text without control characters."""

    def validate_value(self, value: str) -> str:
        """Replace what could move the terminal."""
        return clean(value)
