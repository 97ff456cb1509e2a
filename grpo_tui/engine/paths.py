"""Local paths in a config, made absolute when the run is made, so that it resumes from any working directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from grpo_tui.config.schema import RunConfig


def anchored(config: RunConfig) -> RunConfig:
    """The config with every relative path that exists made absolute; names of the hub stay as they are."""
    return replace(
        config,
        model=replace(config.model, source=_absolute(config.model.source)),
        data=replace(
            config.data,
            source=_absolute(config.data.source),
            eval_source=_absolute(config.data.eval_source),
        ),
        reward=replace(
            config.reward,
            weights={_absolute_reward(name): weight for name, weight in config.reward.weights.items()},
            learned_model=_absolute(config.reward.learned_model),
        ),
    )


def _absolute(source: str) -> str:
    try:
        is_relative_path = source not in ("", "tiny") and Path(source).exists()
        return str(Path(source).absolute()) if is_relative_path else source
    except OSError:  # too long for a file name, say; loading explains it
        return source


def _absolute_reward(name: str) -> str:
    """``file.py:function`` with the file made absolute; other names unchanged."""
    file, colon, function = name.rpartition(":")
    return f"{_absolute(file)}{colon}{function}" if file.endswith(".py") else name
