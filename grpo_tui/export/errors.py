"""The one error of an export."""

from __future__ import annotations


class ExportError(ValueError):
    """Why something cannot be exported, in one line: what, where, what to do."""
