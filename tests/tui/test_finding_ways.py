"""Palette over all rooms, jump mode, help that can be searched, suspending."""

from __future__ import annotations

import importlib

import pytest

from grpo_tui.tui import suspending
from grpo_tui.tui.actions import EVERY, own_actions
from grpo_tui.tui.palette import WAYS_OUT, palette_commands
from grpo_tui.tui.rooms import ROOM_ACTIONS, ROOMS
from grpo_tui.tui.screens.help import HelpScreen, sections
from grpo_tui.tui.screens.jump import JumpScreen, letters_for, targets
from grpo_tui.tui.screens.live import LiveScreen
from grpo_tui.tui.screens.log import LogScreen
from grpo_tui.tui.widgets.lines import LinesView
from tests.support.apps import Stage, stage, wait_for

OTHERS = [room for room in ROOMS if room.screen]


@pytest.mark.parametrize("room", OTHERS, ids=lambda room: room.id)
async def test_every_action_of_every_room_is_in_the_palette(room: object) -> None:
    from grpo_tui.tui.rooms import Room

    assert isinstance(room, Room)
    module, _, name = room.screen.partition(":")
    own = own_actions(getattr(importlib.import_module(module), name))
    async with stage() as it:
        titles = [command.title for command in palette_commands(it.app, it.app.screen)]
        for action in own:
            if action.action.split("(")[0].rpartition(".")[2] not in WAYS_OUT:
                label = f"{action.label[0].upper()}{action.label[1:]}"
                start = f"{room.label[0].upper()}{room.label[1:]}: {label}"
                assert any(title.startswith(start) and title.endswith(")") for title in titles), start


async def test_an_action_of_another_room_opens_the_room_first() -> None:
    async with stage() as it:
        commands = {command.title: command.callback for command in palette_commands(it.app, it.app.screen)}
        await commands["Log: Follow  (f)"]()
        await wait_for(lambda: isinstance(it.app.screen, LogScreen) and not it.app.screen.follow)


async def test_a_room_has_its_own_actions_in_its_palette() -> None:
    async with stage() as it:
        await it.press("l")
        titles = [command.title for command in palette_commands(it.app, it.app.screen)]
        assert "Follow  (f)" in titles
        assert "Log: Follow  (f)" not in titles


def sheet(it: Stage) -> str:
    return it.app.screen.query_one("#sheet", LinesView).plain


async def test_help_has_panel_room_keys_words_in_that_order() -> None:
    async with stage() as it:
        await it.press("l", "question_mark")
        await wait_for(lambda: sheet(it))
        text = sheet(it)
        order = [
            text.index(part) for part in ("This room: log", "\nRun\n", "\nApp\n", "\nWords\n", "\nTerminal\n")
        ]
        assert order == sorted(order)
        assert "Stay at the newest line." in text
        assert "log.follow" in text


def test_help_tells_of_every_action_once() -> None:
    """Seen to fail with: the keys of the Pre-flight room, and those that undo and redo steps, told nowhere."""
    told = sections("", "", "", (), "", (), width=200, key_text=lambda action: action.key_name)
    lines = ["".join(text for text, _ in line) for part in told for entry in part.entries for line in entry]
    for action in (*EVERY, *ROOM_ACTIONS):
        assert sum(line.endswith(f"  {action.id}") for line in lines) == 1, action.id


async def test_help_can_be_searched() -> None:
    async with stage() as it:
        await it.press("question_mark", "slash", *"clip bound")
        await wait_for(lambda: "Beyond the bound" in sheet(it))
        assert "group" not in sheet(it).split()
        assert isinstance(it.app.screen, HelpScreen)
        await it.press("enter", "down")
        await it.press("escape")
        await wait_for(lambda: "Pause at the next boundary" in sheet(it))
        assert isinstance(it.app.screen, HelpScreen)
        await it.press("escape")
        assert isinstance(it.app.screen, LiveScreen)


async def test_a_search_that_finds_nothing_says_so() -> None:
    async with stage() as it:
        await it.press("question_mark", "slash", *"qqq")
        await wait_for(lambda: sheet(it) == "nothing about 'qqq'")


async def test_a_letter_leads_to_its_panel() -> None:
    async with stage() as it:
        found = {target.id: target.letter for target in targets(it.app.screen)}
        assert {"groups", "answers", "response", "why"} <= set(found)
        await it.press("ctrl+o")
        assert isinstance(it.app.screen, JumpScreen)
        tag = it.app.screen.query_one(f"#tag-{found['why']}", LinesView)
        assert tag.plain.split() == [found["why"], "why"]
        where = next(target.region for target in targets(it.app.screen_stack[-2]) if target.id == "why")
        assert (tag.region.x, tag.region.y) == (where.x + 1, where.y)
        await it.press(found["why"])
        assert it.focused == "why"


@pytest.mark.parametrize("key", ["escape", "ctrl+o", "1"])
async def test_any_other_key_ends_jump_mode(key: str) -> None:
    async with stage() as it:
        await it.press("ctrl+o", key)
        assert isinstance(it.app.screen, LiveScreen)
        assert it.focused == "groups"


def test_letters_are_all_different() -> None:
    names = ["groups", "answers", "response", "why", "g", "g", "", "漢字", *["x"] * 40]
    letters = letters_for(names)
    assert letters[:4] == ["g", "a", "r", "w"]
    assert len(letters) == len(set(letters)) == 26


async def test_suspending_is_offered_and_harmless_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    stops: list[None] = []
    monkeypatch.setattr(suspending, "stop", lambda: stops.append(None))
    async with stage() as it:
        await it.press("ctrl+z")
        assert stops == []
        assert [toast.message for toast in it.app._notifications] == ["this terminal cannot be suspended"]
