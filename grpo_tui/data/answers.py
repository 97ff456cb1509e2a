"""Taking the gold final answer out of the column that holds it."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


class NoAnswerError(ValueError):
    """A column that holds no gold answer in the format asked for; the message is a reason to keep it out."""


def answer_text(value: Any) -> str:
    """Return a column's value as text: text and numbers as they are, a list of one as its only item.

    Raises:
        NoAnswerError: the value is empty.
        TypeError: it is of a kind that cannot be an answer; the message names the kind.
    """
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    match value:
        case None:
            raise NoAnswerError("the answer is missing")
        case str():
            if not value.strip():
                raise NoAnswerError("the answer is empty")
            return value
        case bool() | int() | float() | Decimal():
            return str(value)
        case dict():
            raise TypeError("an object")
        case list() | tuple():
            raise TypeError(f"a list of {len(value)}")
        case _:
            raise TypeError(f"a {type(value).__name__}")


def extract_answer(text: str, answer_format: str) -> str:
    """Return the final answer in a column's text.

    Args:
        text: what the column holds.
        answer_format: ``raw``, ``after_hashes`` or ``last_boxed``; see ``data.answer_format``.

    Raises:
        NoAnswerError: the text holds no answer in this format.
    """
    match answer_format:
        case "after_hashes":
            return after_hashes(text)
        case "last_boxed":
            return last_boxed(text)
        case _:
            return text.strip()


def after_hashes(text: str) -> str:
    """Return what follows the last ``####`` on its line, without thousands commas, as GSM8K writes it."""
    _, hashes, rest = text.rpartition("####")
    if not hashes:
        raise NoAnswerError("there is no #### before a final answer")
    lines = rest.strip().splitlines()
    if not lines:
        raise NoAnswerError("nothing follows the ####")
    return _THOUSANDS.sub("", lines[0].strip())


def last_boxed(text: str) -> str:
    r"""Return the content of the last ``\boxed{…}`` (or ``\fbox{…}``) with its braces balanced."""
    boxes = list(re.finditer(r"\\(?:boxed|fbox)(?![A-Za-z])\s*", text))
    if not boxes:
        raise NoAnswerError("there is no \\boxed{} with a final answer")
    start = boxes[-1].end()
    if not text.startswith("{", start):
        # TeX takes a single token where there are no braces: "$\boxed 2$".
        bare = re.match(r"[^\s${}]+", text[start:])
        if bare is None:
            raise NoAnswerError("the last \\boxed holds nothing")
        return bare[0]
    depth = 0
    for found in re.finditer(r"\\.|[{}]", text[start:], re.DOTALL):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0:
            content = text[start + 1 : start + found.start()].strip()
            if not content:
                raise NoAnswerError("the last \\boxed{} is empty")
            return content
    raise NoAnswerError("the braces of the last \\boxed{ do not close")
