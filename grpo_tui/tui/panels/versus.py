"""Where two responses to one prompt part: what they share, the token at which they split, and how each goes on."""

from __future__ import annotations

from typing import ClassVar

from textual.geometry import Size

from grpo_tui.events.records import CompletionRecord
from grpo_tui.tui.glyphs import verdict_glyph
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.panels.token import at, probability
from grpo_tui.tui.text import Line, cells, clean, clip, fit, line_width, number, wrapped
from grpo_tui.tui.tokens import first_split, text_before, text_from, token_label
from grpo_tui.tui.view import RunView

SIDE_BY_SIDE = 72
"""Width from which the two stand side by side."""


class VersusPanel(Panel):
    """The selected response against another of its group."""

    TITLE: ClassVar[str] = "Versus"
    HELP: ClassVar[str] = (
        "The selected response against another of its group: the first token at which they differ, how probable each was "
        "there, and how each goes on. D takes the next of the others; those with another reward come first."
    )

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The two responses."""
        return (view.completion, view.counterpart)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """The split and both continuations."""
        mine, theirs = view.completion, view.counterpart
        if mine is None or theirs is None:
            self.set_title("Versus")
            return [(("the group has no other response", "dim"),)], None
        glyph, _ = verdict_glyph(theirs)
        self.set_title(f"r{mine.index + 1} versus r{theirs.index + 1} {glyph}", "D next")
        split = first_split(mine, theirs)
        if split is None:
            return [(("the same tokens throughout", "warn"),)], None
        width = size.width
        head: Line = (
            (f"first split at token {split + 1}", "bold"),
            (f"  after {split} shared" if split else "  nothing is shared", "dim"),
        )
        shared = text_before(mine, split).splitlines()
        tail = clean(shared[-1]) if shared else ""
        lines: list[Line] = [head]
        if tail:
            lines.append((("…", "dim"), (ending(tail, width - 1), "dim")))
        columns = width >= SIDE_BY_SIDE
        half = (width - 3) // 2 if columns else width
        ours, others = (self._continuation(c, split, half) for c in (mine, theirs))
        if not columns:
            room = max(3, (size.height - len(lines)) // 2)
            return [*lines, *_cut(ours, room, half), *others], None
        for row in range(max(len(ours), len(others))):
            left, right = (side[row] if row < len(side) else () for side in (ours, others))
            lines.append((*padded(left, half), (" │ ", "dim"), *padded(right, half)))
        return lines, None

    def _continuation(self, completion: CompletionRecord, split: int, width: int) -> list[Line]:
        glyph, role = verdict_glyph(completion)
        if split < completion.num_tokens:
            text = clip(token_label(completion, split), max(4, width - 24))
            share = probability(at(completion.logprobs_T, split))
        else:
            text, share = "ended here", ""
        head = f"r{completion.index + 1} "
        lines: list[Line] = [
            (
                (head, "bold"),
                (glyph, role),
                (f" {number(completion.reward, 2)}  ", ""),
                (clip(text, max(1, width - 20)), "accent bold"),
                (f" {share}", ""),
            )
        ]
        rest = text_from(completion, split)
        return [*lines, *wrapped(rest, width)] if rest else lines


def padded(line: Line, width: int) -> Line:
    """The same line, ``width`` cells wide; one that is too long loses its end, and its styles."""
    used = line_width(line)
    if used <= width:
        return (*line, (" " * (width - used), ""))
    return ((fit("".join(text for text, _ in line), width), ""),)


def ending(text: str, width: int) -> str:
    """The end of a text, as much as fits into ``width`` cells."""
    start = len(text)
    while start and cells(text[start - 1 :]) <= width:
        start -= 1
    return text[start:]


def _cut(lines: list[Line], room: int, width: int) -> list[Line]:
    """At most ``room`` lines; the last says so if there were more."""
    if len(lines) <= room:
        return lines
    return [*lines[: room - 1], ((fit("…", width), "dim"),)]
