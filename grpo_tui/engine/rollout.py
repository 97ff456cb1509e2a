"""Phases *problems* and *sample*: which prompts, and the groups drawn for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from grpo_tui.engine.control import Gate
from grpo_tui.engine.trainer import Prompt, Trainer
from grpo_tui.events.records import CompletionRecord, GroupRecord, Phase
from grpo_tui.events.types import GroupSampled, Progress
from grpo_tui.generation.detokenize import decode_with_offsets
from grpo_tui.generation.streams import stream_key
from grpo_tui.generation.types import SampledTokens, SampleRequest, SamplingSettings, TokenTick

REPORT_SECONDS = 0.1
"""Shortest time between two gauges."""


def next_prompts(trainer: Trainer, step: int) -> list[Prompt]:
    """The prompts of a step: a pure function of the seed and the step."""
    indices = trainer.order.for_step(step, trainer.config.sampling.prompts_per_step)
    return [trainer.prompts[i] for i in indices]


def sample_groups(trainer: Trainer, step: int, prompts: Sequence[Prompt], gate: Gate) -> list[GroupRecord]:
    """Draw G completions for each prompt and tell each group."""
    sampling = trainer.config.sampling
    settings = SamplingSettings(
        max_new_tokens=sampling.max_completion_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
    )
    seed = trainer.config.run.seed
    # A prompt that stands twice in a step (fewer problems than prompts) must not draw the same group twice.
    requests = [
        SampleRequest(
            prompt_ids=prompt.token_ids,
            stream_key=stream_key(seed, "train", step, f"{place}/{prompt.problem.id}", index),
        )
        for place, prompt in enumerate(prompts)
        for index in range(sampling.group_size)
    ]
    drawn = trainer.sampler.sample(requests, settings, token_reporter(trainer, step, Phase.SAMPLE, gate))
    groups = []
    for place, prompt in enumerate(prompts):
        members = drawn[place * sampling.group_size : (place + 1) * sampling.group_size]
        completions = tuple(_record(trainer, index, tokens) for index, tokens in enumerate(members))
        group = GroupRecord(index=place, problem=prompt.record(), completions=completions)
        trainer.emit(GroupSampled(time=time.time(), step=step, group=group))
        groups.append(group)
    return groups


def token_reporter(trainer: Trainer, step: int, phase: Phase, gate: Gate) -> Callable[[TokenTick], None]:
    """A callback for each decoded position: obeys the gate, and tells how far sampling is."""
    started, paused_before = time.perf_counter(), gate.paused_seconds
    last = started

    def on_token(tick: TokenTick) -> None:
        nonlocal last
        gate.tick(f"in {phase}, after {tick.num_tokens} tokens")
        now = time.perf_counter()
        if now - last < REPORT_SECONDS and tick.num_finished < tick.num_total:
            return
        last = now
        seconds = now - started - (gate.paused_seconds - paused_before)
        trainer.report(
            Progress(
                step=step,
                phase=phase,
                done=tick.num_finished,
                total=tick.num_total,
                unit="completions",
                tokens_per_second=tick.num_tokens / max(seconds, 1e-9),
            )
        )

    return on_token


def _record(trainer: Trainer, index: int, tokens: SampledTokens) -> CompletionRecord:
    text, offsets = decode_with_offsets(trainer.policy.tokenizer, tokens.token_ids_T.tolist())
    return CompletionRecord(
        index=index,
        text=text,
        finish_reason=tokens.finish_reason,
        token_ids_T=tokens.token_ids_T,
        token_offsets_T=offsets,
        logprobs_T=tokens.logprobs_T,
        entropies_T=tokens.entropies_T,
    )
