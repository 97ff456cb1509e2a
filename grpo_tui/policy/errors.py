"""Errors of loading a model that the user can mend."""


class PolicyError(ValueError):
    """A model cannot be loaded or adapted. The message is one line: what, where, what to do."""
