"""Builders of records and events, deterministic and realistic enough for a picture in the README."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from grpo_tui.events.records import (
    PHASES,
    CompletionRecord,
    DataRecord,
    EvalRecord,
    FloatArray,
    GroupRecord,
    Mode,
    ModelRecord,
    PassReport,
    Phase,
    ProblemRecord,
    StepMetrics,
    TimingReport,
)
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
    RunStarted,
    StepFinished,
    StepStarted,
)
from rewards.base import Explanation, Score, Span, Verdict
from tests.support.problems import TOYS, Answer, Toy

T0 = 1_760_000_000.0
TEMPLATE = "Question: {q}\nAnswer with \\boxed{{...}}.\nAnswer:"
PHASE_SECONDS = (0.0, 1.12, 0.03, 0.0, 0.26, 0.43, 0.02)


def make_score(answer: Answer, text: str, toy: Toy) -> Score:
    """What the math verifier says of one answer."""
    verdict = answer.verdict
    start = text.rfind(answer.text) if answer.text else -1
    sentence = {
        Verdict.CORRECT: f"{answer.text} equals the gold answer {toy.gold}.",
        Verdict.WRONG: f"{answer.text} is not equal to the gold answer {toy.gold}.",
        Verdict.UNPARSED: f"The answer {answer.text} could not be read: missing closing brace.",
        Verdict.NO_ANSWER: "No final answer was found in the response.",
        Verdict.TIMEOUT: f"Comparing {answer.text} with {toy.gold} took longer than 2.0 s.",
    }.get(verdict, f"{verdict}")
    if answer.near_miss:
        sentence = sentence[:-1] + f" (near miss: {answer.near_miss})."
    kind = "expression" if "x" in toy.gold else "number"
    explanation = Explanation(
        sentence=sentence,
        span=Span(start, start + len(answer.text)) if start >= 0 else None,
        source="boxed" if answer.text else "",
        answer_text=answer.text,
        normalized_text=answer.text,
        parsed_answer=answer.parsed,
        parsed_gold=toy.parsed_gold,
        rule={Verdict.CORRECT: f"same {kind}", Verdict.WRONG: f"different {kind}"}.get(verdict, ""),
        near_miss=answer.near_miss,
        elapsed_ms=2000.0 if verdict is Verdict.TIMEOUT else 0.4,
    )
    return Score(value=1.0 if verdict is Verdict.CORRECT else 0.0, verdict=verdict, explanation=explanation)


def make_completion(
    index: int, text: str, *, finish_reason: str = "stop", rng: random.Random | None = None
) -> CompletionRecord:
    """A completion with one token for every two to three characters."""
    rng = rng or random.Random(index)
    offsets: list[int] = []
    at = 0
    while at < max(1, len(text)):
        offsets.append(at)
        at += rng.choice((1, 2, 2, 3))
    size = len(offsets)
    noise = np.array([rng.random() for _ in range(size)], dtype=np.float32)
    return CompletionRecord(
        index=index,
        text=text,
        finish_reason=finish_reason,
        token_ids_T=np.arange(size, dtype=np.int32),
        token_offsets_T=np.array(offsets, dtype=np.int32),
        logprobs_T=-noise,
        entropies_T=noise,
    )


def make_group(
    toy: Toy, index: int, outcomes: Sequence[Answer], rng: random.Random
) -> tuple[GroupRecord, tuple[Score, ...]]:
    """An unscored group and the scores its completions will get."""
    completions, scores = [], []
    for k, answer in enumerate(outcomes):
        text = f" {answer.before} \\boxed{{{answer.text}}}." if answer.text else f" {answer.before}"
        finish = "length" if answer.verdict is Verdict.NO_ANSWER else "stop"
        completions.append(make_completion(k, text, finish_reason=finish, rng=rng))
        scores.append(make_score(answer, text, toy))
    problem = ProblemRecord(
        id=f"toy-{TOYS.index(toy):04d}" if toy in TOYS else "toy-x",
        question=toy.question,
        prompt=TEMPLATE.format(q=toy.question),
        answer=toy.gold,
        num_prompt_tokens=24,
    )
    return GroupRecord(index=index, problem=problem, completions=tuple(completions)), tuple(scores)


def _skill(step: int, toy: int) -> float:
    difficulty = (0.9, -0.3, 0.4, 0.8, 2.2, -2.5, 1.3, 0.9, -3.0, 0.6)[toy % 10]
    return 1 / (1 + math.exp(difficulty + 1.5 - step / 14))


def _advantages(rewards: Sequence[float]) -> tuple[float, ...]:
    spread = float(np.std(rewards, ddof=1)) if len(rewards) > 1 else 0.0
    mean = float(np.mean(rewards))
    return tuple((r - mean) / (spread + 1e-4) for r in rewards)


def _dead_cause(rewards: Sequence[float]) -> str:
    return "too easy" if rewards[0] else "too hard"


def _timing(tokens: int) -> TimingReport:
    """As a small model on a CPU would have it."""

    def passes(num_tokens: int, seconds: float, num_microbatches: int = 0) -> PassReport:
        return PassReport(
            num_tokens=num_tokens,
            seconds=seconds,
            tokens_per_second=num_tokens / seconds,
            num_microbatches=num_microbatches,
            padding=0.12 if num_microbatches else 0.0,
        )

    sample, reference, update = PHASE_SECONDS[1], PHASE_SECONDS[4], PHASE_SECONDS[5]
    return TimingReport(
        prefill=passes(310, 0.05 * sample),
        decode=passes(tokens, 0.9 * sample),
        reference=passes(tokens + 310, 0.95 * reference, 2),
        update=passes(tokens + 310, 0.95 * update, 2),
        run_file_seconds=0.011,
    )


class ScriptedRun:
    """A make-believe training run: every step's events, the same every time."""

    def __init__(self, *, steps: int = 60, num_groups: int = 8, group_size: int = 8, seed: int = 7) -> None:
        self.steps = steps
        self.num_groups = num_groups
        self.group_size = group_size
        self.seed = seed
        self.time = T0

    def _tick(self, seconds: float) -> float:
        self.time += seconds
        return self.time

    def loading(self) -> list[Event]:
        """Everything before the first step."""
        model = ModelRecord(
            source="tiny",
            architecture="LlamaForCausalLM",
            num_parameters=1_213_440,
            num_trainable=98_304,
            dtype="float32",
            device="cpu",
            context_length=256,
            vocab_size=96,
        )
        return [
            RunStarted(
                time=self.time,
                run_dir="runs/tiny-arith",
                name="tiny-arith",
                total_steps=self.steps,
                finished_steps=0,
                config_toml=f"[sampling]\nprompts_per_step = {self.num_groups}\n",
            ),
            LoadingStage(time=self._tick(0.1), name="importing torch"),
            LoadingStage(time=self._tick(3.1), name="loading the model", detail="tiny"),
            ModelLoaded(time=self._tick(0.8), model=model),
            LoadingStage(time=self._tick(0.0), name="reading problems", detail="tiny"),
            DataLoaded(time=self._tick(0.1), data=DataRecord(source="tiny", num_train=2000, num_eval=200)),
            LoadingStage(time=self._tick(0.0), name="starting the verifier"),
        ]

    def ready(self, mode: Mode = Mode.PAUSED, detail: str = "before step 1") -> Event:
        """The engine reached a mode."""
        return ModeChanged(time=self._tick(0.01), mode=mode, detail=detail)

    def evaluation(self, step: int) -> Event:
        """Held-out accuracy after a step."""
        p = sum(_skill(step, toy) for toy in range(10)) / 10 * 0.96
        n = 200
        half = 1.96 * math.sqrt(p * (1 - p) / n)
        return EvalFinished(
            time=self._tick(1.3),
            result=EvalRecord(
                step=step, accuracy=p, low=p - half, high=p + half, num_problems=n, seconds=1.3
            ),
        )

    def step(self, step: int) -> list[tuple[str, Event]]:
        """All events of one step, each with the phase it belongs to."""
        rng = random.Random(self.seed * 1000 + step)
        chosen = rng.sample(range(len(TOYS)), min(self.num_groups, len(TOYS)))
        events: list[tuple[str, Event]] = [("start", StepStarted(time=self._tick(0.01), step=step))]
        made = []
        for index in range(self.num_groups):
            toy_number = chosen[index % len(chosen)]
            toy = TOYS[toy_number]
            outcomes = [
                toy.right if rng.random() < _skill(step, toy_number) else rng.choice(toy.wrong)
                for _ in range(self.group_size)
            ]
            made.append(make_group(toy, index, outcomes, rng))
        rewards = [tuple(float(s.value or 0.0) for s in scores) for _, scores in made]
        kls = self._kls(step, rng, [group for group, _ in made])
        for phase, seconds in zip(PHASES, PHASE_SECONDS, strict=True):
            name = phase.value
            events.append((name, PhaseStarted(time=self.time, step=step, phase=phase)))
            if phase is Phase.SAMPLE:
                events += [(name, GroupSampled(time=self.time, step=step, group=group)) for group, _ in made]
            elif phase is Phase.SCORE:
                for index, (_, scores) in enumerate(made):
                    scored = GroupScored(
                        time=self.time,
                        step=step,
                        group_index=index,
                        rewards_G=rewards[index],
                        scores_G=tuple({"math": score} for score in scores),
                    )
                    events.append((name, scored))
            elif phase is Phase.ADVANTAGES:
                advantages = tuple(_advantages(r) for r in rewards)
                events.append(
                    (name, AdvantagesComputed(time=self.time, step=step, advantages_P_G=advantages))
                )
            elif phase is Phase.REFERENCE:
                events.append((name, ReferenceComputed(time=self.time, step=step, kl_ref_P_G=kls)))
            events.append(
                (name, PhaseFinished(time=self._tick(seconds), step=step, phase=phase, seconds=seconds))
            )
        metrics = self._metrics(step, rng, [group for group, _ in made], [s for _, s in made], rewards)
        events.append(("finish", StepFinished(time=self.time, metrics=metrics)))
        if step % 10 == 0:
            events.append(
                (
                    "finish",
                    CheckpointSaved(
                        time=self.time, step=step, path=f"checkpoints/{step:06d}", num_bytes=1_900_000
                    ),
                )
            )
            events.append(("finish", self.evaluation(step)))
        return events

    def _kls(
        self, step: int, rng: random.Random, groups: Sequence[GroupRecord]
    ) -> tuple[tuple[FloatArray, ...], ...]:
        level = 0.03 * (1 - math.exp(-step / 25))
        return tuple(
            tuple(
                np.full(c.num_tokens, level * (0.4 + 1.2 * rng.random()), dtype=np.float32)
                for c in group.completions
            )
            for group in groups
        )

    def _metrics(
        self,
        step: int,
        rng: random.Random,
        groups: Sequence[GroupRecord],
        scores: Sequence[Sequence[Score]],
        rewards: Sequence[Sequence[float]],
    ) -> StepMetrics:
        flat = [r for group in rewards for r in group]
        verdicts = Counter(score.verdict.value for group in scores for score in group)
        tokens = sum(c.num_tokens for group in groups for c in group.completions)
        advantages = [abs(a) for group in rewards for a in _advantages(group)]
        wobble = rng.random()
        return StepMetrics(
            step=step,
            reward_mean=float(np.mean(flat)),
            reward_std=float(np.std(flat, ddof=1)),
            group_std_mean=float(np.mean([np.std(r, ddof=1) for r in rewards])),
            accuracy=float(np.mean(flat)),
            component_means={"math": float(np.mean(flat))},
            verdict_counts=dict(verdicts),
            advantage_abs_mean=float(np.mean(advantages)),
            kl_ref=0.03 * (1 - math.exp(-step / 25)) * (0.9 + 0.2 * wobble),
            kl_old=0.0004,
            entropy=1.4 * math.exp(-step / 60) * (0.96 + 0.08 * wobble),
            loss=0.02,
            policy_loss=0.019,
            kl_loss=0.001,
            grad_norm=0.7 + 0.5 * rng.random(),
            clip_fraction=0.01,
            learning_rate=2e-3,
            num_optimizer_steps=1,
            update_skipped="",
            num_completions=len(flat),
            num_completion_tokens=tokens,
            num_degenerate_groups=sum(len(set(r)) == 1 for r in rewards),
            num_truncated=sum(c.finish_reason == "length" for group in groups for c in group.completions),
            mean_length=tokens / len(flat),
            seconds=sum(PHASE_SECONDS),
            seconds_by_phase={phase.value: s for phase, s in zip(PHASES, PHASE_SECONDS, strict=True)},
            tokens_per_second=tokens / PHASE_SECONDS[1],
            peak_memory_bytes=812_000_000,
            state_hash=f"{step:08x}",
            degenerate_causes=dict(Counter(_dead_cause(r) for r in rewards if len(set(r)) == 1)),
            num_groups=len(groups),
            group_mean_std=float(np.std([np.mean(r) for r in rewards], ddof=1)) if len(rewards) > 1 else None,
            timing=_timing(tokens),
        )

    def whole(self, upto: int) -> Iterator[Event]:
        """Loading and all events up to the end of step ``upto``."""
        yield from self.loading()
        yield self.ready(Mode.RUNNING, "")
        yield self.evaluation(0)
        for step in range(1, upto + 1):
            yield from (event for _, event in self.step(step))
