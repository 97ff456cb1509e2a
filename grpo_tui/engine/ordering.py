"""What a person decides about single problems: leave one out, put it off, take it back, sample more answers for it.

Each decision is an event with the step it counts from, so the order stays a function of seed, step and what the run
file holds: a resumed run, a branch and a replayed script come to the same prompts (:mod:`grpo_tui.events.order`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from grpo_tui.events.commands import AnswersForPrompt, DropPrompt, PostponePrompt, RestorePrompt
from grpo_tui.events.order import ANSWERS, DROP, POSTPONE, RESTORE, PromptPlan, on_line, plan_for
from grpo_tui.events.types import OrderChanged

if TYPE_CHECKING:
    from grpo_tui.engine.trainer import Trainer

MAX_ANSWERS = 1024


def plan_of(trainer: Trainer, step: int) -> PromptPlan:
    """What was decided about single problems, as it counts in a step that the trainer is in or before."""
    if not trainer.order_changes:
        return PromptPlan()
    history = trainer.history
    here = on_line(trainer.order_changes, history.tree, history.branch, trainer.finished_steps)
    return plan_for(here, step)


def drop(trainer: Trainer, request: DropPrompt) -> None:
    """Handle :class:`~grpo_tui.events.commands.DropPrompt`.

    Raises:
        ValueError: it cannot be left out; nothing changed.
    """
    step = _first_step(trainer)
    if plan_of(trainer, step).away.get(request.problem_id) == 0:
        raise ValueError(f"problem {request.problem_id} is dropped already")
    _check_enough_left(trainer, request.problem_id, step)
    _change(trainer, DROP, request.problem_id)


def postpone(trainer: Trainer, request: PostponePrompt) -> None:
    """Handle :class:`~grpo_tui.events.commands.PostponePrompt`.

    Raises:
        ValueError: it cannot be left out; nothing changed.
    """
    if request.steps < 1:
        raise ValueError(f"a problem can be put off by at least 1 step, not {request.steps}")
    step = _first_step(trainer)
    _check_enough_left(trainer, request.problem_id, step)
    _change(trainer, POSTPONE, request.problem_id, until=step + request.steps)


def restore(trainer: Trainer, request: RestorePrompt) -> None:
    """Handle :class:`~grpo_tui.events.commands.RestorePrompt`.

    Raises:
        ValueError: it is as it was already.
    """
    plan = plan_of(trainer, _first_step(trainer))
    if request.problem_id not in plan.away and request.problem_id not in plan.group_sizes:
        raise ValueError(f"problem {request.problem_id} is as it was: neither left out nor with more answers")
    _change(trainer, RESTORE, request.problem_id)


def answers_for(trainer: Trainer, request: AnswersForPrompt) -> None:
    """Handle :class:`~grpo_tui.events.commands.AnswersForPrompt`.

    Raises:
        ValueError: so many cannot be sampled; nothing changed.
    """
    if not 2 <= request.group_size <= MAX_ANSWERS:
        raise ValueError(f"a group has 2 to {MAX_ANSWERS} answers, not {request.group_size}")
    _change(trainer, ANSWERS, request.problem_id, group_size=request.group_size)


def _first_step(trainer: Trainer) -> int:
    """The first step whose problems are not chosen yet."""
    return trainer.finished_steps + (2 if trainer.tuning.begun() else 1)


def _check_enough_left(trainer: Trainer, problem_id: str, step: int) -> None:
    """Dropping for good and putting off count alike: a step must never lack problems.

    Raises:
        ValueError: a step could not be filled.
    """
    gone = set(plan_of(trainer, step).away) | {problem_id}
    left = sum(prompt.problem.id not in gone for prompt in trainer.prompts)
    wanted = min(trainer.config.sampling.prompts_per_step, len(trainer.prompts))
    if left < wanted:
        raise ValueError(
            f"a step has {wanted} prompts and only {left} problems would be left; restore another one first"
        )


def _change(trainer: Trainer, what: str, problem_id: str, *, until: int = 0, group_size: int = 0) -> None:
    known = next((prompt for prompt in trainer.prompts if prompt.problem.id == problem_id), None)
    if known is None:
        raise ValueError(f"problem {problem_id!r:.80} is not among those that this run trains on")
    trainer.history.leave_later_steps(trainer)
    event = OrderChanged(
        time=time.time(),
        what=what,
        problem_id=problem_id,
        question=known.problem.question,
        step=_first_step(trainer),
        finished_steps=trainer.finished_steps,
        branch=trainer.history.branch,
        until=until,
        group_size=group_size,
    )
    trainer.order_changes.append(event)
    trainer.emit(event)
