"""Decoding against the memory bandwidth: ``python -m tests.benchmarks.decode [--model FILE.gguf] [--device cuda]``.

One position of decoding reads every weight once, whatever the number of rows, and each row's cache: it cannot take less time
than that reading. Bandwidth is measured in the same minute in two ways: a plain read and copy of a large array, and products
of the same weights with as many vectors as there are rows (which above a few rows is bound by arithmetic on a CPU).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from grpo_tui.config.schema import ModelConfig
from grpo_tui.engine.libraries import libraries_to_notices
from grpo_tui.generation.fast import make_sampler
from grpo_tui.generation.types import Sampler, SampleRequest, SamplingSettings, TokenTick
from grpo_tui.policy.loading import load_policy
from grpo_tui.policy.policy import Policy
from tests.benchmarks.tables import command_line, markdown, parser_of, publish

PROMPT = 64
ROWS = (1, 16, 64)


@dataclass(frozen=True)
class Decoded:
    """Seconds of one position, and how much it has to read."""

    seconds: float
    num_bytes: int


def seconds_of(work: Callable[[], object], device: torch.device, *, rounds: int) -> float:
    """Median seconds of a piece of work, after one to warm up."""
    times = []
    for _ in range(rounds + 1):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def bandwidth(device: torch.device, num_bytes: int, rounds: int) -> tuple[float, float]:
    """Bytes a second of a plain read, and of a copy (read and write both counted)."""
    source = torch.ones(num_bytes // 4, device=device)
    target = torch.empty_like(source)
    read = num_bytes / seconds_of(source.sum, device, rounds=rounds)
    copy = 2 * num_bytes / seconds_of(lambda: target.copy_(source), device, rounds=rounds)
    return read, copy


def weights_of(policy: Policy) -> list[Tensor]:
    """The matrices that every position is multiplied with, the head among them; an embedding is only looked up."""
    base = policy.model.get_base_model()
    head = base.get_output_embeddings().weight
    found = {head.data_ptr(): head}
    for name, parameter in base.named_parameters():
        if parameter.ndim == 2 and "lora_" not in name and "embed" not in name:
            found.setdefault(parameter.data_ptr(), parameter)
    return list(found.values())


@torch.no_grad()
def products(weights: list[Tensor], rows: int, rounds: int) -> float:
    """Seconds of one product of each matrix with ``rows`` vectors."""
    device = weights[0].device
    vectors = {w.shape[1]: torch.ones(rows, w.shape[1], dtype=w.dtype, device=device) for w in weights}
    return seconds_of(
        lambda: [torch.nn.functional.linear(vectors[w.shape[1]], w) for w in weights], device, rounds=rounds
    )


def decode(policy: Policy, sampler: Sampler, rows: int, length: int, weight_bytes: int) -> Decoded:
    """Decode ``length`` positions of full rows, and take the seconds of one, its prefill left out."""
    requests = [
        SampleRequest(prompt_ids=tuple(range(5, 5 + PROMPT)), stream_key=f"{row}") for row in range(rows)
    ]
    last: list[TokenTick] = []

    def on_token(tick: TokenTick) -> None:
        last[:] = [tick]

    for count in (4, length):  # the first warms up
        sampler.sample(requests, SamplingSettings(max_new_tokens=count), on_token)
    config = policy.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    wide = policy.model.get_input_embeddings().weight.element_size()
    cache = rows * 2 * config.num_hidden_layers * heads * size * wide * (PROMPT + length // 2)
    return Decoded(last[0].decode_seconds / length, weight_bytes + cache)


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--tokens", type=int, default=128, help="positions to decode")
    arguments = parser.parse_args(argv)
    rounds, length = (2, 8) if arguments.quick else (7, arguments.tokens)
    policy = _policy(arguments)
    sampler = make_sampler(policy, "auto", lambda line: print(f"note: {line}"))
    weights = weights_of(policy)
    weight_bytes = sum(w.numel() * w.element_size() for w in weights)
    read, copy = bandwidth(policy.device, 1 << (24 if arguments.quick else 29), rounds)
    table = []
    for rows in ROWS:
        found = decode(policy, sampler, rows, length, weight_bytes)
        bound, product = found.num_bytes / max(read, copy), products(weights, rows, rounds)
        table.append(
            (
                rows,
                f"{rows / found.seconds:,.0f}",
                f"{found.seconds * 1e3:.2f}",
                f"{rows / bound:,.0f}",
                f"{found.seconds / bound:.2f}",
                f"{rows / product:,.0f}",
                f"{found.seconds / product:.2f}",
            )
        )
    head = (
        "rows",
        "tok/s",
        "ms a position",
        "read limit, tok/s",
        "× limit",
        "products alone, tok/s",
        "× products",
    )
    publish(
        f"Decoding against memory bandwidth: {policy.model.get_base_model().config.model_type}, "
        f"{weight_bytes / 1e6:.0f} MB of {str(policy.dtype).removeprefix('torch.')} weights on {policy.device}",
        command_line("decode", arguments),
        [markdown(head, table)],
        [
            f"plain read {read / 1e9:.1f} GB/s, copy {copy / 1e9:.1f} GB/s; × is time over the least possible: 1 is the limit"
        ],
        record=arguments.record,
    )


def _policy(arguments: argparse.Namespace) -> Policy:
    config = ModelConfig(source=arguments.model, device=arguments.device, dtype=arguments.dtype)
    with libraries_to_notices(lambda _event: None):
        policy = load_policy(config, seed=0)
    policy.eos_ids = (-1,)  # no token ends a row: all of them are decoded to the end
    return policy


if __name__ == "__main__":
    main()
