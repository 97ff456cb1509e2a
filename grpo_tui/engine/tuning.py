"""Settings that change while a run runs: checked as a whole, saved first, in force from the start of a step, told.

**A step is computed under one config.** A request comes between two phases. Where nothing of the step in progress has
read any of the settings asked for, they count in this step, as if it had begun with them; else all of them wait for
the next. So a step that is retried repeats itself, and a run that is resumed goes on like one that was never
interrupted: what it began with (``config.toml``) and the changes in its run file are its config in every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grpo_tui.config.changes import differences, with_changes, with_texts
from grpo_tui.config.emit import to_toml
from grpo_tui.config.schema import RunConfig
from grpo_tui.config.tuning import READ_FIRST, Reading, refusal
from grpo_tui.config.validate import warnings_for
from grpo_tui.engine.paths import anchored
from grpo_tui.engine.rewarding import differs_by_more_than_weights, make_reward
from grpo_tui.events.commands import ChangeSettings, UndoSettings
from grpo_tui.events.records import PHASES, Phase, SettingChange
from grpo_tui.events.settings import in_force, last_undoable
from grpo_tui.events.types import Notice, SettingsChanged
from rewards.compose import WeightedReward

if TYPE_CHECKING:
    from grpo_tui.engine.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Waiting:
    """A config that takes over when a step begins."""

    config: RunConfig
    step: int
    reward: WeightedReward | None = None
    """Its reward, where that has other components."""


@dataclass(slots=True)
class Tuning:
    """What a trainer knows of changes, and what the session around it offers. From Python alone, nothing is saved."""

    changes: list[SettingsChanged] = field(default_factory=list)
    """Made so far, oldest first."""
    waiting: Waiting | None = None
    begun: Callable[[], Collection[Phase]] = tuple
    """Phases of the step in progress that have begun."""
    save: Callable[[], None] = lambda: None
    """Makes sure that the state of the last finished step is on disk."""


def change_settings(trainer: Trainer, request: ChangeSettings) -> None:
    """Handle :class:`~grpo_tui.events.commands.ChangeSettings`.

    Raises:
        ValueError: the changes cannot be made; nothing changed.
    """
    _adopt(trainer, anchored(with_changes(newest(trainer), request.changes)))


def undo_settings(trainer: Trainer, _request: UndoSettings) -> None:
    """Handle :class:`~grpo_tui.events.commands.UndoSettings`.

    Raises:
        ValueError: there is nothing to take back, or it cannot be; nothing changed.
    """
    last = last_undoable(trainer.tuning.changes)
    if last is None:
        raise ValueError("there is no change of settings to take back")
    back = with_texts(newest(trainer), [(change.key, change.old) for change in last.changes])
    _adopt(trainer, back, undoes=last.number)


def newest(trainer: Trainer) -> RunConfig:
    """The config with everything that was asked for, in force already or waiting."""
    waiting = trainer.tuning.waiting
    return waiting.config if waiting is not None else trainer.config


def take_what_waits(trainer: Trainer, step: int) -> None:
    """Let a config that waits for this step take over. Called when the step begins."""
    waiting = trainer.tuning.waiting
    if waiting is not None and waiting.step <= step:
        trainer.tuning.waiting = None
        trainer.reconfigure(waiting.config, waiting.reward)


def replay_changes(
    trainer: Trainer,
    changes: Sequence[SettingsChanged],
    finished_steps: int,
    began_with: RunConfig | None = None,
) -> None:
    """Bring a trainer under the settings that its run stood under after some steps.

    Args:
        trainer: loaded as its run began, or under any other settings of it.
        changes: those made on the run's line, oldest first.
        finished_steps: where it stands.
        began_with: the config without them; None: the trainer's.

    Raises:
        ValueError: a change cannot be made any more.
    """
    former, trainer.tuning.waiting = trainer.tuning.waiting, None
    if former is not None:
        _close(trainer, former.reward)
    trainer.tuning.changes = list(changes)
    now = in_force(changes, finished_steps + 1)
    config = replayed(began_with or trainer.config, now)
    if config != trainer.config:
        trainer.reconfigure(config, _other_reward(trainer, config))
    later = replayed(config, changes[len(now) :])
    if later != config:
        _put(trainer, later, finished_steps + 2, _other_reward(trainer, later))


def replayed(config: RunConfig, changes: Sequence[SettingsChanged]) -> RunConfig:
    """A config with recorded changes laid over it.

    Raises:
        ValueError: a setting is not known any more, or does not take its value.
    """
    for event in changes:
        config = with_texts(config, [(change.key, change.new) for change in event.changes])
    return config


def _adopt(trainer: Trainer, wanted: RunConfig, undoes: int = 0) -> None:
    """Check a config, save, put it in force or in wait, and tell."""
    now, tuning = newest(trainer), trainer.tuning
    found = differences(now, wanted)
    if not found:
        raise ValueError("nothing changes: the settings have these values already")
    reason = refusal(now, wanted) or _no_room(trainer, now, wanted)
    if reason:
        raise ValueError(reason)
    step = trainer.finished_steps + (2 if _must_wait(trainer, [key for key, _, _ in found]) else 1)
    # Before anything changes: both may fail.
    reward = _other_reward(trainer, wanted)
    try:
        tuning.save()
    except BaseException:
        _close(trainer, reward)
        raise
    _put(trainer, wanted, step, reward)
    take_what_waits(trainer, trainer.finished_steps + 1)
    trainer.history.leave_later_steps(trainer)
    event = SettingsChanged(
        time=time.time(),
        number=max((change.number for change in tuning.changes), default=0) + 1,
        step=step,
        finished_steps=trainer.finished_steps,
        changes=tuple(SettingChange(key=key, old=old, new=new) for key, old, new in found),
        config_toml=to_toml(wanted),
        undoes=undoes,
        branch=trainer.history.branch,
    )
    trainer.history.changes.append(event)
    tuning.changes.append(event)
    trainer.emit(event)
    known = set(warnings_for(now))
    for line in warnings_for(wanted):
        if line not in known:
            trainer.emit(Notice(time=time.time(), level="warning", message=line, source="config"))


def _must_wait(trainer: Trainer, keys: Sequence[str]) -> bool:
    """Whether the step in progress has read one of these settings, or an earlier change waits for its end."""
    begun = trainer.tuning.begun()
    if not begun:
        return False
    if trainer.tuning.waiting is not None:
        return True
    last = max(PHASES.index(phase) for phase in begun)
    return any(
        READ_FIRST[key] is not Reading.BETWEEN and PHASES.index(Phase(READ_FIRST[key])) <= last
        for key in keys
    )


def _no_room(trainer: Trainer, old: RunConfig, new: RunConfig) -> str:
    """Why what was loaded does not serve another config; empty where it does."""
    if new.eval.every and not old.eval.every and not trainer.held_out:
        return (
            "eval.every cannot change while the run runs: no held-out problems were loaded when it started, "
            "because eval.every was 0"
        )
    longest = max(len(prompt.token_ids) for prompt in (*trainer.prompts, *trainer.held_out))
    context = trainer.policy.context_length
    tokens = new.sampling.max_completion_tokens
    if tokens > old.sampling.max_completion_tokens and longest + tokens > context:
        return (
            f"sampling.max_completion_tokens: {tokens} do not fit behind the longest prompt ({longest} tokens) in the "
            f"model's context of {context}; use at most {context - longest}"
        )
    return ""


def _other_reward(trainer: Trainer, wanted: RunConfig) -> WeightedReward | None:
    """A reward with other components than the present one's, where the config has such."""
    if not differs_by_more_than_weights(trainer.config, wanted):
        return None
    waiting = trainer.tuning.waiting
    if waiting is not None and not differs_by_more_than_weights(waiting.config, wanted):
        return waiting.reward
    return make_reward(wanted)


def _put(trainer: Trainer, config: RunConfig, step: int, reward: WeightedReward | None) -> None:
    """Let a config wait for a step, in the place of one that waits already."""
    former = trainer.tuning.waiting
    trainer.tuning.waiting = Waiting(config, step, reward)
    if former is not None and former.reward is not reward:
        _close(trainer, former.reward)


def _close(trainer: Trainer, reward: WeightedReward | None) -> None:
    """Close a reward that is not to be used, unless it is."""
    waiting = trainer.tuning.waiting
    if reward is not None and (waiting is None or waiting.reward is not reward):
        reward.close()
