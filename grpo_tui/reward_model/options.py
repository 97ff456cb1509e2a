"""The options of ``grpo-tui train-reward``. Apart from the command itself, so that ``--help`` imports nothing heavy."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXAMPLES = """\
examples:
  grpo-tui train-reward runs/NAME                               into runs/NAME/reward_model
  grpo-tui train-reward runs/A runs/B --out my_reward --epochs 2
  grpo-tui train --set reward.weights.learned=1 --set reward.learned_model=my_reward
"""


def add_train_reward(commands: Any) -> argparse.ArgumentParser:
    """Add ``train-reward`` to the parser of all commands, and return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train-reward",
        help="train a reward model from the verified answers of runs",
        description="Train a model to tell right answers from wrong ones (Bradley-Terry, on pairs of one problem), "
        "and measure it on pairs of problems that it was not trained on.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a run; its answers are read"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where the model goes (default: reward_model in the first run)",
    )
    parser.add_argument(
        "--model",
        metavar="SOURCE",
        help="model to start from: a folder or hub id (default: the first run's own)",
    )
    parser.add_argument(
        "--lr", type=_number(above=0), default=2e-5, metavar="X", help="peak learning rate (default: 2e-5)"
    )
    parser.add_argument(
        "--epochs", type=_whole(1), default=1, metavar="N", help="passes over the pairs (default: 1)"
    )
    parser.add_argument(
        "--batch-size",
        type=_whole(1),
        default=8,
        metavar="N",
        help="problems in a gradient step (default: 8)",
    )
    parser.add_argument(
        "--eval-fraction",
        type=_number(low=0, below=1),
        default=0.2,
        metavar="X",
        help="share of the problems that is held out; 0: none (default: 0.2)",
    )
    parser.add_argument(
        "--max-pairs",
        type=_whole(1),
        default=20_000,
        metavar="N",
        help="most pairs trained on (default: 20000)",
    )
    parser.add_argument(
        "--seed", type=_whole(0), default=0, metavar="N", help="of everything random (default: 0)"
    )
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="auto (default), cpu, cuda or cuda:N"
    )
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")
    return parser


def _whole(low: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError("must be a whole number") from None
        if not low <= value < 2**63:
            raise argparse.ArgumentTypeError(f"must be at least {low}" if value < low else "is too large")
        return value

    return read


def _number(
    *, low: float = -math.inf, above: float = -math.inf, below: float = math.inf
) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError("must be a number") from None
        if not (low <= value < below and value > above):  # NaN too
            limits = [f"at least {low:g}"] * (low > -math.inf) + [f"above {above:g}"] * (above > -math.inf)
            limits += [f"below {below:g}"] * (below < math.inf)
            raise argparse.ArgumentTypeError(f"must be {' and '.join(limits) or 'finite'}")
        return value

    return read
