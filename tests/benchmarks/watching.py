"""What it costs to watch a group being sampled: ``python -m tests.benchmarks.watching``.

The same rollout is drawn with and without a watcher, in pairs whose order alternates; the ratio of a pair is that of its
two times, so that what else the machine does falls on both. The limit is 1.02.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

from grpo_tui.config.load import load_config
from grpo_tui.engine.control import Control, Gate
from grpo_tui.engine.libraries import libraries_to_notices
from grpo_tui.engine.rollout import begin_rollout, next_prompts, sample_groups
from grpo_tui.engine.trainer import Trainer

LIMIT = 1.02


def draw(trainer: Trainer, watched: int | None) -> tuple[float, float]:
    """Seconds to sample the groups of step 1, by the clock and of the CPU."""
    gate = Gate(Control(start_paused=False), trainer.emit)
    rollout = begin_rollout(trainer, next_prompts(trainer, 1))
    trainer.watch.group, trainer.watch.latest = watched, None
    wall, cpu = time.perf_counter(), time.process_time()
    sample_groups(trainer, 1, rollout, gate)
    assert (trainer.watch.latest is not None) == (watched is not None)
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(trainer: Trainer, pairs: int) -> tuple[list[float], list[float]]:
    """Watched over unwatched for each pair: by the clock, and of the CPU, which other processes disturb less."""
    draw(trainer, None)
    wall, cpu = [], []
    for turn in range(pairs):
        order: tuple[int | None, ...] = (None, 0) if turn % 2 else (0, None)
        seconds = {watched: draw(trainer, watched) for watched in order}
        wall.append(seconds[0][0] / seconds[None][0])
        cpu.append(seconds[0][1] / seconds[None][1])
    return wall, cpu


def interval(values: list[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the median."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(2000))
    return medians[50], medians[1949]


def main() -> None:
    """Print the ratio with its interval."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--tokens", type=int, default=96)
    options = parser.parse_args()
    config = load_config(
        preset="tiny",
        overrides=[
            f"model.source={options.model}",
            f"sampling.max_completion_tokens={options.tokens}",
            # Hot, so that responses run long and there is something to watch.
            "sampling.temperature=2",
            "reward.canaries=false",
            "eval.every=0",
        ],
    )
    with libraries_to_notices(lambda _event: None):
        trainer = Trainer.load(config)
        try:
            measured = measure(trainer, options.pairs)
        finally:
            trainer.close()
    for name, ratios in zip(("clock", "CPU"), measured, strict=True):
        low, high = interval(ratios)
        median = statistics.median(ratios)
        print(
            f"watched / unwatched, {name:5}  {median:.4f}  [{low:.4f}, {high:.4f}]  median of {len(ratios)} pairs, "
            f"limit {LIMIT}: {'kept' if median <= LIMIT else 'MISSED'}"
        )


if __name__ == "__main__":
    main()
