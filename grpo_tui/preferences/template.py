"""The file that ``grpo-tui config init`` writes: everything that can be said, as comments."""

from __future__ import annotations

TEMPLATE = """\
# Preferences of grpo-tui. Delete a '#' to set a value; `grpo-tui config show` tells what holds and why.
# The app writes what you change in it (theme, layout) into this file, and leaves everything else alone.

# Colours: textual-dark, textual-light, ansi-dark and ansi-light (your terminal's own 16 colours), nord, gruvbox,
# dracula, tokyo-night, monokai, solarized-light, … (ctrl+p, Theme). NO_COLOR=1 in the environment: none at all.
#theme = "textual-dark"

[paths]
# The folder that holds the runs.
#runs = "runs"
# Where copies, cards, screenshots and tables go; empty: into the folder of the run, below exports/.
#exports = ""

[keys]
# What a key does, by id: letters, ctrl+x, f1 … f12, enter, escape, space, tab, up, … ; several with commas.
# The ids are in the help (?), with the keys that they have.
#"run.pause" = "space"
#"look.sort" = "o"

[layout.wide]
# The panel that has the whole screen on a terminal of at least 100 columns; empty: none.
#zoom = ""

[layout.narrow]
# The same on a narrower one.
#zoom = ""
"""
