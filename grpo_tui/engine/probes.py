"""Probes: pinned prompts, read after updates: a greedy answer, a sample by the same random numbers, the gold's log-prob.

Nothing is read unless something is pinned. The training does not notice: the sample draws from a stream of its own,
the rest draws nothing, and weights are only read (``tests/engine/test_probes.py`` compares hashes).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from grpo_tui.data.problem import Problem
from grpo_tui.engine.advice import one_line
from grpo_tui.engine.control import StopRequested, Withdrawn
from grpo_tui.engine.inspection import one_row, score_tokens
from grpo_tui.events.commands import PinProbe, UnpinProbe
from grpo_tui.events.probes import ProbeAnswer, ProbeReading
from grpo_tui.events.records import CompletionRecord, GroupRecord, Phase
from grpo_tui.events.types import Event, Notice, ProbePinned, ProbesRead, ProbeUnpinned, Progress
from grpo_tui.generation.streams import stream_key
from grpo_tui.generation.types import OnToken, SampleRequest, SamplingSettings, TokenTick

if TYPE_CHECKING:
    from grpo_tui.engine.control import Gate
    from grpo_tui.engine.trainer import Prompt, Trainer

GAUGE = "probes"
"""What :class:`~grpo_tui.events.types.Progress` is ``of`` while probes are read."""
MAX_PROBES = 32
MAX_GOLD_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A pinned prompt, ready to be given to the model."""

    pinned: ProbePinned
    prompt: Prompt

    def is_due(self, step: int) -> bool:
        """Whether the weights after a step are to be read."""
        return step % self.pinned.every == 0


def pin(trainer: Trainer, request: PinProbe) -> None:
    """Handle :class:`~grpo_tui.events.commands.PinProbe`: pin, and read the present weights.

    Raises:
        ValueError: it cannot be read; nothing is pinned.
        StopRequested: the run ends.
    """
    if len(trainer.probes) >= MAX_PROBES:
        raise ValueError(f"{MAX_PROBES} probes are pinned, which is all that can be; unpin one first")
    if request.every < 1:
        raise ValueError(f"a probe is read every so many steps, at least 1, not {request.every}")
    if request.max_tokens < 0:
        raise ValueError(f"{request.max_tokens} tokens were asked for; at least 1 is needed")
    number = max([trainer.last_probe, *trainer.probes]) + 1
    prompt = _held_out(trainer, request.held_out) if request.held_out else _typed(trainer, request, number)
    if any(probe.prompt.text == prompt.text for probe in trainer.probes.values()):
        raise ValueError("this prompt is pinned already")
    pinned = ProbePinned(
        time=time.time(),
        probe=number,
        problem=prompt.record(),
        every=request.every,
        max_tokens=request.max_tokens,
        seed=trainer.config.run.seed,
        temperature=trainer.config.sampling.temperature,
    )
    probe = Probe(pinned=pinned, prompt=prompt)
    trainer.probes[number], trainer.last_probe = probe, number
    trainer.emit(pinned)
    # Withdrawn meanwhile, it is pinned all the same: its first reading comes with a step.
    with contextlib.suppress(Withdrawn):
        _read(trainer, [probe], lambda _tick: trainer.heed())


def unpin(trainer: Trainer, request: UnpinProbe) -> None:
    """Handle :class:`~grpo_tui.events.commands.UnpinProbe`.

    Raises:
        ValueError: no such probe is pinned.
    """
    if trainer.probes.pop(request.probe, None) is None:
        there = ", ".join(map(str, trainer.probes)) or "none"
        raise ValueError(f"probe {request.probe} is not pinned (pinned: {there})")
    trainer.emit(ProbeUnpinned(time=time.time(), probe=request.probe))


def read_probes(trainer: Trainer, gate: Gate) -> None:
    """Read what is due after the last finished step. An error here is told and ends here: the step is done.

    Raises:
        StopRequested: a Stop came.
    """
    due = [probe for probe in trainer.probes.values() if probe.is_due(trainer.finished_steps)]
    if not due:
        return
    trainer.ahead.make_way(trainer)
    try:
        _read(trainer, due, lambda _tick: gate.leave_if_stopped())
    except StopRequested:
        raise
    except Exception as error:
        message = f"probes were not read after step {trainer.finished_steps}: {one_line(error)}"
        trainer.emit(Notice(time=time.time(), level="warning", message=message, source="probes"))


def take_up(trainer: Trainer, events: Iterable[Event]) -> None:
    """Pin what was pinned when the run was left; what cannot be read any more is said and left out."""
    kept: dict[int, ProbePinned] = {}
    for event in events:
        if isinstance(event, ProbePinned):
            kept[event.probe] = event
            trainer.last_probe = max(trainer.last_probe, event.probe)
        elif isinstance(event, ProbeUnpinned):
            kept.pop(event.probe, None)
    for number, pinned in kept.items():
        problem = pinned.problem
        request = PinProbe(
            question=problem.question,
            answer=problem.answer,
            problem_id=problem.id,
            max_tokens=pinned.max_tokens,
        )
        try:
            trainer.probes[number] = Probe(pinned=pinned, prompt=_typed(trainer, request, number))
        except ValueError as error:
            message = f"probe {number} cannot be read any more: {one_line(error)}"
            trainer.emit(Notice(time=time.time(), level="warning", message=message, source="probes"))


def _typed(trainer: Trainer, request: PinProbe, number: int) -> Prompt:
    from grpo_tui.engine.playground import prompt_for

    if not request.question.strip():
        raise ValueError("the prompt is empty; type one first")
    problem = Problem(
        id=f"probe {number}",
        question=request.question,
        messages=({"role": "user", "content": request.question},),
        answer=request.answer,
    )
    tokens = request.max_tokens or trainer.config.sampling.max_completion_tokens
    return prompt_for(trainer, problem, request.problem_id, tokens)


def _held_out(trainer: Trainer, number: int) -> Prompt:
    if not trainer.held_out:
        raise ValueError("no held-out problems are loaded: eval.every is 0; type a prompt instead")
    if number == -1:
        pinned = {probe.prompt.text for probe in trainer.probes.values()}
        fresh = next((prompt for prompt in trainer.held_out if prompt.text not in pinned), None)
        if fresh is None:
            raise ValueError("every held-out problem is pinned")
        return fresh
    if not 1 <= number <= len(trainer.held_out):
        raise ValueError(f"there are {len(trainer.held_out)} held-out problems, and no number {number}")
    return trainer.held_out[number - 1]


def _read(trainer: Trainer, probes: Sequence[Probe], heed: OnToken) -> None:
    """One reading of each, told in one event."""
    started = time.perf_counter()
    greedy = _sample(trainer, probes, heed, temperature=0.0)
    sampled = _sample(trainer, probes, heed, temperature=None)
    readings = []
    for probe, first, second in zip(probes, greedy, sampled, strict=True):
        group = _judged(trainer, probe, (first, replace(second, index=1)))
        logprob, num_tokens = gold_logprob(trainer, probe.prompt)
        readings.append(
            ProbeReading(
                probe=probe.pinned.probe,
                greedy=_answer(group.completions[0]),
                sample=_answer(group.completions[1]),
                gold_logprob=logprob,
                num_gold_tokens=num_tokens,
            )
        )
    trainer.emit(
        ProbesRead(
            time=time.time(),
            step=trainer.finished_steps,
            branch=trainer.history.here(trainer).branch,
            readings=tuple(readings),
            seconds=time.perf_counter() - started,
        )
    )


def _sample(
    trainer: Trainer, probes: Sequence[Probe], heed: OnToken, *, temperature: float | None
) -> list[CompletionRecord]:
    """A completion of each probe, in order; ``temperature`` None is the one each was pinned with."""
    from grpo_tui.engine.rollout import completion_record

    found: dict[int, CompletionRecord] = {}
    by_settings: dict[SamplingSettings, list[Probe]] = {}
    for probe in probes:
        pinned, sampling = probe.pinned, trainer.config.sampling
        settings = SamplingSettings(
            max_new_tokens=pinned.max_tokens or sampling.max_completion_tokens,
            temperature=pinned.temperature if temperature is None else temperature,
        )
        by_settings.setdefault(settings, []).append(probe)
    for settings, members in by_settings.items():
        requests = [
            SampleRequest(
                prompt_ids=probe.prompt.token_ids,
                stream_key=stream_key(probe.pinned.seed, "probe", 0, probe.prompt.problem.question, 0),
            )
            for probe in members
        ]
        drawn = trainer.sampler.sample(requests, settings, _reporter(trainer, heed))
        for probe, tokens in zip(members, drawn, strict=True):
            found[probe.pinned.probe] = completion_record(trainer, 0, tokens)
    return [found[probe.pinned.probe] for probe in probes]


def _reporter(trainer: Trainer, heed: OnToken) -> OnToken:
    def on_token(tick: TokenTick) -> None:
        heed(tick)
        trainer.report(
            Progress(
                step=trainer.finished_steps,
                phase=Phase.SAMPLE,
                done=tick.num_finished,
                total=tick.num_total,
                unit="probes",
                of=GAUGE,
            )
        )

    return on_token


def _judged(trainer: Trainer, probe: Probe, completions: tuple[CompletionRecord, ...]) -> GroupRecord:
    from grpo_tui.engine.scoring import scored

    group = GroupRecord(index=0, problem=probe.prompt.record(), completions=completions)
    if not probe.prompt.problem.answer:
        return group
    return scored(trainer, group, probe.pinned.max_tokens or trainer.config.sampling.max_completion_tokens)


def _answer(completion: CompletionRecord) -> ProbeAnswer:
    judged = next((s for s in completion.scores.values() if s.verdict is completion.verdict), None)
    return ProbeAnswer(
        text=completion.text,
        num_tokens=completion.num_tokens,
        finish_reason=completion.finish_reason,
        verdict=completion.verdict,
        reward=completion.reward,
        answer=judged.explanation.answer_text if judged is not None else "",
        reason=judged.explanation.sentence if judged is not None else "",
    )


def gold_logprob(trainer: Trainer, prompt: Prompt) -> tuple[float | None, int]:
    """Σ ln p of the gold answer's text straight after the prompt, in nats at temperature 1, and its tokens.

    The text goes through the model in one forward pass (teacher forcing). None where there is no gold, or no room for it.
    """
    policy = trainer.policy
    ids = (
        policy.tokenizer.encode(prompt.problem.answer, add_special_tokens=False)
        if prompt.problem.answer
        else []
    )
    if not ids or len(ids) > MAX_GOLD_TOKENS or len(prompt.token_ids) + len(ids) > policy.context_length:
        return None, 0
    batch = one_row(policy, prompt.token_ids, np.array(ids, dtype=np.int32))
    with torch.no_grad():
        scores = score_tokens(policy.token_logits(batch), batch.completion_ids_B_T[0], 1.0, 1)
    return float(scores.logprobs_T.sum()), len(ids)
