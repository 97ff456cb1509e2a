"""Running out of memory: smaller microbatches and once more, instead of the end of the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from grpo_tui.engine.rows import Row
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.types import Notice

_T = TypeVar("_T")


def with_room(
    trainer: Trainer,
    where: str,
    rows: Sequence[Row],
    attempt: Callable[[], _T],
    undo: Callable[[], None] = lambda: None,
) -> _T:
    """Run ``attempt``; where memory runs out, halve the microbatches and run it again, down to one row at a time.

    Args:
        trainer: whose microbatches. They stay smaller for the rest of the session, and that is told.
        where: the phase, for the notice.
        rows: what goes through the model: below the longest of them nothing can be halved.
        attempt: begins anew each time it is called.
        undo: takes back what an attempt did that ran out of memory.

    Raises:
        torch.OutOfMemoryError: not even one row fits.
    """
    longest = max(row.total_length for row in rows)
    while True:
        try:
            return attempt()
        except torch.OutOfMemoryError as error:
            trouble = str(error)
        # Outside the handler: the exception holds the frames, they hold the tensors, and undoing needs room too.
        if trainer.policy.device.type == "cuda":
            torch.cuda.empty_cache()
        undo()
        if trainer.ahead.wait():  # what was drawn beside has let its memory go: once more without it
            continue
        before = trainer.microbatch_tokens
        if before <= longest:
            raise torch.OutOfMemoryError(trouble)
        trainer.microbatch_tokens = max(longest, min(before, _total(rows)) // 2)
        message = (
            f"out of memory in {where}: taking it again with microbatches of {trainer.microbatch_tokens} tokens "
            f"instead of {before}; set optim.max_tokens_per_microbatch to start so"
        )
        trainer.emit(Notice(time=time.time(), level="warning", message=message, source="memory"))


def _total(rows: Sequence[Row]) -> int:
    """Padded tokens of all rows in one rectangle."""
    return len(rows) * (max(len(r.prompt_ids) for r in rows) + max(r.num_tokens for r in rows))
