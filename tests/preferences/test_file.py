"""The preferences' file: found, read, changed in one place; comments and what others wrote stay."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from grpo_tui.preferences.file import (
    BrokenFileError,
    config_path,
    line_of,
    read_document,
    remember,
    with_value,
)
from grpo_tui.preferences.template import TEMPLATE

WRITTEN = """\
# my colours
theme = "nord"  # for the night
other = [1, 2]

[paths]
# where they are
runs = "/data/runs"

[keys]
"look.sort" = "S" # moved

[layout.wide]
"""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_CONFIG_HOME": "/x/y"}, "/x/y/grpo-tui/config.toml"),
        ({"XDG_CONFIG_HOME": "relative"}, "~/.config/grpo-tui/config.toml"),
        ({}, "~/.config/grpo-tui/config.toml"),
    ],
)
def test_the_xdg_place(environment: dict[str, str], expected: str) -> None:
    assert config_path(environment) == Path(expected).expanduser()


@pytest.mark.parametrize(
    ("key", "value", "old", "new"),
    [
        ("theme", "dracula", '"nord"  # for the night', '"dracula"  # for the night'),
        ("paths.runs", 'a "b" \\c', '"/data/runs"', '"a \\"b\\" \\\\c"'),
        ("keys.look.sort", "o", '"S" # moved', '"o"  # moved'),
    ],
)
def test_a_value_is_changed_on_its_own_line(key: str, value: str, old: str, new: str) -> None:
    assert with_value(WRITTEN, key, value) == WRITTEN.replace(old, new)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (WRITTEN, "paths.exports"),
        (WRITTEN, "keys.look.zoom"),
        (WRITTEN, "layout.wide.zoom"),
        (WRITTEN, "layout.narrow.zoom"),
        ("", "theme"),
        ("", "layout.wide.zoom"),
        ("[paths]\nruns = 'x'\n", "theme"),
        ("# only a comment", "theme"),
        ("a = 1", "keys.run.step"),
        (TEMPLATE, "theme"),
        (TEMPLATE, "paths.runs"),
        (TEMPLATE, "keys.look.sort"),
        (TEMPLATE, "layout.narrow.zoom"),
    ],
)
def test_a_new_value_is_added_and_nothing_else_changes(tmp_path: Path, text: str, key: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    before = tomllib.loads(text)
    remember(path, {key: "new"})
    after = path.read_text(encoding="utf-8")
    assert set(text.splitlines()) <= set(after.splitlines())
    table, _, name = (
        ("keys", "", key.removeprefix("keys.")) if key.startswith("keys.") else key.rpartition(".")
    )
    place = expected = before
    for part in table.split(".") if table else []:
        place = place.setdefault(part, {})
    place[name] = "new"
    assert tomllib.loads(after) == expected


def test_several_at_once_into_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config.toml"
    remember(path, {"theme": "nord", "layout.wide.zoom": "chart", "layout.narrow.zoom": ""})
    assert tomllib.loads(path.read_text()) == {
        "theme": "nord",
        "layout": {"wide": {"zoom": "chart"}, "narrow": {"zoom": ""}},
    }


@pytest.mark.parametrize("text", ["layout = {wide = {zoom = 'x'}}\n", "layout.wide.zoom = '''\nx'''\n"])
def test_what_cannot_be_changed_in_place_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(BrokenFileError, match=r'set there: layout\.wide\.zoom = "chart"'):
        remember(path, {"layout.wide.zoom": "chart"})
    assert path.read_text() == text


def test_a_broken_file_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("theme = nord\n")
    with pytest.raises(BrokenFileError, match=r"config\.toml:1: theme: not valid TOML"):
        remember(path, {"theme": "dracula"})
    assert path.read_text() == "theme = nord\n"


def test_a_link_stays_a_link_and_the_mode_stays(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text('theme = "nord"\n')
    real.chmod(0o600)
    path = tmp_path / "config.toml"
    path.symlink_to(real)
    remember(path, {"theme": "dracula"})
    assert path.is_symlink()
    assert real.read_text() == 'theme = "dracula"\n'
    assert real.stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.toml", "dotfiles.toml"]


def test_nothing_is_written_where_nothing_changes(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(WRITTEN)
    os.utime(path, (1, 1))
    remember(path, {"theme": "nord"})
    assert path.stat().st_mtime == 1


def test_a_disk_that_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokenFileError, match="cannot be written"):
        remember(tmp_path / "file" / "config.toml", {"theme": "x"})
    path = tmp_path / "latin.toml"
    path.write_bytes(b'theme = "\xe9"')
    with pytest.raises(BrokenFileError, match="not UTF-8"):
        read_document(path)


def test_lines_are_found() -> None:
    assert line_of(WRITTEN, "theme") == 2
    assert line_of(WRITTEN, "paths.runs") == 7
    assert line_of(WRITTEN, "keys.look.sort") == 10
    assert line_of(WRITTEN, "keys.run.step") is None
    assert line_of("keys = { a = 1 }", "keys.a") == 1
