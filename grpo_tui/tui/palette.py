"""The command palette: every action of the registry that can be done now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from textual.app import App, SystemCommand
from textual.screen import Screen

from grpo_tui.tui.actions import APP_ACTIONS, LIVE_ACTIONS, LOOK_ACTIONS, PLAY_ACTIONS, RUN_ACTIONS
from grpo_tui.tui.rooms import ROOM_ACTIONS


def palette_commands(app: App[Any], screen: Screen[Any]) -> Iterator[SystemCommand]:
    """Actions of the app, and of the screen the palette was called from."""
    for action in (*RUN_ACTIONS, *LOOK_ACTIONS, *LIVE_ACTIONS, *PLAY_ACTIONS, *ROOM_ACTIONS, *APP_ACTIONS):
        place, _, name = action.action.split("(")[0].partition(".")
        owner = screen if place == "screen" else app
        known = hasattr(owner, f"action_{name}")
        if (
            not action.label
            or name == "command_palette"
            or not known
            or owner.check_action(name, ()) is False
        ):
            continue
        title = f"{action.label[0].upper()}{action.label[1:]}  ({action.key_name})"
        yield SystemCommand(title, action.help, _runner(app, screen, action.action))


def _runner(app: App[Any], screen: Screen[Any], action: str) -> Callable[[], Any]:
    async def run() -> None:
        await app.run_action(action, default_namespace=screen)

    return run
