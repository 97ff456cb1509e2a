"""``--help`` answers at once: nothing heavy is imported for it."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

HEAVY = ("torch", "textual", "transformers", "peft", "datasets", "numpy", "sympy", "rich", "pyarrow")

PROGRAM = """
import sys
from grpo_tui.cli import main
try:
    main(sys.argv[1:])
except SystemExit as leaving:
    assert not leaving.code, leaving.code
print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "command", [[], ["run"], ["train"], ["resume"], ["view"], ["compare"], ["export"], ["train-reward"]]
)
def test_help(command: list[str]) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command, "--help"], capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.stdout.startswith(" ".join(["usage: grpo-tui", *command]))
    assert not {name.partition(".")[0] for name in result.stderr.split()} & set(HEAVY)
    # Seconds of the processor, which a busy machine does not lengthen much; 0.04 where nothing else runs.
    assert after.ru_utime - before.ru_utime < 0.5


def test_version() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "grpo_tui", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout == "grpo-tui 0.1.0\n"


def test_a_wrong_config_is_found_before_anything_heavy_is_imported() -> None:
    program = PROGRAM.replace("    main(sys.argv[1:])", "    assert main(sys.argv[1:]) == 2")
    result = subprocess.run(
        [sys.executable, "-c", program, "train", "--set", "optim.lrr=1"],
        capture_output=True,
        text=True,
        check=True,
    )
    error, modules = result.stderr.splitlines()
    assert error.startswith("grpo-tui: error: ")
    assert not {name.partition(".")[0] for name in modules.split()} & {"torch", "textual", "transformers"}
