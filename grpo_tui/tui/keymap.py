"""The keys of the preferences, checked: ids that exist, keys that exist, and no two actions on one key."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping

from textual.keys import Keys, key_to_character

from grpo_tui.config.errors import nearest
from grpo_tui.tui.action import Action, named
from grpo_tui.tui.actions import REGISTRY, own_actions
from grpo_tui.tui.rooms import ROOM_ACTIONS, ROOMS

_MODIFIERS = re.compile(r"(?:(?:ctrl|shift|alt|super|meta|hyper)\+)*")
_NAMES = frozenset(key.value for key in Keys)
_OTHER_SCREENS = (
    "grpo_tui.tui.screens.live:LiveScreen",
    "grpo_tui.tui.screens.welcome:WelcomeScreen",
    "grpo_tui.tui.screens.help:HelpScreen",
    "grpo_tui.tui.screens.leave:LeaveScreen",
)
KEPT = ("app.interrupt",)
"""Ids whose keys stay: the way out must always work."""


def make_keymap(keys: Mapping[str, str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The keys that can be used, by id, and (id, what is wrong) for the others, which keep their own."""
    everywhere = {action.id: action for action in (*REGISTRY, *ROOM_ACTIONS)}
    known = dict(everywhere)
    if not set(keys) <= set(known):
        known |= {action.id: action for action in screen_actions()}
    keymap: dict[str, str] = {}
    problems: list[tuple[str, str]] = []
    for id, text in keys.items():
        wrong = _fault(id, text, known)
        if wrong:
            problems.append((id, wrong))
        else:
            keymap[id] = ",".join(_normal(key) for key in text.split(","))
    for id in list(keymap):
        rival = _rival(id, keymap, everywhere) if id in everywhere else None
        if rival is not None:
            other, key = rival
            problems.append((id, f"'{id}' and '{other}' are both on {named(key)}; '{id}' keeps its own key"))
            del keymap[id]
    return keymap, problems


def _fault(id: str, text: str, known: Mapping[str, Action]) -> str:
    if id not in known:
        close = nearest(id, known)
        return f"there is no '{id}'; " + (
            f"did you mean '{close}'?" if close else "the help (?) lists the ids"
        )
    if id in KEPT:
        return f"'{id}' cannot be moved: ctrl+c twice always saves and quits"
    if not text.strip():
        return f"'{id}' has no key; leave the line out to keep its own"
    wrong = next((key for key in text.split(",") if not _is_key(key.strip())), None)
    if wrong is not None:
        return f"'{id}': {wrong.strip()!r} is no key; keys are letters, ctrl+x, f1 … f12, enter, space, up, …"
    return ""


def _is_key(key: str) -> bool:
    base = key[len(_MODIFIERS.match(key)[0]) :]  # type: ignore[index]
    return len(base) == 1 or base in _NAMES or (len(base) > 1 and key_to_character(base) is not None)


def _normal(key: str) -> str:
    from textual.keys import _character_to_key

    key = key.strip()
    return _character_to_key(key) if len(key) == 1 else key


def _rival(id: str, keymap: Mapping[str, str], known: Mapping[str, Action]) -> tuple[str, str] | None:
    """Another action that has one of an action's new keys, and that key. Those that share by design may."""
    mine = set(keymap[id].split(","))
    for other, action in known.items():
        theirs = set((keymap.get(other) or action.keys).split(","))
        shared = mine & theirs
        by_design = set(known[id].keys.split(",")) & set(action.keys.split(","))
        if other != id and shared and not by_design:
            return other, min(shared)
    return None


def screen_actions() -> Iterator[Action]:
    """Actions of single screens, which are imported for it."""
    for place in (*(room.screen for room in ROOMS if room.screen), *_OTHER_SCREENS):
        module, _, name = place.partition(":")
        yield from own_actions(getattr(importlib.import_module(module), name))
