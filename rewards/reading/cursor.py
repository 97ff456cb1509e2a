"""A position in a list of tokens, with the limits that keep what is built from it small."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.reading.tokens import Token
from rewards.reading.values import LimitExceeded, Unreadable
from rewards.trees.names import IGNORED
from rewards.trees.tree import Node

MAX_DEPTH = 48
MAX_NODES = 512
END = Token("end", "")
_OPENING = frozenset(("(", "[", "{", "\\{"))
_CLOSING = frozenset((")", "]", "}", "\\}"))


class Cursor:
    """Tokens, the position in them, and the depth and size of the tree so far."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = [t for t in tokens if t.kind != "command" or t.text[1:] not in IGNORED]
        self.position = 0
        self.depth = 0
        self.nodes = 0

    def peek(self, ahead: int = 0) -> Token:
        """The next token, or the one ``ahead`` of it, or the end mark."""
        index = self.position + ahead
        return self.tokens[index] if index < len(self.tokens) else END

    def take(self) -> Token:
        """Consume and return the next token."""
        token = self.peek()
        self.position += 1
        return token

    def push(self, token: Token) -> None:
        """Put ``token`` in front of what is left."""
        self.tokens.insert(self.position, token)

    def accept(self, text: str) -> bool:
        """Consume ``text`` if it comes next."""
        if self.peek().text != text:
            return False
        self.position += 1
        return True

    def expect(self, text: str) -> None:
        """Consume ``text`` or fail."""
        token = self.take()
        if token.text != text:
            raise Unreadable(f"{text!r} is missing")

    def group(self) -> list[Token]:
        """Consume ``{…}`` or one token, and return the tokens inside."""
        first = self.take()
        if first is END:
            raise Unreadable("a command lacks its argument")
        if first.text not in ("{", "("):
            return [first]
        inside = self.until_closed()
        self.position += 1
        return inside

    def until_closed(self) -> list[Token]:
        """Consume up to the bracket that closes the current one, and return what was passed. Leaves the bracket."""
        start, depth = self.position, 0
        while True:
            token = self.peek()
            if token is END:
                raise Unreadable("a bracket is not closed")
            if token.text in _CLOSING:
                if depth == 0:
                    return self.tokens[start : self.position]
                depth -= 1
            depth += token.text in _OPENING
            self.position += 1

    def enter(self) -> None:
        """Count one level of nesting."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise LimitExceeded(f"nested deeper than {MAX_DEPTH}")

    def node(self, node: Node) -> Node:
        """Count one node of the tree."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise LimitExceeded(f"more than {MAX_NODES} parts")
        return node
