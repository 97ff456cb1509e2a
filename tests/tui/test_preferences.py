"""Theme, keys and layout from the preferences, and back into them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from grpo_tui.preferences.values import DEFAULTS, Preferences, load_preferences
from grpo_tui.tui import remembering
from grpo_tui.tui.keymap import make_keymap
from tests.support.apps import Stage, stage, wait_for


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "PATIENCE", 0.01)


def given(path: Path | None = None, **values: str) -> Preferences:
    named = {key.replace("__", "."): value for key, value in values.items()}
    return Preferences(path=path, values={**DEFAULTS, **named})


def with_keys(keys: Mapping[str, str]) -> Preferences:
    return Preferences(values={**DEFAULTS, **{f"keys.{id}": key for id, key in keys.items()}})


def notes(it: Stage) -> list[str]:
    return [toast.message for toast in it.app._notifications]


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark", "ansi-light", "nord"])
async def test_the_theme_is_put_on(theme: str) -> None:
    async with stage(preferences=given(theme=theme)) as it:
        assert it.app.theme == theme
        assert notes(it) == []


async def test_an_unknown_theme_is_a_notice_and_the_default_stays() -> None:
    async with stage(preferences=given(theme="[nrod]")) as it:
        assert it.app.theme == "textual-dark"
        [note] = notes(it)
        assert note.startswith("default: theme: there is none named '[nrod]'; the themes are ansi-dark")


async def test_a_theme_chosen_in_the_app_is_remembered_and_comments_stay(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# mine\ntheme = 'nord' # night\n\n[paths]\nruns = 'r'\n")
    async with stage(preferences=load_preferences(path=path, environment={})) as it:
        assert it.app.theme == "nord"
        it.app.theme = "textual-light"
        await wait_for(lambda: "textual-light" in path.read_text())
    assert path.read_text() == "# mine\ntheme = \"textual-light\"  # night\n\n[paths]\nruns = 'r'\n"


async def test_a_theme_of_the_environment_is_not_written_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    environment = {"GRPO_TUI_THEME": "nord"}
    async with stage(preferences=load_preferences(path=path, environment=environment)) as it:
        await it.settle()
        assert not path.exists()
        it.app.theme = "dracula"
        await wait_for(path.exists)
        await wait_for(lambda: any("environment GRPO_TUI_THEME still goes before it" in n for n in notes(it)))


async def test_a_file_that_cannot_be_written_is_a_notice(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    preferences = load_preferences(path=path, environment={})
    async with stage(preferences=preferences) as it:
        path.write_text("theme = broken\n")
        it.app.theme = "dracula"
        await wait_for(lambda: any("not valid TOML" in note for note in notes(it)))
    assert path.read_text() == "theme = broken\n"


async def test_problems_of_the_file_are_notices(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("theme = nord\n")
    async with stage(preferences=load_preferences(path=path, environment={})) as it:
        assert notes(it) == [f"{path}:1: theme: not valid TOML: Invalid value; text needs quotes"]
        assert it.app.theme == "textual-dark"


async def test_a_moved_key_works_and_its_old_one_does_not() -> None:
    async with stage(preferences=with_keys({"look.sort": "ctrl+t", "look.next_group": "w"})) as it:
        await it.press("o")
        assert it.view.sort == "signal"
        await it.press("ctrl+t")
        assert it.view.sort == "order"
        row = it.view.row_of(it.view.groups)
        await it.press("w")
        assert it.view.row_of(it.view.groups) == (row or 0) + 1
        assert "w/p group" in it.keys


async def test_moved_keys_stand_in_palette_and_help() -> None:
    from grpo_tui.tui.palette import palette_commands
    from grpo_tui.tui.widgets.lines import LinesView

    async with stage(preferences=with_keys({"look.sort": "?", "app.help": "f2"})) as it:
        titles = [command.title for command in palette_commands(it.app, it.app.screen)]
        assert "Sort  (?)" in titles
        await it.press("f2")
        sheet = it.app.screen.query_one("#sheet", LinesView)
        await wait_for(lambda: "look.sort" in sheet.plain)
        assert any(line.startswith("?        Sort groups") for line in sheet.plain.splitlines())


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"look.srot": "x"}, "there is no 'look.srot'; did you mean 'look.sort'?"),
        ({"look.sort": "z"}, "'look.sort' and 'look.zoom' are both on z; 'look.sort' keeps its own key"),
        ({"look.sort": "ctrl+nonsense"}, "'look.sort': 'ctrl+nonsense' is no key"),
        ({"look.sort": " "}, "'look.sort' has no key"),
        ({"app.interrupt": "x"}, "'app.interrupt' cannot be moved"),
        ({"look.sort": "Q,q"}, "'look.sort' and 'app.quit' are both on q"),
    ],
)
async def test_keys_that_cannot_be_are_notices(keys: dict[str, str], said: str) -> None:
    async with stage(preferences=with_keys(keys)) as it:
        [note] = notes(it)
        assert said in note
        assert "\n" not in note
        await it.press("o")
        assert it.view.sort == "order"


def test_two_that_change_places_do_not_clash() -> None:
    keymap, problems = make_keymap({"look.sort": "z", "look.zoom": "o"})
    assert (keymap, problems) == ({"look.sort": "z", "look.zoom": "o"}, [])


def test_two_moved_to_one_key_lose_one() -> None:
    keymap, [(id, _)] = make_keymap({"look.sort": "ctrl+t", "look.zoom": "ctrl+t"})
    assert keymap == {"look.zoom": "ctrl+t"}
    assert id == "look.sort"


def test_pause_and_resume_share_a_key_by_design() -> None:
    assert make_keymap({"run.pause": "f5", "run.resume": "f5"})[1] == []


def test_keys_of_single_screens_are_known() -> None:
    keymap, problems = make_keymap({"welcome.model": "ctrl+n", "log.follow": "F", "help.search": "ctrl+k"})
    assert len(keymap) == 3
    assert problems == []


async def test_a_zoom_is_remembered_for_its_size_class(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    async with stage(preferences=load_preferences(path=path, environment={}), size=(120, 40)) as it:
        await it.press("z")
        assert it.live.zoom == "groups"
        await wait_for(lambda: path.exists() and 'zoom = "groups"' in path.read_text())
        await it.pilot.resize_terminal(80, 24)
        await it.settle()
        await it.press("z")
        assert it.live.zoom == ""
        await wait_for(lambda: "[layout.narrow]" in path.read_text())
        await it.pilot.resize_terminal(120, 40)
        await it.settle()
        assert it.live.zoom == "groups"
    async with stage(preferences=load_preferences(path=path, environment={}), size=(120, 40)) as it:
        assert it.live.zoom == "groups"
        assert it.panel("groups").display
        assert not it.panel("trends").display


async def test_a_chosen_curve_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    async with stage(preferences=load_preferences(path=path, environment={})) as it:
        await it.press("g", "g")
        chosen = it.view.chart
        assert chosen == 2
        await wait_for(lambda: path.exists() and "chart = " in path.read_text())
    async with stage(preferences=load_preferences(path=path, environment={})) as it:
        assert it.view.chart == chosen


async def test_a_panel_that_no_longer_exists_is_not_zoomed() -> None:
    async with stage(preferences=given(layout__wide__zoom="gone")) as it:
        assert it.live.zoom == ""
