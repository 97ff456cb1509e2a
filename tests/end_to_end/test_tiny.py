"""The demo: the bundled model, as the preset has it, learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from grpo_tui.config.load import load_config
from grpo_tui.runs.reader import RunReader
from tests.engine.support import run_small


@pytest.mark.slow
def test_the_reward_rises(tmp_path: Path) -> None:
    config = load_config(
        preset="tiny",
        overrides=["run.steps=40", "eval.every=40", "run.checkpoint_every=40", "model.device=cpu"],
    )
    ended, _ = run_small(config, tmp_path / "run")
    assert ended.reason == "finished"
    with RunReader(tmp_path / "run") as reader:
        history, evals = reader.history(), reader.evals()
    rewards = [metrics.reward_mean for metrics in history]
    assert np.mean(rewards[-5:]) > np.mean(rewards[:5]) + 0.15
    assert history[0].kl_ref == 0.0
    assert history[-1].kl_ref is not None
    assert 0.0 < history[-1].kl_ref < 1.0
    assert all(np.isfinite(metrics.loss) and np.isfinite(metrics.grad_norm) for metrics in history)
    # Held-out problems gain as well: more than chance, by the intervals of the two evaluations.
    first, last = evals
    assert last.accuracy > first.accuracy + 0.05
