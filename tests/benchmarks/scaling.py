"""How a step's time grows: ``python -m tests.benchmarks.scaling [--model FILE.gguf] [--device cuda]``.

Group sizes from 4 to 64 and completion lengths from 64 to 2,048, each doubled, every completion as long as allowed. Attention
alone, whose work grows with the square of the length, is measured by itself at the shapes of update and decoding, so that the
rest can be judged: the claim is that twice the answers, or twice the length apart from attention, take at most twice the time.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from grpo_tui.engine.trainer import Trainer
from grpo_tui.generation.straight import _attended, _turns_keys
from tests.benchmarks.steps import measured, phase_seconds, trainer_for
from tests.benchmarks.tables import command_line, markdown, parser_of, publish

SIZES, LENGTHS = (4, 8, 16, 32, 64), (64, 128, 256, 512, 1024, 2048)
NOISE = 0.05
"""Of a ratio: what a median of a few steps may be off by."""


def attention_seconds(trainer: Trainer, rows: int, length: int) -> float:
    """Forward and backward of all layers' attention over full rows, in as many microbatches as the update makes."""
    policy = trainer.policy
    config = policy.model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    at_once = max(1, min(rows, trainer.microbatch_tokens // length))
    shape = (at_once, heads, length, size)
    q, k, v = (
        torch.randn(shape, device=policy.device, dtype=policy.dtype, requires_grad=True) for _ in range(3)
    )
    mask = torch.ones(length, length, dtype=torch.bool, device=policy.device).tril()

    def once() -> float:
        if policy.device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out.backward(torch.ones_like(out))  # type: ignore[no-untyped-call,unused-ignore]
        if policy.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    once()
    passes: float = rows / at_once * config.num_hidden_layers
    return statistics.median(once() for _ in range(3)) * passes


@torch.no_grad()
def decoding_attention_seconds(trainer: Trainer, rows: int, length: int) -> float:
    """All layers' attention of ``length`` decoded positions, each to the cache as it lies, measured at five fillings of it."""
    policy = trainer.policy
    config = policy.model.config.get_text_config()
    heads = config.num_attention_heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    weight = policy.model.get_input_embeddings().weight
    turned = _turns_keys(weight)
    kind: dict[str, Any] = {"device": policy.device, "dtype": policy.dtype}
    query = torch.randn(rows, shared, heads // shared, size, **kind)
    caches = []  # each layer's own: a pass finds none of them where the one before it left it
    for _ in range(config.num_hidden_layers):
        values = torch.randn(rows, shared, length, size, **kind)
        lying = torch.randn(rows, shared, size, length, **kind).transpose(2, 3)
        caches.append((lying if turned else torch.randn_like(values), values))

    def once(filled: int) -> float:
        if policy.device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        for keys, values in caches:
            seen = keys[:, :, :filled], values[:, :, :filled]
            if turned:
                _attended(query, *seen, None, size**-0.5)
            else:
                torch.nn.functional.scaled_dot_product_attention(query, *seen)
        if policy.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    found = []
    for quarter in range(5):
        filled = max(1, length * quarter // 4)
        once(filled)
        found.append(statistics.median(once(filled) for _ in range(5)))
    return length * sum((before + after) / 2 for before, after in itertools.pairwise(found)) / 4


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
            attention = attention_seconds(trainer, size, length)
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
