"""The one error a wrong setting raises, and the search for what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """A setting that cannot be used, said in one line: where it stands, what is wrong, what to do.

    Attributes:
        where: the file (with its line where known), ``--set …`` or ``--preset …`` it came from.
        key: the full key, such as ``optim.lr``; empty where the trouble is not with one key.
        message: what is wrong and what to do about it.
    """

    def __init__(self, where: str, key: str, message: str) -> None:
        # All three reach the base class, so that the error survives pickling.
        super().__init__(where, key, message)
        self.where = where
        self.key = key
        self.message = message

    def __str__(self) -> str:
        return one_line(": ".join(part for part in (self.where, self.key, self.message) if part))


def one_line(text: str) -> str:
    """Return the text with every run of white space made one blank, so that it prints as one line."""
    return " ".join(text.split())


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word closest to a mistyped one, None where nothing comes close."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    found = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def quoted_list(words: Iterable[str]) -> str:
    """Return the words as ``'a', 'b' or 'c'``."""
    quoted = [f"'{word}'" for word in words]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
