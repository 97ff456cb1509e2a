"""The algorithm table: what each name sets. A name is a set of vetted defaults; every part can be set on its own.

This table is the only place that tells algorithms apart. The engine knows parts (advantage, ratio, clip, KL,
aggregation, kind of update), never names. Formulas and sources: ``grpo_tui/ALGORITHMS.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

from grpo_tui.config.schema import ALGORITHM_NAMES, AlgorithmConfig, GroupsConfig, RunConfig

_ROWS: Mapping[str, Mapping[str, Any]] = {
    # DeepSeekMath, arXiv 2402.03300, equations 3 and 4: the schema's own defaults.
    "grpo": {},
    # The textbook outline, L = -ΣΣ ρ A + β Σ KL: ratio of whole answers, nothing clipped, KL to the old policy. That KL
    # acts only once the policy has left the one that sampled, where k3_ratio alone is an estimate of it.
    "grpo_basic": {
        "advantage": "mean",
        "ratio": "sequence_product",
        "clip": "none",
        "kl_anchor": "old",
        "kl_estimator": "k3_ratio",
        "aggregation": "answer_sum",
    },
    # arXiv 2503.20783
    "dr_grpo": {"advantage": "mean", "beta": 0.0, "aggregation": "constant"},
    # TRL
    "bnpo": {"beta": 0.0, "aggregation": "token_mean_minibatch"},
    # arXiv 2503.14476, with its dynamic sampling and soft overlong penalty. The paper pays 1 and -1 for right and wrong,
    # we pay 1 and 0: half the penalty's weight keeps their proportion.
    "dapo": {
        "clip_high": 0.28,
        "beta": 0.0,
        "aggregation": "token_mean",
        "groups.resample_tries": 3,
        "groups.overlong_penalty": 0.5,
    },
    # arXiv 2507.18071
    "gspo": {"ratio": "sequence_mean", "clip_low": 3e-4, "clip_high": 4e-4, "beta": 0.0},
    # arXiv 2506.13585
    "cispo": {"clip": "cispo", "clip_high": 5.0, "beta": 0.0, "aggregation": "token_mean"},
    # TRL
    "sapo": {"clip": "sapo", "beta": 0.0},
    "luspo": {"ratio": "sequence_mean", "beta": 0.0, "aggregation": "sequence_sum"},
    "vespo": {"ratio": "sequence_product", "clip": "vespo", "beta": 0.0, "aggregation": "token_mean"},
    # arXiv 2402.14740
    "rloo": {
        "advantage": "leave_one_out",
        "ratio": "none",
        "clip": "none",
        "beta": 0.0,
        "kl_estimator": "k1",
        "kl_in": "reward",
        "aggregation": "sequence_sum",
    },
    # Williams 1992
    "reinforce": {
        "advantage": "ema",
        "ratio": "none",
        "clip": "none",
        "beta": 0.0,
        "aggregation": "sequence_sum",
    },
    # arXiv 1707.06347
    "ppo": {
        "advantage": "gae",
        "beta": 0.0,
        "kl_estimator": "k1",
        "kl_in": "reward",
        "aggregation": "token_mean",
        "num_epochs": 2,
    },
    # arXiv 1502.05477
    "trpo": {
        "advantage": "mean",
        "clip": "none",
        "beta": 0.0,
        "aggregation": "token_mean",
        "update": "trust_region",
    },
}

_MEASURES = ("name", "measure_kl_ref", "measure_kl_step", "measure_gradient_noise")


def _whole_row(name: str) -> Mapping[str, Any]:
    row: dict[str, Any] = {
        f"algorithm.{item.name}": item.default
        for item in fields(AlgorithmConfig)
        if item.name not in _MEASURES
    }
    groups = GroupsConfig()
    row |= {f"groups.{item}": getattr(groups, item) for item in ("resample_tries", "overlong_penalty")}
    return MappingProxyType(
        row | {(key if "." in key else f"algorithm.{key}"): value for key, value in _ROWS[name].items()}
    )


ALGORITHMS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {name: _whole_row(name) for name in ALGORITHM_NAMES}
)
"""Name to what it sets: the full key of every part, with its value. All rows set the same keys."""


def with_algorithm(config: RunConfig, name: str) -> RunConfig:
    """Return the config with every part as the named row sets it."""
    changes: dict[str, dict[str, Any]] = {"algorithm": {"name": name}, "groups": {}}
    for key, value in ALGORITHMS[name].items():
        table, part = key.split(".", 1)
        changes[table][part] = value
    return replace(
        config,
        algorithm=replace(config.algorithm, **changes["algorithm"]),
        groups=replace(config.groups, **changes["groups"]),
    )


def changed_parts(config: RunConfig) -> dict[str, Any]:
    """Return the parts that are not as the row of the config's name has them: what the user assembled."""
    found = {}
    for key, vetted in ALGORITHMS[config.algorithm.name].items():
        table, part = key.split(".", 1)
        value = getattr(getattr(config, table), part)
        if value != vetted:
            found[key] = value
    return found
