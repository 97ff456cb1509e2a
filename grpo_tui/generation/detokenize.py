"""From token ids to text, and where in the text each token begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from grpo_tui.events.records import IntArray


def decode_with_offsets(tokenizer: Any, token_ids: Sequence[int]) -> tuple[str, IntArray]:
    """The text without special tokens, and each token's character offset in it.

    A token that holds part of a character begins where the character does; a special token has the offset of
    what follows it. Offsets never decrease.
    """
    ids = [int(i) for i in token_ids]
    text = tokenizer.decode(ids, skip_special_tokens=True)
    offsets = _streamed(tokenizer, ids, text)
    if offsets is None:
        offsets = _by_prefix(tokenizer, ids, text)
    return text, np.array(offsets, dtype=np.int32)


class Unfolding:
    """The text of a completion while it grows. Each token is decoded once, where the tokenizer can do that."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._backend = getattr(tokenizer, "backend_tokenizer", None)
        self._stream: Any = None
        self._taken = 0
        self.text = ""
        """Decoded so far, without special tokens; an unfinished character is held back."""

    def follow(self, token_ids: Sequence[int]) -> str:
        """Take a completion's tokens from its first on, those of the last call and any that came since."""
        if len(token_ids) < self._taken:
            self._stream, self._taken, self.text = None, 0, ""
        new = token_ids[self._taken :]
        if self._backend is None or not self._step(new):
            self._backend = None
            self.text = self._tokenizer.decode(list(token_ids), skip_special_tokens=True).rstrip("\ufffd")
        self._taken = len(token_ids)
        return self.text

    def _step(self, new: Sequence[int]) -> bool:
        """Decode what is new; False where the library cannot."""
        from tokenizers.decoders import DecodeStream

        if self._stream is None:
            self._stream = DecodeStream(skip_special_tokens=True)
        try:
            self.text += "".join(self._stream.step(self._backend, token) or "" for token in new)
        except Exception:  # a plain Exception, where bytes that are no character come before a whole one
            return False
        return True


def _streamed(tokenizer: Any, ids: list[int], text: str) -> list[int] | None:
    """Offsets through the tokenizer library's incremental decoder; None where it tells another text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    from tokenizers.decoders import DecodeStream

    stream = DecodeStream(skip_special_tokens=True)
    offsets: list[int] = []
    done = 0
    pieces: list[str] = []
    for token in ids:
        offsets.append(done)
        try:
            piece = stream.step(backend, token)
        except Exception:  # a plain Exception, where bytes that are no character come before a whole one
            return None
        if piece:
            pieces.append(piece)
            done += len(piece)
    joined = "".join(pieces)
    # An unfinished character at the end is held back by the stream and shown as U+FFFD by decode.
    return offsets if text.startswith(joined) else None


def _by_prefix(tokenizer: Any, ids: list[int], text: str) -> list[int]:
    """Offsets by decoding every prefix: slow, right for any tokenizer."""
    offsets: list[int] = []
    for i in range(len(ids)):
        prefix = tokenizer.decode(ids[:i], skip_special_tokens=True).rstrip("\ufffd")
        offsets.append(max(offsets[-1] if offsets else 0, min(len(prefix), len(text))))
    return offsets
