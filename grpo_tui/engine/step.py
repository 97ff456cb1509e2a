"""One step of GRPO, as seven calls. Between any two, and inside each, the engine can be held.

prompts ─▶ groups ─▶ rewards ─▶ advantages ─▶ rows (ℓʳ, ℓ°) ─▶ new weights ─▶ metrics
             ▲          │
             └──────────┘  again where groups grow (adaptive group size) or are replaced (dynamic sampling)

Where the next step is drawn ahead (:mod:`grpo_tui.engine.ahead`), that begins once this one's groups are there.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from grpo_tui.engine.advantages import add_advantages
from grpo_tui.engine.batch import emit_kl_ref, prepare_batch
from grpo_tui.engine.control import Gate
from grpo_tui.engine.growth import plan_next_round
from grpo_tui.engine.in_progress import StepInProgress, keep_what_still_holds
from grpo_tui.engine.metrics import measure_step
from grpo_tui.engine.probes import read_probes
from grpo_tui.engine.profiling import profiled
from grpo_tui.engine.receipt import emit_receipt, predictions, remember_update
from grpo_tui.engine.report import emit_token_weights
from grpo_tui.engine.rollout import begin_rollout, next_prompts, sample_groups
from grpo_tui.engine.rows import make_rows
from grpo_tui.engine.scoring import score_groups
from grpo_tui.engine.timing import Tally, begin_tally
from grpo_tui.engine.trainer import Trainer
from grpo_tui.engine.tuning import take_what_waits
from grpo_tui.engine.twins import as_chosen
from grpo_tui.engine.update import update_policy
from grpo_tui.events.records import Phase, StepMetrics
from grpo_tui.events.types import Notice, StepFinished, StepStarted


def run_step(trainer: Trainer, gate: Gate) -> StepMetrics:
    """Sample, judge, and update once. Raises leave the trainer as it was before the step.

    Raises:
        WentElsewhere: a request carried out between two phases went to the end of another step.
    """
    step = trainer.finished_steps + 1
    try:
        with trainer.history.step(trainer), profiled(trainer, gate, step):
            take_what_waits(trainer, step)
            return _run_step(trainer, gate, step)
    except BaseException:
        trainer.ahead.leave()
        raise
    finally:
        trainer.in_progress = None
        trainer.reward.drop_begun()  # of a step that was left


def _run_step(trainer: Trainer, gate: Gate, step: int) -> StepMetrics:
    trainer.tally = begin_tally(trainer.tally, trainer.policy.device)
    trainer.emit(StepStarted(time=time.time(), step=step))
    with gate.phase(step, Phase.PROBLEMS):
        rollout = begin_rollout(trainer, next_prompts(trainer, step))
    now = trainer.in_progress = StepInProgress(step=step, rollout=rollout)
    while rollout.wants_more:
        with gate.phase(step, Phase.SAMPLE):
            sample_groups(trainer, step, rollout, gate)
            trainer.ahead.begin(trainer, step, rollout, gate)
        with gate.phase(step, Phase.SCORE):
            score_groups(trainer, step, rollout, gate)
            plan_next_round(trainer, step, rollout)
    now.judged = tuple(rollout.groups)
    with gate.phase(step, Phase.ADVANTAGES):
        trainer.ahead.begin(trainer, step, rollout, gate, is_complete=True)
        compute_advantages(trainer, now, gate)
    with gate.phase(step, Phase.REFERENCE):
        settle(trainer, now, gate)
        prepare_batch(trainer, step, now.rows, gate)
        now.prepared = True
    with ExitStack() as until_told:
        with gate.phase(step, Phase.UPDATE):
            settle(trainer, now, gate)
            predicted, before = predictions(trainer, now), trainer.policy.adapter_state()
            with_receipt = trainer.config.run.receipts
            until_told.enter_context(as_chosen(trainer, now, gate))
            result = update_policy(trainer, step, now.rows, gate)
        # From here on the weights are new and the step is done, whatever becomes of telling it.
        trainer.finished_steps = step
        trainer.num_sampled_tokens += rollout.num_sampled_tokens
        with gate.telling(step):
            kl_ref = emit_kl_ref(trainer, step, now.rows, exact=not result.skipped)
            emit_token_weights(trainer, step, now.rows)
            metrics = measure_step(
                trainer, step, now.groups, now.rows, rollout, result, kl_ref, gate.seconds_by_phase
            )
            trainer.tally = Tally()
    remember_update(trainer, now, before, predicted, result.skipped, metrics.state_hash)
    if with_receipt and not result.skipped:
        emit_receipt(trainer, step)
    for note in rollout.notes:
        trainer.emit(Notice(time=time.time(), level="info", message=f"step {step}: {note}", source="groups"))
    trainer.last_metrics = metrics
    trainer.emit(StepFinished(time=time.time(), metrics=metrics))
    trainer.history.finished(trainer, metrics.state_hash)
    read_probes(trainer, gate)
    return metrics


def compute_advantages(trainer: Trainer, now: StepInProgress, gate: Gate) -> None:
    """Rows of the groups as they stand, with their advantages."""
    before, now.rows = now.rows, make_rows(trainer, now.rollout.prompts, now.rollout.groups)
    keep_what_still_holds(before, now.rows)
    now.groups = add_advantages(trainer, now.step, now.rollout.groups, now.rows, gate)
    now.changed = False


def settle(trainer: Trainer, now: StepInProgress, gate: Gate) -> None:
    """After an act: advantages and log-probs anew, where the groups are not what they were computed for."""
    if now.changed:
        compute_advantages(trainer, now, gate)
        if now.prepared:
            prepare_batch(trainer, now.step, now.rows, gate)
