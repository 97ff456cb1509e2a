"""The options of ``grpo-tui verify``. Apart from the command itself, so that ``--help`` imports no verifier."""

from __future__ import annotations

import argparse
import os
from typing import Any

EXAMPLES = """\
examples:
  grpo-tui verify < pairs.jsonl                            judge {"id","gold","response"} lines, in order
  grpo-tui verify --gold '3/4' 'so \\boxed{\\frac{6}{8}}'    judge one pair and explain
  grpo-tui verify --gold=-5 -- '-5'                        texts that begin with a dash
  grpo-tui verify --cases runs/NAME/disputes.jsonl         run regression cases, e.g. disputed verdicts
  grpo-tui verify --canaries                               try adversarial answers on the math reward
  grpo-tui verify --canaries --reward math --reward my_module:my_reward=0.5
"""

FORM_CHOICES = ("stated", "boxed", "hashes", "answer_tags", "think_answer")
"""The forms that the verifier knows, written out: importing it would slow down ``--help``."""


def add_verify(commands: Any) -> argparse.ArgumentParser:
    """Add ``verify`` to the parser of all commands, and return its parser."""
    verify: argparse.ArgumentParser = commands.add_parser(
        "verify",
        help="judge answers against golds; JSON lines or one pair",
        description="Judge answers with the math verifier, without any model.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verify.add_argument("response", nargs="?", help="one response, with --gold; without: JSON lines on stdin")
    verify.add_argument("--gold", metavar="ANSWER", help="the gold answer of that one response")
    verify.add_argument(
        "--prompt", default="", metavar="TEXT", help="its question, so that an echo of it is seen"
    )
    verify.add_argument(
        "--reading",
        choices=("lenient", "strict"),
        default="lenient",
        help="which reading 'correct' follows; strict pays only for an answer in the demanded form "
        "(default: lenient; both are always told)",
    )
    verify.add_argument(
        "--form",
        choices=FORM_CHOICES,
        default="stated",
        help="the form that the strict reading demands (default: any explicit statement)",
    )
    verify.add_argument(
        "--jobs",
        type=_positive,
        metavar="N",
        default=os.cpu_count() or 1,
        help="worker processes (default: cores)",
    )
    verify.add_argument(
        "--timeout", type=_seconds, default=2.0, metavar="S", help="seconds for one comparison (default: 2)"
    )
    verify.add_argument("--json", action="store_true", help="one pair as a JSON record too")
    verify.add_argument(
        "--cases",
        metavar="FILE",
        help="JSON lines that say what each verdict must be; tells which do not come out so",
    )
    verify.add_argument(
        "--canaries", action="store_true", help="what would a policy be paid for without solving the problem?"
    )
    verify.add_argument(
        "--reward",
        action="append",
        default=[],
        metavar="NAME[=WEIGHT]",
        help="with --canaries: a reward to try, may be repeated (default: math)",
    )
    return verify


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a whole number") from None
    if not 1 <= value <= 256:
        raise argparse.ArgumentTypeError("must be between 1 and 256")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a number") from None
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError("must be above 0 and at most 3600")
    return value
