"""The Playground: any prompt, sampled from the base model, the adapter, and the adapter as it was at a kept step.

The training does not notice: sampling draws from streams of its own and touches no generator of torch, and every other
adapter stands in the policy's only while its completions are drawn. The base is an adapter of zeros rather than PEFT's
switch, because the fast sampler's twin holds the adapter inside its weights and has no switch; W + 0 is W to the bit.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from grpo_tui.data.problem import DataError, Problem
from grpo_tui.data.render import check_length, encode_prompt, render_prompt
from grpo_tui.engine.advice import one_line
from grpo_tui.engine.control import StopRequested, Withdrawn
from grpo_tui.engine.rollout import completion_record, request_reporter
from grpo_tui.engine.scoring import scored
from grpo_tui.engine.trainer import Prompt, Trainer
from grpo_tui.events.commands import ADAPTER, BASE, Play
from grpo_tui.events.records import GroupRecord, Phase
from grpo_tui.events.types import PlayEnded, PlaygroundAnswered, PlayStarted, Progress
from grpo_tui.generation.streams import stream_key
from grpo_tui.generation.types import SampleRequest, SamplingSettings

GAUGE = "play"
"""What :class:`~grpo_tui.events.types.Progress` is ``of`` while the Playground samples."""
MAX_SAMPLES = 64
_STEP = re.compile(r"step (\d+)")


def play(trainer: Trainer, request: Play) -> None:
    """Sample from each source in turn, telling each as it is done.

    Raises:
        ValueError: what was asked for cannot be done; said before anything is sampled.
        StopRequested: the run ends.
    """
    try:
        prompt = play_prompt(trainer, request)
        adapters = {source: _adapter(trainer, source) for source in request.sources}
        trainer.emit(
            PlayStarted(
                time=time.time(),
                id=request.id,
                problem=prompt.record(),
                sources=request.sources,
                num_samples=request.num_samples,
                temperature=request.temperature,
                max_tokens=request.max_tokens,
                seed=request.seed,
            )
        )
        for number, (source, adapter) in enumerate(adapters.items()):
            _answer(trainer, request, prompt, source, adapter, number)
    except Withdrawn:
        _end(trainer, request, "stopped")
    except StopRequested:
        _end(trainer, request, "stopped")
        raise
    except Exception as error:
        _end(trainer, request, "failed", one_line(error))
        raise
    else:
        _end(trainer, request, "done")


def play_prompt(trainer: Trainer, request: Play) -> Prompt:
    """The prompt of a play, rendered as the run renders its own.

    Raises:
        ValueError: it does not fit the model, cannot be rendered, or its gold answer cannot be judged.
    """
    _check(request)
    problem = Problem(
        id=f"play {request.id}",
        question=request.question,
        messages=({"role": "user", "content": request.question},),
        answer=request.answer,
    )
    return prompt_for(trainer, problem, request.problem_id, request.max_tokens)


def prompt_for(trainer: Trainer, problem: Problem, known_id: str, max_tokens: int) -> Prompt:
    """A problem that somebody typed as a prompt, rendered as the run renders its own.

    Args:
        trainer: has the template, the rewards and the run's problems.
        problem: as it was typed.
        known_id: the run's problem that it was taken from, if any.
        max_tokens: must fit behind it.

    Raises:
        ValueError: it does not fit the model, cannot be rendered, or its gold answer cannot be judged.
    """
    if problem.answer and (complaint := trainer.reward.check_gold(problem.answer)):
        raise ValueError(f"the gold answer {problem.answer!r:.80} cannot be judged: {complaint}")
    # A question of the run brings what stands before it and beside it; one that was edited is a new problem.
    known = {p.problem.id: p.problem for p in (*trainer.prompts, *trainer.held_out)}.get(known_id)
    if known is not None and known.question == problem.question:
        problem = replace(known, answer=problem.answer)
    try:
        rendered = render_prompt(problem, trainer.policy.tokenizer, trainer.config.data)
    except DataError as error:
        raise ValueError(str(error)) from error
    ids = tuple(encode_prompt(rendered, trainer.policy.tokenizer))
    complaint = check_length(len(ids), max_tokens, trainer.policy.context_length)
    if complaint:
        raise ValueError(f"{complaint}; lower the number of tokens, or shorten the prompt")
    return Prompt(problem=problem, text=rendered.text, token_ids=ids)


def _check(request: Play) -> None:
    if not request.question.strip():
        raise ValueError("the prompt is empty; type one first")
    if not 1 <= request.num_samples <= MAX_SAMPLES:
        raise ValueError(f"{request.num_samples} samples were asked for; 1 to {MAX_SAMPLES} can be drawn")
    if not 0 <= request.temperature < float("inf"):
        raise ValueError(f"temperature {request.temperature} is not a number from 0 on")
    if request.max_tokens < 1:
        raise ValueError(f"{request.max_tokens} tokens were asked for; at least 1 is needed")
    if not request.sources or len(set(request.sources)) != len(request.sources):
        raise ValueError("choose at least one source, each once")


def _adapter(trainer: Trainer, source: str) -> Mapping[str, Tensor] | None:
    """The adapter's parameters of a source; None: as they are."""
    if source == ADAPTER:
        return None
    if source == BASE:
        return {name: torch.zeros_like(p) for name, p in trainer.policy.trainable_parameters().items()}
    return _kept_adapter(trainer, source)


def _kept_adapter(trainer: Trainer, source: str) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError

    from grpo_tui.engine.checkpoint import read_adapter
    from grpo_tui.runs.checkpoints import complete
    from grpo_tui.runs.schema import RunFileError

    match = _STEP.fullmatch(source)
    if match is None:
        raise ValueError(f"{source!r:.80} is no source; use {BASE}, {ADAPTER} or 'step N'")
    kept: dict[int, Path] = complete(trainer.checkpoints_dir) if trainer.checkpoints_dir else {}
    step = int(match[1])
    if step not in kept:
        there = ", ".join(map(str, kept)) or "none"
        raise ValueError(f"no checkpoint of step {step} is kept (kept: {there}); choose another")
    try:
        return read_adapter(trainer.policy, kept[step])
    except (OSError, SafetensorError, RunFileError) as error:
        raise ValueError(one_line(error)) from error


def _answer(
    trainer: Trainer,
    request: Play,
    prompt: Prompt,
    source: str,
    adapter: Mapping[str, Tensor] | None,
    number: int,
) -> None:
    started = time.perf_counter()
    settings = SamplingSettings(
        max_new_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=trainer.config.sampling.top_p,
        top_k=trainer.config.sampling.top_k,
    )
    requests = [
        SampleRequest(
            prompt_ids=prompt.token_ids,
            stream_key=stream_key(request.seed, "play", 0, prompt.problem.question, index),
        )
        for index in range(request.num_samples)
    ]
    count = request.num_samples
    on_token = request_reporter(trainer, GAUGE, before=number * count, total=len(request.sources) * count)
    with nullcontext() if adapter is None else trainer.policy.weights(adapter):
        drawn = trainer.sampler.sample(requests, settings, on_token)
    completions = tuple(completion_record(trainer, i, tokens) for i, tokens in enumerate(drawn))
    group = GroupRecord(index=number, problem=prompt.record(), completions=completions)
    if request.answer:
        trainer.heed()
        total = len(completions)
        trainer.report(
            Progress(
                step=trainer.finished_steps,
                phase=Phase.SCORE,
                done=0,
                total=total,
                unit="responses",
                of=GAUGE,
            )
        )
        group = scored(trainer, group, request.max_tokens)
    seconds = time.perf_counter() - started
    trainer.emit(
        PlaygroundAnswered(time=time.time(), id=request.id, source=source, group=group, seconds=seconds)
    )


def _end(trainer: Trainer, request: Play, reason: str, message: str = "") -> None:
    trainer.emit(PlayEnded(time=time.time(), id=request.id, reason=reason, message=message))
