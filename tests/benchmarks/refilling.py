"""Places taken by those that wait, against rounds: ``python -m tests.benchmarks.refilling [--model FILE.gguf]``.

More completions of very different length than rows are drawn in turns by the sampler as it is, and in rounds: as many as there
are rows, to the last one's end, then as many again. Both draw the same tokens. What counts is how many rows went through the
model, at how many positions, and the seconds of prefill and decoding.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grpo_tui.config.schema import ModelConfig
from grpo_tui.engine.libraries import libraries_to_notices
from grpo_tui.generation.fast import FastSampler
from grpo_tui.generation.slab import SlabCache
from grpo_tui.generation.types import SampledTokens, SampleRequest, SamplingSettings, TokenTick
from grpo_tui.policy.loading import load_policy
from grpo_tui.policy.policy import Policy
from tests.benchmarks.tables import command_line, markdown, parser_of, publish

GROUPS, GROUP_SIZE, ROWS = 12, 8, 16
ENDS_EVERY = 60
"""Tokens after which a completion ends on average."""
LENGTHS = (64, 256, 440)
"""Most tokens of a completion."""


@dataclass
class Cost:
    """What one way of drawing took."""

    seconds: float = 0.0
    prefill: float = 0.0
    positions: int = 0
    rows: int = 0
    """Summed over the positions."""


def ends_of(policy: Policy) -> tuple[int, ...]:
    """Tokens that together come about once in :data:`ENDS_EVERY`, by what the model draws when nothing ends it."""
    policy.eos_ids = (-1,)
    found = FastSampler(policy).sample(
        requests_of(4), SamplingSettings(max_new_tokens=64), lambda _tick: None
    )
    drawn = torch.cat([torch.from_numpy(sample.token_ids_T) for sample in found])
    counts = torch.bincount(drawn)
    chosen: list[int] = []
    total = 0
    for token in counts.argsort(descending=True).tolist():
        if counts[token] and total + int(counts[token]) <= len(drawn) / ENDS_EVERY:
            chosen.append(token)
            total += int(counts[token])
    return tuple(chosen)


def requests_of(groups: int) -> list[SampleRequest]:
    """Prompts of 20 to 64 tokens, each with a group of completions."""
    prompts = [tuple(range(5 + i, 25 + 5 * i)) for i in range(groups)]
    return [
        SampleRequest(prompt_ids=prompt[:64], stream_key=f"{i}/{k}")
        for i, prompt in enumerate(prompts)
        for k in range(GROUP_SIZE)
    ]


def drawn(
    sampler: FastSampler, parts: Sequence[Sequence[SampleRequest]], limit: int
) -> tuple[list[SampledTokens], Cost]:
    """Draw one part after the other, counting what goes through the model."""
    cost, samples, decode = Cost(), [], sampler._decode

    def counted(tokens: Tensor, positions: Tensor, looks: Tensor | None, cache: SlabCache) -> Tensor:
        cost.positions += 1
        cost.rows += len(tokens)
        return decode(tokens, positions, looks, cache)

    sampler._decode = counted
    try:
        for part in parts:
            last: list[TokenTick] = []
            samples += sampler.sample(part, SamplingSettings(max_new_tokens=limit), _keep_last(last))
            cost.prefill += last[0].prefill_seconds
            cost.seconds += last[0].prefill_seconds + last[0].decode_seconds
    finally:
        sampler._decode = decode
    return samples, cost


def _keep_last(last: list[TokenTick]) -> Callable[[TokenTick], None]:
    def keep(tick: TokenTick) -> None:
        last[:] = [tick]

    return keep


def in_turns(
    sampler: FastSampler, requests: Sequence[SampleRequest], limit: int, turns: int
) -> tuple[list[int], Cost, Cost]:
    """Lengths of the completions, and what rounds and refilling took: medians of the seconds."""
    rounds = [requests[i : i + ROWS] for i in range(0, len(requests), ROWS)]
    costs: tuple[list[Cost], list[Cost]] = ([], [])
    lengths: list[int] = []
    for _ in range(turns + 1):  # the first warms up
        for parts, found in zip((rounds, [requests]), costs, strict=True):
            samples, cost = drawn(sampler, parts, limit)
            found.append(cost)
            now = [len(sample.token_ids_T) for sample in samples]
            assert lengths in ([], now), "the tokens differ"
            lengths = now
    medians = [
        Cost(
            statistics.median(c.seconds for c in found[1:]),
            statistics.median(c.prefill for c in found[1:]),
            found[0].positions,
            found[0].rows,
        )
        for found in costs
    ]
    return lengths, medians[0], medians[1]


def table_of(policy: Policy, limits: Sequence[int], turns: int) -> tuple[str, str]:
    """A row for each limit and way, and a sentence."""
    policy.eos_ids = ends_of(policy)
    sampler, requests = FastSampler(policy, max_rows=ROWS), requests_of(GROUPS)
    rows: list[tuple[object, ...]] = []
    ratios = []
    for limit in limits:
        lengths, by_rounds, by_refilling = in_turns(sampler, requests, limit, turns)
        middle = f"{statistics.median(lengths):.0f} ({min(lengths)} to {max(lengths)})"
        for way, cost in (("rounds", by_rounds), ("refilled", by_refilling)):
            busy = (sum(lengths) - len(lengths)) / (cost.rows or 1)
            rows.append(
                (
                    limit, middle, way, cost.positions, cost.rows, f"{cost.rows / (cost.positions or 1):.1f}",
                    f"{busy:.0%}", f"{cost.prefill:.3f}", f"{cost.seconds:.3f}",
                )
            )  # fmt: skip
        ratios.append(f"{by_rounds.seconds / by_refilling.seconds:.2f}× at {limit}")
    head = (
        "limit", "tokens, median", "way", "positions", "rows × positions", "rows", "of use", "prefill, s", "all, s",
    )  # fmt: skip
    said = (
        f"{len(requests)} completions, {ROWS} rows: refilling is as fast as rounds times {', '.join(ratios)}"
    )
    return markdown(head, rows), said


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--turns", type=int, default=5, help="times that each way is taken, in turns")
    arguments = parser.parse_args(argv)
    quick = arguments.quick
    table, said = table_of(
        _policy(arguments), LENGTHS[:1] if quick else LENGTHS, 1 if quick else arguments.turns
    )
    publish(
        f"Refilling against rounds: {'the bundled model' if arguments.model == 'tiny' else 'model as given'}",
        command_line("refilling", arguments),
        [table],
        [said],
        record=arguments.record,
    )


def _policy(arguments: argparse.Namespace) -> Policy:
    config = ModelConfig(source=arguments.model, device=arguments.device, dtype=arguments.dtype)
    with libraries_to_notices(lambda _event: None):
        return load_policy(config, seed=0)


if __name__ == "__main__":
    main()
