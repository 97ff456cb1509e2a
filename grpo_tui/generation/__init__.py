"""Sampling: from prompts to completions with the log-probs and entropies they were drawn at."""
