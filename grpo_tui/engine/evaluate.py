"""Held-out accuracy: one completion for each problem, by streams that do not depend on the step."""

from __future__ import annotations

import time

from grpo_tui.engine.control import Gate
from grpo_tui.engine.metrics import lenient_share
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.records import EvalRecord, Phase
from grpo_tui.events.types import EvalFinished, Progress
from grpo_tui.generation.streams import stream_key
from grpo_tui.generation.types import SampleRequest, SamplingSettings, TokenTick
from grpo_tui.ops.intervals import wilson_interval
from rewards.base import Sample, Verdict


def is_due(trainer: Trainer) -> bool:
    """Whether the weights as they are now are to be evaluated."""
    every = trainer.config.eval.every
    return every > 0 and bool(trainer.held_out) and (trainer.finished_steps % every == 0 or trainer.is_done)


def evaluate(trainer: Trainer, gate: Gate) -> EvalRecord:
    """Measure accuracy on the held-out problems and tell it.

    Every evaluation draws from the same random streams, so two of them differ by the weights alone.
    """
    config = trainer.config
    started, paused_before = time.perf_counter(), gate.paused_seconds
    step = trainer.finished_steps

    def on_token(tick: TokenTick) -> None:
        gate.tick(f"in evaluation, after {tick.num_tokens} tokens")
        trainer.report(
            Progress(
                step=step,
                phase=Phase.EMIT,
                done=tick.num_finished,
                total=tick.num_total,
                unit="held-out problems",
            )
        )

    requests = [
        SampleRequest(
            prompt_ids=prompt.token_ids,
            stream_key=stream_key(config.run.seed, "eval", 0, prompt.problem.id, 0),
        )
        for prompt in trainer.held_out
    ]
    settings = SamplingSettings(
        max_new_tokens=config.sampling.max_completion_tokens, temperature=config.eval.temperature
    )
    drawn = trainer.sampler.sample(requests, settings, on_token)
    samples = [
        Sample(
            problem_id=prompt.problem.id,
            prompt=prompt.problem.question,
            completion=trainer.policy.tokenizer.decode(tokens.token_ids_T.tolist(), skip_special_tokens=True),
            gold=prompt.problem.answer,
            finish_reason=tokens.finish_reason,
            metadata={
                **prompt.problem.metadata,
                "num_tokens": str(len(tokens.token_ids_T)),
                "max_tokens": str(settings.max_new_tokens),
            },
        )
        for prompt, tokens in zip(trainer.held_out, drawn, strict=True)
    ]
    scores = trainer.reward.score(samples)
    correct = sum(score.verdict is Verdict.CORRECT for score in scores)
    low, high = wilson_interval(correct, len(samples))
    result = EvalRecord(
        step=step,
        accuracy=correct / len(samples),
        low=low,
        high=high,
        num_problems=len(samples),
        seconds=time.perf_counter() - started - (gate.paused_seconds - paused_before),
        temperature=config.eval.temperature,
        accuracy_lenient=lenient_share([score.components for score in scores]),
    )
    trainer.emit(EvalFinished(time=time.time(), result=result))
    return result
