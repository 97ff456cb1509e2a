"""Every action once: its keys, its words, and where it belongs. Bindings, palette and help all read this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from textual.binding import Binding
from textual.keys import key_to_character
from textual.screen import Screen

KEY_NAMES = {
    "space": "Space",
    "full_stop": ".",
    "enter": "Enter",
    "escape": "Esc",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "question_mark": "?",
    "slash": "/",
    "plus": "+",
    "backspace": "Bksp",
}


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a person can do."""

    id: str
    keys: str
    action: str
    label: str
    """Word in the key bar."""
    help: str
    shown: str = ""
    """How the key is written; made from ``keys`` where empty."""
    footer: bool = False
    priority: bool = False

    @property
    def key_text(self) -> str:
        """The key, or pair of keys, as the key bar writes it."""
        return self.shown or self.key_name

    @property
    def key_name(self) -> str:
        """The first key by itself."""
        key = self.keys.split(",")[0]
        return KEY_NAMES.get(key, key.replace("ctrl+", "^"))

    def binding(self) -> Binding:
        """The Textual binding; its id lets a keymap move it."""
        return Binding(
            self.keys,
            self.action,
            self.label,
            show=self.footer,
            key_display=self.key_text,
            priority=self.priority,
            id=self.id,
            tooltip=self.help,
        )


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

BREAK_ACTIONS = (
    Action("break.add", "a", "screen.add", "add", "Write a new breakpoint.", footer=True),
    Action("break.toggle", "space", "screen.switch", "on/off", "Switch the breakpoint off, or on.", "Space", True),
    Action("break.edit", "enter", "screen.take", "edit", "Edit the breakpoint, or put the line into the editor.", "Enter", True),
    Action("break.once", "o", "screen.once", "once", "Stop only once: then the breakpoint goes away.", footer=True),
    Action("break.remove", "d,delete", "screen.remove", "delete", "Take the breakpoint away.", "d", True),
)  # fmt: skip
"""Of the Breakpoints room alone."""

LIVE_ACTIONS = (
    Action(
        "live.chart",
        "g",
        "screen.next_chart",
        "curve",
        "Show the next curve; on a narrow screen in the place of the trends.",
    ),
    Action(
        "live.probe",
        "0",
        "screen.probe_first",
        "probe first",
        "Before step 1: sample and score 16 prompts, to see how many groups will be dead. Nothing is trained.",
        footer=True,
    ),
)
"""Of the Live room alone."""

PREFLIGHT_ACTIONS = (
    Action(
        "preflight.probe",
        "g",
        "screen.probe",
        "probe 16 prompts",
        "Sample and score 16 prompts as training would; nothing is trained.",
        footer=True,
    ),
    Action(
        "preflight.stop_probe",
        "g",
        "screen.stop_probe",
        "stop",
        "Take the probe back.",
        footer=True,
    ),
    Action(
        "preflight.fit",
        "f",
        "screen.measure_fit",
        "measure fit",
        "Run the worst step's parts and read memory and time; nothing is trained.",
        footer=True,
    ),
    Action(
        "preflight.stop_fit",
        "f",
        "screen.stop_fit",
        "stop",
        "Take the measurement back.",
        footer=True,
    ),
)
"""Of the Pre-flight room alone."""


PLAY_ACTIONS = (
    Action("play.sample", "g,ctrl+r", "screen.play", "sample", "Sample what the form asks for.", "g", True),
    Action(
        "play.stop",
        "g,ctrl+r",
        "screen.stop_play",
        "stop",
        "Take back what waits or is being sampled.",
        "g",
        True,
    ),
    Action("play.edit", "i", "screen.edit", "prompt", "Edit the prompt.", footer=True),
    Action(
        "play.base", "b", "screen.toggle_source('base')", "base model", "Sample from the base model, or not."
    ),
    Action(
        "play.adapter",
        "a",
        "screen.toggle_source('adapter')",
        "adapter",
        "Sample from the adapter as it is, or not.",
    ),
    Action(
        "play.step",
        "c",
        "screen.next_step(1)",
        "kept step",
        "Sample from the adapter of another kept step, or none.",
        footer=True,
    ),
    Action(
        "play.step_back",
        "C,shift+c",
        "screen.next_step(-1)",
        "kept step before",
        "The same, the other way round.",
    ),
    Action("play.next", "j", "screen.move_sample(1)", "sample", "Select the next sample.", "j/k", True),
    Action("play.previous", "k", "screen.move_sample(-1)", "sample before", "Select the sample before."),
    Action(
        "play.earlier",
        "left_square_bracket",
        "screen.move_play(-1)",
        "plays",
        "Look at the play before.",
        "[ ]",
        True,
    ),
    Action(
        "play.later",
        "right_square_bracket",
        "screen.move_play(1)",
        "later play",
        "Look at the play after.",
        "]",
    ),
)
"""Of the Playground alone."""

UPDATE_ACTIONS = (
    Action("update.next", "right", "screen.turn_page(1)", "page", "The next page.", "← →", True),
    Action("update.previous", "left", "screen.turn_page(-1)", "page before", "The page before."),
    Action(
        "update.compute",
        "g",
        "screen.compute",
        "compute",
        "Compute the page shown; nothing of the training changes.",
        footer=True,
    ),
    Action("update.down", "j,down", "screen.move_row(1)", "row", "Select the next row.", "j/k", True),
    Action("update.up", "k,up", "screen.move_row(-1)", "row before", "Select the row before."),
    Action(
        "update.open", "enter", "screen.open_row", "open", "Open the response under the cursor.", footer=True
    ),
    Action(
        "update.use",
        "w",
        "screen.use_row",
        "use",
        "What-if: go on with this loss from the next step. Twin: take this update, and no other, so.",
        footer=True,
    ),
    Action(
        "update.mark",
        "m",
        "screen.toggle_mark",
        "twin",
        "What-if: try this loss as a twin, or not.",
        footer=True,
    ),
    Action(
        "update.after",
        "a",
        "screen.toggle_after",
        "after/now",
        "What-if: look from where one update would lead, so that clips have something to act on.",
        footer=True,
    ),
    Action(
        "update.probes",
        "b",
        "screen.toggle_probes",
        "probes",
        "Twin: answer held-out problems after each, or not.",
        footer=True,
    ),
)
"""Of the Update room alone."""

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

_VERSUS = Action(
    "zoom.versus",
    "D,shift+d",
    "screen.next_versus",
    "versus",
    "Hold the response against the next of the others.",
)
_PANE = Action(
    "zoom.pane",
    "w",
    "screen.next_pane",
    "why",
    "The next panel: why this reward, what else there is to see.",
    footer=True,
)

GROUP_ACTIONS = (_VERSUS, _PANE)

FORK = Action(
    "act.fork",
    "f",
    "screen.fork",
    "fork",
    "Sample on from the token under the cursor, from before it and from after it: how often either ends well.",
    "f",
    True,
)

RESPONSE_ACTIONS = (
    FORK,
    Action(
        "heat.next",
        "t",
        "screen.next_channel(1)",
        "heat",
        "What the colours of the tokens are of.",
        footer=True,
    ),
    Action("heat.previous", "T,shift+t", "screen.next_channel(-1)", "heat before", "The channel before."),
    Action(
        "heat.base",
        "b",
        "screen.look_through('base')",
        "base",
        "Look through the base model (adapter off), and back.",
        footer=True,
    ),
    Action(
        "heat.after",
        "a",
        "screen.look_through('now')",
        "after",
        "Look through the weights in memory: after the update, once it is done; and back.",
        footer=True,
    ),
    Action(
        "heat.inspect",
        "i",
        "screen.inspect",
        "score again",
        "Have the engine score the response with its weights now.",
    ),
    Action(
        "zoom.diff",
        "d",
        "screen.toggle_diff",
        "diff",
        "Hold the response against another of its group: where they split.",
        footer=True,
    ),
    _VERSUS,
    _PANE,
    Action(
        "heat.mono", "c", "screen.toggle_mono", "colour", "Shades of characters instead of colours, and back."
    ),
)

ZOOM_ACTIONS = tuple(dict.fromkeys((*RESPONSE_ACTIONS, *GROUP_ACTIONS)))
"""Of the Group and Response rooms, each once."""

TUNE_ACTIONS = (
    Action(
        "tune.edit",
        "enter",
        "screen.edit",
        "edit",
        "Type another value for the selected setting; up and down go through the choices.",
        footer=True,
    ),
    Action(
        "tune.apply",
        "a",
        "screen.apply",
        "apply",
        "Apply the changes that are collected: once to be asked, once more to do it.",
        footer=True,
    ),
    Action(
        "tune.drop",
        "backspace,delete",
        "screen.drop",
        "drop",
        "Drop the collected change of the selected setting.",
        footer=True,
    ),
    Action(
        "tune.undo",
        "u",
        "screen.undo",
        "undo",
        "Take back the last change that was applied: once to be asked, once more to do it.",
        footer=True,
    ),
    Action(
        "tune.reset",
        "U,shift+u",
        "screen.reset",
        "as it began",
        "Collect the changes that lead back to the settings that the run began with.",
    ),
    Action("tune.filter", "slash", "screen.filter", "filter", "Show settings by words.", footer=True),
    Action(
        "tune.save",
        "w",
        "screen.save",
        "write config",
        "Write the settings as they are now to config-now.toml in the run's folder.",
    ),
)
"""Of the Tune room alone."""

APP_ACTIONS = (
    Action("app.jump", "ctrl+o", "app.jump", "jump", "Letters appear on the panels; press one to go to it."),
    Action(
        "app.palette", "ctrl+p", "app.command_palette", "palette", "Search every action by name.", "^p", True
    ),
    Action("app.help", "question_mark,f1", "app.show_help", "help", "Keys and words explained.", "?", True),
    Action("app.quit", "q,ctrl+q", "app.leave", "quit", "Quit; asks first while a step runs.", "q", True),
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
EVERY = (
    *REGISTRY,
    *LIVE_ACTIONS,
    *ZOOM_ACTIONS,
    *PLAY_ACTIONS,
    *TUNE_ACTIONS,
    *PREFLIGHT_ACTIONS,
    *UPDATE_ACTIONS,
    *BREAK_ACTIONS,
)
"""With those that rooms have alone."""
_BY_ID = {action.id: action for action in EVERY}


def bindings(actions: Iterable[Action]) -> list[Binding]:
    """Bindings of some actions; one without a key is for the palette alone."""
    return [action.binding() for action in actions if action.keys]


def named(key: str) -> str:
    """A key as a person writes it."""
    first = key.split(",")[0].strip()
    shown = KEY_NAMES.get(first)
    if shown is None and len(first) > 1:
        shown = key_to_character(first) if "+" not in first else first.replace("ctrl+", "^")
    return shown if shown and shown.isprintable() else first


def key_of(action: Action, keymap: Mapping[str, str]) -> str:
    """The first key of an action where a person may have moved it."""
    moved = keymap.get(action.id)
    return named(moved) if moved else action.key_name


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
