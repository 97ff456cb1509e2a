"""Plain notation → tokens. Knows no grammar; refuses text that looks like code."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rewards.reading.values import LimitExceeded, Unreadable

MAX_CHARS = 1_500
MAX_TOKENS = 600
MAX_DIGITS = 400
MAX_SCIENTIFIC_EXPONENT = 400


@dataclass(frozen=True, slots=True)
class Token:
    """One token: ``kind`` is ``number``, ``name``, ``command`` or ``sign``."""

    kind: str
    text: str
    after_space: bool = False


_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>(?:(?P<grouped>[1-9]\d{0,2}(?:,\d{3})+(?!\d)(?!,\d))|\d+)(?:\.\d+)?|\.\d+)"
    r"(?P<exponent>[eE][+-]?\d+(?![\d.A-Za-z]))?"
    r"|(?P<command>\\[A-Za-z]+|\\[{}|])"
    r"|(?P<name>[A-Za-z]+)"
    r"|(?P<sign>\*\*|<=|>=|!=|[-+*/^_=<>!%|(){}\[\],:])"
)
_CODE = re.compile(
    r"__|(?<![\w')}])'|'\{|(?<!'\d)(?<!'\d\d)(?<!'\s\d)(?<!'\s\d\d)\"|[`@#]|(?<!\\);|(?<!\\)\blambda\b|\bimport\b|\beval\b|\bexec\b|\bgetattr\b|\\(?:input|write|include|def)"
)
_OPENING = frozenset(("(", "[", "\\{"))
_CLOSING = frozenset((")", "]", "\\}"))


def tokenize(text: str) -> list[Token]:
    """Split ``text`` into tokens.

    Raises:
        LimitExceeded: the text, a number or the list of tokens is too long.
        Unreadable: a character has no meaning here, or the text looks like code.
    """
    refuse_code(text)
    tokens: list[Token] = []
    position, depth, after_space = 0, 0, False
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise Unreadable(f"unexpected character {text[position]!r}")
        position = found.end()
        if found["space"]:
            after_space = True
            continue
        if found["grouped"] and depth > 0:
            # Inside brackets a comma separates items: (1,234) is a pair.
            first = found["grouped"].split(",", 1)[0]
            position = found.start() + len(first)
            token = Token("number", first, after_space)
        else:
            token = _token(found, after_space)
        depth += (token.text in _OPENING) - (token.text in _CLOSING)
        tokens.append(token)
        after_space = False
        if len(tokens) > MAX_TOKENS:
            raise LimitExceeded(f"more than {MAX_TOKENS} tokens")
    return tokens


def refuse_code(text: str) -> None:
    """Raise if ``text`` is too long or is shaped like program code rather than mathematics."""
    if len(text) > MAX_CHARS:
        raise LimitExceeded(f"longer than {MAX_CHARS} characters")
    code = _CODE.search(text)
    if code:
        raise Unreadable(f"{code[0]!r} does not belong in a mathematical answer")


def _token(found: re.Match[str], after_space: bool) -> Token:
    if found["number"]:
        text = found["number"].replace(",", "")
        if len(text) > MAX_DIGITS:
            raise LimitExceeded(f"a number of more than {MAX_DIGITS} digits")
        if found["exponent"]:
            if len(found["exponent"]) > 5 or abs(int(found["exponent"][1:])) > MAX_SCIENTIFIC_EXPONENT:
                raise LimitExceeded("a scientific exponent that is too large")
            text += found["exponent"]
        return Token("number", text, after_space)
    kind = "command" if found["command"] else "name" if found["name"] else "sign"
    return Token(kind, found[0], after_space)
