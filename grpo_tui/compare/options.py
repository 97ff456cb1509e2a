"""The options of ``grpo-tui compare``. Apart from the command itself, so that ``--help`` imports nothing for it."""

from __future__ import annotations

import argparse
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

DEFAULT_ALGORITHMS = "reinforce,rloo,ppo,trpo,grpo,dr_grpo"
DEFAULT_TOKENS = 40_000
DEFAULT_SWEEP = "1/3,1,3"

DESCRIPTION = """\
Train several algorithms from one start, on equal terms: the same model and adapter, the same prompts in the same order,
the same verifier, and the same number of generated tokens, once for each seed. Before that each algorithm gets
the same small sweep of its step size (the learning rate; TRPO's limit of KL) on a seed that is not measured; the sweep is
decided by training reward, never by held-out problems. Every run is a process of its own and an ordinary run folder.
"""

EXAMPLES = """\
examples:
  grpo-tui compare                                            six algorithms on the bundled model, 3 seeds
  grpo-tui compare --algorithms grpo,dr_grpo --seeds 5 --tokens 100000
  grpo-tui compare --algorithms all --set optim.lr=3e-4 --out runs/all
  grpo-tui compare --out runs/all --algorithms all --set optim.lr=3e-4      go on where that one stopped
  grpo-tui resume runs/all/runs/grpo-seed0                    look into one of its runs
"""


def add_compare(commands: Any) -> argparse.ArgumentParser:
    """Add ``compare`` to the parser of all commands, and return its parser."""
    compare: argparse.ArgumentParser = commands.add_parser(
        "compare",
        help="several algorithms from one start on equal tokens; a table",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_argument(
        "--algorithms",
        default=DEFAULT_ALGORITHMS,
        metavar="NAMES",
        help=f"names with commas between, or all (default: {DEFAULT_ALGORITHMS})",
    )
    compare.add_argument(
        "--seeds",
        type=_whole(1, 100),
        default=3,
        metavar="N",
        help="runs of each algorithm: the seeds from run.seed on (default: 3)",
    )
    compare.add_argument(
        "--tokens",
        type=_whole(1, 10**12),
        default=DEFAULT_TOKENS,
        metavar="N",
        help=f"tokens that each run generates in training, to the end of its step (default: {DEFAULT_TOKENS})",
    )
    compare.add_argument(
        "--sweep",
        type=_factors,
        default=_factors(DEFAULT_SWEEP),
        metavar="FACTORS",
        help="what the config's step size is multiplied by, for each algorithm alike; one factor: no sweep "
        f"(default: {DEFAULT_SWEEP})",
    )
    compare.add_argument(
        "--sweep-tokens",
        type=_whole(1, 10**12),
        metavar="N",
        help="tokens of each run of the sweep (default: as many as --tokens)",
    )
    compare.add_argument("--preset", metavar="NAME", help="as in train: tiny (default), gsm8k, math …")
    compare.add_argument(
        "--config", type=Path, metavar="FILE", help="a TOML file of settings, over the preset"
    )
    compare.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="one setting, over both, the same for every algorithm",
    )
    compare.add_argument(
        "--jobs",
        type=_whole(1, 256),
        default=1,
        metavar="N",
        help="runs at once, which share the cores (default: 1; times are only comparable at 1)",
    )
    compare.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the comparison's folder; one that was begun goes on (default: a new one below runs/)",
    )
    compare.add_argument(
        "--json", action="store_true", help="JSON lines on stdout: each finished run, then the table"
    )
    return compare


def _whole(low: int, high: int) -> Any:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError("must be a whole number") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be between {low} and {high}")
        return value

    return parse


def _factors(text: str) -> tuple[float, ...]:
    """``1/3,1,3`` as numbers, in rising order."""
    try:
        values = sorted({float(Fraction(part.strip())) for part in text.split(",")})
    except (ValueError, ZeroDivisionError, OverflowError):
        raise argparse.ArgumentTypeError("must be numbers with commas between, such as 1/3,1,3") from None
    if not values or len(values) > 20 or not all(0 < value < math.inf for value in values):
        raise argparse.ArgumentTypeError("must be at most 20 numbers above 0")
    return tuple(values)
