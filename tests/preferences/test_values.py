"""Where each preference comes from, and what is said of those that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from grpo_tui.preferences.values import Preferences, load_preferences


def load(path: Path, text: str = "", **rest: object) -> Preferences:
    if text:
        path.write_text(text, encoding="utf-8")
    return load_preferences(path=path, **{"environment": {}, **rest})  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_without_a_file_the_defaults_hold(path: Path) -> None:
    found = load(path)
    assert (found.theme, found.runs, found.exports, found.keys) == ("textual-dark", Path("runs"), None, {})
    assert found.origin("theme") == "default"
    assert found.problems == ()


def test_command_line_before_environment_before_file(path: Path) -> None:
    text = '\ntheme = "nord"\n[paths]\nruns = "~/r"\n'
    assert load(path, text).origin("theme") == f"config file {path}:2"
    assert load(path).runs == Path("~/r").expanduser()
    environment = {"GRPO_TUI_THEME": "dracula", "TEXTUAL_THEME": "gruvbox", "GRPO_TUI_RUNS": "/e"}
    found = load(path, environment=environment)
    assert (found.theme, found.origin("theme")) == ("dracula", "environment GRPO_TUI_THEME")
    found = load(path, environment=environment, arguments={"theme": None, "paths.runs": "/c"})
    assert (found.runs, found.origin("paths.runs")) == (Path("/c"), "command line")
    assert found.origin("theme") == "environment GRPO_TUI_THEME"


@pytest.mark.parametrize(
    "text", ['[keys]\n"look.sort" = "S"\n', "[keys]\nlook.sort = 'S'\n", "keys.look.sort = 'S'\n"]
)
def test_ids_of_keys_in_any_writing(path: Path, text: str) -> None:
    assert load(path, text).keys == {"look.sort": "S"}


def test_layout_by_size_class(path: Path) -> None:
    found = load(path, '[layout.wide]\nzoom = "chart"\nchart = "kl_ref"\n')
    assert found.layout("wide") == {"zoom": "chart", "chart": "kl_ref"}
    assert found.layout("narrow") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("theme = nord", ":1: theme: not valid TOML: Invalid value; text needs quotes"),
        ("\n\n[paths\n", ":3: not valid TOML"),
        ("\ntheme = 3\n", ':2: theme: must be text in quotes, as theme = "…"'),
        ("\nthem = 'x'\n", ":2: them: there is no such preference; did you mean 'theme'?"),
        ("[path]\nruns = 'x'\n", ":2: path.runs: there is no such preference; did you mean 'paths.runs'?"),
        ("[layout.huge]\nzoom = 'x'\n", ":2: layout.huge.zoom: there is no such preference"),
        ("[keys]\n'look.sort' = 5\n", ":2: keys.look.sort: must be text"),
        ("theme = ''\n", ":1: theme: must name a theme"),
    ],
)
def test_what_is_wrong_is_one_line_and_the_rest_holds(path: Path, text: str, said: str) -> None:
    found = load(path, text)
    [problem] = found.problems
    assert problem.startswith(f"{path}{said}")
    assert "\n" not in problem
    assert found.theme == "textual-dark"


def test_one_wrong_line_does_not_cost_the_others(path: Path) -> None:
    found = load(path, "theme = 'nord'\nthem = 'x'\n[keys]\n'run.step' = 4\n'look.sort' = 'S'\n")
    assert (found.theme, found.keys) == ("nord", {"look.sort": "S"})
    assert len(found.problems) == 2
