"""The Triage room: prompts whose groups teach nothing, and one key for each remedy."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message

from grpo_tui.events.commands import (
    AnswersForPrompt,
    ChangeSettings,
    Command,
    DrawMore,
    DropPrompt,
    PostponePrompt,
    RestorePrompt,
)
from grpo_tui.events.records import GroupRecord
from grpo_tui.runs.triage import Outlook, Triage, triage
from grpo_tui.tui.finder import Finder, Found
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.panels.triage import PromptOutlookPanel, TriagePanel
from grpo_tui.tui.run_settings import settings_of
from grpo_tui.tui.screens.room import RoomScreen
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView

POSTPONED_BY = 10
"""Steps that a prompt is put off by."""
WARMER = 1.25
"""Factor of the temperature."""


class TriageScreen(RoomScreen):
    """All prompts of the run, and the outlook of the selected one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "more_answers", "more answers", id="triage.answers",
                tooltip="Sample twice as many answers for this prompt from now on."),
        Binding("m", "more_now", "more now", id="triage.more_now",
                tooltip="Draw as many answers again for this prompt in the step in progress, before its update."),
        Binding("t", "warmer", "temperature", id="triage.temperature",
                tooltip="Sample hotter by a quarter, all prompts; Tune takes it back."),
        Binding("p", "postpone", "put off", id="triage.postpone",
                tooltip=f"Leave this prompt out for {POSTPONED_BY} steps."),
        Binding("d", "drop", "drop", id="triage.drop", tooltip="Train on this prompt no more."),
        Binding("b", "restore", "bring back", id="triage.restore",
                tooltip="Take this prompt back as it was: in the order, with the run's group size."),
        Binding("enter", "open", "open", key_display="Enter", id="triage.open", tooltip="Look at its newest group."),
        Binding("j", "move_prompt(1)", "prompt", key_display="j/k", id="triage.next",
                tooltip="Select the next prompt."),
        Binding("k", "move_prompt(-1)", "prompt before", show=False, id="triage.previous",
                tooltip="Select the prompt before."),
    ]  # fmt: skip
    DEFAULT_CSS = """
    TriageScreen Panel { position: relative; }
    TriageScreen #triage-list { height: 3fr; min-height: 5; }
    TriageScreen #outlook { height: 2fr; }
    """

    class Arrived(Message):
        """The finder's thread has counted."""

        def __init__(self, found: Found) -> None:
            super().__init__()
            self.found = found

    def __init__(self, view: RunView) -> None:
        super().__init__(view, id="triage")
        self.list = TriagePanel(id="triage-list")
        self.outlook = PromptOutlookPanel(id="outlook")
        self._finder: Finder | None = None
        self._asked_at: tuple[object, ...] = ()
        self._waiting = 0
        self._chosen = ""
        """Id of the selected prompt: the list is sorted anew with every step."""
        self._key: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        """List, outlook, keys."""
        yield self.list
        yield self.outlook
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Begin to count."""
        folder: Path | None = getattr(self.app, "run_dir", None)
        if folder is not None and (folder / "run.db").is_file():
            self._finder = Finder(folder, lambda found: self.post_message(self.Arrived(found)))
            self.list.note = "counting groups…"
        else:
            self.list.note = "this run has no file: there are no groups to count"
        self.list.focus()

    def on_unmount(self) -> None:
        """Let the file go."""
        if self._finder is not None:
            self._finder.close()

    def on_resize(self) -> None:
        """Wrap to the new width."""
        self.call_after_refresh(self.sync_view, force=True)

    @property
    def found(self) -> Triage | None:
        """What was counted last."""
        return self.list.found

    @property
    def one(self) -> Outlook | None:
        """The selected prompt."""
        found = self.found
        return (
            found.outlooks[min(self.list.row, len(found.outlooks) - 1)] if found and found.outlooks else None
        )

    def sync_view(self, *, force: bool = False) -> None:
        """Count again after a step; rebuild what is stale."""
        state = self.view.state
        at = (state.last_step, state.branch)
        if self._finder is not None and at != self._asked_at and not self._waiting:
            self._asked_at = at
            self._waiting = self._finder.ask(lambda reader: reader.prompt_histories())
        self.outlook.one = self.one
        for panel in self.query(Panel):
            panel.sync(self.view, force=force)
        key = (self.one, state.order_changes, self.view.over, self._in_step is not None)
        if key != self._key:
            self._key = key
            self.refresh_bindings()

    def on_triage_screen_arrived(self, message: Arrived) -> None:
        """Show what was counted; the selection stays on its prompt."""
        found = message.found
        if found.number != self._waiting:
            return
        self._waiting = 0
        if found.error:
            self.list.note, self.list.found = found.error, None
        elif isinstance(found.answer, tuple):
            size = settings_of(self.view.state).sampling.group_size
            self.list.found = triage(found.answer, size)
            ids = [one.history.problem_id for one in self.list.found.outlooks]
            self.list.row = ids.index(self._chosen) if self._chosen in ids else 0
        self.sync_view()

    # --- keys --------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Hide keys that do nothing now."""
        able = not self.view.session.read_only and not self.view.over
        one, plan = self.one, self.view.state.plan
        id = one.history.problem_id if one is not None else ""
        if action in ("more_answers", "postpone", "drop"):
            return able and one is not None and not (action == "drop" and plan.away.get(id) == 0)
        if action == "more_now":
            return able and self._in_step is not None
        if action == "warmer":
            return able
        if action == "restore":
            return able and (id in plan.away or id in plan.group_sizes)
        if action in ("open", "move_prompt"):
            return one is not None
        return True

    def action_move_prompt(self, by: int) -> None:
        """Select another prompt."""
        found = self.found
        if found is None or not found.outlooks:
            return
        self.list.row = max(0, min(len(found.outlooks) - 1, self.list.row + by))
        self._chosen = found.outlooks[self.list.row].history.problem_id
        self.sync_view()

    def on_lines_view_row_clicked(self, message: LinesView.RowClicked) -> None:
        """Select the prompt that was clicked."""
        if message.view.id == "triage-list":
            self.action_move_prompt(message.row - TriagePanel.HEADER - self.list.row)

    def _ask(self, request: Command, said: str) -> None:
        if self.view.ask(request):
            self.app.tell_asked(said)  # type: ignore[attr-defined]

    def action_more_answers(self) -> None:
        """Twice as many answers for this prompt."""
        one, found = self.one, self.found
        if one is not None and found is not None:
            id = one.history.problem_id
            size = 2 * self.view.state.plan.group_sizes.get(id, found.group_size)
            self._ask(AnswersForPrompt(id, size), f"{size} answers for this prompt from its next group on")

    @property
    def _in_step(self) -> GroupRecord | None:
        """The selected prompt's group in the step in progress."""
        current, one = self.view.state.current, self.one
        groups = current.groups if current is not None else ()
        return next((g for g in groups if one and g.problem.id == one.history.problem_id), None)

    def action_more_now(self) -> None:
        """As many answers again in the step in progress."""
        group, current = self._in_step, self.view.state.current
        if group is not None and current is not None:
            size = len(group.completions)
            self._ask(
                DrawMore(current.step, group.index, size), f"{size} answers more in step {current.step}"
            )

    def action_warmer(self) -> None:
        """A higher temperature."""
        now = settings_of(self.view.state).sampling.temperature
        then = round(now * WARMER, 3)
        self._ask(ChangeSettings((("sampling.temperature", f"{then:g}"),)), f"temperature {now:g} → {then:g}")

    def action_postpone(self) -> None:
        """Leave it out for a while."""
        if self.one is not None:
            self._ask(
                PostponePrompt(self.one.history.problem_id, POSTPONED_BY), f"put off by {POSTPONED_BY} steps"
            )

    def action_drop(self) -> None:
        """Leave it out for good."""
        if self.one is not None:
            self._ask(DropPrompt(self.one.history.problem_id), "dropped; b brings it back")

    def action_restore(self) -> None:
        """Take it back."""
        if self.one is not None:
            self._ask(RestorePrompt(self.one.history.problem_id), "as it was again")

    def action_open(self) -> None:
        """Its newest group in the Group room."""
        if self.one is not None and self.one.history.visits:
            last = self.one.history.visits[-1]
            self.view.look_at(last.step, last.group)
            self.app.action_go_room("group")  # type: ignore[attr-defined]
