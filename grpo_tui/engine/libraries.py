"""Keeps the libraries quiet on the terminal and their warnings in the run's log."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from grpo_tui.events.types import Event, Notice

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "warning")
# Reading a .gguf file draws a bar that transformers' own switch does not reach.
os.environ.setdefault("TQDM_DISABLE", "1")


_FORMATTER = logging.Formatter()


class _ToNotices(logging.Handler):
    """Turns log records into notices, each text once."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        super().__init__(logging.WARNING)
        self._emit = emit
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = " ".join(record.getMessage().split())
        if message in self._seen:
            return
        self._seen.add(message)
        level = "error" if record.levelno >= logging.ERROR else "warning"
        detail = _FORMATTER.formatException(record.exc_info) if record.exc_info else ""
        source = record.name.split(".")[0]
        self._emit(Notice(time=time.time(), level=level, message=message, source=source, detail=detail))


@contextmanager
def libraries_to_notices(emit: Callable[[Event], None]) -> Iterator[None]:
    """Within: what libraries log or warn goes to ``emit`` as notices, and none draws a progress bar."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call,unused-ignore]
    transformers_logging.disable_default_handler()  # type: ignore[no-untyped-call,unused-ignore]
    transformers_logging.enable_propagation()  # type: ignore[no-untyped-call,unused-ignore]
    # The hub library retries aloud on a handler of its own; what came of it is said by our own error.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    handler = _ToNotices(emit)
    root = logging.getLogger()
    root.addHandler(handler)
    previous = warnings.showwarning
    warnings.showwarning = _show_in(handler)
    try:
        yield
    finally:
        warnings.showwarning = previous
        root.removeHandler(handler)


def _show_in(handler: _ToNotices) -> Callable[..., None]:
    def show(message: Warning | str, category: type[Warning], *_rest: object, **_more: object) -> None:
        text = f"{category.__name__}: {message}"
        handler.emit(logging.LogRecord("warnings", logging.WARNING, "", 0, text, None, None))

    return show
