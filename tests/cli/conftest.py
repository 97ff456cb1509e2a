from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import Command


@pytest.fixture
def grpo_tui(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line, in this process; runs without ``--out`` go below the test's own folder."""
    monkeypatch.setenv("GRPO_TUI_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return Command(capfd)
