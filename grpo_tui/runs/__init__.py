"""Runs on disk: one directory each, written by one process, readable at any time.

The names here are the whole interface; importing them loads neither torch nor textual.
"""

from grpo_tui.runs.checkpoints import atomic_directory, checkpoint_name, latest, prune
from grpo_tui.runs.reader import RunReader, Snapshot
from grpo_tui.runs.schema import RunFileError
from grpo_tui.runs.search import SearchHit
from grpo_tui.runs.store import RunSummary, list_runs, new_run_dir
from grpo_tui.runs.writer import RunWriter

__all__ = [
    "RunFileError",
    "RunReader",
    "RunSummary",
    "RunWriter",
    "SearchHit",
    "Snapshot",
    "atomic_directory",
    "checkpoint_name",
    "latest",
    "list_runs",
    "new_run_dir",
    "prune",
]
