"""The terminal's clipboard by OSC 52: bounded, wrapped for tmux, and never confirmed by anybody."""

from __future__ import annotations

import base64

LIMIT = 74_994
"""Characters of base64 that terminals take at least (hterm and xterm cut at 100,000 of the whole sequence or less)."""


def osc52(text: str, *, in_tmux: bool) -> str | None:
    """The sequence that asks a terminal to put a text into its clipboard; None where it is too long.

    Inside tmux it is sent twice: plain, which tmux takes with ``set-clipboard on``, and wrapped so that tmux hands it
    through to the terminal with ``allow-passthrough on``.
    """
    encoded = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
    if len(encoded) > LIMIT:
        return None
    sequence = f"\x1b]52;c;{encoded}\x07"
    if not in_tmux:
        return sequence
    return sequence + "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
