"""Requests: what may be asked of a trainer between two phases, and who carries it out.

A handler takes the trainer and the request, and answers by emitting events. It runs on the engine's thread with
the weights at rest. One that cannot do what was asked raises ``ValueError`` with a line for the user.
"""

from __future__ import annotations

import importlib
import time
import traceback
from typing import TYPE_CHECKING

from grpo_tui.engine.advice import one_line
from grpo_tui.engine.control import StopRequested
from grpo_tui.events.commands import (
    ChangeSettings,
    InspectCompletion,
    Play,
    ProfileSteps,
    Request,
    UndoSettings,
)
from grpo_tui.events.types import RequestFailed

if TYPE_CHECKING:
    from grpo_tui.engine.trainer import Trainer

HANDLERS: dict[type[Request], str] = {
    InspectCompletion: "grpo_tui.engine.inspection:inspect_completion",
    ChangeSettings: "grpo_tui.engine.tuning:change_settings",
    UndoSettings: "grpo_tui.engine.tuning:undo_settings",
    ProfileSteps: "grpo_tui.engine.profiling:plan_profile",
    Play: "grpo_tui.engine.playground:play",
}
"""``module:function`` of each request's handler, imported when it is first asked for."""


def obey(trainer: Trainer, request: Request) -> None:
    """Carry out one request; whatever goes wrong is told and ends there."""
    name = type(request).__name__
    try:
        path = HANDLERS.get(type(request))
        if path is None:
            raise ValueError(f"the engine does not know {name}")
        module, _, function = path.partition(":")
        getattr(importlib.import_module(module), function)(trainer, request)
    except StopRequested:
        raise
    except ValueError as error:
        trainer.emit(RequestFailed(time=time.time(), request=name, message=one_line(error)))
    except Exception as error:
        detail = "".join(traceback.format_exception(error))
        message = f"{type(error).__name__}: {one_line(error)}"
        trainer.emit(RequestFailed(time=time.time(), request=name, message=message, detail=detail))
