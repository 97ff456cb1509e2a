"""Steps of a known size for the benchmarks: every completion runs to the length limit, and rewards always differ."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grpo_tui.config.load import load_config
from grpo_tui.engine.libraries import libraries_to_notices
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.records import StepMetrics
from tests.benchmarks.tables import with_context
from tests.engine.rewarding import HERE as REWARDS_FILE

CONTEXT = 4096


@contextmanager
def trainer_for(model: str, *overrides: str, device: str = "auto", dtype: str = "auto") -> Iterator[Trainer]:
    """A trainer of the bundled problems whose completions never end by themselves."""
    with tempfile.TemporaryDirectory() as folder, libraries_to_notices(lambda _event: None):
        config = load_config(
            preset="tiny",
            overrides=[
                f"model.source={with_context(model, CONTEXT, Path(folder))}",
                f"model.device={device}",
                f"model.dtype={dtype}",
                "sampling.prompts_per_step=1",
                "eval.every=0",
                "reward.canaries=false",
                "reward.weights.math=0",
                f"reward.weights.{REWARDS_FILE}:letters=1",
                "optim.lr=1e-6",
                *overrides,
            ],
        )
        trainer = Trainer.load(config)
        trainer.policy.eos_ids = (-1,)
        try:
            yield trainer
        finally:
            trainer.close()


def measured(trainer: Trainer, steps: int) -> list[StepMetrics]:
    """Some steps, the first left out where there are several: it warms up."""
    taken = list(trainer.steps(steps))
    return taken[1:] if len(taken) > 1 else taken


def phase_seconds(metrics: list[StepMetrics], phase: str) -> float:
    """Median seconds of a phase; of the whole step where ``phase`` is empty."""
    return statistics.median(m.seconds_by_phase.get(phase, 0.0) if phase else m.seconds for m in metrics)
