"""Small random models, built from a configuration on the spot: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from grpo_tui.config.schema import ModelConfig
from grpo_tui.generation.trusted import left_pad
from grpo_tui.generation.types import SampledTokens, SampleRequest
from grpo_tui.ops.masking import completion_mask
from grpo_tui.policy.loading import _add_adapter
from grpo_tui.policy.policy import Policy, TokenBatch

VOCAB = 61
EOS = 1
PAD = 0
PEFT_NOISE = "ignore:.*is_gradient_checkpointing.*:FutureWarning"
"""peft reads an attribute that transformers has deprecated; the engine silences it likewise."""


@dataclass(frozen=True)
class StubTokenizer:
    """What the policy asks of a tokenizer when no text is involved."""

    eos_token_id: int = EOS
    pad_token_id: int | None = PAD


WIDE = {"hidden_size": 96, "head_dim": 32, "intermediate_size": 80}
"""Shapes that a GPU's kernels take: heads of at least 32 numbers, and sizes that fill no whole number of blocks."""


def config_of(name: str) -> Any:
    """A two-layer configuration of an architecture; windows are shorter than the tests' sequences; ``_wide`` for :data:`WIDE`."""
    import transformers

    common: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 128,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "bos_token_id": None,
    }
    grouped = {**common, "num_key_value_heads": 2}
    gpt2 = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
    ids = {"eos_token_id": EOS, "pad_token_id": PAD, "bos_token_id": EOS}
    gemma = {**grouped, "head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 8}
    softcaps = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
    opt = {**common, "ffn_dim": 48, "word_embed_proj_dim": 32, "bos_token_id": EOS}
    bloom = {"vocab_size": VOCAB, "hidden_size": 32, "n_layer": 2, "n_head": 4, **ids}
    makers: dict[str, tuple[str, dict[str, Any]]] = {
        "llama": ("LlamaConfig", grouped),
        "llama_biased": ("LlamaConfig", {**grouped, "attention_bias": True, "mlp_bias": True}),
        "qwen2": ("Qwen2Config", grouped),
        "qwen2_window": (
            "Qwen2Config",
            {**grouped, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
        ),
        "qwen3": ("Qwen3Config", {**grouped, "head_dim": 8}),
        "mistral": ("MistralConfig", {**grouped, "sliding_window": None}),
        "mistral_window": ("MistralConfig", {**grouped, "sliding_window": 6}),
        "gemma2": ("Gemma2Config", {**gemma, **softcaps}),
        "gemma3": ("Gemma3TextConfig", gemma),
        "phi3": ("Phi3Config", grouped),
        "phi3_window": ("Phi3Config", {**grouped, "sliding_window": 6}),
        "gpt2": ("GPT2Config", {**gpt2, **ids}),
        "gpt_neox": ("GPTNeoXConfig", common),
        "opt": ("OPTConfig", opt),
        "bloom": ("BloomConfig", bloom),
        "smollm3": ("SmolLM3Config", grouped),
    }
    wide = name.removesuffix("_wide")
    class_name, settings = makers[wide]
    if wide != name:
        settings = {**settings, **WIDE}
    return getattr(transformers, class_name)(**settings)


ARCHITECTURES = [
    "llama",
    "llama_biased",
    "qwen2",
    "qwen2_window",
    "qwen3",
    "mistral_window",
    "gemma2",
    "gemma3",
    "phi3",
    "phi3_window",
    "gpt2",
    "gpt_neox",
    "opt",
    "bloom",
    "smollm3",
]


def base_model(name: str = "llama", *, scale: float = 0.3, seed: int = 0) -> Any:
    """A model whose logits differ enough between tokens and positions to show a mistake."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config_of(name)).float()
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, scale)
        elif name.endswith("proj.bias") and model.config.model_type in ("llama", "qwen2"):
            parameter.data.normal_(0, scale)  # they begin at 0, where nobody would miss them
    return model.requires_grad_(False)


def tiny_policy(
    name: str = "llama",
    *,
    scale: float = 0.3,
    adapter_noise: float = 0.1,
    rank: int = 4,
    dropout: float = 0.0,
    targets: tuple[str, ...] = ("all-linear",),
) -> Policy:
    """A policy over :func:`base_model`; with ``adapter_noise`` 0 the adapter is as it is when fresh."""
    settings = ModelConfig(source=name, lora_rank=rank, lora_dropout=dropout, lora_targets=targets)
    policy = Policy(
        model=_add_adapter(base_model(name, scale=scale), settings, 0),
        tokenizer=StubTokenizer(),
        device=torch.device("cpu"),
        source=name,
    )
    if adapter_noise:
        torch.manual_seed(1)
        for parameter in policy.trainable_parameters().values():
            parameter.data.normal_(0, adapter_noise)
    return policy


def on_cuda(policy: Policy) -> Policy:
    """The same policy, moved to the GPU."""
    policy.model.to("cuda")
    policy.device = torch.device("cuda")
    return policy


def batch_of(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    *,
    pad_id: int = PAD,
    extra_left: int = 0,
    extra_right: int = 0,
) -> TokenBatch:
    """Prompts and completions in one rectangle, with more padding than needed if asked."""
    prompt_ids, prompt_mask = left_pad(prompts, pad_id, torch.device("cpu"))
    prompt_ids = torch.nn.functional.pad(prompt_ids, (extra_left, 0), value=pad_id)
    prompt_mask = torch.nn.functional.pad(prompt_mask, (extra_left, 0), value=False)
    lengths = torch.tensor([len(c) for c in completions])
    width = int(lengths.max()) + extra_right
    ids = torch.tensor([list(c) + [pad_id] * (width - len(c)) for c in completions])
    return TokenBatch(
        prompt_ids_B_P=prompt_ids,
        prompt_mask_B_P=prompt_mask,
        completion_ids_B_T=ids,
        completion_mask_B_T=completion_mask(lengths, width),
    )


def batch_from_samples(requests: Sequence[SampleRequest], samples: Sequence[SampledTokens]) -> TokenBatch:
    """What was sampled, as the update would feed it."""
    return batch_of([r.prompt_ids for r in requests], [s.token_ids_T.tolist() for s in samples])
