"""A reward model trained from the verified answers of recorded runs: ``grpo-tui train-reward``."""
