"""A model's facts as its files tell them."""

from __future__ import annotations

from grpo_tui.config.local_models import ModelShape

SMOLLM2 = ModelShape(
    num_parameters=134_515_008,
    hidden_size=576,
    num_layers=30,
    num_heads=9,
    num_kv_heads=3,
    head_size=64,
    intermediate_size=1536,
    vocab_size=49152,
    context_length=8192,
)
"""SmolLM2-135M."""
