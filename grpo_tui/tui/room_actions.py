"""What single rooms can do that others cannot: keys and words of each, for its bindings, the key bar and the help.

Apart from the screens, so that the help can tell of a room that was never opened without importing it.
"""

from __future__ import annotations

from grpo_tui.tui.action import Action

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

BY_ROOM: tuple[tuple[str, tuple[Action, ...]], ...] = (
    ("Live", LIVE_ACTIONS),
    ("Group and Response", ZOOM_ACTIONS),
    ("Tune", TUNE_ACTIONS),
    ("Breakpoints", BREAK_ACTIONS),
    ("Playground", PLAY_ACTIONS),
    ("Pre-flight", PREFLIGHT_ACTIONS),
    ("Update", UPDATE_ACTIONS),
)
"""All of them, each once, under the heading that the help gives them."""
