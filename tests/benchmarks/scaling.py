"""How a step's time grows: ``python -m tests.benchmarks.scaling [--model FILE.gguf] [--device cuda]``.

Group sizes from 4 to 64 and completion lengths from 64 to 2,048, each doubled, every completion as long as allowed. Attention,
whose work grows with the square of the length, is measured where it is in the same update and decoding, so that the rest can
be judged: the claim is that twice the answers, or twice the length apart from attention, take at most twice the time.
"""

from __future__ import annotations

import itertools
import re
import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext

import torch

from grpo_tui.engine.control import Control, Gate
from grpo_tui.engine.step import run_step
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.records import Phase
from grpo_tui.generation.fast import FastSampler
from grpo_tui.generation.prompts import new_cache, prefill
from grpo_tui.generation.straight import Straight
from grpo_tui.generation.threads import decoding_threads
from tests.benchmarks.steps import measured, phase_seconds, trainer_for
from tests.benchmarks.tables import command_line, markdown, parser_of, publish

SIZES, LENGTHS = (4, 8, 16, 32, 64), (64, 128, 256, 512, 1024, 2048)
ATTENTION = re.compile(
    r"_Short|_ShortBackward|aten::scaled_dot_product_attention|ScaledDotProduct\w*Backward0"
)
"""What the profiler calls attention, forward and backward: our own of short rows, and torch's."""
NOISE = 0.05
"""Of a ratio: what a median of a few steps may be off by."""


def update_attention_seconds(trainer: Trainer) -> float:
    """Of one more step's update: attention forward and backward where it is, as the profiler sees it."""
    from torch.profiler import ProfilerActivity, profile

    on_cuda = trainer.policy.device.type == "cuda"
    profiler = profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])])
    gate = Gate(Control(start_paused=False), lambda _event: None)
    gate.mark = lambda phase: profiler if phase == Phase.UPDATE else nullcontext()
    gate.between_steps(trainer.finished_steps + 1)
    run_step(trainer, gate)
    microseconds = "device_time_total" if on_cuda else "cpu_time_total"
    found = [e for e in profiler.key_averages() if ATTENTION.fullmatch(e.key)]
    return sum(float(getattr(event, microseconds)) for event in found) / 1e6


@torch.no_grad()
def decoding_attention_seconds(trainer: Trainer, rows: int, length: int) -> float:
    """Of ``length`` decoded positions, what each takes more than a first one: attention, by the run's own decoder.

    Measured at five fillings of the cache.
    """
    sampler = trainer.sampler
    assert isinstance(sampler, FastSampler)
    device = trainer.policy.device
    tokens = torch.full((rows,), 5, device=device)
    with sampler._on_its_device(), decoding_threads(trainer.policy), sampler._twin.awake(rows) as model:
        first = new_cache(model, 1)
        prefill(model, tokens[:, None], torch.ones(rows, 1, dtype=torch.bool, device=device), first)
        turned = isinstance(sampler._decode, Straight) and sampler._decode.turns_keys

        def seconds(filled: int) -> float:
            cache = first.like(rows, filled, length + 1, turns_keys=turned)
            cache.make_room(filled + 1)
            places = torch.full((rows,), filled, device=device)

            def once() -> float:
                for layer in cache.layers:
                    layer.length = filled
                if device.type == "cuda":
                    torch.cuda.synchronize()
                started = time.perf_counter()
                sampler._decode(tokens, places, None, cache)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                return time.perf_counter() - started

            once()
            found = statistics.median(once() for _ in range(15))
            sampler._forget()
            return found

        least = seconds(1)
        more = [max(0.0, seconds(max(1, length * quarter // 4)) - least) for quarter in range(5)]
    return length * sum((before + after) / 2 for before, after in itertools.pairwise(more)) / 4


def doublings(seconds: Sequence[float]) -> list[float]:
    """Each over the one before it."""
    return [after / before for before, after in itertools.pairwise(seconds)]


def verdict(what: str, ratios: Sequence[float]) -> str:
    """The claim against the worst ratio."""
    worst = max(ratios, default=0.0)
    holds = "at most doubles" if worst <= 2 * (1 + NOISE) else "MORE THAN DOUBLES"
    return f"{what}: {holds} (worst doubling {worst:.2f}×, {NOISE:.0%} allowed for noise)"


def by_size(
    model: str, sizes: Sequence[int], length: int, steps: int, device: str, dtype: str
) -> tuple[str, str]:
    """The table and the verdict of group sizes."""
    rows: list[tuple[object, ...]] = []
    whole: list[float] = []
    for size in sizes:
        options = (f"sampling.group_size={size}", f"sampling.max_completion_tokens={length}")
        with trainer_for(model, *options, device=device, dtype=dtype) as trainer:
            found = measured(trainer, steps)
        whole.append(phase_seconds(found, ""))
        parts = [phase_seconds(found, name) for name in ("sample", "reference", "update")]
        ratio = f"{whole[-1] / whole[-2]:.2f}" if len(whole) > 1 else ""
        rows.append((size, *(f"{s:.3f}" for s in (whole[-1], *parts)), ratio))
    head = (f"answers of {length} tokens", "step, s", "sample", "reference", "update", "× per doubling")
    return markdown(head, rows), verdict("twice the answers, the step's time", doublings(whole))


def by_length(
    model: str, lengths: Sequence[int], size: int, steps: int, device: str, dtype: str
) -> tuple[str, list[str]]:
    """The table and the verdicts of lengths."""
    rows: list[tuple[object, ...]] = []
    decode: list[float] = []
    decode_rest: list[float] = []
    update: list[float] = []
    rest: list[float] = []
    for length in lengths:
        options = (f"sampling.group_size={size}", f"sampling.max_completion_tokens={length}")
        with trainer_for(model, *options, device=device, dtype=dtype) as trainer:
            found = measured(trainer, steps)
            attention = update_attention_seconds(trainer)
            looking = decoding_attention_seconds(trainer, size, length)
        timings = [m.timing for m in found if m.timing is not None]
        decode.append(statistics.median(t.decode.seconds for t in timings))
        update.append(statistics.median(t.update.seconds for t in timings))
        decode_rest.append(max(decode[-1] - looking, 1e-9))
        rest.append(max(update[-1] - attention, 1e-9))
        last = [
            f"{seconds[-1] / seconds[-2]:.2f}" if len(rows) else ""
            for seconds in (decode, decode_rest, update, rest)
        ]
        rows.append(
            (
                length, f"{phase_seconds(found, ''):.3f}", f"{decode[-1]:.3f}", last[0], f"{looking:.3f}", last[1],
                f"{update[-1]:.3f}", last[2], f"{attention:.3f}", last[3],
            )
        )  # fmt: skip
    head = (
        f"tokens, {size} answers", "step, s", "decode", "×", "its attention", "× without it",
        "update", "×", "its attention", "× without it",
    )  # fmt: skip
    said = [
        verdict("twice the length, decoding apart from attention", doublings(decode_rest)),
        verdict("twice the length, the update apart from attention", doublings(rest)),
    ]
    return markdown(head, rows), said


def main(argv: list[str] | None = None) -> None:
    """Measure and print both tables."""
    parser = parser_of(__doc__)
    parser.add_argument("--steps", type=int, default=4, help="steps at each point; the first warms up")
    arguments = parser.parse_args(argv)
    quick = arguments.quick
    where = (1 if quick else arguments.steps, arguments.device, arguments.dtype)
    sizes, said = by_size(arguments.model, SIZES[:2] if quick else SIZES, 8 if quick else 128, *where)
    lengths, more = by_length(arguments.model, (8, 16) if quick else LENGTHS, 4 if quick else 8, *where)
    publish(
        f"How a step's time grows: {arguments.model if arguments.model == 'tiny' else 'model as given'}",
        command_line("scaling", arguments),
        [sizes, lengths],
        [said, *more],
        record=arguments.record,
    )


if __name__ == "__main__":
    main()
