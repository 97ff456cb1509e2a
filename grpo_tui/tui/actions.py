"""Every action once: its keys, its words, and where it belongs. Bindings, palette and help all read this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.binding import Binding
from textual.screen import Screen

from grpo_tui.tui.action import Action, key_of, named
from grpo_tui.tui.room_actions import BY_ROOM

RUN_ACTIONS = (
    Action(
        "run.pause",
        "space",
        "app.pause",
        "pause",
        "Pause at the next boundary (phase, microbatch or token).",
        "Space",
        True,
    ),
    Action("run.resume", "space", "app.resume", "run", "Run until told otherwise.", "Space", True),
    Action(
        "run.step",
        "s",
        "app.step_once",
        "step",
        "Run one whole step (or to the end of this one), then wait.",
        footer=True,
    ),
    Action(
        "run.phase",
        "full_stop",
        "app.step_phase",
        "phase",
        "Run to the end of the present phase, then wait.",
        ".",
        True,
    ),
    Action(
        "run.retry",
        "r",
        "app.retry",
        "retry",
        "After an error: take the failed step again from its start.",
        footer=True,
    ),
    Action(
        "run.dismiss",
        "x",
        "app.dismiss_failure",
        "dismiss",
        "Put the error panel away; the engine still waits.",
    ),
)

TRAVEL_ACTIONS = (
    Action(
        "travel.undo",
        "u",
        "app.undo_step",
        "undo",
        "Take back the last step, exactly; in the middle of one, leave it and stand at its start.",
    ),
    Action(
        "travel.redo",
        "U,shift+u",
        "app.redo_step",
        "redo",
        "Forward again over a step that was taken back.",
        "U",
    ),
    Action(
        "travel.go",
        "G,shift+g",
        "app.go_to_shown",
        "train from here",
        "Looking at an earlier step: go back to its end, to train on from there on a branch.",
        "G",
    ),
    Action(
        "travel.fork",
        "F,shift+f",
        "app.fork_run",
        "fork",
        "Train on upon a branch of its own; the line so far stays as it is.",
        "F",
    ),
)

LOOK_ACTIONS = (
    Action("look.next_group", "n", "screen.move_group(1)", "group", "Select the next group.", "n/p", True),
    Action(
        "look.previous_group", "p", "screen.move_group(-1)", "previous group", "Select the previous group."
    ),
    Action(
        "look.next_response",
        "j",
        "screen.move_answer(1)",
        "response",
        "Select the next response.",
        "j/k",
        True,
    ),
    Action(
        "look.previous_response",
        "k",
        "screen.move_answer(-1)",
        "previous response",
        "Select the previous response.",
    ),
    Action("look.in", "enter", "screen.zoom_in", "open", "Go in: groups → responses → text.", "Enter", True),
    Action(
        "look.out",
        "escape",
        "screen.zoom_out",
        "back",
        "Go out one layer; from the past, back to live.",
        "Esc",
    ),
    Action(
        "look.earlier",
        "left_square_bracket",
        "screen.move_step(-1)",
        "time",
        "Look at the step before.",
        "[ ]",
        True,
    ),
    Action(
        "look.later",
        "right_square_bracket",
        "screen.move_step(1)",
        "later step",
        "Look at the step after.",
        "]",
    ),
    Action("look.live", "L,shift+l", "screen.go_live", "live", "Follow the training again.", "L", True),
    Action(
        "look.sort",
        "o",
        "screen.cycle_sort",
        "sort",
        "Sort groups by signal (spread), order, or reward.",
        footer=True,
    ),
    Action(
        "look.try",
        "P,shift+p",
        "app.try_in_playground",
        "try in Playground",
        "Put the selected problem into the Playground.",
    ),
    Action(
        "look.pin",
        "K,shift+k",
        "app.pin_probe",
        "pin as probe",
        "Read the selected prompt around every update from now on (room 9).",
    ),
    Action(
        "look.dispute",
        "M,shift+m",
        "app.dispute",
        "verdict is wrong",
        "Dispute the verdict of the selected response: it becomes a case for the verifier's tests.",
    ),
    Action(
        "look.zoom",
        "z",
        "screen.toggle_zoom",
        "zoom",
        "Give the focused panel the whole screen, or back.",
        footer=True,
    ),
)
TIME_ACTIONS = tuple(
    action for action in LOOK_ACTIONS if action.id in ("look.earlier", "look.later", "look.live")
)
"""For rooms over the steps that have no groups to go through."""

ACT_ACTIONS = (
    Action(
        "act.verdict",
        "O,shift+o",
        "screen.override_verdict",
        "verdict",
        "The verdict on the selected response is wrong: say what it should be, before the update uses it.",
        "O",
        True,
    ),
    Action(
        "act.exclude",
        "x",
        "screen.exclude",
        "keep out",
        "Keep the selected response out of this update, or take it in again.",
        footer=True,
    ),
    Action(
        "act.exclude_group",
        "X,shift+x",
        "screen.exclude_group",
        "keep group out",
        "Keep the selected group out of this update, or take it in again.",
        "X",
    ),
    Action(
        "act.reward",
        "W,shift+w",
        "screen.override_reward",
        "reward",
        "Give the selected response another reward by hand.",
        "W",
    ),
    Action(
        "act.reroll",
        "R,shift+r",
        "screen.reroll",
        "draw anew",
        "Draw and judge the responses of the selected group anew.",
        "R",
    ),
    Action(
        "act.more",
        "plus",
        "screen.draw_more",
        "more responses",
        "Draw and judge more responses to the selected prompt.",
        "+",
    ),
    Action(
        "act.undo",
        "backspace",
        "screen.undo_act",
        "take back",
        "Take back the last act on the step in progress; again for the one before.",
        "Bksp",
        True,
    ),
)
"""What can be changed of a step between its judging and its update."""

OUT_ACTIONS = (
    Action(
        "out.copy",
        "y",
        "app.copy",
        "copy",
        "Copy what is looked at: the prompt, the response, or the focused panel; to a file as well.",
    ),
    Action(
        "out.copy_as",
        "Y,shift+y",
        "app.copy_as",
        "copy as…",
        "Hand the selected response on: text, JSON, Markdown, or an SVG card.",
        "Y",
    ),
    Action("out.screenshot", "ctrl+s", "app.save_screenshot", "screenshot", "Save the screen as SVG."),
    Action("out.step", "", "app.export_step", "export step", "Write the responses of this step as Parquet."),
    Action("out.run", "", "app.export_run", "export run", "Write every response of the run as Parquet."),
)

APP_ACTIONS = (
    Action("app.jump", "ctrl+o", "app.jump", "jump", "Letters appear on the panels; press one to go to it."),
    Action(
        "app.palette", "ctrl+p", "app.command_palette", "palette", "Search every action by name.", "^p", True
    ),
    Action("app.help", "question_mark,f1", "app.show_help", "help", "Keys and words explained.", "?", True),
    Action("app.quit", "q,ctrl+q", "app.leave", "quit", "Quit; asks first while a step runs.", "q", True),
    Action(
        "app.welcome",
        "Q,shift+q",
        "app.go_to_welcome",
        "leave the run",
        "Back to Welcome, to the recent runs and presets; the run is stopped and saved. Asks first while it trains.",
        "Q",
    ),
    Action(
        "app.suspend",
        "ctrl+z",
        "app.suspend",
        "suspend",
        "Back to the shell; the training stands still too, until `fg`.",
    ),
    Action("app.interrupt", "ctrl+c", "app.interrupt", "", "Twice: save and quit.", "^c ^c", priority=True),
)

REGISTRY = (*RUN_ACTIONS, *ACT_ACTIONS, *TRAVEL_ACTIONS, *LOOK_ACTIONS, *OUT_ACTIONS, *APP_ACTIONS)
"""Every action but those of rooms (:data:`grpo_tui.tui.rooms.ROOM_ACTIONS`) and of single screens."""
EVERY = (*REGISTRY, *(action for _, actions in BY_ROOM for action in actions))
"""With those that rooms have alone."""
_BY_ID = {action.id: action for action in EVERY}


def bar_keys(binding: Binding, keymap: Mapping[str, str]) -> str:
    """How the key bar writes a binding's key, or its pair of keys, where a person may have moved either."""
    action = _BY_ID.get(binding.id or "")
    first = binding.key_display or named(binding.key)
    if action is None or "/" not in action.shown:
        return first
    name = action.action.split("(")[0]
    partner = next(other for other in EVERY if other is not action and other.action.startswith(f"{name}("))
    return f"{key_of(action, keymap)}/{key_of(partner, keymap)}"


def own_actions(screen: type[Screen[Any]]) -> tuple[Action, ...]:
    """What a kind of screen can do besides the registry: its bindings that have an id and words."""
    known = {action.id for action in REGISTRY}
    found: dict[str, Action] = {}
    for kind in reversed(screen.__mro__):
        for binding in vars(kind).get("BINDINGS", ()):
            if (
                isinstance(binding, Binding)
                and binding.id
                and binding.id not in known
                and binding.description
            ):
                place = "" if "." in binding.action.split("(")[0] else "screen."
                words = binding.tooltip or f"{binding.description[0].upper()}{binding.description[1:]}."
                found[binding.id] = Action(
                    binding.id, binding.key, f"{place}{binding.action}", binding.description, words
                )
    return tuple(found.values())
