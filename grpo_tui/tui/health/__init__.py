"""Is the run well? Checks over what was measured, each with its evidence and what to do about it. No widgets."""
