"""The options of ``grpo-tui reverify``. Apart from the command itself, so that ``--help`` imports no verifier."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

EXAMPLES = """\
examples:
  grpo-tui reverify runs/NAME                                  by the run's own rules, as the verifier has them now
  grpo-tui reverify runs/NAME --set reward.answer_form=boxed   who would flip under a stricter form?
  grpo-tui reverify runs/NAME --store                          keep the new verdicts beside the recorded ones
"""


def add_reverify(commands: Any) -> argparse.ArgumentParser:
    """Add ``reverify`` to the parser of all commands, and return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "reverify",
        help="judge every recorded answer of a run again; shows which verdicts flip",
        description="Judge every recorded answer of a run again. Nothing recorded is rewritten.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="reward.KEY=VALUE",
        dest="overrides",
        help="another rule, may be repeated",
    )
    parser.add_argument(
        "--store", action="store_true", help="keep the new verdicts beside the recorded ones in the run file"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a flip, and one at the end")
    return parser
