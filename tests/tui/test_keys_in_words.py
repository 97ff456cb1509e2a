"""Keys that the program's own sentences and the README name: each does what is said of it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import grpo_tui.tui
from grpo_tui.tui.action import Action, named
from grpo_tui.tui.actions import EVERY
from grpo_tui.tui.keymap import screen_actions
from grpo_tui.tui.rooms import ROOM_ACTIONS

VERBS = (
    "adds|asks|changes|deletes|dismisses|edits|goes|judges|keeps|lists|looks|makes|measures|opens|pauses|probes|"
    "retries|runs|samples|searches|sets|shows|steps|switches|takes|types|unpins|writes"
)
CLAIM = re.compile(rf"(?<![\w'’<>+*/=.·-])(?<![\d=] )([A-Za-z0-9.?/]|Space|Bksp) ({VERBS})\b")
MEANT = {
    ". goes": "run.phase",
    ". runs": "run.phase",
    "/ searches": "help.search",
    "0 probes": "live.probe",
    "9 shows": "room.probes",
    "B lists": "room.breakpoints",
    "B sets": "room.breakpoints",
    "Bksp takes": "act.undo",
    "D takes": "zoom.versus",
    "H lists": "room.triage",
    "L goes": "look.live",
    "Space pauses": "run.pause",
    "Space runs": "run.resume",
    "Space switches": "break.toggle",
    "V lists": "room.verdicts",
    "a adds": "break.add",
    "a looks": "update.after",
    "a types": "probes.add",
    "c keeps": "verdicts.keep",
    "d deletes": "break.remove",
    "e takes": "probes.held_out",
    "f lists": "history.filter",
    "f measures": "preflight.fit",
    "f runs": "preflight.fit",
    "f samples": "act.fork",
    "g judges": "verdicts.judge",
    "g looks": "update.compute",
    "g probes": "preflight.probe",
    "g samples": "play.sample preflight.probe",
    "g shows": "live.chart",
    "h shows": "room.health",
    "i asks": "heat.inspect",
    "i edits": "play.edit",
    "i types": "verdicts.rules",
    "l opens": "room.log",
    "l shows": "room.log",
    "m takes": "welcome.model",
    "o makes": "break.once",
    "o opens": "welcome.open",
    "r retries": "run.retry",
    "r takes": "run.retry",
    "s runs": "run.step",
    "s steps": "run.step",
    "t changes": "heat.next",
    "t shows": "heat.next",
    "u takes": "tune.undo",
    "w goes": "update.use",
    "w takes": "update.use",
    "x dismisses": "run.dismiss",
    "x unpins": "probes.unpin",
}
"""The action, or actions, that each sentence is about."""
README = {
    "Space": "run.pause run.resume",
    "s": "run.step",
    ".": "run.phase",
    "u U G F": "travel.undo travel.redo travel.go travel.fork",
    "n p j k": "look.next_group look.previous_group look.next_response look.previous_response",
    "Enter Esc": "look.in look.out",
    "[ ] L": "look.earlier look.later look.live",
    "2 3": "room.group room.response",
    "B": "room.breakpoints",
    "O x X W R + Bksp": "act.verdict act.exclude act.exclude_group act.reward act.reroll act.more act.undo",
    "6 P": "room.playground look.try",
    "0 g f": "room.preflight preflight.probe preflight.fit",
    "9 K": "room.probes look.pin",
    "H": "room.triage",
    "M V": "look.dispute room.verdicts",
    "8": "room.update",
    "4 / f t b m": "room.history history.search history.filter history.timeline history.branches history.bookmark",
    "o z l": "look.sort look.zoom room.log",
    "h g": "room.health live.chart",
    "v": "room.watch",
    "y Y ctrl+s": "out.copy out.copy_as out.screenshot",
    "ctrl+o ctrl+z": "app.jump app.suspend",
    "5": "room.tune",
    "? ctrl+p": "app.help app.palette",
    "Q q": "app.welcome app.quit",
}
"""The first column of its table of keys, and what the second says they do."""


def every_action() -> dict[str, Action]:
    return {action.id: action for action in (*EVERY, *ROOM_ACTIONS, *screen_actions())}


def keys_of(ids: str) -> list[set[str]]:
    known = every_action()
    return [{named(key).replace("^", "ctrl+") for key in known[id].keys.split(",")} for id in ids.split()]


def claims() -> set[str]:
    """What is said of keys in any text of the app."""
    found: set[str] = set()
    for path in Path(grpo_tui.tui.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {f"{key} {verb}" for key, verb in CLAIM.findall(node.value)}
    return found - {"3 changes"}  # a number


def test_every_key_that_a_sentence_names_is_the_key_of_what_it_says() -> None:
    """A new sentence is entered in the table above, with the action that it is about."""
    assert claims() == set(MEANT)
    for claim, ids in MEANT.items():
        key = claim.split()[0]
        assert all(key in keys for keys in keys_of(ids)), claim


def test_the_readme_s_table_of_keys_is_so() -> None:
    text = (Path(grpo_tui.tui.__path__[0]).parents[1] / "README.md").read_text(encoding="utf-8")
    table = text.partition("## Keys")[2].partition("\n\nKeys, colours")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert [" ".join(re.findall(r"`([^`]+)`", row)) for row in rows] == list(README)
    for written, ids in README.items():
        keys, meant = written.split(), keys_of(ids)
        pairs = zip(keys if len(keys) > 1 else keys * len(meant), meant, strict=True)
        assert all(key in keys for key, keys in pairs), written
