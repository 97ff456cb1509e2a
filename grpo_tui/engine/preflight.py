"""Before step 1: does the worst step fit in memory, in which microbatches, and how long does it take? Measured, not guessed.

The worst step is the longest prompt, every completion at full length. One round of sampling is run so, then forward and
backward of the real loss on one microbatch after another, each of twice as many rows, until the step is whole, memory runs
out, or the next would not fit. Running out is an answer on CUDA; on a CPU it would be the end of the process, so there the
next size is predicted from those before it and not tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from grpo_tui.algorithms import policy_gradient_loss
from grpo_tui.engine.batch import needs_reference
from grpo_tui.engine.gradient import batch_size, loss_inputs
from grpo_tui.engine.meter import DeviceMeter, Meter
from grpo_tui.engine.rollout import sampling_settings
from grpo_tui.engine.rows import Row, is_on_policy, token_batch
from grpo_tui.engine.trainer import Prompt, Trainer
from grpo_tui.events.preflight import FitReport, FitTrial
from grpo_tui.generation.drawing import MAX_ROWS
from grpo_tui.generation.streams import stream_key
from grpo_tui.generation.types import SampleRequest

MARGIN = 0.1
"""Share of the free memory that is left alone: other processes, fragments, longer prompts than were seen."""
NEVER_ENDS = (-1,)
"""Ids that end a completion, while completions must reach their full length."""


def measure_fit(
    trainer: Trainer,
    *,
    prompt_tokens: int = 0,
    meter: Meter | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> FitReport:
    """Run the worst step's parts and read what they take. The trainer is afterwards as it was.

    Args:
        trainer: loaded, between steps.
        prompt_tokens: length to try instead of the longest prompt's; 0: the longest prompt's.
        meter: of memory; by default the device's.
        say: told in a line what is tried next.

    Raises:
        ValueError: the length does not fit into the model's context.
    """
    meter = meter or DeviceMeter(trainer.policy.device)
    prompt = _worst_prompt(trainer, prompt_tokens)
    config = trainer.config.sampling
    with _undisturbed(trainer):
        free, held = meter.free(), meter.begin()
        budget = int(free * (1 - MARGIN))
        num_rows = config.prompts_per_step * config.group_size
        say(f"sampling {num_rows} completions of {config.max_completion_tokens} tokens")
        sampling = _sample(trainer, prompt, num_rows, meter, held)
        points = _grow(trainer, prompt, num_rows, meter, held, budget, say)
        reference = _reference_seconds(trainer, prompt, points, budget) * num_rows
    largest = _largest(points, budget, num_rows)
    best = max((p for p in points if _is_within(p, budget)), key=lambda p: p.num_tokens, default=None)
    update = best.seconds / best.num_rows * num_rows if best else 0.0
    return FitReport(
        prompt_tokens=len(prompt),
        completion_tokens=config.max_completion_tokens,
        prompts_per_step=config.prompts_per_step,
        group_size=config.group_size,
        free_bytes=free,
        margin=MARGIN,
        sampling=sampling,
        microbatches=tuple(points),
        max_tokens_per_microbatch=largest,
        max_group_size=_group_that_fits(sampling, budget, config.prompts_per_step),
        sampling_seconds=sampling.seconds,
        reference_seconds=reference,
        update_seconds=update * trainer.config.algorithm.num_epochs,
        notes=_notes(trainer),
    )


def _worst_prompt(trainer: Trainer, prompt_tokens: int) -> tuple[int, ...]:
    longest: Prompt = max((*trainer.prompts, *trainer.held_out), key=lambda p: len(p.token_ids))
    length = prompt_tokens or len(longest.token_ids)
    room = trainer.policy.context_length - trainer.config.sampling.max_completion_tokens
    if length > room:
        raise ValueError(
            f"a prompt of {length} tokens and {trainer.config.sampling.max_completion_tokens} completion tokens "
            f"exceed the model's context of {trainer.policy.context_length}"
        )
    repeats = -(-length // len(longest.token_ids))
    return (longest.token_ids * repeats)[:length]


@contextmanager
def _undisturbed(trainer: Trainer) -> Iterator[None]:
    """Within: completions never end by themselves. Afterwards random streams and gradients are as they were."""
    policy, stream = trainer.policy, torch.get_rng_state()
    ends, policy.eos_ids = policy.eos_ids, NEVER_ENDS
    try:
        yield
    finally:
        policy.eos_ids = ends
        trainer.optimizer.zero_grad(set_to_none=True)
        torch.set_rng_state(stream)


def _sample(trainer: Trainer, prompt: tuple[int, ...], num_rows: int, meter: Meter, held: int) -> FitTrial:
    """A whole step's completions. The sampler itself tries fewer at once where memory runs out."""
    requests = [
        SampleRequest(prompt_ids=prompt, stream_key=stream_key(0, "fit", 0, "worst", row))
        for row in range(num_rows)
    ]
    return _tried(
        lambda: trainer.sampler.sample(requests, sampling_settings(trainer), lambda _tick: trainer.heed()),
        num_rows,
        num_rows * (len(prompt) + trainer.config.sampling.max_completion_tokens),
        meter,
        held,
        trainer.policy.device,
    )


def _grow(
    trainer: Trainer,
    prompt: tuple[int, ...],
    num_rows: int,
    meter: Meter,
    held: int,
    budget: int,
    say: Callable[[str], None],
) -> list[FitTrial]:
    """Microbatches of 1, 2, 4 … rows, up to a whole step."""
    length = len(prompt) + trainer.config.sampling.max_completion_tokens
    points: list[FitTrial] = []
    for rows in _sizes(num_rows):
        trainer.heed()
        if not meter.survives and _predicted(points, rows * length) > budget:
            break
        say(f"forward and backward of {rows} rows, {rows * length} tokens")
        batch = worst_rows(trainer, prompt, rows)
        point = _tried(
            lambda batch=batch: _forward_backward(trainer, batch),  # type: ignore[misc]
            rows,
            rows * length,
            meter,
            held,
            trainer.policy.device,
        )
        points.append(point)
        if point.extra_bytes is None:
            break
    return points


def _sizes(largest: int) -> list[int]:
    """1, 2, 4 … and the largest."""
    return [*(1 << power for power in range(largest.bit_length()) if 1 << power < largest), largest]


def worst_rows(trainer: Trainer, prompt: tuple[int, ...], num_rows: int) -> list[Row]:
    """Rows of full length with all that the loss can ask for; every second one is pushed up, the others down."""
    length, device = trainer.config.sampling.max_completion_tokens, trainer.policy.device
    ids = torch.full((length,), int(prompt[-1]), device=device)
    logprobs = torch.full((length,), -1.0, device=device)
    on_policy = is_on_policy(trainer.config.algorithm) and not trainer.config.sampling.ahead
    return [
        Row(
            group=number // trainer.config.sampling.group_size,
            index=number,
            prompt_ids=prompt,
            completion_ids_T=ids,
            sampled_logprobs_T=logprobs,
            reward=float(number % 2),
            advantage=1.0 if number % 2 else -1.0,
            ref_logprobs_T=logprobs,
            old_logprobs_T=None if on_policy else logprobs,
        )
        for number in range(num_rows)
    ]


def _forward_backward(trainer: Trainer, rows: Sequence[Row]) -> None:
    with trainer.policy.training_mode():
        inputs = loss_inputs(trainer, rows, batch_size(trainer, rows, rows), trainer.policy.adapter_state())
        policy_gradient_loss(inputs).loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
    # The host does not wait for a device by itself.
    if trainer.policy.device.type == "cuda":
        torch.cuda.synchronize(trainer.policy.device)


def _tried(
    work: Callable[[], object], num_rows: int, num_tokens: int, meter: Meter, held: int, device: torch.device
) -> FitTrial:
    """Do it, and read what it took."""
    meter.begin()
    started = time.perf_counter()
    extra: int | None = None
    try:
        work()
        extra = max(0, meter.peak() - held)
    except torch.OutOfMemoryError:
        pass
    # Outside the handler: the exception held the frames, and they held the tensors.
    if extra is None and device.type == "cuda":
        torch.cuda.empty_cache()
    seconds = time.perf_counter() - started
    return FitTrial(num_rows=num_rows, num_tokens=num_tokens, extra_bytes=extra, seconds=seconds)


def _reference_seconds(
    trainer: Trainer, prompt: tuple[int, ...], points: Sequence[FitTrial], budget: int
) -> float:
    """Seconds a row of the passes without gradient: the reference's, and the old policy's where it is another."""
    config = trainer.config.algorithm
    off_policy = not is_on_policy(config) or trainer.config.sampling.ahead
    passes = int(needs_reference(config)) + int(off_policy)
    fitting = [point.num_rows for point in points if _is_within(point, budget)]
    if not passes or not fitting:
        return 0.0
    rows = worst_rows(trainer, prompt, max(fitting))
    started = time.perf_counter()
    with torch.no_grad(), trainer.policy.reference():
        logprobs, _ = trainer.policy.logprobs(
            token_batch(rows, trainer.policy), trainer.config.sampling.temperature
        )
        float(logprobs.sum())  # waits for the device
    return passes * (time.perf_counter() - started) / len(rows)


def _is_within(point: FitTrial, budget: int) -> bool:
    return point.extra_bytes is not None and point.extra_bytes <= budget


def _predicted(points: Sequence[FitTrial], num_tokens: int) -> float:
    """Extra bytes at a size, on the line through the last two points; from one alone, in proportion; from none, 0."""
    known = [(point.num_tokens, point.extra_bytes) for point in points if point.extra_bytes is not None]
    if not known:
        return 0.0
    (tokens, extra), (tokens_before, extra_before) = known[-1], known[-2] if len(known) > 1 else (0, 0)
    return extra + max(0.0, (extra - extra_before) / (tokens - tokens_before)) * (num_tokens - tokens)


def _largest(points: Sequence[FitTrial], budget: int, num_rows: int) -> int:
    """Most tokens in a microbatch that stay within the budget, in whole rows.

    Between the largest size that fitted and the first that did not, the line through the last two that fitted decides.
    """
    fitting = [point for point in points if _is_within(point, budget)]
    if not fitting:
        return 0
    last = fitting[-1]
    length = last.num_tokens // last.num_rows
    rows, tried = last.num_rows, {point.num_rows for point in points if not _is_within(point, budget)}
    end = min([num_rows + 1, 2 * rows, *(size for size in tried if size > rows)])
    while rows + 1 < end and len(fitting) > 1 and _predicted(fitting, (rows + 1) * length) <= budget:
        rows += 1
    return rows * length


def _group_that_fits(sampling: FitTrial, budget: int, prompts_per_step: int) -> int:
    """Memory of sampling grows with the rows decoded together, of which the samplers take at most ``MAX_ROWS``."""
    if sampling.extra_bytes is None:
        return 0
    at_once = min(sampling.num_rows, MAX_ROWS)
    rows = MAX_ROWS if not sampling.extra_bytes else min(MAX_ROWS, budget * at_once // sampling.extra_bytes)
    return int(rows) // prompts_per_step


def _notes(trainer: Trainer) -> tuple[str, ...]:
    config, notes = trainer.config.algorithm, []
    if config.update == "trust_region":
        notes.append(
            "a trust-region update differentiates twice over trust_region.fisher_tokens; not measured here"
        )
    if config.advantage == "gae":
        notes.append("the critic's own passes come on top, about as long as the reference's and an update's")
    if trainer.config.groups.max_group_size:
        size = trainer.config.groups.max_group_size
        notes.append(
            f"groups may grow to groups.max_group_size={size}: a step then takes longer than said here"
        )
    return tuple(notes)
