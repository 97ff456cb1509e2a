"""What to do about an error: one line for the person, by the error's kind."""

from __future__ import annotations

USER_ERRORS = ("ConfigError", "DataError", "PolicyError", "UnknownRewardError")
"""Errors that the user mends in the command or config: exit code 2."""


def advice_for(error: BaseException) -> str:
    """One line saying what to do."""
    kind, text = type(error).__name__, str(error).lower()
    if kind == "OutOfMemoryError" or "out of memory" in text or isinstance(error, MemoryError):
        return (
            "out of memory: lower optim.max_tokens_per_microbatch or sampling.max_completion_tokens, or set "
            "optim.gradient_checkpointing=true, then resume"
        )
    if isinstance(error, FloatingPointError):
        return "numbers overflowed: lower optim.lr, or set model.dtype=fp32, then resume"
    if kind == "RunFileError":
        return "mend what the message names; nothing up to the last saved step is lost"
    if kind in USER_ERRORS:
        return "change the command or the config and start again"
    return "the traceback is in the log; retry takes the step again from its start"


def one_line(error: BaseException) -> str:
    """The error's message on one line, or its kind where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
