"""``grpo-tui config``: what holds and why, where the file is, and a commented one."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.cli.support import Command


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "grpo-tui" / "config.toml"


def test_path(grpo_tui: Command, file: Path) -> None:
    assert grpo_tui("config", "path").out == f"{file}\n"


def test_init_writes_a_file_of_comments_that_changes_nothing_and_never_overwrites(
    grpo_tui: Command, file: Path
) -> None:
    assert grpo_tui("config", "init").out == f"{file}\n"
    assert tomllib.loads(file.read_text()) == {"paths": {}, "keys": {}, "layout": {"wide": {}, "narrow": {}}}
    file.write_text("theme = 'nord'\n")
    answer = grpo_tui("config", "init")
    assert answer.code == 2
    assert answer.errors == [f"grpo-tui: error: {file} exists; edit it, or move it away first"]
    assert file.read_text() == "theme = 'nord'\n"


def test_every_line_of_the_template_is_a_preference(grpo_tui: Command, file: Path) -> None:
    grpo_tui("config", "init")
    text = file.read_text()
    lines = [
        line.removeprefix("#") if line[:1] == "#" and line[1:2] not in (" ", "") else line
        for line in text.split("\n")
    ]
    file.write_text("\n".join(lines))
    answer = grpo_tui("config")
    assert answer.err == ""
    assert "keys.look.sort" in answer.out


def test_show_says_where_each_value_came_from(grpo_tui: Command, file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text("theme = 'nord'\n[keys]\n'look.sort' = 'S'\n")
    rows = {line.split()[0]: line for line in grpo_tui("config", "show").out.splitlines()}
    assert rows["theme"].endswith(f"config file {file}:1")
    assert rows["keys.look.sort"].endswith(f"config file {file}:3")
    assert rows["paths.runs"].endswith("environment GRPO_TUI_RUNS")
    assert rows["paths.exports"].endswith("default")
    data = json.loads(grpo_tui("--theme", "dracula", "config", "--json").out)
    assert data["theme"] == {"value": "dracula", "origin": "command line"}


def test_a_broken_file_is_told_and_stops_nothing(grpo_tui: Command, file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text("theme = nord\n")
    answer = grpo_tui("config")
    assert answer.code == 0
    assert answer.err.splitlines() == [
        f"grpo-tui: config: {file}:1: theme: not valid TOML: Invalid value; text needs quotes"
    ]
    assert "textual-dark" in answer.out


def test_runs_go_where_the_command_line_says(grpo_tui: Command, tmp_path: Path, file: Path) -> None:
    answer = grpo_tui("--runs", tmp_path / "elsewhere", "config", "--json")
    assert json.loads(answer.out)["paths.runs"] == {
        "value": str(tmp_path / "elsewhere"),
        "origin": "command line",
    }
