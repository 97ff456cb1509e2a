"""The rooms of the app, each once: its number, its name, and where its screen lives (imported when first opened)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grpo_tui.tui.action import Action

if TYPE_CHECKING:
    from grpo_tui.tui.screens.room import RoomScreen
    from grpo_tui.tui.view import RunView


@dataclass(frozen=True, slots=True)
class Room:
    """One room. ``screen`` is ``module:Class`` of a :class:`~grpo_tui.tui.screens.room.RoomScreen`."""

    id: str
    keys: str
    label: str
    help: str
    screen: str
    footer: bool = False
    """Whether the key bar names it."""
    above: bool = False
    """It stands on the room that it is opened from, and Esc leads back there."""

    def action(self) -> Action:
        """Its key, for bindings, palette and help."""
        return Action(
            f"room.{self.id}",
            self.keys,
            f"app.go_room('{self.id}')",
            self.label,
            self.help,
            footer=self.footer,
        )


LIVE = Room("live", "1", "live", "Is it learning? The run as it goes.", "")
"""The ground floor: all other rooms stand on it."""

ROOMS = (
    LIVE,
    Room(
        "preflight",
        "0",
        "pre-flight",
        "What awaits the training: 16 prompts tried before step 1, and whether the worst step fits.",
        "grpo_tui.tui.screens.preflight:PreflightScreen",
    ),
    Room(
        "group",
        "2",
        "group",
        "Why did this group move? All its answers, and the same prompt in other steps.",
        "grpo_tui.tui.screens.group:GroupScreen",
        footer=True,
    ),
    Room(
        "response",
        "3",
        "response",
        "Why this reward? The response token by token, and the verifier's steps.",
        "grpo_tui.tui.screens.response:ResponseScreen",
        footer=True,
    ),
    Room(
        "history",
        "4",
        "history",
        "Every step of the run: bookmarks, search, filters, one prompt over time, branches.",
        "grpo_tui.tui.screens.history:HistoryScreen",
        footer=True,
    ),
    Room(
        "health",
        "h",
        "health",
        "What may be wrong with the run: evidence, advice, and the settings it is about.",
        "grpo_tui.tui.screens.health:HealthScreen",
    ),
    Room(
        "tune",
        "5",
        "tune",
        "Every setting: what it is, may be and was, and changing it while the run runs.",
        "grpo_tui.tui.screens.tune:TuneScreen",
    ),
    Room(
        "playground",
        "6",
        "play",
        "Any prompt to base model, adapter and earlier adapters, side by side.",
        "grpo_tui.tui.screens.playground:PlaygroundScreen",
    ),
    Room(
        "update",
        "8",
        "update",
        "What this update will do, would do under other settings, and did: preview, what-if, receipt, twins.",
        "grpo_tui.tui.screens.update:UpdateScreen",
    ),
    Room(
        "watch",
        "v",
        "watch",
        "All responses of a group side by side, as they are sampled; n/p goes to another group.",
        "grpo_tui.tui.screens.watch:WatchScreen",
    ),
    Room(
        "probes",
        "9",
        "probes",
        "Pinned prompts read around updates: greedy answer, fixed sample, log-prob of the gold answer.",
        "grpo_tui.tui.screens.probes:ProbesScreen",
    ),
    Room(
        "triage",
        "H,shift+h",
        "dead groups",
        "Which prompts give dead groups, why, what they have cost, and one key for each remedy.",
        "grpo_tui.tui.screens.triage:TriageScreen",
    ),
    Room(
        "verdicts",
        "V,shift+v",
        "verdicts",
        "Every recorded answer judged again: what flips under the rules in force or others; disputes.",
        "grpo_tui.tui.screens.reverify:VerdictsScreen",
    ),
    Room(
        "breakpoints",
        "B,shift+b",
        "breakpoints",
        "Where the run stops by itself: before a phase, or before an update for which a condition holds.",
        "grpo_tui.tui.screens.breakpoints:BreakpointsScreen",
        above=True,
    ),
    Room(
        "log",
        "l,7",
        "log",
        "The whole log, with everything the libraries print.",
        "grpo_tui.tui.screens.log:LogScreen",
        footer=True,
    ),
)

ROOM_ACTIONS = tuple(room.action() for room in ROOMS)


def open_room(id: str, view: RunView) -> RoomScreen:
    """Make the screen of a room."""
    room = next(room for room in ROOMS if room.id == id)
    module, _, name = room.screen.partition(":")
    screen: RoomScreen = getattr(importlib.import_module(module), name)(view)
    return screen
