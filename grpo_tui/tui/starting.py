"""Before a run is on screen: settings, its folder, its session, and what the disk knows of older ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from grpo_tui.config import machine
from grpo_tui.config.local_models import LocalModel, find_models
from grpo_tui.config.schema import RunConfig

if TYPE_CHECKING:
    from grpo_tui.runs.store import RunSummary
    from grpo_tui.tui.session import Session


class SessionFactory(Protocol):
    """Makes the session of a run; tests put a scripted one here."""

    def __call__(self, config: RunConfig, *, run_dir: Path, resume: bool, paused: bool) -> Session:
        """Return a session that is not started yet."""
        ...


def live_session(config: RunConfig, *, run_dir: Path, resume: bool, paused: bool) -> Session:
    """The real engine."""
    from grpo_tui.tui.live_session import LiveSession

    return LiveSession(config, run_dir=run_dir, resume=resume, paused=paused)


def prepare_run(
    config: RunConfig | None, run_dir: Path | None, resume: Path | None, runs_root: Path
) -> tuple[RunConfig, Path]:
    """The settings and the folder of a run: as given, as an old run has them, or new ones.

    Raises:
        OSError: the disk refuses.
        ValueError: the settings of the old run cannot be read, or a folder cannot be made.
    """
    if resume is not None:
        if config is None:
            from grpo_tui.config.load import load_config

            config = load_config(file=resume / "config.toml")
        return config, resume
    if config is None:
        raise ValueError("nothing to run: no config was given")
    if run_dir is None:
        from grpo_tui.runs.store import new_run_dir, run_name

        run_dir = new_run_dir(runs_root, run_name(config))
    return config, run_dir


def find_runs(runs_root: Path) -> Sequence[RunSummary]:
    """Runs on disk, newest first; none where the folder cannot be read."""
    from grpo_tui.runs.store import list_runs

    try:
        return list_runs(runs_root)
    except (OSError, ValueError):
        return []


def left_run(run_dir: Path | None) -> RunSummary | None:
    """The run that was just left, in short; None where nothing of it can be resumed or viewed."""
    if run_dir is None:  # the first Welcome: nothing is imported for it before its first paint
        return None
    from grpo_tui.runs.schema import DATABASE
    from grpo_tui.runs.store import summarize

    return summarize(run_dir) if (run_dir / DATABASE).is_file() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What this machine has: its devices, and models that need no download."""

    cores: int = 0
    total_bytes: int = 0
    """Of memory; 0: unknown."""
    free_bytes: int = 0
    gpus: tuple[machine.Gpu, ...] = ()
    models: tuple[LocalModel, ...] = ()


def survey_machine() -> Survey:
    """Look around. Takes up to seconds, where there are many models or a slow driver."""
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        here = Path("/")
    return Survey(
        cores=machine.num_cores(),
        total_bytes=machine.total_memory(),
        free_bytes=machine.free_memory(),
        gpus=tuple(machine.gpus()),
        models=tuple(find_models(here)),
    )


def import_engine() -> None:
    """Import the engine while the person reads the Welcome screen (runs on a thread of its own)."""
    from grpo_tui.tui.live_session import import_engine as really

    really()
