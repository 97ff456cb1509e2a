"""Whole configs that work together, each a function that returns one.

A preset for a data set of the hub also serves a local copy of it: ``data.source=…/train.jsonl`` keeps the
columns and the answer format, and as a file has no splits, ``data.eval_fraction`` is held out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from grpo_tui.config.schema import (
    AlgorithmConfig,
    CriticConfig,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimConfig,
    RewardConfig,
    RunConfig,
    RunSettings,
    SamplingConfig,
)

SMALL_ENGLISH = "HuggingFaceTB/SmolLM2-135M-Instruct"
SMALL_BILINGUAL = "Qwen/Qwen2.5-0.5B-Instruct"
WORKSTATION_MODEL = "Qwen/Qwen2.5-1.5B-Instruct"

BOXED_ENGLISH = "{prompt}\n\nReason step by step, and put your final answer in \\boxed{}."
BOXED_CHINESE = "{prompt}\n\n请一步一步推理，并把最终答案写在 \\boxed{} 里。"


def tiny() -> RunConfig:
    """Return the demo: a bundled model learns arithmetic on a CPU in minutes, with nothing to download."""
    return RunConfig(
        model=ModelConfig(source="tiny"),
        data=DataConfig(source="tiny", eval_fraction=0.1),
        sampling=SamplingConfig(prompts_per_step=8, group_size=8, max_completion_tokens=64),
        reward=RewardConfig(weights={"math": 1.0}),
        algorithm=AlgorithmConfig(beta=0.04),
        optim=OptimConfig(lr=1e-3),
        critic=CriticConfig(value_lr=1e-3),
        eval=EvalConfig(every=10, num_problems=200),
        run=RunSettings(steps=40),
    )


def gsm8k() -> RunConfig:
    """Return grade-school word problems in English; the gold answer follows ``####``."""
    return RunConfig(
        model=ModelConfig(source=SMALL_ENGLISH),
        data=DataConfig(
            source="openai/gsm8k",
            subset="main",
            eval_fraction=0.05,
            prompt_field="question",
            answer_field="answer",
            answer_format="after_hashes",
            prompt_template=BOXED_ENGLISH,
        ),
        sampling=SamplingConfig(max_completion_tokens=320),
        optim=OptimConfig(lr=2e-5),
        eval=EvalConfig(every=20, num_problems=128),
        run=RunSettings(steps=200),
    )


def math() -> RunConfig:
    """Return competition problems; trained on 12,000 of them, held out is MATH-500."""
    return RunConfig(
        model=ModelConfig(source=SMALL_BILINGUAL),
        data=DataConfig(
            source="nlile/hendrycks-MATH-benchmark",
            eval_fraction=0.05,
            prompt_field="problem",
            answer_field="solution",
            id_field="unique_id",
            answer_format="last_boxed",
            prompt_template=BOXED_ENGLISH,
        ),
        sampling=SamplingConfig(max_completion_tokens=512),
        optim=OptimConfig(lr=2e-5),
        eval=EvalConfig(every=20, num_problems=128),
        run=RunSettings(steps=200),
    )


def cmath() -> RunConfig:
    """Return primary-school word problems in Chinese; the hub's 600 for development are trained on."""
    return RunConfig(
        model=ModelConfig(source=SMALL_BILINGUAL),
        data=DataConfig(
            source="weitianwen/cmath",
            split="validation",
            eval_split="test",
            eval_fraction=0.2,
            prompt_field="input",
            answer_field="golden",
            prompt_template=BOXED_CHINESE,
        ),
        sampling=SamplingConfig(max_completion_tokens=320),
        optim=OptimConfig(lr=2e-5),
        eval=EvalConfig(every=20, num_problems=100),
        run=RunSettings(steps=200),
    )


def deepseekmath() -> RunConfig:
    """Return GRPO with the numbers of DeepSeekMath (arXiv 2402.03300, section 4.2).

    Learning rate 1e-6, β 0.04, 64 answers a question, up to 1,024 tokens, batches of 1,024 answers, one update after
    each exploration. Theirs trains a whole 7B model on 144,000 questions of GSM8K and MATH; this lays a LoRA adapter over
    it, at which 1e-6 moves very little: ``workstation`` has numbers for that.
    """
    return RunConfig(
        model=ModelConfig(source="deepseek-ai/deepseek-math-7b-instruct", lora_rank=64, lora_alpha=64.0),
        data=gsm8k().data,
        sampling=SamplingConfig(prompts_per_step=16, group_size=64, max_completion_tokens=1024),
        algorithm=AlgorithmConfig(beta=0.04),
        optim=OptimConfig(lr=1e-6),
        eval=EvalConfig(every=20, num_problems=128),
        run=RunSettings(steps=200),
    )


def workstation() -> RunConfig:
    """Return the same method sized for LoRA on one workstation GPU.

    An adapter wants a learning rate some 20 to 100 times that of full fine-tuning, and with 8 answers instead of 64 the
    group's mean is noisier, so fewer, larger steps: 16 prompts, 8 answers, 512 tokens.
    """
    return RunConfig(
        model=ModelConfig(source=WORKSTATION_MODEL, lora_rank=32, lora_alpha=64.0),
        data=gsm8k().data,
        sampling=SamplingConfig(prompts_per_step=16, group_size=8, max_completion_tokens=512),
        algorithm=AlgorithmConfig(beta=0.04),
        optim=OptimConfig(lr=2e-5, warmup_steps=5),
        eval=EvalConfig(every=20, num_problems=128),
        run=RunSettings(steps=200),
    )


PRESETS: Mapping[str, Callable[[], RunConfig]] = MappingProxyType(
    {
        "tiny": tiny,
        "gsm8k": gsm8k,
        "math": math,
        "cmath": cmath,
        "deepseekmath": deepseekmath,
        "workstation": workstation,
    }
)

PRESET_DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "tiny": "arithmetic with the bundled tiny model; CPU, minutes, nothing to download",
        "gsm8k": "GSM8K, grade-school word problems in English",
        "math": "MATH, competition problems; held out is MATH-500",
        "cmath": "CMATH, primary-school word problems in Chinese",
        "deepseekmath": "GSM8K with the published numbers: 64 answers, 1,024 tokens, lr 1e-6, a 7B model",
        "workstation": "GSM8K with LoRA numbers for one GPU: 8 answers, 512 tokens, lr 2e-5, a 1.5B model",
    }
)
