"""What the app takes from the preferences, and what it writes back: theme, keys, layout."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from textual.notifications import SeverityLevel
from textual.theme import Theme

from grpo_tui.preferences.file import BrokenFileError, remember
from grpo_tui.tui.keymap import make_keymap

if TYPE_CHECKING:
    from grpo_tui.tui.app import GrpoApp

PATIENCE = 0.4
"""Seconds after a change before it is written: trying five themes writes one."""
FIXED = ("environment", "command line")


class Remembering:
    """The preferences of one app. Writing goes on a thread of its own; the screen never waits for the disk."""

    def __init__(self, app: GrpoApp) -> None:
        self._app = app
        self.keymap: dict[str, str] = {}
        self._layout: dict[str, dict[str, str]] = {}
        self._pending: dict[str, str] = {}
        self._guard = threading.Lock()
        self._told: set[str] = set()

    def begin(self) -> None:
        """Put theme and keys in force, and say in one line each what cannot be."""
        app, preferences = self._app, self._app.preferences
        for problem in preferences.problems:
            self._tell(problem)
        if preferences.theme in app.available_themes:
            app.theme = preferences.theme
        else:
            known = ", ".join(sorted(app.available_themes))
            self._tell(
                f"{preferences.origin('theme')}: theme: there is none named {preferences.theme!r}; "
                f"the themes are {known}"
            )
        if preferences.keys:
            self.keymap, problems = make_keymap(preferences.keys)
            for key, problem in problems:
                self._tell(f"{preferences.origin(f'keys.{key}')}: keys: {problem}")
            app.set_keymap(self.keymap)
        app.theme_changed_signal.subscribe(app, self._theme_changed, immediate=True)

    def layout(self, size_class: str, name: str) -> str:
        """What is remembered of the layout on screens of a class; empty where nothing is."""
        return self._of(size_class).get(name, "")

    def keep_layout(self, size_class: str, name: str, value: str) -> None:
        """Remember it, on the disk too."""
        if self.layout(size_class, name) != value:
            self._of(size_class)[name] = value
            self.keep(f"layout.{size_class}.{name}", value)

    def keep(self, key: str, value: str) -> None:
        """Remember a preference; it reaches the disk a moment later."""
        if self._app.preferences.path is None:
            return
        with self._guard:
            waiting = bool(self._pending)
            self._pending[key] = value
        if not waiting:
            self._app.set_timer(PATIENCE, self._write)

    def flush(self) -> None:
        """Write what is pending now; an error has nobody to be told to any more."""
        self._store()

    def _of(self, size_class: str) -> dict[str, str]:
        if size_class not in self._layout:
            self._layout[size_class] = self._app.preferences.layout(size_class)
        return self._layout[size_class]

    def _theme_changed(self, theme: Theme) -> None:
        preferences = self._app.preferences
        if theme.name == preferences.theme and "theme" not in self._pending:
            return
        self.keep("theme", theme.name)
        origin = preferences.origin("theme")
        if origin.startswith(FIXED) and preferences.path is not None:
            self._tell(
                f"theme remembered; the {origin} still goes before it at the next start", "information"
            )

    def _write(self) -> None:
        threading.Thread(target=self._write_on_thread, name="remember", daemon=True).start()

    def _write_on_thread(self) -> None:
        problem = self._store()
        if problem and self._app.is_running:
            self._app.call_from_thread(self._tell, problem)

    def _store(self) -> str:
        """Write; return what went wrong."""
        path = self._app.preferences.path
        with self._guard:
            changes, self._pending = self._pending, {}
            if path is None or not changes:
                return ""
            try:
                remember(path, changes)
            except BrokenFileError as error:
                return str(error)
        return ""

    def _tell(self, problem: str, severity: SeverityLevel = "warning") -> None:
        if problem not in self._told:
            self._told.add(problem)
            self._app.notify(problem, title="preferences", severity=severity, markup=False, timeout=12)
