"""The command palette: every action that can be done now, and those of the other rooms, which it opens first."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from textual.app import SystemCommand
from textual.screen import Screen

from grpo_tui.tui.action import Action
from grpo_tui.tui.actions import REGISTRY, own_actions
from grpo_tui.tui.rooms import ROOM_ACTIONS, ROOMS, Room

if TYPE_CHECKING:
    from grpo_tui.tui.app import GrpoApp

WAYS_OUT = ("back", "dismiss")
"""Actions that only leave a screen: nothing to do from another."""


def palette_commands(app: GrpoApp, screen: Screen[Any]) -> Iterator[SystemCommand]:
    """Actions of the app, of the screen the palette was called from, and of the rooms that are not open."""
    for action in (*REGISTRY, *ROOM_ACTIONS, *own_actions(type(screen))):
        place, name = _place_and_name(action)
        owner = screen if place == "screen" else app
        if name != "command_palette" and _can(owner, action, name):
            yield SystemCommand(_title(app, action), action.help, _runner(app, screen, action.action))
    for room in ROOMS if app.view is not None else ():
        if room.screen and room.id != screen.id:
            yield from _of_room(app, room)


def _of_room(app: GrpoApp, room: Room) -> Iterator[SystemCommand]:
    module, _, kind = room.screen.partition(":")
    for action in own_actions(getattr(importlib.import_module(module), kind)):
        _, name = _place_and_name(action)
        if name not in WAYS_OUT:
            words = f"{action.help} Opens the room {room.label}."
            yield SystemCommand(
                f"{room.label[0].upper()}{room.label[1:]}: {_title(app, action)}",
                words,
                _runner_in(app, room, action.action),
            )


def _title(app: GrpoApp, action: Action) -> str:
    key = app.key_text(action)
    return f"{action.label[0].upper()}{action.label[1:]}" + (f"  ({key})" if key else "")


def _can(owner: Any, action: Action, name: str) -> bool:
    return bool(
        action.label and hasattr(owner, f"action_{name}") and owner.check_action(name, ()) is not False
    )


def _place_and_name(action: Action) -> tuple[str, str]:
    place, _, name = action.action.split("(")[0].rpartition(".")
    return place, name


def _runner(app: GrpoApp, screen: Screen[Any], action: str) -> Callable[[], Any]:
    async def run() -> None:
        await app.run_action(action, default_namespace=screen)

    return run


def _runner_in(app: GrpoApp, room: Room, action: str) -> Callable[[], Any]:
    async def run() -> None:
        app.action_go_room(room.id)
        opened = app.screen
        opened.call_after_refresh(app.run_action, action, opened)

    return run
