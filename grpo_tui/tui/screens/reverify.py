"""The Verdicts room: every recorded answer judged again, what flips, and the disputes so far."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.widgets import Input

from grpo_tui.events.commands import KeepReverified, ReverifyAll
from grpo_tui.events.judgements import Flip
from grpo_tui.events.types import RequestFailed, VerdictDisputed
from grpo_tui.tui.glyphs import VERDICTS
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.screens.room import RoomScreen
from grpo_tui.tui.text import Line, clean, clip, duration, fit, wrapped
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView, list_keys
from grpo_tui.tui.widgets.plain_input import PlainInput
from rewards.base import Verdict

INVITATION = (
    "g judges every recorded answer again, by the rules in force or by others that i types (reward.answer_form=boxed). "
    "Training goes on meanwhile. Verdicts that flip are listed; nothing recorded is rewritten, and c keeps the new ones "
    "beside the old. M in rooms 1 to 3 disputes the verdict of the selected response."
)
Row = Flip | VerdictDisputed


def rows_of(view: RunView) -> list[Row]:
    """Flips of the last judging (or those kept), then disputes, newest first."""
    state = view.state
    flips = list(state.reverified.flips) if state.reverified is not None else list(state.revised.values())
    return [*flips, *reversed(state.disputes)]


def _sign(verdict: str) -> tuple[str, str]:
    try:
        return VERDICTS[Verdict(verdict)]
    except (KeyError, ValueError):
        return ("?", "warn")


class VerdictsPanel(Panel):
    """One row for each flip and each dispute."""

    BINDINGS = list_keys("move_flip")
    TITLE: ClassVar[str] = "Verdicts"
    HELP: ClassVar[str] = (
        "Answers that the rules judge otherwise now, and disputed verdicts. Enter looks at the response; g judges "
        "again, i types other rules first, c keeps the new verdicts beside the recorded ones."
    )
    HEADER: ClassVar[int] = 2
    row = 0
    passed: RequestFailed | None = None
    """A failure of before the last request, which is not told any more."""

    def depends(self, view: RunView) -> tuple[object, ...]:
        """Flips, disputes, the gauge while it judges."""
        state = view.state
        gauge = view.gauge if view.gauge is not None and view.gauge.of == "reverify" else None
        return (
            state.reverified,
            state.revised,
            state.disputes,
            self.row,
            gauge,
            view.request_failed,
            self.passed,
        )

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """What was done, a header and the rows."""
        width, rows = size.width, rows_of(view)
        self.set_title("Verdicts", f"{len(view.state.disputes)} disputed")
        text, role = self._state(view)
        lines: list[Line] = [((clip(clean(text), width), role),)]
        if not rows:
            return [*lines, (("", ""),), *wrapped(INVITATION, width, "dim")], None
        lines.append(((fit(" step   response  was → is   answer, gold, why", width), "dim"),))
        lines += [self._row(row, width) for row in rows]
        return lines, min(self.row, len(rows) - 1) + self.HEADER

    def _state(self, view: RunView) -> tuple[str, str]:
        done, gauge, refused = view.state.reverified, view.gauge, view.request_failed
        if (
            refused is not None
            and refused is not self.passed
            and refused.request in ("ReverifyAll", "KeepReverified", "DisputeVerdict")
        ):
            return refused.message, "bad"
        if gauge is not None and gauge.of == "reverify" and gauge.done < gauge.total:
            return f"judging step {gauge.done} of {gauge.total}…", "accent"
        if done is not None and done.message:
            return done.message, "bad"
        if done is not None:
            kept = "" if not done.flips or view.state.revised else "; c keeps them beside the recorded ones"
            return (
                f"{done.num_answers} answers under {done.rules} in {duration(done.seconds)}: "
                f"{len(done.flips)} verdicts differ, {done.num_changed_rewards} rewards{kept}"
            ), "bold"
        if view.state.revised:
            return f"kept: {len(view.state.revised)} verdicts under {view.state.revised_rules}", "bold"
        return "nothing has been judged again", "dim"

    def _row(self, row: Row, width: int) -> Line:
        place = f"{row.step:>5}   g{row.group + 1}·r{row.completion + 1}"
        if isinstance(row, VerdictDisputed):
            was, new = row.was, row.should_be
            rest, role = f"disputed: {row.note or row.case}", "warn"
        else:
            was, new = row.old, row.new
            answer, gold = " ".join(row.answer.split()), " ".join(row.gold.split())
            rest, role = f"{clip(clean(answer), 24)}, gold {clip(clean(gold), 16)}: {row.reason}", ""
        (before, before_role), (after, after_role) = _sign(was), _sign(new)
        lead = fit(place, 17)
        return (
            (lead, "dim"),
            (f" {before}", before_role),
            (" → ", ""),
            (after, after_role),
            (f"   {clip(clean(' '.join(rest.split())), max(0, width - 26))}", role),
        )


class VerdictsScreen(RoomScreen):
    """The list, and a line for other rules."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("g", "judge", "judge again", id="verdicts.judge",
                tooltip="Judge every recorded answer again; nothing recorded changes."),
        Binding("i", "edit", "rules", id="verdicts.rules", tooltip="Type other rules: reward.KEY=VALUE, …"),
        Binding("c", "keep", "keep", id="verdicts.keep",
                tooltip="Keep the new verdicts beside the recorded ones."),
        Binding("enter", "open", "open", key_display="Enter", id="verdicts.open", tooltip="Look at the response."),
        Binding("j", "move_flip(1)", "flip", key_display="j/k", id="verdicts.next", tooltip="Select the next."),
        Binding("k", "move_flip(-1)", "flip before", show=False, id="verdicts.previous",
                tooltip="Select the one before."),
    ]  # fmt: skip
    DEFAULT_CSS = """
    VerdictsScreen Panel { position: relative; height: 1fr; }
    VerdictsScreen Input { height: 3; border: round $foreground 25%; background: $background; padding: 0 1; }
    VerdictsScreen Input:focus { border: round $accent; }
    """

    def __init__(self, view: RunView) -> None:
        super().__init__(view, id="verdicts")
        self.list = VerdictsPanel(id="flips")
        self.rules = PlainInput("", id="rules", placeholder="the rules in force")
        self._key: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        """List, rules, keys."""
        yield self.list
        self.rules.border_title = "rules"
        yield self.rules
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Letters are keys until the rules are edited."""
        self.list.passed = self.view.request_failed
        self.list.focus()

    def on_resize(self) -> None:
        """Cut to the new width."""
        self.call_after_refresh(self.sync_view, force=True)

    def sync_view(self, *, force: bool = False) -> None:
        """Rebuild what is stale."""
        self.list.sync(self.view, force=force)
        state = self.view.state
        key = (state.reverified, state.revised, state.disputes, self.view.over)
        if key != self._key:
            self._key = key
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Hide keys that do nothing now."""
        able = not self.view.session.read_only and not self.view.over
        if action in ("judge", "edit"):
            return able
        if action == "keep":
            done = self.view.state.reverified
            return able and done is not None and bool(done.flips)
        if action in ("open", "move_flip"):
            return bool(rows_of(self.view))
        return True

    def action_back(self) -> None:
        """Out of the field first, then out of the room."""
        if isinstance(self.focused, Input):
            self.list.focus()
        else:
            super().action_back()

    def action_edit(self) -> None:
        """Type other rules."""
        self.rules.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter judges."""
        event.stop()
        self.list.focus()
        self.action_judge()

    def action_judge(self) -> None:
        """Judge again."""
        text = self.rules.value
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        self.list.passed = self.view.request_failed
        self.view.ask(ReverifyAll(tuple((key.strip(), value.strip()) for key, _, value in pairs)))

    def action_keep(self) -> None:
        """Keep the new verdicts beside the recorded ones."""
        self.list.passed = self.view.request_failed
        self.view.ask(KeepReverified())

    def action_move_flip(self, by: int) -> None:
        """Select another row."""
        last = max(0, len(rows_of(self.view)) - 1)
        self.list.row = max(0, min(last, min(self.list.row, last) + by))
        self.sync_view()

    def on_lines_view_row_clicked(self, message: LinesView.RowClicked) -> None:
        """Select the row that was clicked."""
        if message.view.id == "flips":
            self.action_move_flip(message.row - VerdictsPanel.HEADER - self.list.row)

    def action_open(self) -> None:
        """The response that it is about, if its step is on the present line."""
        rows = rows_of(self.view)
        if not rows:
            return
        row = rows[min(self.list.row, len(rows) - 1)]
        if self.view.place_of(row.step) is None:
            self.notify(f"step {row.step} is not on the present line", markup=False)
            return
        self.view.look_at(row.step, row.group, row.completion)
        self.app.action_go_room("response")  # type: ignore[attr-defined]
