"""To the shell and back with ctrl+z. The process stops as a whole, so the training does too, and that is said."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grpo_tui.tui.app import GrpoApp

NOTE = "grpo-tui is suspended, and the training with it; `fg` continues both"


def suspend(app: GrpoApp) -> None:
    """Give the terminal back, say so, and stop until the shell continues us."""
    driver = app._driver
    if os.name != "posix" or driver is None or not driver.can_suspend:
        app.notify("this terminal cannot be suspended", markup=False)
        return
    with app.suspend():
        stream = sys.__stderr__
        if stream is not None:
            stream.write(f"{NOTE}\r\n")
            stream.flush()
        stop()


def stop() -> None:
    """Stop this process; returns when it is continued. Apart, so that a test can stay awake."""
    os.kill(os.getpid(), signal.SIGSTOP)
