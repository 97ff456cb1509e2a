"""Keys that move the cursor shared by all rooms: group, response, step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grpo_tui.tui.view import RunView


class Looking:
    """Actions of a screen over a RunView. To be mixed into a Screen with ``view`` and ``sync_view``."""

    view: RunView

    def sync_view(self, *, force: bool = False) -> None:
        """Bring the screen up to date."""
        raise NotImplementedError

    def check_looking(self, action: str) -> bool | None:
        """Whether a cursor key does something now; None for keys that are none."""
        if action == "go_live":
            return not self.view.is_live
        if action == "move_step":
            return bool(self.view.state.history)
        if action in ("move_group", "move_answer", "cycle_sort"):
            return self.view.detail is not None and bool(self.view.detail.groups)
        return None

    def _moved(self) -> None:
        self.sync_view()
        self.refresh_bindings()  # type: ignore[attr-defined]

    def action_move_group(self, by: int) -> None:
        """Select another group."""
        self.view.move_group(by)
        self.sync_view()

    def action_move_answer(self, by: int) -> None:
        """Select another answer."""
        self.view.move_answer(by)
        self.sync_view()

    def action_move_step(self, by: int) -> None:
        """Look at an earlier or later step."""
        self.view.move_step(by)
        self._moved()

    def action_go_live(self) -> None:
        """Follow the training again."""
        self.view.go_live()
        self._moved()

    def action_cycle_sort(self) -> None:
        """Sort the groups the next way."""
        self.view.cycle_sort()
        self.sync_view()
