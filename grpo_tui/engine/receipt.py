"""Receipts: after an update, did each answer's probability move the way its advantage asked?

One pass over the step's completions under the new weights, against the log-probs that the update's own first pass took
under the old ones. Where those are not to the digit comparable (dropout, bf16), the old ones are taken again in the same
way as the new, so that what does not move reads as 0.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grpo_tui.engine.control import Gate
from grpo_tui.engine.in_progress import Answer, StepInProgress
from grpo_tui.engine.kl_probe import KlProbe
from grpo_tui.engine.rehearsal import largest, rehearsal, rescore, token_text, update_config
from grpo_tui.engine.rows import Row
from grpo_tui.engine.seeds import derived_seed
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.commands import MakeReceipt
from grpo_tui.events.types import Notice, ReceiptComputed
from grpo_tui.events.update_records import AnswerMove, TokenMove, UpdateReceipt

TOP_TOKENS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenUpdate:
    """What a receipt needs to know of an update."""

    step: int
    rows: Sequence[Row]
    before: Mapping[str, Tensor]
    """The adapter before it."""
    after_hash: str
    """:meth:`~grpo_tui.engine.trainer.Trainer.state_hash` after it: another state has no receipt of it."""
    skipped: str = ""
    predicted: Mapping[Answer, float]


def remember_update(
    trainer: Trainer,
    now: StepInProgress,
    before: Mapping[str, Tensor],
    predicted: Mapping[Answer, float],
    skipped: str,
    state_hash: str,
) -> None:
    """Keep what a receipt needs, until the next update."""
    trainer.taken = TakenUpdate(
        step=now.step,
        rows=now.rows,
        before=before,
        after_hash=state_hash,
        skipped=skipped,
        predicted=predicted,
    )


def predictions(trainer: Trainer, now: StepInProgress) -> Mapping[Answer, float]:
    """What a preview said of just the update that is about to be taken."""
    return now.predicted(update_config(trainer, now))


def emit_receipt(trainer: Trainer, step: int) -> None:
    """Tell the receipt of an update that has just been taken; one that does not fit into memory is no reason to fail."""
    try:
        receipt = compute_receipt(trainer, step, automatic=True)
    except torch.OutOfMemoryError:
        message = f"no receipt of update {step}: there is no memory for it; set run.receipts to false"
        trainer.emit(Notice(time=time.time(), level="warning", message=message, source="receipt"))
    else:
        trainer.emit(ReceiptComputed(time=time.time(), receipt=receipt))


def make_receipt(trainer: Trainer, request: MakeReceipt) -> None:
    """Handle :class:`~grpo_tui.events.commands.MakeReceipt`.

    Raises:
        ValueError: the last update is another one, or the weights are not as it left them.
    """
    trainer.emit(ReceiptComputed(time=time.time(), receipt=compute_receipt(trainer, request.step)))


def compute_receipt(trainer: Trainer, step: int, *, automatic: bool = False) -> UpdateReceipt:
    """The receipt of the last update.

    Raises:
        ValueError: the last update is another one, or the weights are not as it left them.
    """
    taken = trainer.taken
    if taken is None or taken.step != step:
        last = f"the last one is of step {taken.step}" if taken is not None else "none was taken yet"
        raise ValueError(f"no receipt of update {step}: only the last update in this session has one; {last}")
    if taken.skipped:
        raise ValueError(f"update {step} moved nothing: {taken.skipped}")
    if not automatic and trainer.state_hash() != taken.after_hash:
        raise ValueError(f"no receipt of update {step}: the weights are not as it left them any more")
    started = time.perf_counter()
    with rehearsal(trainer, "receipt", heeds=not automatic) as stage:
        before, rounding = _old_logprobs(trainer, taken), 0.0
        if before is None:
            with trainer.policy.weights(taken.before):
                before = rescore(trainer, taken.rows, stage.gate)
            rounding = _rounding(trainer, taken, before, stage.gate)
        after = rescore(trainer, taken.rows, stage.gate)
        kl, positions = _kl(trainer, taken)
    moves = [_move(row, old, new, taken) for row, old, new in zip(taken.rows, before, after, strict=True)]
    return UpdateReceipt(
        step=step,
        answers=tuple(sorted(moves, key=lambda move: (not move.wrong_way, -abs(move.realised)))),
        tokens=_tokens(trainer, taken.rows, moves),
        kl=kl,
        kl_positions=positions,
        num_positions=sum(row.num_tokens for row in taken.rows),
        rounding=rounding,
        seconds=time.perf_counter() - started,
        automatic=automatic,
    )


def _old_logprobs(trainer: Trainer, taken: TakenUpdate) -> list[Tensor] | None:
    """Those of the update's first pass; None where a pass of today could not be compared with them."""
    if trainer.config.model.lora_dropout or trainer.policy.dtype is not torch.float32:
        return None
    if trainer.config.algorithm.num_minibatches > 1:  # later minibatches saw moved weights
        return None
    found = [row.first_logprobs_T for row in taken.rows if row.first_logprobs_T is not None]
    return found if len(found) == len(taken.rows) else None


def _rounding(trainer: Trainer, taken: TakenUpdate, before: Sequence[Tensor], gate: Gate) -> float:
    """Mean |Δ log-prob| of an answer under a step of the update's size whose signs are drawn at random."""
    if trainer.policy.dtype is torch.float32:
        return 0.0
    generator = torch.Generator().manual_seed(derived_seed(trainer.config.run.seed, "receipt", taken.step))
    astray = {}
    for name, now in trainer.policy.adapter_state().items():
        signs = torch.randint(2, now.shape, generator=generator).to(now) * 2.0 - 1.0
        astray[name] = taken.before[name] + signs * (now - taken.before[name])
    with trainer.policy.weights(astray):
        moved = rescore(trainer, taken.rows, gate)
    gaps = [abs(float((a.double() - b.double()).sum())) for a, b in zip(moved, before, strict=True)]
    return sum(gaps) / len(gaps)


def _kl(trainer: Trainer, taken: TakenUpdate) -> tuple[float, int]:
    with trainer.policy.weights(taken.before):
        probe = KlProbe(trainer, taken.step, taken.rows)
    return probe.measure(), probe.num_positions


def _move(row: Row, before: Tensor, after: Tensor, taken: TakenUpdate) -> AnswerMove:
    delta_T = (after.double() - before.double()).cpu()
    return AnswerMove(
        group=row.group,
        completion=row.index,
        advantage=row.advantage,
        delta_T=delta_T.float().numpy(),
        realised=float(delta_T.sum()),
        trains=row.trains,
        predicted=taken.predicted.get((row.group, row.index)),
    )


def _tokens(trainer: Trainer, rows: Sequence[Row], moves: Sequence[AnswerMove]) -> tuple[TokenMove, ...]:
    return tuple(
        TokenMove(
            group=rows[place].group,
            completion=rows[place].index,
            token=token,
            text=token_text(trainer, rows[place], token),
            delta=float(moves[place].delta_T[token]),
        )
        for place, token in largest([move.delta_T.tolist() for move in moves], TOP_TOKENS)
    )
