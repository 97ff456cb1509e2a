"""A run's config as a script for TRL's GRPOTrainer. What has no equivalent there is said in comments, never left out.

Names and meanings of the arguments: TRL 1.16, ``trl/trainer/grpo_config.py``. That the losses agree, value and gradient,
is tested against TRL itself in ``tests/algorithms/test_trl.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grpo_tui.config.schema import RunConfig
from grpo_tui.config.settings import Kind, all_settings, value_of
from grpo_tui.data.bundled import TINY_MODEL, bundled_path

NEVER_CLIPS = 1e9
"""An epsilon that no ratio reaches: TRL clips always."""


def trl_script(config: RunConfig, name: str) -> str:
    """The script as text. It takes problems and rewards from grpo-tui, and trains with TRL."""
    arguments, gaps = grpo_arguments(config)
    missing = [f"#   - {gap}" for gap in gaps] or ["#   (nothing: every part of the update is there)"]
    settings = [f"    {key}={value!r}," for key, value in arguments.items()]
    loading = _model(config)
    return "\n".join(
        [
            f'"""{_one_line(name)}: the same run with TRL\'s GRPOTrainer. Written by `grpo-tui export --what trl-script`.',
            "",
            "    pip install grpo-tui 'trl>=1.16' && python train_trl.py",
            '"""',
            "",
            "# Problems and rewards come from grpo-tui, so that both train on the same and are paid alike; sampling, loss and",
            "# optimiser are TRL's. TRL draws other random numbers, so single answers differ.",
            "#",
            "# What this run does that GRPOTrainer does not, or does otherwise:",
            *missing,
            "",
            _IMPORTS,
            "",
            "config = load_config(",
            "    overrides=[",
            *(f"        {override!r}," for override in _data_overrides(config)),
            "    ]",
            ")",
            "",
            _REWARDS,
            *(f"    as_trl({part!r}, {options!r})," for part, options in _rewards(config)),
            "]",
            "",
            *loading,
            _DATA,
            "",
            "args = GRPOConfig(",
            *settings,
            ")",
            "",
            "trainer = GRPOTrainer(",
            "    model=model,",
            "    reward_funcs=rewards,",
            "    args=args,",
            "    train_dataset=dataset,",
            "    processing_class=tokenizer,",
            "    peft_config=LoraConfig(",
            *(f"        {key}={value!r}," for key, value in _lora(config).items()),
            "    ),",
            ")",
            'if __name__ == "__main__":',
            "    trainer.train()",
            "    trainer.save_model()",
            "",
        ]
    )


_IMPORTS = """\
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from grpo_tui import load_config
from grpo_tui.data.render import compose_messages
from grpo_tui.data.sources import load_problems
from rewards.base import Sample
from rewards.registry import get_reward"""

_REWARDS = """\
def as_trl(name, options):
    \"\"\"A reward of grpo-tui as a reward function of TRL.\"\"\"
    reward = get_reward(name, **options)

    def pay(prompts, completions, completion_ids, answer, question, problem_id, **_):
        texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
        samples = [
            Sample(
                problem_id=row[0],
                prompt=row[1],
                gold=row[2],
                completion=text,
                finish_reason="length" if len(ids) >= args.max_completion_length else "stop",
                metadata={"num_tokens": str(len(ids)), "max_tokens": str(args.max_completion_length)},
            )
            for row, text, ids in zip(zip(problem_id, question, answer), texts, completion_ids)
        ]
        return [score.value for score in reward.score(samples)]

    pay.__name__ = reward.name
    pay.reward = reward
    return pay


rewards = ["""

_DATA = """\
def golds_that_cannot_be_judged(gold):
    return next((why for pay in rewards if (why := pay.reward.check_gold(gold))), None)


def prompt_of(problem):
    messages = [dict(message) for message in compose_messages(problem, config.data)]
    as_chat = config.data.render == "chat" or (config.data.render == "auto" and tokenizer.chat_template)
    return messages if as_chat else "\\n\\n".join(message["content"] for message in messages)


problems = load_problems(config.data, check_gold=golds_that_cannot_be_judged).train
dataset = Dataset.from_list(
    [
        {"prompt": prompt_of(p), "question": p.question, "answer": p.answer, "problem_id": p.id}
        for p in problems
    ]
)"""


def grpo_arguments(config: RunConfig) -> tuple[dict[str, Any], list[str]]:
    """Arguments of TRL's ``GRPOConfig``, and one line for each thing that it cannot be told."""
    sampling, algorithm, optim = config.sampling, config.algorithm, config.optim
    per_step = sampling.prompts_per_step * sampling.group_size
    updates = algorithm.num_epochs * algorithm.num_minibatches
    device, accumulate = _batch(per_step // max(1, algorithm.num_minibatches), sampling.group_size)
    warmup = optim.warmup_steps * updates
    schedule = "constant_with_warmup" if optim.schedule == "constant" and warmup else optim.schedule
    loss, loss_gaps = _loss(config)
    arguments: dict[str, Any] = {
        "output_dir": "trl-run",
        "seed": config.run.seed,
        "max_steps": config.run.steps * updates,
        "per_device_train_batch_size": device,
        "gradient_accumulation_steps": accumulate,
        "steps_per_generation": accumulate * algorithm.num_minibatches,
        "num_generations": sampling.group_size,
        "num_iterations": algorithm.num_epochs,
        "max_completion_length": sampling.max_completion_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "shuffle_dataset": config.data.shuffle,
        **loss,
        "reward_weights": list(_weights(config).values()),
        "mask_truncated_completions": config.groups.mask_truncated,
        "learning_rate": optim.lr,
        "lr_scheduler_type": schedule,
        "warmup_steps": warmup,
        "weight_decay": optim.weight_decay,
        "adam_beta1": optim.beta1,
        "adam_beta2": optim.beta2,
        "adam_epsilon": optim.eps,
        "max_grad_norm": optim.max_grad_norm,
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": config.model.device == "cpu",
        "logging_steps": 1,
        "save_steps": config.run.checkpoint_every * updates,
        "save_total_limit": config.run.keep_checkpoints,
        "report_to": [],
    }
    return arguments, [*loss_gaps, *_other_gaps(config)]


def _batch(per_update: int, group: int) -> tuple[int, int]:
    """(completions of one device batch, batches accumulated): a group at a time where groups fit whole."""
    return (group, per_update // group) if per_update % group == 0 else (per_update, 1)


def _loss(config: RunConfig) -> tuple[dict[str, Any], list[str]]:
    algorithm = config.algorithm
    gaps: list[str] = []
    loss = _LOSS_OF_CLIP.get(algorithm.clip) or _LOSS_OF_AGGREGATION.get(algorithm.aggregation)
    if algorithm.aggregation == "sequence_sum" and algorithm.ratio != "sequence_mean":
        loss = None
    if loss is None:
        loss = "grpo"
        gaps.append(f"algorithm.aggregation {algorithm.aggregation!r}: loss_type 'grpo' stands in for it")
    scale = _SCALE_OF_ADVANTAGE.get(algorithm.advantage)
    if scale is None:
        scale = "none"
        gaps.append(
            f"algorithm.advantage {algorithm.advantage!r}: rewards less the group's mean stand in for it"
            + (" (RLOOTrainer has it)" if algorithm.advantage == "leave_one_out" else "")
        )
    level = "sequence" if algorithm.ratio == "sequence_mean" else "token"
    if algorithm.ratio == "none" or (algorithm.ratio == "sequence_product" and algorithm.clip != "vespo"):
        gaps.append(f"algorithm.ratio {algorithm.ratio!r}: the token ratio stands in for it")
    unclipped = algorithm.clip == "none"
    arguments: dict[str, Any] = {
        "loss_type": loss,
        "importance_sampling_level": level,
        "scale_rewards": scale,
        "epsilon": NEVER_CLIPS if unclipped else algorithm.clip_low,
        "epsilon_high": NEVER_CLIPS if unclipped else algorithm.clip_high,
        "delta": algorithm.clip_delta or None,
        "beta": algorithm.beta,
    }
    if algorithm.clip == "sapo":
        arguments["sapo_temperature_pos"] = algorithm.sapo_tau_positive
        arguments["sapo_temperature_neg"] = algorithm.sapo_tau_negative
    if algorithm.clip == "vespo":
        for sign, word in (("positive", "pos"), ("negative", "neg")):
            for part in ("k", "lambda"):
                arguments[f"vespo_{part}_{word}"] = getattr(algorithm, f"vespo_{part}_{sign}")
    gaps += _kl(config, arguments)
    return arguments, gaps


_LOSS_OF_CLIP = {"cispo": "cispo", "sapo": "sapo", "vespo": "vespo"}
_LOSS_OF_AGGREGATION = {
    "sequence_mean": "grpo",
    "token_mean_minibatch": "bnpo",
    "constant": "dr_grpo",
    "token_mean": "dapo",
    "sequence_sum": "luspo",
}
_SCALE_OF_ADVANTAGE = {"zscore": "group", "batch": "batch", "mean": "none"}


def _kl(config: RunConfig, arguments: dict[str, Any]) -> Iterator[str]:
    algorithm = config.algorithm
    if algorithm.beta == 0:
        return
    if algorithm.kl_estimator == "k3_ratio":
        arguments["use_bias_correction_kl"] = True
    if algorithm.kl_in == "reward" or algorithm.kl_anchor == "old":
        arguments["beta"] = 0.0
        yield (
            f"KL with algorithm.kl_in {algorithm.kl_in!r}, kl_anchor {algorithm.kl_anchor!r}, beta {algorithm.beta:g}: "
            "left out (GRPOTrainer has it in the loss, to the reference)"
        )
    elif algorithm.kl_estimator not in ("k3", "k3_ratio"):
        yield f"algorithm.kl_estimator {algorithm.kl_estimator!r}: k3 stands in for it"


def _other_gaps(config: RunConfig) -> Iterator[str]:
    algorithm, groups = config.algorithm, config.groups
    if algorithm.aggregation == "token_mean_minibatch":
        yield "bnpo: TRL divides by the tokens of each device batch, grpo-tui by those of the whole minibatch"
    if algorithm.update == "trust_region":
        yield "algorithm.update 'trust_region' (TRPO): AdamW stands in for it"
    if algorithm.advantage == "gae":
        yield "the critic, its adapter, GAE and value losses ([critic])"
    if groups.resample_tries:
        yield f"groups.resample_tries {groups.resample_tries}: groups without spread are not replaced"
    if groups.max_group_size:
        yield f"groups.max_group_size {groups.max_group_size}: groups do not grow"
    if config.sampling.ahead:
        yield "sampling.ahead: each step is sampled by the policy that it updates"
    if config.run.max_tokens:
        yield f"run.max_tokens {config.run.max_tokens}: the run ends by max_steps alone"
    if config.sampling.prompts_per_step * config.sampling.group_size % algorithm.num_minibatches:
        yield "minibatches of unequal size: prompts_per_step × group_size is no multiple of num_minibatches"
    if config.eval.every:
        yield f"eval.every {config.eval.every}: held-out accuracy is not measured on the way"
    if config.model.source.endswith(".gguf"):
        yield "the base is a .gguf file, unpacked to plain weights on loading"


def _weights(config: RunConfig) -> dict[str, float]:
    weights = dict(config.reward.weights)
    if config.groups.overlong_penalty > 0:
        weights.setdefault("overlong", config.groups.overlong_penalty)
    return weights


def _rewards(config: RunConfig) -> list[tuple[str, dict[str, Any]]]:
    """Name and options of every reward, as the engine makes them (``engine/trainer.py:make_reward``)."""
    reward = config.reward
    verifier = {
        "workers": reward.workers,
        "deadline_s": reward.timeout_seconds,
        "form": reward.answer_form,
    }
    options: dict[str, dict[str, Any]] = {
        "math": verifier,
        "math_lenient": verifier,
        "format": {"style": reward.answer_form},
        "overlong": {"cache_share": config.groups.overlong_cache},
        "learned": {"model": reward.learned_model, "device": config.model.device},
    }
    return [(name, options.get(name, {})) for name in _weights(config)]


def _lora(config: RunConfig) -> dict[str, Any]:
    model = config.model
    targets: Any = list(model.lora_targets)
    return {
        "task_type": "CAUSAL_LM",
        "r": model.lora_rank,
        "lora_alpha": model.lora_alpha,
        "lora_dropout": model.lora_dropout,
        "target_modules": "all-linear" if targets == ["all-linear"] else targets,
        "bias": "none",
    }


def _model(config: RunConfig) -> list[str]:
    """Lines that load tokenizer and model."""
    source = config.model.source
    dtype = {"fp32": "float32", "bf16": "bfloat16"}.get(config.model.dtype, "auto")
    path = Path(source)
    extra = ""
    if source == "tiny":
        source = str(bundled_path(TINY_MODEL))
    elif path.suffix == ".gguf":
        source, extra = str(path.parent), f", gguf_file={path.name!r}"
    return [
        f"tokenizer = AutoTokenizer.from_pretrained({source!r}{extra})",
        "tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token",
        f"model = AutoModelForCausalLM.from_pretrained({source!r}{extra}, dtype={dtype!r})",
        "",
        "",
    ]


def _data_overrides(config: RunConfig) -> list[str]:
    """The ``[data]`` settings that are not the defaults, as ``key=value``."""
    found = []
    for setting in all_settings().values():
        value = value_of(config, setting.key)
        if setting.table == "data" and value != setting.default:
            text = str(value).lower() if setting.kind is Kind.BOOL else str(value)
            found.append(f"{setting.key}={text}")
    return found


def _one_line(text: str) -> str:
    """A name inside a docstring: nothing in it ends the string or escapes."""
    return "".join(c for c in text if c.isprintable() and c not in '"\\')
