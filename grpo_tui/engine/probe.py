"""The checks before step 1, as requests: some prompts tried as training would, and whether the worst step fits.

The training does not notice. A probe draws its prompts in an order of its own and its completions from streams of their
own, and touches neither torch's generator nor the weights; the measurement puts back what it touches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from grpo_tui.data.order import ProblemOrder
from grpo_tui.data.render import render_prompt
from grpo_tui.engine.advice import one_line
from grpo_tui.engine.control import StopRequested, Withdrawn
from grpo_tui.engine.preflight import measure_fit
from grpo_tui.engine.rollout import completion_record, request_reporter, sampling_settings
from grpo_tui.engine.scoring import scored
from grpo_tui.engine.seeds import derived_seed
from grpo_tui.engine.trainer import Prompt, Trainer
from grpo_tui.events.commands import MeasureFit, Probe
from grpo_tui.events.preflight import (
    FIT,
    PROBE,
    ProbedGroup,
    ProbeReport,
    PromptPiece,
)
from grpo_tui.events.records import GroupRecord, Phase
from grpo_tui.events.types import FitMeasured, PreflightDone, PreflightEnded, PreflightStarted, Progress
from grpo_tui.generation.streams import stream_key
from grpo_tui.generation.types import SampleRequest

MAX_PROMPTS = 256


def probe(trainer: Trainer, request: Probe) -> None:
    """Sample and score some prompts with the weights and settings as they are, and tell what came of it.

    Raises:
        ValueError: so many prompts cannot be tried; said before anything is sampled.
        StopRequested: the run ends.
    """
    sampling = trainer.config.sampling
    detail = (
        f"{min(request.num_prompts, len(trainer.prompts))} prompts × {sampling.group_size} responses of up to "
        f"{sampling.max_completion_tokens} tokens"
    )
    with _told(trainer, PROBE, detail):
        if not 1 <= request.num_prompts <= MAX_PROMPTS:
            raise ValueError(f"{request.num_prompts} prompts were asked for; 1 to {MAX_PROMPTS} can be tried")
        prompts, drawn = probe_prompts(trainer, request.num_prompts), _Drawn()
        # No more at once than a step has: what training can hold, a probe can hold.
        for first in range(0, len(prompts), sampling.prompts_per_step):
            _try(trainer, prompts, first, sampling.prompts_per_step, drawn)
        report = ProbeReport(
            groups=tuple(map(_probed, drawn.groups)),
            group_size=sampling.group_size,
            max_completion_tokens=sampling.max_completion_tokens,
            sampling_seconds=drawn.sampling_seconds,
            scoring_seconds=drawn.scoring_seconds,
            finished_steps=trainer.finished_steps,
            preview=prompt_pieces(trainer, prompts[0]),
            is_chat=render_prompt(prompts[0].problem, trainer.policy.tokenizer, trainer.config.data).is_chat,
        )
        trainer.emit(PreflightDone(time=time.time(), report=report))


def probe_prompts(trainer: Trainer, num_prompts: int) -> list[Prompt]:
    """Some of the prompts trained on, in an order that the seed decides and no step uses."""
    order = ProblemOrder(len(trainer.prompts), derived_seed(trainer.config.run.seed, "probe prompts"))
    return [trainer.prompts[i] for i in order.for_step(1, min(num_prompts, len(trainer.prompts)))]


def prompt_pieces(trainer: Trainer, prompt: Prompt) -> tuple[PromptPiece, ...]:
    """The prompt's tokens as text, each special token a piece of its own."""
    tokenizer = trainer.policy.tokenizer
    special = set(tokenizer.all_special_ids)
    pieces: list[PromptPiece] = []
    plain: list[int] = []

    def end_plain() -> None:
        if plain:
            pieces.append(PromptPiece(text=_decoded(tokenizer, plain)))
            plain.clear()

    for token in prompt.token_ids:
        if token in special:
            end_plain()
            pieces.append(PromptPiece(text=_decoded(tokenizer, [token]), special=True))
        else:
            plain.append(token)
    end_plain()
    return tuple(pieces)


def _decoded(tokenizer: object, ids: Sequence[int]) -> str:
    decode = tokenizer.decode  # type: ignore[attr-defined]
    return str(decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


@dataclass(slots=True)
class _Drawn:
    """What a probe has so far."""

    groups: list[GroupRecord] = field(default_factory=list)
    sampling_seconds: float = 0.0
    scoring_seconds: float = 0.0


def _try(trainer: Trainer, prompts: Sequence[Prompt], first: int, count: int, drawn: _Drawn) -> None:
    """Sample and score the prompts from ``first`` on."""
    size = trainer.config.sampling.group_size
    chosen = prompts[first : first + count]
    requests = [
        SampleRequest(
            prompt_ids=prompt.token_ids,
            stream_key=stream_key(trainer.config.run.seed, "probe", 0, prompt.problem.id, index),
        )
        for prompt in chosen
        for index in range(size)
    ]
    started = time.perf_counter()
    on_token = request_reporter(trainer, PROBE, before=first * size, total=len(prompts) * size)
    rows = trainer.sampler.sample(requests, sampling_settings(trainer), on_token)
    drawn.sampling_seconds += time.perf_counter() - started
    started = time.perf_counter()
    for number, prompt in enumerate(chosen):
        trainer.heed()
        _report(trainer, PROBE, Phase.SCORE, first + number, len(prompts), "groups")
        members = rows[number * size : (number + 1) * size]
        group = GroupRecord(
            index=first + number,
            problem=prompt.record(),
            completions=tuple(completion_record(trainer, i, tokens) for i, tokens in enumerate(members)),
        )
        drawn.groups.append(scored(trainer, group, trainer.config.sampling.max_completion_tokens))
    drawn.scoring_seconds += time.perf_counter() - started


def _probed(group: GroupRecord) -> ProbedGroup:
    return ProbedGroup(
        problem_id=group.problem.id,
        question=group.problem.question,
        rewards_G=group.rewards,
        verdicts_G=tuple(str(c.verdict) if c.verdict is not None else "" for c in group.completions),
        lengths_G=tuple(c.num_tokens for c in group.completions),
        truncated_G=tuple(c.finish_reason == "length" for c in group.completions),
        dead_cause=group.dead_cause,
    )


def measure(trainer: Trainer, request: MeasureFit) -> None:  # noqa: ARG001
    """Run the worst step's parts, as ``grpo-tui doctor --fit`` does, in the run itself.

    Raises:
        ValueError: a step is in progress, whose groups hold memory too and whose gradients must not be touched.
        StopRequested: the run ends.
    """
    sampling = trainer.config.sampling
    detail = (
        f"the worst step: {sampling.prompts_per_step} × {sampling.group_size} responses of "
        f"{sampling.max_completion_tokens} tokens"
    )
    with _told(trainer, FIT, detail):
        if trainer.in_progress is not None:
            raise ValueError("fit is measured between steps; finish the step first (s)")
        done = 0

        def say(_line: str) -> None:
            nonlocal done
            done += 1
            _report(trainer, FIT, Phase.UPDATE if done > 1 else Phase.SAMPLE, done - 1, 0, "sizes tried")

        trainer.emit(FitMeasured(time=time.time(), report=measure_fit(trainer, say=say)))


@contextmanager
def _told(trainer: Trainer, what: str, detail: str) -> Iterator[None]:
    """Tell that a check begins, and how it ended."""
    trainer.emit(PreflightStarted(time=time.time(), what=what, detail=detail))
    try:
        yield
    except Withdrawn:
        _end(trainer, what, "stopped")
    except StopRequested:
        _end(trainer, what, "stopped")
        raise
    except Exception as error:
        _end(trainer, what, "failed", one_line(error))
        raise
    else:
        _end(trainer, what, "done")


def _end(trainer: Trainer, what: str, reason: str, message: str = "") -> None:
    trainer.emit(PreflightEnded(time=time.time(), what=what, reason=reason, message=message))


def _report(trainer: Trainer, what: str, phase: Phase, done: int, total: int, unit: str) -> None:
    trainer.report(
        Progress(
            step=trainer.finished_steps,
            phase=phase,
            done=done,
            total=total,
            unit=unit,
            of=what,
        )
    )
