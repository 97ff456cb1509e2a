"""grpo-tui: the debugger for reinforcement fine-tuning."""

__version__ = "0.1.0"
