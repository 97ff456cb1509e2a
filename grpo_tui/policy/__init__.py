"""The policy: a causal language model with a LoRA adapter, its reference (adapter off), and its checkpoints."""
