from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from grpo_tui.runs.writer import RunWriter
from tests.events.builders import run_events

CONFIG = "[run]\nname = 'r'\nsteps = 10\n"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def writer(run_dir: Path) -> Iterator[RunWriter]:
    """A new, empty run."""
    with RunWriter.create(run_dir, CONFIG) as writer:
        yield writer


@pytest.fixture
def finished(run_dir: Path) -> Path:
    """A finished run of six steps."""
    with RunWriter.create(run_dir, CONFIG) as writer:
        for event in run_events(6):
            writer.write(event)
    return run_dir
