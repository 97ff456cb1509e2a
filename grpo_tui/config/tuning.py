"""Which settings can change while a run runs, from when such a change counts, and why the others cannot.

A step is computed under one config, whole. A change therefore counts in the step in progress only where nothing of
that step has read the setting yet; :data:`READ_FIRST` names the phase that reads each one first
(``tests/engine/test_tuning_table.py`` watches the engine read them). A setting that is not in it is locked.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from grpo_tui.config.changes import differences
from grpo_tui.config.schema import RunConfig
from grpo_tui.config.settings import all_settings


class Reading(StrEnum):
    """Where a setting is read first; all but the last are phases of a step, by their names, in their order."""

    PROBLEMS = "problems"
    SAMPLE = "sample"
    SCORE = "score"
    ADVANTAGES = "advantages"
    REFERENCE = "reference"
    UPDATE = "update"
    BETWEEN = "between steps"


_KEYS_BY_READING: Mapping[Reading, str] = {
    Reading.PROBLEMS: "sampling.prompts_per_step sampling.group_size",
    Reading.SAMPLE: "sampling.max_completion_tokens sampling.temperature sampling.top_p sampling.top_k",
    Reading.SCORE: """
        reward.weights reward.answer_form reward.timeout_seconds reward.workers
        algorithm.name algorithm.advantage
        groups.resample_tries groups.max_group_size groups.adaptive_doubt groups.overlong_penalty groups.overlong_cache
        """,
    Reading.ADVANTAGES: """
        algorithm.beta algorithm.kl_anchor algorithm.kl_estimator algorithm.kl_in groups.mask_truncated
        critic.gamma critic.gae_lambda critic.value_lambda optim.max_tokens_per_microbatch
        """,
    Reading.REFERENCE: "algorithm.num_epochs algorithm.num_minibatches algorithm.measure_kl_ref",
    Reading.UPDATE: """
        algorithm.baseline_decay algorithm.ratio algorithm.clip algorithm.clip_low algorithm.clip_high
        algorithm.clip_delta algorithm.sapo_tau_positive algorithm.sapo_tau_negative algorithm.vespo_k_positive
        algorithm.vespo_lambda_positive algorithm.vespo_k_negative algorithm.vespo_lambda_negative
        algorithm.aggregation algorithm.measure_kl_step algorithm.measure_gradient_noise
        critic.value_clip critic.value_lr critic.value_warmup_steps
        trust_region.kl_limit trust_region.cg_iterations trust_region.cg_damping trust_region.line_search_steps
        trust_region.line_search_shrink trust_region.fisher_tokens
        optim.lr optim.schedule optim.warmup_steps optim.weight_decay optim.beta1 optim.beta2 optim.eps
        optim.max_grad_norm optim.gradient_checkpointing run.steps run.receipts
        """,
    Reading.BETWEEN: """
        eval.every eval.temperature run.max_tokens run.checkpoint_every run.keep_checkpoints
        """,
}

READ_FIRST: Mapping[str, Reading] = MappingProxyType(
    {key: reading for reading, keys in _KEYS_BY_READING.items() for key in keys.split()}
)
"""Full key to what reads it first, for every setting that can change."""

_LOADED = "the model is in memory as the run began with it"
_ADAPTER = "belongs to the adapter that is being trained; another needs a new run"
_PROBLEMS = "problems are read once, when the run starts"

_LOCKED: Mapping[str, str] = {
    "model": _LOADED,
    "model.lora_rank": _ADAPTER,
    "model.lora_alpha": _ADAPTER,
    "model.lora_dropout": _ADAPTER,
    "model.lora_targets": _ADAPTER,
    "model.adapter_layers": "the layers were picked and compared with the model when the run started",
    "data": _PROBLEMS,
    "sampling.sampler": "the sampler was picked and compared with the model when the run started",
    "sampling.ahead": "the second sampler, which it needs, is made when the run starts",
    "reward.canaries": "they are tried once, before step 1",
    "reward.learned_model": "the reward model is loaded when the run starts",
    "algorithm.update": "gradient and trust region need the model loaded in different ways",
    "eval.num_problems": _PROBLEMS,
    "run.history_mb": "the place for states to go back to is made when the run starts",
    "run.name": "the run's folder has this name",
    "run.seed": "everything drawn so far was drawn from it",
}
"""Reasons by key, or by table for all its keys."""

_NO_CRITIC = "the run has no critic; start one with algorithm.advantage 'gae'"
_NO_REGION = "the run has no trust region; start one with algorithm.update 'trust_region'"


def locked_reason(key: str, config: RunConfig) -> str:
    """Return why a setting cannot change in a run with this config; empty where it can."""
    if key not in READ_FIRST:
        return _LOCKED.get(key) or _LOCKED.get(key.partition(".")[0], "it is read when the run starts")
    if key.startswith("critic.") and config.algorithm.advantage != "gae":
        return _NO_CRITIC
    if key.startswith("trust_region.") and config.algorithm.update != "trust_region":
        return _NO_REGION
    return ""


def refusal(old: RunConfig, new: RunConfig) -> str:
    """Return why a running run cannot go from one config to another, in one line; empty where it can."""
    for key, before, after in differences(old, new):
        reason = locked_reason(key, old)
        if reason:
            return f"{key} cannot change while the run runs: {reason}"
        if key == "algorithm.advantage" and "gae" in (before, after):
            have = "has one" if before == "gae" else "has none"
            return (
                f"{key} cannot go from '{before}' to '{after}': 'gae' needs a critic from the start, "
                f"and this run {have}"
            )
    return ""


_WHEN: Mapping[Reading, str] = {
    Reading.PROBLEMS: "next step",
    Reading.SAMPLE: "next sampling",
    Reading.SCORE: "next scoring",
    Reading.ADVANTAGES: "next advantages",
    Reading.REFERENCE: "next reference",
    Reading.UPDATE: "next update",
    Reading.BETWEEN: "at once",
}


def when_text(key: str) -> str:
    """Return from when a change of this setting counts, in a few words; empty for a locked one.

    ``at once`` is said of what is read between steps only.
    """
    reading = READ_FIRST.get(key)
    return "" if reading is None else _WHEN[reading]


def is_locked(key: str) -> bool:
    """Whether a setting can change in no run."""
    return key in all_settings() and key not in READ_FIRST
