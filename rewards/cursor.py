"""A position in a list of tokens, with the limits that keep what is built from it small."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.tokens import Token
from rewards.tree import Node
from rewards.values import LimitExceeded, Unreadable

MAX_DEPTH = 48
MAX_NODES = 512
END = Token("end", "")


class Cursor:
    """Tokens, the position in them, and the depth and size of the tree so far."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = list(tokens)
        self.position = 0
        self.depth = 0
        self.nodes = 0

    def peek(self) -> Token:
        """The next token, or the end mark."""
        return self.tokens[self.position] if self.position < len(self.tokens) else END

    def take(self) -> Token:
        """Consume and return the next token."""
        token = self.peek()
        self.position += 1
        return token

    def push(self, token: Token) -> None:
        """Put ``token`` in front of what is left."""
        self.tokens.insert(self.position, token)

    def expect(self, text: str) -> None:
        """Consume ``text`` or fail."""
        token = self.take()
        if token.text != text:
            raise Unreadable(f"{text!r} is missing")

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
