"""The folder that holds the runs: what is in it, and a new place in it."""

from __future__ import annotations

import re
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from grpo_tui.config.schema import RunConfig
from grpo_tui.events.types import RunStarted
from grpo_tui.runs import schema
from grpo_tui.runs.lock import is_locked
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import RunFileError, os_error


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run in a list."""

    path: Path
    name: str
    finished_steps: int = 0
    total_steps: int = 0
    last_reward: float | None = None
    """Mean reward of the last finished step."""
    modified: float = 0.0
    """Seconds since the epoch."""
    running: bool = False
    """A process is training it at this moment."""
    problem: str = ""
    """Why it cannot be read, one line; empty when it can."""


def list_runs(root: Path) -> list[RunSummary]:
    """Every run below a folder, newest first. A damaged run is listed with its ``problem``.

    Raises:
        RunFileError: the folder cannot be read (a missing one simply has no runs).
    """
    try:
        paths = [path for path in root.iterdir() if (path / schema.DATABASE).is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise os_error("read", root, error) from error
    return sorted((summarize(path) for path in paths), key=lambda run: (-run.modified, run.path.name))


def summarize(run_dir: Path) -> RunSummary:
    """One run in short; never fails, see ``problem``."""
    modified = _modified(run_dir)
    try:
        with RunReader(run_dir) as reader:
            started = reader.last_event(RunStarted)
            metrics = reader.last_metrics()
            return RunSummary(
                path=run_dir,
                name=started.name if started and started.name else run_dir.name,
                finished_steps=metrics.step if metrics else 0,
                total_steps=started.total_steps if started else 0,
                last_reward=metrics.reward_mean if metrics else None,
                modified=modified,
                running=reader.being_trained,
            )
    except RunFileError as error:
        running = is_locked(run_dir)
        return RunSummary(
            path=run_dir, name=run_dir.name, modified=modified, running=running, problem=str(error)
        )


def run_name(config: RunConfig) -> str:
    """The run's name: the one that was set, or its model and data."""
    if config.run.name:
        return config.run.name
    model, data = (Path(source).stem for source in (config.model.source, config.data.source))
    return model if model == data else f"{model}-{data}"


def new_run_dir(root: Path, name: str) -> Path:
    """Make a directory for a new run: ``20260131-142530-name``, unique, with a name every file system takes.

    Raises:
        RunFileError: it cannot be made.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:60].rstrip("-") or "run"
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}"
    path, number = root / stem, 1
    while True:
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1
            path = root / f"{stem}-{number}"
            if number > 999:
                raise RunFileError(f"cannot create a run in {root}: {stem} is taken 999 times") from None
        except OSError as error:
            raise os_error("create", path, error) from error


def _modified(run_dir: Path) -> float:
    newest = 0.0
    for name in (schema.DATABASE, f"{schema.DATABASE}-wal"):
        try:
            newest = max(newest, (run_dir / name).stat().st_mtime)
        except OSError:
            continue
    return newest
