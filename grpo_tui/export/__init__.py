"""What leaves a run: tables, adapters, merged models, a TRL script, and cards of single answers."""

from __future__ import annotations

EXPORTS = "exports"
"""Folder of a run that takes what no other place was named for."""
