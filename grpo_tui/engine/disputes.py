"""Verdict disputes: a verdict that a person says is wrong becomes a case for the verifier's tests. Nothing else changes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from grpo_tui.engine.inspection import recorded_answer
from grpo_tui.events.commands import DisputeVerdict
from grpo_tui.events.types import VerdictDisputed
from grpo_tui.runs.disputes import append, case_of
from grpo_tui.runs.schema import RunFileError

if TYPE_CHECKING:
    from grpo_tui.engine.trainer import Trainer


def dispute(trainer: Trainer, request: DisputeVerdict) -> None:
    """Handle :class:`~grpo_tui.events.commands.DisputeVerdict`.

    Raises:
        ValueError: there is no such answer or verdict, or nowhere to write the case.
    """
    if trainer.run_dir is None:
        raise ValueError("a dispute is kept in the run's folder, and this trainer has none")
    group, answer = recorded_answer(trainer, request.step, request.group, request.completion)
    branch = trainer.history.on_line(trainer.history.branch, request.step).branch
    id = f"{trainer.run_dir.name}-b{branch}-s{request.step}-g{request.group + 1}-r{request.completion + 1}"
    case = case_of(group, answer, request.should_be, request.note, id)
    try:
        path = append(trainer.run_dir, case)
    except RunFileError as error:
        raise ValueError(str(error)) from error
    trainer.emit(
        VerdictDisputed(
            time=time.time(),
            step=request.step,
            branch=branch,
            group=request.group,
            completion=request.completion,
            was=str(answer.verdict.value if answer.verdict else ""),
            should_be=request.should_be,
            case=case.id,
            path=str(path),
            note=request.note,
        )
    )
