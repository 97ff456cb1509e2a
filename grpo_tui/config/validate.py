"""What one setting alone cannot show: settings that contradict each other, do nothing, or are known to harm."""

from __future__ import annotations

import re

from grpo_tui.config.algorithms import changed_parts
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
        _wrong_names(config)
        or _wrong_data(config)
        or _wrong_rewards(config)
        or _wrong_counts(config)
        or _wrong_algorithm(config)
        or _wrong_ahead(config)
        or None
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
    if "learned" in weights and not config.reward.learned_model.strip():
        return (
            "reward.learned_model",
            "is empty, but reward.weights names 'learned'; train a model with: grpo-tui train-reward RUN",
        )
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


NEEDS_GROUP = ("zscore", "mean", "leave_one_out", "batch")
"""Advantages that compare a completion with others of its group."""


def _wrong_algorithm(config: RunConfig) -> tuple[str, str] | None:
    algorithm, size, largest = config.algorithm, config.sampling.group_size, config.groups.max_group_size
    if size == 1 and algorithm.advantage in NEEDS_GROUP:
        return (
            "sampling.group_size",
            f"is 1, but algorithm.advantage '{algorithm.advantage}' compares the completions of a group; use at least 2",
        )
    if 0 < largest < size:
        return (
            "groups.max_group_size",
            f"is {largest}, below sampling.group_size {size}, at which groups begin; use more, or 0 for fixed groups",
        )
    if largest and algorithm.advantage not in NEEDS_GROUP:
        return (
            "groups.max_group_size",
            f"is {largest}, but algorithm.advantage '{algorithm.advantage}' does not compare inside a group, so that growing "
            "by what a group drew would bias the gradient; use 0",
        )
    if algorithm.ratio == "none" and algorithm.clip != "none":
        return (
            "algorithm.clip",
            f"is '{algorithm.clip}', but with algorithm.ratio 'none' there is no ratio to clip; use 'none'",
        )
    if algorithm.clip_delta and algorithm.clip_delta <= 1 + algorithm.clip_high:
        return (
            "algorithm.clip_delta",
            f"is {algorithm.clip_delta:g}, not above 1 + clip_high ({1 + algorithm.clip_high:g}), so it would take the "
            "place of the upper bound; use more, or 0 for none",
        )
    if algorithm.kl_in == "reward" and algorithm.kl_estimator in ("k3_ratio", "exact"):
        return (
            "algorithm.kl_estimator",
            f"is '{algorithm.kl_estimator}', which only a loss can have; in the reward use 'k1', 'k2' or 'k3'",
        )
    return _wrong_trust_region(config)


def _wrong_trust_region(config: RunConfig) -> tuple[str, str] | None:
    if config.algorithm.update != "trust_region":
        return None
    if config.model.dtype == "bf16":
        return (
            "model.dtype",
            "is 'bf16', but a trust region is found by conjugate gradient, which needs 'fp32'",
        )
    for name in ("num_epochs", "num_minibatches"):
        if getattr(config.algorithm, name) > 1:
            return (
                f"algorithm.{name}",
                "is above 1, but a trust region takes one step on the whole rollout batch; use 1",
            )
    if config.algorithm.ratio == "none":
        return "algorithm.ratio", "is 'none', but a trust region needs the surrogate ρA; use 'token'"
    if config.algorithm.advantage == "gae":
        return "algorithm.advantage", "is 'gae', but a trust region here has no critic; use 'mean'"
    return None


def _wrong_ahead(config: RunConfig) -> tuple[str, str] | None:
    """What a step cannot be corrected by whose completions the policy before the last update has drawn."""
    if not config.sampling.ahead:
        return None
    algorithm, key = config.algorithm, "sampling.ahead"
    if config.sampling.sampler == "trusted":
        return (
            key,
            "is true, but sampling.sampler 'trusted' draws by the very weights that move meanwhile; use 'fast'",
        )
    if algorithm.ratio == "none":
        return (
            key,
            "is true, but algorithm.ratio 'none' has nothing that corrects for completions of the policy one update ago; "
            "use 'token' or another ratio",
        )
    if algorithm.update == "trust_region":
        return (
            key,
            "is true, but a trust region is laid around the policy that sampled, which is one update ago then; use false",
        )
    if algorithm.beta and algorithm.kl_anchor == "old" and algorithm.kl_estimator == "exact":
        return (
            key,
            "is true, but algorithm.kl_estimator 'exact' to the old policy would need its weights, one update ago, "
            "throughout the update; use 'k3_ratio'",
        )
    return None


def warnings_for(config: RunConfig) -> list[str]:
    """Return one sentence for each setting that is known to do nothing or to harm. A run may go on with them."""
    return [
        *_learning_warnings(config),
        *_reward_warnings(config),
        *_sampling_warnings(config),
        *_kl_warnings(config),
        *_algorithm_warnings(config),
    ]


def _reward_warnings(config: RunConfig) -> list[str]:
    if config.reward.learned_model and "learned" not in config.reward.weights:
        return [
            "reward.learned_model is not used: reward.weights does not name 'learned'; set reward.weights.learned=1"
        ]
    return []


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
            "gradient is not that of the policy that sampled"
        )
    if config.sampling.max_completion_tokens > config.optim.max_tokens_per_microbatch:
        found.append(
            "sampling.max_completion_tokens is above optim.max_tokens_per_microbatch: a long completion goes "
            "through alone, over the budget, and may not fit in memory"
        )
    if config.optim.gradient_checkpointing and config.algorithm.update == "trust_region":
        found.append(
            "optim.gradient_checkpointing does nothing with algorithm.update 'trust_region', which differentiates twice"
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
    found = []
    if algorithm.kl_in == "loss" and algorithm.kl_estimator == "k1":
        found.append(
            "algorithm.kl_estimator 'k1' in the loss has an expected gradient of 0: algorithm.beta "
            f"{algorithm.beta:g} adds noise and holds nothing back; use 'k2' or 'k3_ratio'"
        )
    one_update = _one_update(config) or algorithm.kl_in == "reward"
    if algorithm.kl_anchor == "old" and one_update and algorithm.kl_estimator != "k1":
        found.append(
            "algorithm.kl_anchor 'old' with one gradient step a rollout batch: KL to the policy that sampled has value "
            f"0 and gradient 0 there, so algorithm.beta {algorithm.beta:g} does nothing; use 'ref', or more num_epochs"
        )
    if algorithm.kl_anchor == "old" and not one_update and algorithm.kl_estimator in ("k1", "k2", "k3"):
        found.append(
            f"algorithm.kl_estimator '{algorithm.kl_estimator}' to the old policy: it acts only once the policy has left the "
            "one that sampled, and then the tokens are not its own, so it estimates no KL; use 'k3_ratio' or 'exact'"
        )
    if algorithm.kl_in == "reward" and algorithm.advantage in ("zscore", "batch"):
        found.append(
            f"algorithm.kl_in 'reward' with algorithm.advantage '{algorithm.advantage}': where rewards are equal the "
            "deviation is that of the KL alone, whose noise is then blown up to full size; use 'mean' or 'leave_one_out'"
        )
    return found


def _one_update(config: RunConfig) -> bool:
    """Whether every gradient is taken at the weights that sampled."""
    algorithm = config.algorithm
    return algorithm.num_epochs == 1 and algorithm.num_minibatches == 1 and not config.sampling.ahead


LONG_ANSWER = 256
"""Tokens from which on the product of token ratios is mostly noise."""


def _algorithm_warnings(config: RunConfig) -> list[str]:
    algorithm, found = config.algorithm, []
    length = config.sampling.max_completion_tokens
    if algorithm.ratio == "sequence_product" and algorithm.clip != "vespo" and length > LONG_ANSWER:
        found.append(
            f"algorithm.ratio 'sequence_product' with answers of up to {length} tokens: the product of so many ratios is "
            "mostly noise (at 0.01 a token, 53 % of 1,024-token answers leave 0.8 to 1.2); use 'token' or 'sequence_mean'"
        )
    if algorithm.ratio == "none" and not _one_update(config):
        found.append(
            "algorithm.ratio 'none' with several gradient steps a rollout batch: after the first the completions are not "
            "the policy's own any more, and nothing corrects for it; use num_epochs 1 and num_minibatches 1"
        )
    if config.sampling.ahead and algorithm.clip == "none":
        found.append(
            "sampling.ahead with algorithm.clip 'none': nothing bounds how much a completion of the policy one update ago "
            "may weigh; use 'bounds' or 'cispo'"
        )
    if algorithm.clip == "vespo" and algorithm.ratio != "sequence_product":
        found.append(
            f"algorithm.clip 'vespo' weighs whole completions, but algorithm.ratio is '{algorithm.ratio}'; "
            "the published form has 'sequence_product'"
        )
    if algorithm.advantage in ("none", "ema", "gae") and config.groups.resample_tries:
        found.append(
            f"groups.resample_tries does nothing with algorithm.advantage '{algorithm.advantage}': "
            "rewards are not compared inside a group, so equal ones carry a signal too"
        )
    if algorithm.advantage == "gae":
        steps = config.run.steps
        if config.critic.value_warmup_steps >= steps:
            found.append(
                f"critic.value_warmup_steps {config.critic.value_warmup_steps} is not below run.steps {steps}: "
                "the policy stays frozen throughout"
            )
    return found


def notes_for(config: RunConfig) -> list[str]:
    """Return facts that surprise people although nothing is wrong; they hold for the defaults as well."""
    algorithm = config.algorithm
    found = []
    if algorithm.beta > 0 and algorithm.kl_estimator == "k3" and algorithm.kl_in == "loss":
        found.append(
            "algorithm.kl_estimator 'k3' in the loss has the gradient of KL(reference ‖ policy), the other "
            "direction; 'k2' and 'k3_ratio' have that of KL(policy ‖ reference)"
        )
    changed = changed_parts(config)
    if changed:
        parts = ", ".join(f"{key} {value}" for key, value in changed.items())
        found.append(f"algorithm.name '{algorithm.name}' with parts of your own: {parts}")
    if _one_update(config) and algorithm.clip != "none" and algorithm.ratio != "none":
        found.append(
            "each rollout batch gets one gradient step, at which the ratio is 1: algorithm.clip "
            f"'{algorithm.clip}' does nothing until num_epochs or num_minibatches is above 1"
        )
    if config.sampling.ahead:
        found.append(
            "sampling.ahead: every step but the first is drawn by the policy before the last update and corrected by its "
            "ratio (num_ahead in the step's numbers); a resumed run takes its first step on-policy, so that its weights are "
            "not those of a run that was never interrupted"
        )
    unpaid = [name for name, weight in config.reward.weights.items() if weight == 0]
    if unpaid:
        found.append(f"reward.weights: {', '.join(unpaid)} is measured but not paid, its weight is 0")
    return found
