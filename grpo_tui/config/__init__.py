"""What a run is told to do: a frozen tree of settings, read from presets, TOML files and ``key=value`` pairs."""

from grpo_tui.config.emit import from_dict, to_dict, to_toml
from grpo_tui.config.errors import ConfigError
from grpo_tui.config.load import TracedConfig, apply_overrides, load_config, trace_config
from grpo_tui.config.presets import PRESET_DESCRIPTIONS, PRESETS
from grpo_tui.config.schema import (
    AlgorithmConfig,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimConfig,
    RewardConfig,
    RunConfig,
    RunSettings,
    SamplingConfig,
    Weights,
)
from grpo_tui.config.settings import Kind, Setting, all_settings, find_setting, value_of
from grpo_tui.config.validate import notes_for, validate, warnings_for

__all__ = [
    "PRESETS",
    "PRESET_DESCRIPTIONS",
    "AlgorithmConfig",
    "ConfigError",
    "DataConfig",
    "EvalConfig",
    "Kind",
    "ModelConfig",
    "OptimConfig",
    "RewardConfig",
    "RunConfig",
    "RunSettings",
    "SamplingConfig",
    "Setting",
    "TracedConfig",
    "Weights",
    "all_settings",
    "apply_overrides",
    "find_setting",
    "from_dict",
    "load_config",
    "notes_for",
    "to_dict",
    "to_toml",
    "trace_config",
    "validate",
    "value_of",
    "warnings_for",
]
