"""Every preset is a config that works."""

from __future__ import annotations

import pytest

from grpo_tui.config import PRESET_DESCRIPTIONS, PRESETS, load_config, validate, warnings_for


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_without_warnings(name: str) -> None:
    config = PRESETS[name]()
    validate(config, where=name)
    assert warnings_for(config) == []
    assert load_config(preset=name) == config


def test_presets_are_described_in_one_line() -> None:
    assert list(PRESET_DESCRIPTIONS) == list(PRESETS)
    assert all(text and "\n" not in text for text in PRESET_DESCRIPTIONS.values())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_that_evaluate_hold_something_out_of_a_file_too(name: str) -> None:
    config = PRESETS[name]()
    assert config.eval.every > 0
    assert config.data.eval_fraction > 0
