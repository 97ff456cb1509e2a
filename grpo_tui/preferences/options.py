"""The options of ``grpo-tui config``."""

from __future__ import annotations

import argparse
from typing import Any


def add_config(commands: Any) -> argparse.ArgumentParser:
    """Add ``config`` to the parser of all commands, and return its parser."""
    config: argparse.ArgumentParser = commands.add_parser(
        "config",
        help="your preferences: theme, keys, folders; where each value comes from",
        description="Preferences of the program (not of a run): theme, keys, folders, layout.",
    )
    config.add_argument(
        "do",
        choices=("show", "path", "init"),
        nargs="?",
        default="show",
        help="show every value and where it came from (default); tell the file; write a commented one",
    )
    config.add_argument("--json", action="store_true", help="with show: as JSON")
    return config
