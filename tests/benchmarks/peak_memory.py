"""Peak memory of a step: ``python -m tests.benchmarks.peak_memory [--model FILE.gguf] [--device cuda]``.

Against group size, completion length, microbatch tokens, and gradient checkpointing. Each point is a process of its own, for a
process's peak never falls; what a loaded model holds before its first step is told beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass

from grpo_tui.engine.metrics import peak_memory_bytes
from tests.benchmarks.steps import trainer_for
from tests.benchmarks.tables import command_line, markdown, parser_of, publish


@dataclass(frozen=True)
class Point:
    """What one process is to do."""

    size: int
    length: int
    tokens: int = 8192
    checkpointing: bool = False


BASE = Point(16, 256)
POINTS = (
    *(Point(size, BASE.length) for size in (4, 16, 64)),
    *(Point(BASE.size, length) for length in (64, 512, 1024)),
    *(Point(BASE.size, BASE.length, tokens) for tokens in (512, 2048)),
    Point(8, 2048),
    Point(8, 2048, checkpointing=True),
)
QUICK = (Point(4, 8), Point(4, 8, checkpointing=True))


def in_this_process(arguments: argparse.Namespace, point: Point) -> dict[str, float]:
    """One step, and what was held before it and at most."""
    options = (
        f"sampling.group_size={point.size}",
        f"sampling.max_completion_tokens={point.length}",
        f"optim.max_tokens_per_microbatch={point.tokens}",
        f"optim.gradient_checkpointing={str(point.checkpointing).lower()}",
    )
    with trainer_for(arguments.model, *options, device=arguments.device, dtype=arguments.dtype) as trainer:
        loaded = peak_memory_bytes(trainer.policy.device)
        [metrics] = trainer.steps(1)
    update = metrics.seconds_by_phase["update"]
    return {"loaded": loaded, "peak": metrics.peak_memory_bytes, "seconds": metrics.seconds, "update": update}


def child(arguments: argparse.Namespace, point: Point) -> dict[str, float]:
    """The same in a new process."""
    command = [sys.executable, "-m", "tests.benchmarks.peak_memory", "--model", arguments.model]
    command += ["--device", arguments.device, "--dtype", arguments.dtype]
    command += ["--child", json.dumps(vars_of(point))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def vars_of(point: Point) -> dict[str, int]:
    """A point as JSON has it."""
    return {
        "size": point.size,
        "length": point.length,
        "tokens": point.tokens,
        "checkpointing": point.checkpointing,
    }


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.child:
        print(json.dumps(in_this_process(arguments, Point(**json.loads(arguments.child)))))
        return
    rows = []
    for point in QUICK if arguments.quick else POINTS:
        found = child(arguments, point)
        rows.append(
            (
                point.size, point.length, point.tokens, "yes" if point.checkpointing else "no",
                f"{found['loaded'] / 1e6:,.0f}", f"{found['peak'] / 1e6:,.0f}",
                f"{(found['peak'] - found['loaded']) / 1e6:,.0f}", f"{found['update']:.2f}",
            )
        )  # fmt: skip
    head = (
        "answers", "tokens", "microbatch tokens", "checkpointing", "loaded, MB", "peak, MB", "of the step, MB", "update, s",
    )  # fmt: skip
    publish(
        "Peak memory of a step, one prompt, each in a process of its own",
        command_line("peak_memory", arguments),
        [markdown(head, rows)],
        [],
        record=arguments.record,
    )


if __name__ == "__main__":
    main()
