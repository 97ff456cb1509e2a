"""ALGORITHMS.md names functions and tests that exist, and the table of names is the one the program uses."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from grpo_tui.config.algorithms import ALGORITHMS
from grpo_tui.config.schema import ALGORITHM_NAMES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "grpo_tui" / "ALGORITHMS.md").read_text(encoding="utf-8")


def defined_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


def test_every_function_named_exists() -> None:
    named = re.findall(r"`([\w/]+\.py):(\w+)`", TEXT)
    assert len(named) >= 25
    missing = [f"{file}:{name}" for file, name in named if name not in defined_in(ROOT / "grpo_tui" / file)]
    assert missing == []


def test_every_test_named_exists() -> None:
    named = re.findall(r"`(?:tests/)?([\w/]+\.py)::(\w+)`", TEXT)
    assert len(named) >= 25
    missing = [f"{file}::{name}" for file, name in named if name not in defined_in(ROOT / "tests" / file)]
    assert missing == []
    files = re.findall(r"`(?:tests/)?((?:engine|config|algorithms|ops|architecture)/test_\w+\.py)`", TEXT)
    assert [file for file in files if not (ROOT / "tests" / file).is_file()] == []


def test_the_table_is_the_one_the_program_uses() -> None:
    table = TEXT.partition("## The table")[2].partition("## Parts")[0]
    rows = {
        cells[1].strip(" `"): [c.strip() for c in cells[2:]]
        for cells in map(split, table.splitlines())
        if cells
    }
    assert tuple(rows) == ALGORITHM_NAMES
    for name, (advantage, ratio, clip, _, aggregation, *_) in rows.items():
        parts = ALGORITHMS[name]
        assert parts["algorithm.advantage"] == advantage
        assert parts["algorithm.ratio"] == ratio
        assert clip.split(",")[0].split()[0] == parts["algorithm.clip"]
        assert parts["algorithm.aggregation"] == aggregation
        assert ("β .04" in rows[name][3]) == (parts["algorithm.beta"] == 0.04)


def split(line: str) -> list[str] | None:
    cells = line.split("|")
    return cells if len(cells) > 8 and cells[1].strip().startswith("`") else None
