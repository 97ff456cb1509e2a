"""Rehearsals: an update taken to see what it would do, and put back to the bit.

Within one, the trainer's weights, moments, random numbers, settings and counts may change at will; at its end all are as
they were. Rows are copies, so that nothing of a rehearsal reaches the update that is then taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from grpo_tui.config.schema import RunConfig
from grpo_tui.engine.advantages import add_advantages
from grpo_tui.engine.batch import prepare_batch
from grpo_tui.engine.control import Gate, HeedingGate, Withdrawn
from grpo_tui.engine.in_progress import StepInProgress, keep_what_still_holds
from grpo_tui.engine.rows import Row, make_rows, split_by_tokens, token_batch
from grpo_tui.engine.timing import Tally
from grpo_tui.engine.trainer import Snapshot, Trainer, set_optimizer
from grpo_tui.events.records import GroupRecord
from grpo_tui.events.types import Event, Notice, Progress

TOKEN_TEXT = 40
"""Longest text of a token that is told, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What a rehearsal works with."""

    trainer: Trainer
    gate: Gate
    snapshot: Snapshot
    """The state to come back to."""

    def back(self) -> None:
        """Put weights, moments and random numbers back, to go on from there."""
        self.trainer.restore(self.snapshot)

    def displacement(self) -> dict[str, Tensor]:
        """How far the adapter stands from where it was, by parameter."""
        parameters = self.trainer.policy.trainable_parameters()
        return {name: p.detach() - self.snapshot.adapter[name] for name, p in parameters.items()}


def before_update(trainer: Trainer, step: int) -> StepInProgress:
    """The step in progress, where it stands between its advantages and its update.

    Raises:
        ValueError: it does not.
    """
    now = trainer.in_progress
    if now is None or now.step != step or trainer.finished_steps >= step:
        raise ValueError(f"step {step} is not in progress: pause before its update, then ask again")
    if not now.rows:
        raise ValueError(f"step {step} has no advantages yet: go on phase by phase up to the update")
    return now


def refuse_ahead(now: StepInProgress) -> None:
    """Leave what supposes that the present weights have drawn the step's answers.

    Raises:
        ValueError: those of one update ago have.
    """
    if any(row.ahead for row in now.rows):
        raise ValueError(
            f"step {now.step} was drawn ahead (sampling.ahead), by the policy before the last update: this is of steps that "
            "the present weights have drawn"
        )


@contextmanager
def rehearsal(trainer: Trainer, what: str, *, heeds: bool = True) -> Iterator[Rehearsal]:
    """Within: whatever is done to the trainer is undone at the end.

    Args:
        trainer: what rehearses.
        what: named in the gauge of progress.
        heeds: leave it where the run is to stop; not where a step that is done waits for its end.

    Raises:
        ValueError: nobody wants it any more.
    """
    snapshot = trainer.snapshot()
    device_rng = torch.cuda.get_rng_state(trainer.policy.device) if _on_cuda(trainer) else None
    emit, report = trainer.emit, trainer.report
    config, baseline, tally = trainer.config, trainer.baseline, trainer.tally

    def quiet(event: Event) -> None:
        if isinstance(event, Notice):
            emit(event)

    def of(progress: Progress) -> None:
        report(replace(progress, of=what))

    trainer.emit, trainer.report, trainer.tally = quiet, of, Tally()
    gate = HeedingGate(trainer.heed if heeds else lambda: None)
    try:
        yield Rehearsal(trainer=trainer, gate=gate, snapshot=snapshot)
    except Withdrawn:
        raise ValueError("it was taken back before it was done") from None
    finally:
        trainer.emit, trainer.report = emit, report
        trainer.config, trainer.baseline, trainer.tally = config, baseline, tally
        trainer.restore(snapshot)
        if device_rng is not None:
            torch.cuda.set_rng_state(device_rng, trainer.policy.device)


def _on_cuda(trainer: Trainer) -> bool:
    return trainer.policy.device.type == "cuda"


@contextmanager
def under(trainer: Trainer, config: RunConfig) -> Iterator[None]:
    """Within: the trainer computes under other settings, which ask for nothing that is not in memory."""
    own = trainer.config
    trainer.config = config
    set_optimizer(trainer.optimizer, config, trainer.optimizer.param_groups[0]["lr"])
    try:
        yield
    finally:
        trainer.config = own
        set_optimizer(trainer.optimizer, own, trainer.optimizer.param_groups[0]["lr"])


def update_config(trainer: Trainer, now: StepInProgress) -> RunConfig:
    """The settings that the step's update is to be taken under."""
    return trainer.config if now.twin is None else now.twin.config


def rows_for_update(
    trainer: Trainer, now: StepInProgress, gate: Gate, groups: Sequence[GroupRecord] | None = None
) -> list[Row]:
    """Rows ready for an update under the trainer's present settings, apart from the step's own. To be called in a rehearsal.

    Args:
        trainer: under whose settings.
        now: the step.
        gate: asked between microbatches.
        groups: another batch of the same prompts than the step's present one.
    """
    groups = now.rollout.groups if groups is None else groups
    rows = make_rows(trainer, now.rollout.prompts, groups)
    add_advantages(trainer, now.step, groups, rows, gate)
    keep_what_still_holds(now.rows, rows)
    prepare_batch(trainer, now.step, rows, gate)
    return rows


def rescore(trainer: Trainer, rows: Sequence[Row], gate: Gate) -> list[Tensor]:
    """ℓ of every row's tokens under the present weights, without dropout, each ``T``; as the update cuts microbatches."""
    found: dict[int, Tensor] = {}
    temperature = trainer.config.sampling.temperature
    place = {id(row): i for i, row in enumerate(rows)}
    for microbatch in split_by_tokens(rows, trainer.microbatch_tokens):
        gate.tick("scoring again")
        with torch.no_grad():
            logprobs_B_T, _ = trainer.policy.logprobs(
                token_batch(microbatch, trainer.policy), temperature, with_entropy=False
            )
        for i, row in enumerate(microbatch):
            found[place[id(row)]] = logprobs_B_T[i, : row.num_tokens].clone()
    return [found[i] for i in range(len(rows))]


def token_text(trainer: Trainer, row: Row, token: int) -> str:
    """The text of one token of a completion, bounded."""
    text: str = trainer.policy.tokenizer.decode([int(row.completion_ids_T[token])])
    return text[:TOKEN_TEXT]


def largest(values: Sequence[Sequence[float]], count: int) -> list[tuple[int, int]]:
    """Row and token of the numbers of greatest size, greatest first."""
    found = [
        (abs(value), place, token) for place, row in enumerate(values) for token, value in enumerate(row)
    ]
    found.sort(reverse=True)
    return [(place, token) for _, place, token in found[:count]]


def norm_of(tensors: dict[str, Tensor]) -> float:
    """Euclidean norm of all of them together."""
    return float(sum(float(t.double().square().sum()) for t in tensors.values()) ** 0.5)


def dot(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Inner product."""
    return float(sum(float((a[name].double() * b[name].double()).sum()) for name in a))
