"""One step of GRPO, as seven calls. Between any two, and inside each, the engine can be held.

prompts ─▶ groups ─▶ rewards ─▶ advantages ─▶ rows (ℓʳ, ℓ°) ─▶ new weights ─▶ metrics
"""

from __future__ import annotations

import time

from grpo_tui.engine.batch import emit_kl_ref, prepare_batch
from grpo_tui.engine.control import Gate
from grpo_tui.engine.metrics import measure_step
from grpo_tui.engine.rollout import next_prompts, sample_groups
from grpo_tui.engine.scoring import add_advantages, score_groups
from grpo_tui.engine.trainer import Trainer
from grpo_tui.engine.update import update_policy
from grpo_tui.events.records import Phase, StepMetrics
from grpo_tui.events.types import StepFinished, StepStarted


def run_step(trainer: Trainer, gate: Gate) -> StepMetrics:
    """Sample, judge, and update once. Raises leave the trainer as it was before the step."""
    step = trainer.finished_steps + 1
    trainer.emit(StepStarted(time=time.time(), step=step))
    with gate.phase(step, Phase.PROBLEMS):
        prompts = next_prompts(trainer, step)
    with gate.phase(step, Phase.SAMPLE):
        groups = sample_groups(trainer, step, prompts, gate)
    with gate.phase(step, Phase.SCORE):
        groups = score_groups(trainer, step, groups, gate)
    with gate.phase(step, Phase.ADVANTAGES):
        groups = add_advantages(trainer, step, groups)
    with gate.phase(step, Phase.REFERENCE):
        rows = prepare_batch(trainer, step, prompts, groups, gate)
    with gate.phase(step, Phase.UPDATE):
        result = update_policy(trainer, step, rows, gate)
    # From here on the weights are new and the step is done, whatever becomes of telling it.
    trainer.finished_steps = step
    with gate.telling(step):
        kl_ref = emit_kl_ref(trainer, step, rows, exact=not result.skipped)
        metrics = measure_step(trainer, step, groups, result, kl_ref, gate.seconds_by_phase)
    trainer.emit(StepFinished(time=time.time(), metrics=metrics))
    return metrics
