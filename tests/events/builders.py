"""Scripted events for the tests of events and run files: a whole run from a seed, nothing random but by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from grpo_tui.events import codec
from grpo_tui.events.fold import reduce
from grpo_tui.events.records import (
    PHASES,
    CompletionRecord,
    DataRecord,
    EvalRecord,
    GroupRecord,
    Mode,
    ModelRecord,
    Phase,
    ProblemRecord,
    StepMetrics,
)
from grpo_tui.events.state import RunState
from grpo_tui.events.types import (
    AdvantagesComputed,
    CheckpointSaved,
    DataLoaded,
    EvalFinished,
    Event,
    GroupSampled,
    GroupScored,
    LoadingStage,
    ModeChanged,
    ModelLoaded,
    PhaseFinished,
    PhaseStarted,
    ReferenceComputed,
    RunEnded,
    RunStarted,
    StepFinished,
    StepStarted,
)
from rewards.base import Explanation, Score, Span, Verdict


def metrics(step: int = 1, **changes: Any) -> StepMetrics:
    values = StepMetrics(
        step=step,
        reward_mean=0.25 + step / 1000,
        reward_std=0.4,
        group_std_mean=0.3,
        accuracy=0.25,
        component_means={"math": 0.25},
        verdict_counts={"correct": 16, "wrong": 48},
        advantage_abs_mean=0.7,
        kl_ref=0.01,
        kl_old=0.0,
        entropy=1.5,
        loss=-0.01,
        policy_loss=-0.0104,
        kl_loss=0.0004,
        grad_norm=0.9,
        clip_fraction=0.0,
        learning_rate=1e-5,
        num_optimizer_steps=1,
        update_skipped="",
        num_completions=64,
        num_completion_tokens=1920,
        num_degenerate_groups=2,
        num_truncated=3,
        mean_length=30.0,
        seconds=1.25,
        seconds_by_phase={str(phase): 0.1 for phase in PHASES},
        tokens_per_second=1920 / 0.7,
        peak_memory_bytes=1 << 30,
        state_hash=f"{step:016x}",
    )
    return replace(values, **changes)


def score(value: float = 1.0, verdict: Verdict = Verdict.CORRECT) -> Score:
    explanation = Explanation(
        sentence="The answer 12 was found in a box and is the same number as the gold answer 12.",
        span=Span(3, 5),
        source="boxed",
        answer_text="12",
        normalized_text="12",
        parsed_answer="12 (integer)",
        parsed_gold="12 (integer)",
        rule="same number",
        elapsed_ms=0.75,
    )
    return Score(value=value, verdict=verdict, explanation=explanation)


def completion(rng: np.random.Generator, index: int = 0, num_tokens: int = 30) -> CompletionRecord:
    """Not yet scored."""
    words = [str(number) for number in rng.integers(0, 100, num_tokens - 1)]
    return CompletionRecord(
        index=index,
        text=" ".join(words),
        finish_reason="stop",
        token_ids_T=rng.integers(0, 49152, num_tokens, dtype=np.int32),
        token_offsets_T=np.cumsum([0, *(len(word) + 1 for word in words)], dtype=np.int32),
        logprobs_T=np.log(rng.random(num_tokens, dtype=np.float32) + np.float32(1e-6)),
        entropies_T=rng.random(num_tokens, dtype=np.float32),
    )


def group(rng: np.random.Generator, index: int = 0, group_size: int = 8, num_tokens: int = 30) -> GroupRecord:
    number = int(rng.integers(0, 200))
    problem = ProblemRecord(
        id=f"p{number}",
        question=f"What is {number} + 1?",
        prompt=f"<|user|>What is {number} + 1?<|assistant|>",
        answer=str(number + 1),
        num_prompt_tokens=12,
        metadata={"level": "1"},
    )
    completions = tuple(completion(rng, i, num_tokens) for i in range(group_size))
    return GroupRecord(index=index, problem=problem, completions=completions)


def step_events(
    step: int,
    seed: int = 0,
    num_groups: int = 2,
    group_size: int = 2,
    num_tokens: int = 5,
    start: float = 1000.0,
) -> list[Event]:
    """Every event of one finished step, as the engine emits them."""
    rng = np.random.default_rng([seed, step])
    clock = start + step
    groups = [group(rng, i, group_size, num_tokens) for i in range(num_groups)]
    inside: dict[Phase, list[Event]] = {
        Phase.SAMPLE: [GroupSampled(time=clock, step=step, group=item) for item in groups],
        Phase.SCORE: [
            GroupScored(
                time=clock,
                step=step,
                group_index=item.index,
                rewards_G=tuple(float(value) for value in rng.integers(0, 2, group_size)),
                scores_G=tuple({"math": score()} for _ in range(group_size)),
            )
            for item in groups
        ],
        Phase.ADVANTAGES: [
            AdvantagesComputed(
                time=clock,
                step=step,
                advantages_P_G=tuple(tuple(rng.normal(size=group_size).tolist()) for _ in groups),
            )
        ],
        Phase.REFERENCE: [
            ReferenceComputed(
                time=clock,
                step=step,
                kl_ref_P_G=tuple(
                    tuple(rng.random(num_tokens, dtype=np.float32) for _ in range(group_size)) for _ in groups
                ),
            )
        ],
    }
    events: list[Event] = [StepStarted(time=clock, step=step)]
    for phase in PHASES:
        events.append(PhaseStarted(time=clock, step=step, phase=phase))
        events.extend(inside.get(phase, []))
        events.append(PhaseFinished(time=clock, step=step, phase=phase, seconds=float(rng.random())))
    events.append(StepFinished(time=clock, metrics=metrics(step)))
    return events


def opening(finished_steps: int = 0, total_steps: int = 10) -> list[Event]:
    return [
        RunStarted(
            time=1000.0,
            run_dir="/runs/r",
            name="r",
            total_steps=total_steps,
            finished_steps=finished_steps,
            config_toml="[run]\nsteps = 10\n",
        ),
        LoadingStage(time=1000.1, name="importing torch"),
        LoadingStage(time=1000.2, name="loading the model", detail="tiny"),
        ModelLoaded(
            time=1000.3,
            model=ModelRecord(
                source="tiny",
                architecture="LlamaForCausalLM",
                num_parameters=1000,
                num_trainable=10,
                dtype="fp32",
                device="cpu",
                context_length=512,
                vocab_size=512,
            ),
        ),
        DataLoaded(
            time=1000.4,
            data=DataRecord(
                source="tiny", num_train=100, num_eval=10, rejected=("p7: the gold answer is empty",)
            ),
        ),
        ModeChanged(time=1000.5, mode=Mode.RUNNING),
    ]


def evaluation(step: int, accuracy: float = 0.5) -> EvalFinished:
    result = EvalRecord(step=step, accuracy=accuracy, low=0.4, high=0.6, num_problems=64, seconds=2.0)
    return EvalFinished(time=1000.0 + step, result=result)


def checkpoint(step: int) -> CheckpointSaved:
    return CheckpointSaved(time=1000.0 + step, step=step, path=f"checkpoints/step-{step:06d}", num_bytes=1000)


def ending(finished_steps: int, reason: str = "finished") -> list[Event]:
    return [RunEnded(time=2000.0, reason=reason, finished_steps=finished_steps)]


def run_events(num_steps: int = 3, **sizes: int) -> Iterator[Event]:
    """A whole small run."""
    yield from opening(total_steps=num_steps)
    yield evaluation(0)
    for step in range(1, num_steps + 1):
        yield from step_events(step, **sizes)
        if step % 2 == 0:
            yield checkpoint(step)
            yield evaluation(step)
    yield from ending(num_steps)


def fold(events: Sequence[Event] | Iterator[Event], state: RunState | None = None) -> RunState:
    state = state or RunState()
    for event in events:
        state = reduce(state, event)
    return state


def fingerprint(record: Any) -> tuple[str, dict[str, tuple[str, tuple[int, ...], bytes]]]:
    """Everything in a record (events, states, steps), times and array bits included: equal iff the same."""
    data, arrays = codec.encode_record(record)
    return codec.to_json(data), {k: (a.dtype.str, a.shape, a.tobytes()) for k, a in arrays.items()}
