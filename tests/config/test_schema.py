"""The tree itself: every setting is described, equal configs are one key, and it needs the standard library only."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import pytest

from grpo_tui.config import RewardConfig, RunConfig, Weights, all_settings, validate, value_of


def test_every_setting_has_one_line_of_help_and_a_default_within_its_limits() -> None:
    for setting in all_settings().values():
        assert setting.doc
        assert "\n" not in setting.doc
        assert value_of(RunConfig(), setting.key) == setting.default
    validate(RunConfig())


def test_limits_in_words() -> None:
    assert all_settings()["sampling.top_p"].limits == "above 0 and at most 1"
    assert all_settings()["sampling.group_size"].limits == "at least 1"
    assert all_settings()["optim.schedule"].limits == "one of constant, linear, cosine"
    assert all_settings()["run.name"].limits == ""


def test_a_config_can_be_a_key_a_copy_and_a_message() -> None:
    config = replace(RunConfig(), reward=RewardConfig(weights={"math": 1.0, "format": 0.5}))
    again = replace(RunConfig(), reward=RewardConfig(weights={"format": 0.5, "math": 1.0}))
    assert config == again
    assert hash(config) == hash(again)
    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert config != RunConfig()


def test_weights_cannot_change() -> None:
    given = {"math": 1.0}
    reward = RewardConfig(weights=given)
    given["math"] = 9.0
    assert reward.weights == {"math": 1.0}
    assert repr(reward.weights) == "{'math': 1.0}"
    assert isinstance(reward.weights, Weights)
    with pytest.raises(TypeError):
        reward.weights["math"] = 2.0  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        reward.workers = 3  # type: ignore[misc]


def test_configuration_imports_nothing_heavy() -> None:
    code = (
        "import sys, grpo_tui.config\n"
        "heavy = {'torch', 'numpy', 'transformers', 'datasets', 'pyarrow', 'textual', 'sympy'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
