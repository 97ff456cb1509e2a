"""A long run on disk, made in seconds: ``python -m tests.support.long_run DIR [steps]``.

Every row is what :class:`grpo_tui.runs.writer.RunWriter` stores, made by its own functions; only the order of work
differs (one transaction, and arrays drawn from a pool, since their contents do not matter to a reader).
"""

from __future__ import annotations

import random
import sqlite3
import sys
from pathlib import Path
from typing import Any

import numpy as np

from grpo_tui.config.emit import to_toml
from grpo_tui.config.presets import PRESETS
from grpo_tui.events import codec
from grpo_tui.events.records import (
    PHASES,
    CompletionRecord,
    Phase,
    ProblemRecord,
    StepMetrics,
    UpdateReport,
)
from grpo_tui.events.types import (
    CheckpointSaved,
    Event,
    PhaseFinished,
    PhaseStarted,
    RunEnded,
    RunStarted,
    StepStarted,
)
from grpo_tui.runs.schema import CONFIG, DATABASE, problem_digest
from grpo_tui.runs.writer import RunWriter, _completion_row
from rewards.base import Explanation, Score, Span, Verdict

T0 = 1_760_000_000.0
NUM_PROBLEMS = 500
POOL = 256
MODULES = tuple(
    f"layers.{layer}.{part}"
    for layer in range(30)
    for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
)
WORDS = [
    "so",
    "we",
    "add",
    "both",
    "numbers",
    "then",
    "carry",
    "the",
    "one",
    "and",
    "check",
    "again",
    "by",
    "subtracting",
    "which",
    "gives",
    "that",
    "many",
    "apples",
    "each",
    "day",
    "over",
    "two",
    "weeks",
    "therefore",
    "total",
    "half",
    "of",
    "them",
    "remain",
    "fraction",
    "reduce",
    "multiply",
    "divide",
    "seven",
    "eleven",
]


def write_long_run(
    run_dir: Path, *, steps: int = 2000, num_groups: int = 8, group_size: int = 8, num_tokens: int = 96
) -> None:
    """Write a finished run. A step has ``num_groups`` × ``group_size`` answers of about ``num_tokens`` tokens."""
    config = to_toml(PRESETS["tiny"]())
    with RunWriter.create(run_dir, config) as writer:
        writer.write(
            RunStarted(
                time=T0,
                run_dir=str(run_dir),
                name="long",
                total_steps=steps,
                finished_steps=0,
                config_toml=config,
            )
        )
    connection = sqlite3.connect(run_dir / DATABASE, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    _Filler(connection, num_groups, group_size, num_tokens).fill(steps)
    connection.execute("COMMIT")
    connection.close()
    with RunWriter.open(run_dir) as writer:
        writer.write(RunEnded(time=T0 + 10.0 * steps, reason="finished", finished_steps=steps))
    (run_dir / CONFIG).write_text(config, encoding="utf-8")


class _Filler:
    """Fills the tables of one run."""

    def __init__(
        self, connection: sqlite3.Connection, num_groups: int, group_size: int, num_tokens: int
    ) -> None:
        self._db = connection
        self._num_groups, self._group_size = num_groups, group_size
        self._rng = random.Random(1)
        generator = np.random.default_rng(1)
        self._pool = [_completion(generator, num_tokens) for _ in range(POOL)]
        self._rows = [_completion_row(0, 0, completion) for completion in self._pool]

    def fill(self, steps: int) -> None:
        """Problems, then steps with their groups, answers and events, then the index."""
        self._problems()
        group_id = 0
        for step in range(1, steps + 1):
            groups: list[tuple[Any, ...]] = []
            answers: list[tuple[Any, ...]] = []
            for index in range(self._num_groups):
                group_id += 1
                problem = (step * self._num_groups + index) % NUM_PROBLEMS + 1
                groups.append((group_id, step, index, problem, "{}"))
                answers += [self._answer(group_id, place, step, problem) for place in range(self._group_size)]
            self._db.execute(
                "INSERT INTO steps VALUES (?, 0, ?, 1, ?, ?, ?)",
                (
                    step,
                    step,
                    T0 + 10 * step,
                    T0 + 10 * step + 9,
                    _metrics(step, self._num_groups * self._group_size),
                ),
            )
            self._db.executemany("INSERT INTO groups VALUES (?, ?, ?, ?, ?)", groups)
            self._db.executemany(
                "INSERT INTO completions (group_id, idx, text, finish_reason, num_tokens, reward, advantage, verdict, "
                "record, arrays, measured, kl_ref, entropy) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)",
                answers,
            )
            self._events(step)
        self._db.execute(
            "INSERT INTO completions_fts (rowid, text) SELECT id, text FROM completions ORDER BY id"
        )
        self._db.execute(
            "INSERT INTO problems_fts (rowid, prompt, answer) SELECT id, prompt, answer FROM problems"
        )

    def _problems(self) -> None:
        for number in range(1, NUM_PROBLEMS + 1):
            problem = _problem(number)
            record = codec.to_json(codec.encode_record(problem)[0])
            self._db.execute(
                "INSERT INTO problems VALUES (?, ?, ?, ?, ?, ?)",
                (number, problem_digest(record), problem.id, problem.prompt, problem.answer, record),
            )

    def _answer(self, group_id: int, place: int, step: int, problem: int) -> tuple[Any, ...]:
        _, _, text, finish, size, reward, advantage, verdict, record, *rest = self._rng.choice(self._rows)
        rare = " zebra" if step % 97 == 0 and place == 3 else ""
        return (
            group_id, place, f"{text}{rare} n{problem}", finish, size, reward, advantage, verdict,
            record.replace('"index":0', f'"index":{place}', 1), *rest,
        )  # fmt: skip

    def _events(self, step: int) -> None:
        at = T0 + 10 * step
        rows = [_row(StepStarted(time=at, step=step), step)]
        for phase in PHASES:
            rows.append(_row(PhaseStarted(time=at, step=step, phase=phase), step))
            if phase is Phase.SAMPLE:
                rows += [(at, "GroupSampled", step, step, str(index)) for index in range(self._num_groups)]
            elif phase is Phase.SCORE:
                rows += [(at, "GroupScored", step, step, str(index)) for index in range(self._num_groups)]
            elif phase is Phase.ADVANTAGES:
                rows.append((at, "AdvantagesComputed", step, step, ""))
            elif phase is Phase.REFERENCE:
                rows.append((at, "ReferenceComputed", step, step, ""))
            rows.append(_row(PhaseFinished(time=at, step=step, phase=phase, seconds=1.3), step))
        rows.append((at, "StepFinished", step, step, ""))
        if step % 20 == 0:
            path = f"checkpoints/step-{step:06d}"
            rows.append(_row(CheckpointSaved(time=at, step=step, path=path, num_bytes=1_900_000), None))
            self._db.execute("INSERT INTO checkpoints VALUES (0, ?, ?, ?, ?)", (step, at, path, 1_900_000))
        self._db.executemany(
            "INSERT INTO events (time, type, step, step_id, payload) VALUES (?, ?, ?, ?, ?)", rows
        )


def _row(event: Event, step_id: int | None) -> tuple[Any, ...]:
    """An event whose data is nowhere else."""
    data, _ = codec.encode(event)
    kind = data.pop("type")
    return (event.time, kind, getattr(event, "step", None), step_id, codec.to_json(data))


def _problem(number: int) -> ProblemRecord:
    question = f"What fraction of {number} apples is left after {number % 7 + 1} days, if one in three is eaten a day?"
    return ProblemRecord(
        id=f"long-{number:04d}",
        question=question,
        prompt=f"Question: {question}\nAnswer with \\boxed{{...}}.\nAnswer:",
        answer=str(number % 23),
        num_prompt_tokens=40,
    )


def _completion(rng: np.random.Generator, num_tokens: int) -> CompletionRecord:
    size = int(rng.integers(num_tokens // 2, num_tokens * 3 // 2))
    words = [WORDS[place] for place in rng.integers(0, len(WORDS), size - 1)]
    right = bool(rng.random() < 0.5)
    answer = str(int(rng.integers(0, 23)))
    text = " ".join(words)
    explanation = Explanation(
        sentence=f"The answer {answer} was found in a box and {'is' if right else 'is not'} the gold answer.",
        span=Span(0, 4),
        source="boxed",
        strict=right,
        lenient=right,
        answer_text=answer,
        normalized_text=answer,
        parsed_answer=f"integer {answer}",
        gold_text="12",
        normalized_gold="12",
        parsed_gold="integer 12",
        rule="same number" if right else "different number",
        elapsed_ms=0.5,
        stage_ms={"extract": 0.3, "read": 0.1, "compare": 0.1},
        version="grpo-tui math 2",
    )
    verdict = Verdict.CORRECT if right else Verdict.WRONG
    tokens = rng.random((5, size), dtype=np.float32)
    return CompletionRecord(
        index=0,
        text=f"{text} \\boxed{{{answer}}}",
        finish_reason="stop" if rng.random() < 0.9 else "length",
        token_ids_T=rng.integers(0, 49152, size, dtype=np.int32),
        token_offsets_T=np.cumsum([0, *(len(word) + 1 for word in words)], dtype=np.int32),
        logprobs_T=-tokens[0],
        entropies_T=tokens[1],
        kl_ref_T=tokens[2] * np.float32(0.05),
        reward=float(right),
        scores={"math": Score(value=float(right), verdict=verdict, explanation=explanation)},
        advantage=0.9 if right else -0.9,
        weight_T=tokens[3],
        ratio_T=tokens[4],
    )


def _metrics(step: int, num_completions: int) -> str:
    share = step / (step + 300)
    metrics = StepMetrics(
        step=step,
        reward_mean=share,
        reward_std=0.45,
        group_std_mean=0.4,
        accuracy=share,
        component_means={"math": share},
        verdict_counts={"correct": int(share * num_completions), "wrong": int((1 - share) * num_completions)},
        advantage_abs_mean=0.7,
        kl_ref=0.03 * share,
        kl_old=0.0,
        entropy=1.4 - share,
        loss=0.01,
        policy_loss=0.009,
        kl_loss=0.001,
        grad_norm=0.9,
        clip_fraction=0.01,
        learning_rate=1e-5,
        num_optimizer_steps=1,
        update_skipped="",
        num_completions=num_completions,
        num_completion_tokens=num_completions * 96,
        num_degenerate_groups=step % 4,
        num_truncated=3,
        mean_length=96.0 - step % 17,
        seconds=9.0,
        seconds_by_phase={str(phase): 1.3 for phase in PHASES},
        tokens_per_second=700.0,
        peak_memory_bytes=1 << 30,
        state_hash=f"{step:064x}",
        accuracy_lenient=share,
        update=UpdateReport(
            grad_norm_by_module={name: 0.01 + place / 10_000 for place, name in enumerate(MODULES)},
            advantage_std=0.9,
            push_up=0.4,
            push_down=-0.4,
            kl_step=0.0003,
        ),
    )
    return codec.to_json(codec.encode_record(metrics)[0])


if __name__ == "__main__":
    write_long_run(Path(sys.argv[1]), steps=int(sys.argv[2]) if len(sys.argv) > 2 else 2000)
