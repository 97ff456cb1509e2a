"""Small reward models with random weights, saved to disk as transformers saves them: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from grpo_tui.data.bundled import TINY_MODEL, bundled_path


def tiny_tokenizer(**changes: Any) -> Any:
    """The bundled tokenizer, with attributes changed."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(bundled_path(TINY_MODEL))
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return tokenizer


def save_reward_model(
    folder: Path, *, num_labels: int = 1, positions: int = 128, seed: int = 3, **tokenizer_changes: Any
) -> Path:
    """A one-layer Llama with a classifying head; weights large enough that different texts differ."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    tokenizer = tiny_tokenizer(**tokenizer_changes)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=positions,
        num_labels=num_labels,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForSequenceClassification(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data.normal_(0, 0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
