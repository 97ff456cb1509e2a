"""Where the files that come with the program are, in an installed wheel and in a checkout alike."""

from __future__ import annotations

from pathlib import Path

import grpo_tui
from grpo_tui.data.problem import DataError

TINY_TRAIN = "tiny_train.jsonl"
TINY_HELD_OUT = "tiny_heldout.jsonl"
TINY_MODEL = "tiny_model"


def bundled_path(name: str) -> Path:
    """Return the path of a bundled file or folder.

    Raises:
        DataError: this installation does not have it.
    """
    package = Path(grpo_tui.__file__).resolve().parent
    # A wheel carries the folder inside the package; a checkout has it beside the package.
    for folder in (package / "sample_data", package.parent / "sample_data"):
        if (folder / name).exists():
            return folder / name
    raise DataError(f"the bundled '{name}' is missing from this installation of grpo-tui; install it again")
