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
from grpo_tui.events import codec
from grpo_tui.events.commands import (
    AnswersForPrompt,
    ChangeSettings,
    CompareLosses,
    DisputeVerdict,
    DrawMore,
    DropPrompt,
    Exclude,
    FindMismatch,
    Fork,
    ForkResponse,
    GoTo,
    InspectCompletion,
    KeepReverified,
    MakeReceipt,
    MeasureFit,
    OverrideReward,
    OverrideVerdict,
    PinProbe,
    Place,
    Play,
    PostponePrompt,
    PreviewUpdate,
    Probe,
    ProfileSteps,
    Redo,
    RemoveBreakpoint,
    Request,
    Reroll,
    RestorePrompt,
    ReverifyAll,
    SetBreakpoint,
    StartAgain,
    TwinUpdate,
    Undo,
    UndoAct,
    UndoSettings,
    UnpinProbe,
    UpdateAs,
)
from grpo_tui.events.types import CommandObeyed, RequestFailed

if TYPE_CHECKING:
    from grpo_tui.engine.trainer import Trainer

HANDLERS: dict[type[Request], str] = {
    InspectCompletion: "grpo_tui.engine.inspection:inspect_completion",
    ChangeSettings: "grpo_tui.engine.tuning:change_settings",
    UndoSettings: "grpo_tui.engine.tuning:undo_settings",
    ProfileSteps: "grpo_tui.engine.profiling:plan_profile",
    Play: "grpo_tui.engine.playground:play",
    PreviewUpdate: "grpo_tui.engine.preview:preview_update",
    CompareLosses: "grpo_tui.engine.what_if:compare_losses",
    MakeReceipt: "grpo_tui.engine.receipt:make_receipt",
    TwinUpdate: "grpo_tui.engine.twins:try_twins",
    UpdateAs: "grpo_tui.engine.twins:choose_update",
    FindMismatch: "grpo_tui.engine.mismatch:find_mismatch",
    Probe: "grpo_tui.engine.probe:probe",
    MeasureFit: "grpo_tui.engine.probe:measure",
    Undo: "grpo_tui.engine.history:undo",
    Redo: "grpo_tui.engine.history:redo",
    GoTo: "grpo_tui.engine.history:go_to",
    Fork: "grpo_tui.engine.history:fork",
    StartAgain: "grpo_tui.engine.history:start_again",
    SetBreakpoint: "grpo_tui.engine.breaking:set_breakpoint",
    RemoveBreakpoint: "grpo_tui.engine.breaking:remove_breakpoint",
    OverrideVerdict: "grpo_tui.engine.acts:override_verdict",
    OverrideReward: "grpo_tui.engine.acts:override_reward",
    Exclude: "grpo_tui.engine.acts:exclude",
    Reroll: "grpo_tui.engine.acts:reroll",
    DrawMore: "grpo_tui.engine.acts:draw_more",
    UndoAct: "grpo_tui.engine.acts:undo_act",
    ForkResponse: "grpo_tui.engine.acts:fork_response",
    PinProbe: "grpo_tui.engine.probes:pin",
    UnpinProbe: "grpo_tui.engine.probes:unpin",
    DropPrompt: "grpo_tui.engine.ordering:drop",
    PostponePrompt: "grpo_tui.engine.ordering:postpone",
    RestorePrompt: "grpo_tui.engine.ordering:restore",
    AnswersForPrompt: "grpo_tui.engine.ordering:answers_for",
    DisputeVerdict: "grpo_tui.engine.disputes:dispute",
    ReverifyAll: "grpo_tui.engine.reverify:reverify_all",
    KeepReverified: "grpo_tui.engine.reverify:keep",
}
"""``module:function`` of each request's handler, imported when it is first asked for."""


def obey(trainer: Trainer, request: Request, place: Place = Place()) -> None:  # noqa: B008
    """Carry out one request, and record it if it can change the course of the run; what goes wrong is told and ends here.

    Raises:
        StopRequested: a Stop came meanwhile.
        WentElsewhere: the trainer stands at the end of another step now.
    """
    from grpo_tui.engine.history import WentElsewhere

    name = type(request).__name__
    try:
        path = HANDLERS.get(type(request))
        if path is None:
            raise ValueError(f"the engine does not know {name}")
        module, _, function = path.partition(":")
        getattr(importlib.import_module(module), function)(trainer, request)
    except StopRequested:
        raise
    except WentElsewhere:
        _record(trainer, request, place)
        raise
    except ValueError as error:
        trainer.emit(RequestFailed(time=time.time(), request=name, message=one_line(error)))
    except Exception as error:
        detail = "".join(traceback.format_exception(error))
        message = f"{type(error).__name__}: {one_line(error)}"
        trainer.emit(RequestFailed(time=time.time(), request=name, message=message, detail=detail))
    else:
        _record(trainer, request, place)


def _record(trainer: Trainer, request: Request, place: Place) -> None:
    if request.changes_course:
        command = codec.to_json(codec.encode_request(request))
        trainer.emit(
            CommandObeyed(
                time=time.time(), command=command, step=place.step, phase=place.phase, visit=place.visit
            )
        )
