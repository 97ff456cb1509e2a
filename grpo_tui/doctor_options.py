"""The options of ``grpo-tui doctor``. Apart from the command itself, so that ``--help`` imports nothing heavy."""

from __future__ import annotations

import argparse
from typing import Any

EPILOG = """\
examples:
  grpo-tui doctor                                             versions, device, memory, terminal
  grpo-tui doctor --fit tiny                                  run the worst step's parts, and say what fits
  grpo-tui doctor --fit Qwen/Qwen2.5-0.5B-Instruct --preset gsm8k --set sampling.group_size=16
exit status: 0 all is well, 1 the model does not fit, 2 a wrong option, model or data set
"""


def add_doctor(commands: Any) -> argparse.ArgumentParser:
    """Add the command; settings are added by the caller, as those of a run."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="what this machine can run: device, memory, versions, fit of a model",
        description="Tell what this machine has, and with --fit measure whether a model trains here.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--fit",
        metavar="MODEL",
        help="measure this model (folder, hub id, .gguf or 'tiny') at the settings given",
    )
    parser.add_argument(
        "--prompt-tokens",
        type=int,
        default=0,
        metavar="N",
        help="with --fit: length of the worst prompt; default: the longest of the data set",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser
