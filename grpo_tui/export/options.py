"""The options of ``grpo-tui export``. Apart from the command itself, so that ``--help`` imports nothing for it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

KINDS = {
    "completions": "Parquet, one row per answer: prompt, text, verdict, reward and its parts, advantage, kl_ref, …",
    "metrics": "Parquet, one row per step, held-out accuracy beside it",
    "acts": "JSON lines: what was changed by hand, on which step, by whom and why, and whether it was taken back",
    "adapter": "the newest (or --step's) LoRA adapter as a folder for PEFT",
    "merged": "base and adapter as one model: safetensors and tokenizer",
    "trl-script": "the same run as a script for TRL's GRPOTrainer; what it cannot do is said in comments",
    "card": "one answer (--step, --group, --answer) with its verdict, as --format svg, md, json or txt",
}

EXAMPLES = """\
what:
{what}

examples:
  grpo-tui export runs/NAME --what completions                     runs/NAME/exports/completions.parquet
  grpo-tui export runs/NAME --what merged --step 40 --out my-model
  grpo-tui export runs/NAME --what card --step 12 --group 3 --answer 2 --out answer.svg
"""


def add_export(commands: Any) -> argparse.ArgumentParser:
    """Add ``export`` to the parser of all commands, and return its parser."""
    width = max(map(len, KINDS))
    what = "\n".join(f"  {name:<{width}}  {text}" for name, text in KINDS.items())
    export: argparse.ArgumentParser = commands.add_parser(
        "export",
        help="tables, adapter, merged model, TRL script or a card out of a run",
        description="Write something out of a run; its path goes to stdout. The run may be training meanwhile.",
        epilog=EXAMPLES.format(what=what),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    export.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    export.add_argument("--what", choices=tuple(KINDS), default="completions", help="see below")
    export.add_argument("--out", type=Path, metavar="PATH", help="where to (default: below RUN/exports/)")
    export.add_argument("--step", type=int, metavar="K", help="of this step; default: all, or the newest")
    export.add_argument("--group", type=int, default=1, metavar="N", help="with card: which prompt, from 1")
    export.add_argument("--answer", type=int, default=1, metavar="N", help="with card: which answer, from 1")
    export.add_argument(
        "--format", choices=("svg", "md", "json", "txt"), help="with card (default: by --out, else svg)"
    )
    export.add_argument(
        "--dtype", choices=("fp32", "bf16"), help="with merged: of the weights (default: the base model's)"
    )
    export.add_argument("--force", action="store_true", help="replace what is at --out")
    return export
