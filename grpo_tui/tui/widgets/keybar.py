"""The last line of the screen: the few keys that do something here and now."""

from __future__ import annotations

from textual import events
from textual.binding import Binding
from textual.screen import Screen

from grpo_tui.tui.actions import EVERY, bar_keys
from grpo_tui.tui.room_actions import PREFLIGHT_ACTIONS, ZOOM_ACTIONS
from grpo_tui.tui.rooms import ROOM_ACTIONS
from grpo_tui.tui.text import Line, Span, cells
from grpo_tui.tui.widgets.lines import LinesView

_IN_ORDER = (*PREFLIGHT_ACTIONS, *ZOOM_ACTIONS, *EVERY, *ROOM_ACTIONS)
ORDER = {id: index for index, id in enumerate(dict.fromkeys(action.id for action in _IN_ORDER))}


class KeyBar(LinesView, can_focus=False):
    """One line of keys, taken from the bindings that are active; a click does what the key does."""

    DEFAULT_CSS = "KeyBar { height: 1; background: $panel; overflow: hidden hidden; position: absolute; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._spots: list[tuple[int, int, str]] = []

    def on_mount(self) -> None:
        """Follow the screen's bindings."""
        self.screen.bindings_updated_signal.subscribe(self, self._update)
        self._update(self.screen)

    def on_resize(self) -> None:
        """Show as many keys as fit."""
        self._update(self.screen)

    def _update(self, screen: Screen[object]) -> None:
        if not self.is_attached or self.screen is not self.app.screen:
            return
        found: dict[str, Binding] = {}
        for active in screen.active_bindings.values():
            if active.binding.show and active.binding.id and active.enabled:
                found[active.binding.id] = active.binding
        spans: list[Span] = [(" ", "")]
        self._spots, at = [], 1
        last = found.pop("app.quit", None), found.pop("app.help", None)
        ordered = sorted(found.values(), key=lambda b: ORDER.get(b.id or "", -1))
        room = self.size.width - sum(self._length(b) for b in last if b is not None) - 1
        for binding in [*ordered, *(b for b in reversed(last) if b is not None)]:
            length = self._length(binding)
            if binding not in last and at + length > room:
                continue
            self._spots.append((at, at + length, binding.action))
            spans += [(self._key(binding), "key"), (f" {binding.description}  ", "")]
            at += length
        line: Line = tuple(spans)
        self.set_lines([line])

    def _key(self, binding: Binding) -> str:
        remembering = getattr(self.app, "remembering", None)
        return bar_keys(binding, remembering.keymap if remembering is not None else {})

    def _length(self, binding: Binding) -> int:
        return cells(self._key(binding)) + cells(binding.description) + 3

    def on_click(self, event: events.Click) -> None:
        """Do what the key under the mouse does."""
        for start, end, action in self._spots:
            if start <= event.x < end:
                self.call_later(self.app.run_action, action, self.screen)
