"""The direction of imports, held by the running interpreter (import-linter holds the static graph)."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "datasets")


def loaded_after(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys\nprint(' '.join(sorted(m.partition('.')[0] for m in sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "grpo_tui",
        "grpo_tui.cli",
        "grpo_tui.compare.command",
        "grpo_tui.config.load",
        "grpo_tui.config.presets",
        "grpo_tui.console",
        "grpo_tui.engine.control",
        "grpo_tui.engine.runner",
        "grpo_tui.events.codec",
        "grpo_tui.events.fold",
        "grpo_tui.reward_model.command",
        "grpo_tui.runs.query",
        "grpo_tui.runs.reader",
        "grpo_tui.runs.store",
        "grpo_tui.runs.writer",
        "rewards",
        "rewards.learned",
        "rewards.workers.worker",
    ],
)
def test_headless_modules_load_neither_torch_nor_textual(module: str) -> None:
    assert not loaded_after(f"import {module}") & {*HEAVY, "textual"}


@pytest.mark.parametrize(
    "module",
    [
        "grpo_tui.tui.app",
        "grpo_tui.tui.live_session",
        "grpo_tui.tui.recorded_session",
        "grpo_tui.tui.screens.live",
    ],
)
def test_the_app_loads_no_torch(module: str) -> None:
    assert not loaded_after(f"import {module}") & set(HEAVY)


def test_the_engine_loads_no_textual() -> None:
    assert "textual" not in loaded_after("import grpo_tui.engine.trainer, grpo_tui.engine.step")


def test_rewards_load_nothing_of_the_program() -> None:
    assert "grpo_tui" not in loaded_after(
        "import rewards, rewards.workers.worker, rewards.math_verifier, rewards.registry"
    )


def test_public_names_are_found_lazily() -> None:
    assert not loaded_after("import grpo_tui; grpo_tui.RunConfig; grpo_tui.open_run") & {*HEAVY, "textual"}
    assert "torch" in loaded_after("import grpo_tui; grpo_tui.Trainer")
