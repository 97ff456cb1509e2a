"""Two runs: one recorded from a script, which holds no weights, and one trained for two steps, which does."""

from __future__ import annotations

from pathlib import Path

import pytest

from grpo_tui.config.emit import to_toml
from grpo_tui.config.presets import PRESETS
from grpo_tui.runs.writer import RunWriter
from tests.engine.support import run_small, small_config
from tests.support.builders import ScriptedRun


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("recorded") / "run"
    with RunWriter.create(run_dir, to_toml(PRESETS["tiny"]())) as writer:
        for event in ScriptedRun(num_groups=3, group_size=4).whole(10):
            writer.write(event)
    return run_dir


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    config = small_config("run.steps=2", "run.checkpoint_every=1", "run.keep_checkpoints=2", "optim.lr=0.05")
    ended, _ = run_small(config, run_dir)
    assert ended.reason == "finished"
    return run_dir
