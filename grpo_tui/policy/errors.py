"""Errors of loading a model that the user can mend, and those of a twin that a model does not fit."""


class PolicyError(ValueError):
    """A model cannot be loaded or adapted. The message is one line: what, where, what to do."""


UNFIT = (ValueError, TypeError, RuntimeError, AttributeError)
"""What comes out of a twin of a model that is not of the kind which the twin was written for."""


def one_line(error: Exception) -> str:
    """What it says, on one line and not too long."""
    return " ".join(str(error).split())[:200]
