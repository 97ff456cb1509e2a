"""What one setting alone cannot show: settings that contradict each other, do nothing, or are known to harm."""

from __future__ import annotations

import re

from grpo_tui.config.errors import ConfigError
from grpo_tui.config.schema import RunConfig
from grpo_tui.config.settings import all_settings, check_value, value_of

USUAL_LR = (1e-6, 1e-2)
"""Peak learning rates outside this range have seldom trained an adapter well."""


def validate(config: RunConfig, *, where: str = "config") -> None:
    """Check a whole config: each value by itself, then against the others.

    Raises:
        ConfigError: the first thing found wrong.
    """
    for key, setting in all_settings().items():
        try:
            check_value(setting, value_of(config, key))
        except ValueError as error:
            raise ConfigError(where, key, str(error)) from error
    contradiction = find_contradiction(config)
    if contradiction is not None:
        key, message = contradiction
        raise ConfigError(where, key, message)


def find_contradiction(config: RunConfig) -> tuple[str, str] | None:
    """Return the key and a sentence for the first setting that cannot go with the others, None if all can."""
    return (
        _wrong_names(config) or _wrong_data(config) or _wrong_rewards(config) or _wrong_counts(config) or None
    )


def _wrong_names(config: RunConfig) -> tuple[str, str] | None:
    if not config.model.source.strip():
        return "model.source", "must name a model: 'tiny', a hub id, a folder or a .gguf file"
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", config.model.device):
        return "model.device", f"must be 'auto', 'cpu', 'cuda' or 'cuda:N', not '{config.model.device}'"
    name = config.run.name
    if name != name.strip() or name.startswith(".") or len(name) > 100 or re.search(r"[/\\:\x00-\x1f]", name):
        return (
            "run.name",
            "is used for a folder, so it must be 100 characters at most, not begin with a dot or a blank, "
            "and hold no slash, backslash, colon or line break",
        )
    return None


def _wrong_data(config: RunConfig) -> tuple[str, str] | None:
    data = config.data
    if not data.source.strip():
        return (
            "data.source",
            "must name a source: 'tiny', a .jsonl or .parquet file, a folder or a datasets name",
        )
    for name in ("prompt_field", "answer_field", "split"):
        if not getattr(data, name).strip():
            return f"data.{name}", "must not be empty"
    if data.prompt_field == data.answer_field:
        return (
            "data.answer_field",
            f"is '{data.answer_field}', the column of the prompt as well; name another",
        )
    if "{prompt}" not in data.prompt_template:
        return "data.prompt_template", "must hold {prompt}, which stands for the question"
    return None


def _wrong_rewards(config: RunConfig) -> tuple[str, str] | None:
    weights = config.reward.weights
    if not weights:
        return "reward.weights", "must name at least one reward, for example math = 1.0"
    if not all(name.strip() for name in weights):
        return "reward.weights", "holds a reward without a name"
    if not any(weights.values()):
        return "reward.weights", "are all 0, so there would be nothing to learn; give one a weight"
    return None


def _wrong_counts(config: RunConfig) -> tuple[str, str] | None:
    num_completions = config.sampling.prompts_per_step * config.sampling.group_size
    if config.algorithm.num_minibatches > num_completions:
        return (
            "algorithm.num_minibatches",
            f"is {config.algorithm.num_minibatches}, but a step has only {num_completions} completions "
            f"({config.sampling.prompts_per_step} prompts × {config.sampling.group_size}); "
            f"use at most {num_completions}",
        )
    if config.optim.warmup_steps and config.optim.warmup_steps >= config.run.steps:
        return (
            "optim.warmup_steps",
            f"is {config.optim.warmup_steps}, but the run has only {config.run.steps} steps, so warm-up would "
            f"never end; use fewer than {config.run.steps}",
        )
    return None


def warnings_for(config: RunConfig) -> list[str]:
    """Return one sentence for each setting that is known to do nothing or to harm. A run may go on with them."""
    return [*_learning_warnings(config), *_sampling_warnings(config), *_kl_warnings(config)]


def _learning_warnings(config: RunConfig) -> list[str]:
    found = []
    lr, (lowest, highest) = config.optim.lr, USUAL_LR
    if lr == 0:
        found.append("optim.lr is 0: the adapter will not change")
    elif not lowest <= lr <= highest:
        found.append(f"optim.lr {lr:g} is outside the range usual for LoRA, {lowest:g} to {highest:g}")
    if config.model.lora_dropout > 0:
        found.append(
            "model.lora_dropout is above 0: completions are sampled without it and updated with it, so the "
            "ratio is not 1 even on the first gradient step"
        )
    if config.sampling.max_completion_tokens > config.optim.max_tokens_per_microbatch:
        found.append(
            "sampling.max_completion_tokens is above optim.max_tokens_per_microbatch: a long completion goes "
            "through alone, over the budget, and may not fit in memory"
        )
    if config.sampling.group_size == 2 and config.algorithm.advantage == "zscore":
        found.append(
            "sampling.group_size 2 with algorithm.advantage 'zscore': every advantage is about ±0.71 or 0, "
            "however large the difference in reward"
        )
    if config.eval.every > config.run.steps:
        found.append(
            f"eval.every {config.eval.every} is beyond run.steps {config.run.steps}: the trained policy is "
            "not evaluated on the way"
        )
    return found


def _sampling_warnings(config: RunConfig) -> list[str]:
    found = []
    filters = []
    if config.sampling.top_p < 1:
        filters.append(f"top_p {config.sampling.top_p:g}")
    if config.sampling.top_k > 0:
        filters.append(f"top_k {config.sampling.top_k}")
    if filters:
        found.append(
            f"sampling.{' and '.join(filters)}: completions are drawn from a cut distribution while log-probs, "
            "ratio and kl are of the whole one, so the gradient is biased"
        )
    if config.sampling.temperature < 0.2:
        found.append(
            f"sampling.temperature {config.sampling.temperature:g} is so low that most groups will hold equal "
            "completions and carry no signal"
        )
    return found


def _kl_warnings(config: RunConfig) -> list[str]:
    algorithm = config.algorithm
    if algorithm.beta == 0:
        if algorithm.measure_kl_ref:
            return []
        return [
            "algorithm.beta is 0 and algorithm.measure_kl_ref is false: kl_ref is not known and is greyed out"
        ]
    if algorithm.kl_estimator == "k1":
        return [
            "algorithm.kl_estimator 'k1' in the loss has an expected gradient of 0: algorithm.beta "
            f"{algorithm.beta:g} adds noise and holds nothing back; use 'k2' or 'k3_ratio'"
        ]
    return []


def notes_for(config: RunConfig) -> list[str]:
    """Return facts that surprise people although nothing is wrong; they hold for the defaults as well."""
    algorithm = config.algorithm
    found = []
    if algorithm.beta > 0 and algorithm.kl_estimator == "k3":
        found.append(
            "algorithm.kl_estimator 'k3' in the loss has the gradient of KL(reference ‖ policy), the other "
            "direction; 'k2' and 'k3_ratio' have that of KL(policy ‖ reference)"
        )
    if algorithm.num_epochs == 1 and algorithm.num_minibatches == 1:
        found.append(
            "each rollout batch gets one gradient step, at which the ratio is 1: algorithm.clip_low and "
            "clip_high do nothing until num_epochs or num_minibatches is above 1"
        )
    unpaid = [name for name, weight in config.reward.weights.items() if weight == 0]
    if unpaid:
        found.append(f"reward.weights: {', '.join(unpaid)} is measured but not paid, its weight is 0")
    return found
