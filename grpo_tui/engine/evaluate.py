"""Held-out accuracy: one completion for each problem, by streams that do not depend on the step."""

from __future__ import annotations

import time
from collections.abc import Sequence

from grpo_tui.engine.control import Gate
from grpo_tui.engine.metrics import lenient_share
from grpo_tui.engine.trainer import Prompt, Trainer
from grpo_tui.events.records import EvalRecord, Phase
from grpo_tui.events.types import EvalFinished, Progress
from grpo_tui.generation.streams import stream_key
from grpo_tui.generation.types import OnToken, SampleRequest, SamplingSettings, TokenTick
from grpo_tui.ops.intervals import wilson_interval
from rewards.base import Sample, Verdict
from rewards.compose import ComposedScore


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

    trainer.ahead.make_way(trainer)
    scores = scores_of(trainer, trainer.held_out, "eval", config.eval.temperature, on_token)
    correct = sum(score.verdict is Verdict.CORRECT for score in scores)
    low, high = wilson_interval(correct, len(scores))
    result = EvalRecord(
        step=step,
        accuracy=correct / len(scores),
        low=low,
        high=high,
        num_problems=len(scores),
        seconds=time.perf_counter() - started - (gate.paused_seconds - paused_before),
        temperature=config.eval.temperature,
        accuracy_lenient=lenient_share([score.components for score in scores]),
    )
    trainer.emit(EvalFinished(time=time.time(), result=result))
    return result


def scores_of(
    trainer: Trainer, prompts: Sequence[Prompt], stream: str, temperature: float, on_token: OnToken
) -> list[ComposedScore]:
    """What one completion of each prompt earns.

    Args:
        trainer: whose policy answers, and whose reward judges.
        prompts: to be answered.
        stream: names the random streams, which do not depend on the step.
        temperature: 0 takes the likeliest token.
        on_token: called at each decoded position.
    """
    requests = [
        SampleRequest(
            prompt_ids=prompt.token_ids,
            stream_key=stream_key(trainer.config.run.seed, stream, 0, prompt.problem.id, 0),
        )
        for prompt in prompts
    ]
    limit = trainer.config.sampling.max_completion_tokens
    settings = SamplingSettings(max_new_tokens=limit, temperature=temperature)
    drawn = trainer.sampler.sample(requests, settings, on_token)
    return trainer.reward.score(
        [
            Sample(
                problem_id=prompt.problem.id,
                prompt=prompt.problem.question,
                completion=trainer.policy.tokenizer.decode(
                    tokens.token_ids_T.tolist(), skip_special_tokens=True
                ),
                gold=prompt.problem.answer,
                finish_reason=tokens.finish_reason,
                metadata={
                    **prompt.problem.metadata,
                    "num_tokens": str(len(tokens.token_ids_T)),
                    "max_tokens": str(limit),
                },
            )
            for prompt, tokens in zip(prompts, drawn, strict=True)
        ]
    )
