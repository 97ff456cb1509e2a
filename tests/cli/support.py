"""The command line in this process, and as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from grpo_tui.cli import main

ROOT = Path(__file__).parents[2]
SECONDS = 120


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Its stdout, each line one JSON object and nothing else."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def steps(self) -> dict[int, dict[str, Any]]:
        """The step objects."""
        return {data["step"]: data for data in self.objects if "eval" not in data}

    @property
    def hashes(self) -> dict[int, str]:
        """State hash by step."""
        return {step: data["state_hash"] for step, data in self.steps.items()}

    @property
    def errors(self) -> list[str]:
        """Its lines on stderr that tell of an error."""
        return [line for line in self.err.splitlines() if line.startswith("grpo-tui: error: ")]


class Command:
    """Runs ``grpo-tui …`` in this process."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: str | Path) -> Answer:
        """Run one command and collect what it printed, also past Python's own streams."""
        self._capture.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as leaving:  # argparse
            code = int(leaving.code or 0)
        out, err = self._capture.readouterr()
        assert "Traceback" not in err
        return Answer(code, out, err)


def start(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Start ``grpo-tui …`` as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "grpo_tui", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
