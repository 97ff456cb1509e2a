"""Twin updates: one state, one batch, several updates, each measured and taken back; and one of them taken for good."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor

from grpo_tui.config.changes import differences, with_changes
from grpo_tui.config.schema import RunConfig
from grpo_tui.config.tuning import refusal
from grpo_tui.engine.control import Gate
from grpo_tui.engine.evaluate import scores_of
from grpo_tui.engine.in_progress import KeptTwin, StepInProgress
from grpo_tui.engine.kl_probe import KlProbe
from grpo_tui.engine.rehearsal import (
    Rehearsal,
    before_update,
    norm_of,
    rehearsal,
    rescore,
    rows_for_update,
    under,
)
from grpo_tui.engine.trainer import Prompt, Trainer
from grpo_tui.engine.update import update_policy
from grpo_tui.events.commands import TwinUpdate, UpdateAs
from grpo_tui.events.types import TwinComputed, UpdateChosen
from grpo_tui.events.update_records import LossChoice, TwinComparison, TwinResult
from grpo_tui.generation.types import TokenTick
from rewards.base import Verdict

TABLES = ("algorithm.", "critic.", "trust_region.", "optim.")
"""Settings that an update by itself can be taken under: the batch was sampled and judged already."""
SAMPLED_WITH = ("resample_tries", "overlong_penalty")
"""What an algorithm's row sets that a batch at hand was drawn and paid with."""
MAX_TWINS = 24


def try_twins(trainer: Trainer, request: TwinUpdate) -> None:
    """Handle :class:`~grpo_tui.events.commands.TwinUpdate`.

    Raises:
        ValueError: the step does not stand before its update, or there is nothing to try.
    """
    trainer.emit(
        TwinComputed(
            time=time.time(),
            comparison=compute_twins(trainer, request.step, request.choices, request.num_probes),
        )
    )


def compute_twins(
    trainer: Trainer, step: int, choices: Sequence[LossChoice], num_probes: int = 0
) -> TwinComparison:
    """Take the step's update under each choice, measure, and take it back.

    Raises:
        ValueError: the step does not stand before its update, or there is nothing to try.
    """
    now = before_update(trainer, step)
    if not 1 <= len(choices) <= MAX_TWINS:
        raise ValueError(f"{len(choices)} updates to try: name 1 to {MAX_TWINS}")
    started = time.perf_counter()
    right = {
        (group.index, completion.index): completion.verdict is Verdict.CORRECT
        for group in now.rollout.groups
        for completion in group.completions
    }
    with rehearsal(trainer, "twins") as stage:
        rows = rows_for_update(trainer, now, stage.gate)
        before = rescore(trainer, rows, stage.gate)
        probe = KlProbe(trainer, step, rows)
        probes = trainer.held_out[: max(0, num_probes)]
        correct_before = _num_correct(stage, probes) if probes else None
        correct = [right[row.group, row.index] for row in rows]
        results = tuple(_try(stage, now, choice, before, correct, probe, probes) for choice in choices)
    return TwinComparison(
        step=step,
        results=results,
        num_right=sum(right.values()),
        num_wrong=len(right) - sum(right.values()),
        kl_positions=probe.num_positions,
        num_probes=len(probes),
        correct_before=correct_before,
        kept=now.twin.choice.name if now.twin is not None else "",
        seconds=time.perf_counter() - started,
    )


def _try(
    stage: Rehearsal,
    now: StepInProgress,
    choice: LossChoice,
    before: Sequence[Tensor],
    right: Sequence[bool],
    probe: KlProbe,
    probes: Sequence[Prompt],
) -> TwinResult:
    trainer = stage.trainer
    try:
        config = config_of(trainer.config, choice)
    except ValueError as error:
        return TwinResult(choice=choice, unavailable=str(error))
    with under(trainer, config):
        rows = rows_for_update(trainer, now, stage.gate)
        result = update_policy(trainer, now.step, rows, stage.gate)
        kl = probe.measure()
        moved = [
            float((new.double() - old.double()).sum())
            for new, old in zip(rescore(trainer, rows, stage.gate), before, strict=True)
        ]
        step_norm = norm_of(stage.displacement())
        num_correct = _num_correct(stage, probes) if probes else None
    stage.back()
    wanted = [
        ((row.advantage > 0) - (row.advantage < 0)) * delta
        for row, delta in zip(rows, moved, strict=True)
        if row.trains and row.advantage
    ]
    return TwinResult(
        choice=choice,
        kl=kl,
        right=_mean([delta for delta, is_right in zip(moved, right, strict=True) if is_right]),
        wrong=_mean([delta for delta, is_right in zip(moved, right, strict=True) if not is_right]),
        num_as_wanted=sum(move > 0 for move in wanted),
        num_wanted=len(wanted),
        grad_norm=result.grad_norms[0] if result.grad_norms else 0.0,
        step_norm=step_norm,
        num_correct=num_correct,
        skipped=result.skipped,
    )


def choose_update(trainer: Trainer, request: UpdateAs) -> None:
    """Handle :class:`~grpo_tui.events.commands.UpdateAs`.

    Raises:
        ValueError: the step does not stand before its update, or its batch does not serve such settings.
    """
    now = before_update(trainer, request.step)
    choice = request.choice
    if not choice.changes:
        if now.twin is None:
            raise ValueError(f"update {request.step} is taken under the run's own settings already")
        now.twin = None
    else:
        now.twin = KeptTwin(choice=choice, config=config_of(trainer.config, choice))
    trainer.emit(UpdateChosen(time=time.time(), step=request.step, choice=choice))


@contextmanager
def as_chosen(trainer: Trainer, now: StepInProgress, gate: Gate) -> Iterator[None]:
    """Within: the step goes on under the settings of the twin that was kept for it, if one was."""
    from grpo_tui.engine.step import settle

    if now.twin is None:
        yield
        return
    with under(trainer, now.twin.config):
        now.changed = True
        settle(trainer, now, gate)
        yield


def config_of(config: RunConfig, choice: LossChoice) -> RunConfig:
    """The run's settings with a choice laid over them, for the update of a batch that is there already.

    Raises:
        ValueError: a setting is of another kind, cannot be used, or cannot change in a running run.
    """
    for key, _ in choice.changes:
        if not key.startswith(TABLES) and key != "groups.mask_truncated":
            raise ValueError(
                f"{key} has nothing to say in an update: the batch is sampled and judged already"
            )
    changed = with_changes(config, choice.changes)
    own = {name: getattr(config.groups, name) for name in SAMPLED_WITH}
    changed = replace(changed, groups=replace(changed.groups, **own))
    if differences(config, changed):
        reason = refusal(config, changed)
        if reason:
            raise ValueError(reason)
    return changed


def _num_correct(stage: Rehearsal, prompts: Sequence[Prompt]) -> int:
    """Problems whose greedy answer is judged right."""

    def on_token(_tick: TokenTick) -> None:
        stage.gate.tick("answering probes")

    scores = scores_of(stage.trainer, prompts, "twin", 0.0, on_token)
    return sum(score.verdict is Verdict.CORRECT for score in scores)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
