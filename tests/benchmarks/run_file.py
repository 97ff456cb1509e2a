"""What the run file costs as it grows: ``python -m tests.benchmarks.run_file``.

Runs of 10² to 10⁵ completions, made of random tokens and written event by event as the engine does: milliseconds a step at the
end, opening the file, going to a step, its whole history, and bytes on disk.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from grpo_tui.events.records import CompletionRecord, GroupRecord, ProblemRecord
from grpo_tui.events.types import (
    AdvantagesComputed,
    Event,
    GroupSampled,
    GroupScored,
    StepFinished,
    StepStarted,
)
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.writer import RunWriter
from rewards.base import Explanation, Score, Verdict
from tests.benchmarks.tables import command_line, markdown, parser_of, publish
from tests.events.builders import metrics, opening

GROUPS, SIZE, TOKENS = 8, 8, 128
WORDS = [
    "so",
    "the",
    "number",
    "of",
    "apples",
    "left",
    "is",
    "then",
    "twice",
    "what",
    "she",
    "had",
    "and",
    "we",
    "get",
    "to",
    "add",
    "seven",
    "more",
    "of",
    "them",
]


def step_events(step: int) -> list[Event]:
    """A step of 8 groups of 8 completions of 128 tokens, which compress as real ones do: hardly."""
    rng = np.random.default_rng(step)
    clock = float(step)
    events: list[Event] = [StepStarted(time=clock, step=step)]
    for index in range(GROUPS):
        number = int(rng.integers(0, 5000))
        problem = ProblemRecord(
            id=f"{number}", question=f"What is {number}?", prompt=f"What is {number}?", answer="1"
        )
        completions = tuple(_completion(rng, place) for place in range(SIZE))
        events.append(
            GroupSampled(
                time=clock,
                step=step,
                group=GroupRecord(index=index, problem=problem, completions=completions),
            )
        )
        rewards = tuple(float(rng.integers(0, 2)) for _ in range(SIZE))
        scores = tuple({"math": _score(reward)} for reward in rewards)
        events.append(
            GroupScored(time=clock, step=step, group_index=index, rewards_G=rewards, scores_G=scores)
        )
    advantages = tuple(tuple(rng.normal(size=SIZE).tolist()) for _ in range(GROUPS))
    events.append(AdvantagesComputed(time=clock, step=step, advantages_P_G=advantages))
    events.append(StepFinished(time=clock, metrics=metrics(step)))
    return events


def _completion(rng: np.random.Generator, place: int) -> CompletionRecord:
    return CompletionRecord(
        index=place,
        text=" ".join(rng.choice(WORDS, TOKENS).tolist()),
        finish_reason="stop",
        token_ids_T=rng.integers(0, 49_000, TOKENS).astype(np.int32),
        token_offsets_T=np.arange(TOKENS, dtype=np.int32) * 5,
        logprobs_T=-rng.exponential(size=TOKENS).astype(np.float32),
        entropies_T=rng.exponential(size=TOKENS).astype(np.float32),
    )


def _score(reward: float) -> Score:
    verdict = Verdict.CORRECT if reward else Verdict.WRONG
    return Score(
        value=reward, verdict=verdict, explanation=Explanation(sentence="read from the last sentence")
    )


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(num_completions: int, folder: Path) -> tuple[object, ...]:
    """A row of the table."""
    steps = max(2, num_completions // (GROUPS * SIZE))
    taken = []
    with RunWriter.create(folder, "") as writer:
        for event in opening():
            writer.write(event)
        for step in range(1, steps + 1):
            events = step_events(step)
            started = time.perf_counter()
            for event in events:
                writer.write(event)
            taken.append(time.perf_counter() - started)
        started = time.perf_counter()
    closing = time.perf_counter() - started
    size = sum(path.stat().st_size for path in folder.iterdir())
    readers: list[RunReader] = []
    opened = seconds_of(lambda: readers.append(RunReader(folder)))
    with readers[0] as reader:
        load = statistics.median(
            seconds_of(partial(reader.load_step, step)) for step in (1, steps // 2 or 1, steps)
        )
        history = seconds_of(reader.history)
        whole = seconds_of(reader.load_state)
    last = taken[-20:]
    return (
        f"{steps * GROUPS * SIZE:,}", f"{statistics.median(last) * 1e3:.1f}", f"{max(last) * 1e3:.1f}",
        f"{closing * 1e3:.0f}", f"{opened * 1e3:.1f}", f"{load * 1e3:.1f}", f"{history * 1e3:.0f}", f"{whole * 1e3:.0f}",
        f"{size / 1e6:.1f}", f"{size / (steps * GROUPS * SIZE):,.0f}",
    )  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table."""
    arguments = parser_of(__doc__).parse_args(argv)
    powers = (2,) if arguments.quick else (2, 3, 4, 5)
    rows = []
    for power in powers:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(10**power, Path(folder) / "run"))
    head = (
        "completions", "ms a step, median of last 20", "max", "close, ms", "open, ms", "load_step, ms",
        "history, ms", "load_state, ms", "MB", "bytes a completion",
    )  # fmt: skip
    publish(
        f"The run file: steps of {GROUPS} × {SIZE} completions of {TOKENS} tokens",
        command_line("run_file", arguments),
        [markdown(head, rows)],
        [],
        record=arguments.record,
    )


if __name__ == "__main__":
    main()
