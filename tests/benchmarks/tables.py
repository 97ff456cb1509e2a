"""What the benchmarks share: a table, the machine it was measured on, and the long-context copy of the bundled model."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import torch

from grpo_tui.data.bundled import TINY_MODEL, bundled_path

RESULTS = Path(__file__).with_name("RESULTS.md")
LIBRARIES = ("torch", "transformers", "peft", "numpy")


def parser_of(about: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds: shows that it runs, measures little"
    )
    parser.add_argument("--record", action="store_true", help="append the table to RESULTS.md")
    parser.add_argument(
        "--model", default="tiny", help="'tiny' (default), a folder, a hub id or a .gguf file"
    )
    parser.add_argument("--device", default="auto", help="'auto', 'cpu' or 'cuda'")
    parser.add_argument("--dtype", default="auto", choices=("auto", "fp32", "bf16"))
    return parser


def machine() -> str:
    """Processor, device and versions, in a line."""
    parts = [f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"]
    model = _cpu_name()
    parts.append(model or platform.machine())
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"{' '.join(parts)}; {torch.get_num_threads()} threads; Python {platform.python_version()}, {versions}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table whose columns stand under each other in a terminal too."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")
    return "\n".join(lines)


def publish(
    title: str, command: str, tables: Sequence[str], verdicts: Sequence[str], *, record: bool
) -> None:
    """Print the result, and put it at the end of RESULTS.md where that is wanted."""
    day = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    body = "\n\n".join([f"`{command}`, {day}; {machine()}", *tables, *verdicts])
    print(f"\n{title}\n\n{body}")
    if record:
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(f"\n## {title}\n\n{body}\n")


def command_line(name: str, arguments: argparse.Namespace) -> str:
    """How the benchmark was called; of paths the last part only."""
    words = [f"python -m tests.benchmarks.{name}"]
    for key, value in vars(arguments).items():
        if key in ("record", "child") or value in (None, False, "auto", "tiny"):
            continue
        text = Path(value).name if isinstance(value, (str, Path)) else value
        words.append(f"--{key.replace('_', '-')}" + ("" if value is True else f" {text}"))
    return " ".join(words)


def with_context(source: str, length: int, folder: Path) -> str:
    """The bundled model told that its context is ``length`` tokens; any other model as it is.

    Its weights know nothing beyond 512, but time does not depend on what they know.
    """
    if source != "tiny":
        return source
    place = folder / "tiny_model"
    if not place.exists():
        shutil.copytree(bundled_path(TINY_MODEL), place)
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    config["max_position_embeddings"] = max(length, config["max_position_embeddings"])
    (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(place)
