"""The Watch room: all responses of a group side by side, as they are sampled."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content

from grpo_tui.events.records import CompletionRecord, GroupRecord, Phase
from grpo_tui.events.types import GrowingAnswer, Preview
from grpo_tui.tui.glyphs import verdict_glyph
from grpo_tui.tui.screens.room import RoomScreen
from grpo_tui.tui.text import Line, first_line, number
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView
from grpo_tui.tui.widgets.tiles import Tile, tiles

CARET = "▌"


class WatchScreen(RoomScreen):
    """One group of the step in progress. While the room is open the engine shows it; else that costs nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "back", show=False, id="watch.back"),
        Binding("n", "other_group(1)", "next group", key_display="n/p", show=True, id="watch.next"),
        Binding("p", "other_group(-1)", "previous group", show=False, id="watch.previous"),
    ]
    DEFAULT_CSS = """
    WatchScreen #answers { height: 1fr; border: round $foreground 25%; padding: 0 1; background: $background; }
    """

    def __init__(self, view: RunView) -> None:
        super().__init__(view, id="watch")
        group = view.group
        self.group = group.index if group is not None else 0
        """Which group of the step, counted from 0."""
        self._key: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        """The tiles and the keys."""
        yield LinesView(id="answers")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Ask the engine to show the group."""
        self.query_one("#answers").focus()
        self.view.session.watch(self.group)

    def on_unmount(self) -> None:
        """Nobody watches any more."""
        self.view.session.watch(None)

    def on_resize(self) -> None:
        """Lay the tiles out anew."""
        self.call_after_refresh(self.sync_view, force=True)

    def action_other_group(self, by: int) -> None:
        """Watch another group, round and round."""
        self.group = (self.group + by) % max(1, self._num_groups)
        self.view.session.watch(self.group)
        self.sync_view(force=True)

    @property
    def _num_groups(self) -> int:
        detail = self.view.detail
        return self.view.groups_per_step or (len(detail.groups) if detail is not None else 0)

    def _preview(self) -> Preview | None:
        """What the engine shows, if it is of this group in the step that is being sampled."""
        seen, state = self.view.session.preview(), self.view.state
        sampling = state.current is not None and state.phase is Phase.SAMPLE
        if seen is None or not sampling or state.current is None:
            return None
        return seen if (seen.step, seen.group) == (state.current.step, self.group) else None

    def _drawn(self) -> GroupRecord | None:
        """The group as it was drawn, of the step in progress or of the last one."""
        state = self.view.state
        steps = [state.current] if state.current is not None else [*state.recent[-1:]]
        return next((g for detail in steps for g in detail.groups if g.index == self.group), None)

    def sync_view(self, *, force: bool = False) -> None:
        """Show what has come since."""
        preview, drawn = self._preview(), self._drawn()
        key = (preview, drawn, self.view.state.phase, self.view.state.mode, self.group)
        if not force and len(key) == len(self._key) and all(map(_same, key, self._key)):
            return
        self._key = key
        sheet = self.query_one("#answers", LinesView)
        size = sheet.scrollable_content_region.size
        if drawn is not None:
            question = drawn.problem.question
            shown = [_finished(completion) for completion in drawn.completions]
        elif preview is not None:
            question = preview.question
            shown = [_growing(answer) for answer in preview.answers]
        else:
            question, shown = "", []
        head: Line = ((first_line(question), "bold"),)
        body = tiles(shown, size.width, max(1, size.height - 2))
        sheet.set_lines([head, (("", ""),), *body] if shown else [((self._waiting(), "dim"),)])
        sheet.border_title = Content(
            f"Watch g{self.group + 1} of {self._num_groups} @{self.view.training_step}"
        )
        sheet.border_subtitle = Content(_count(preview) if drawn is None and preview is not None else "")

    def _waiting(self) -> str:
        """What stands where there is nothing to see yet."""
        if self.view.over or self.view.session.read_only:
            return "nothing is being sampled: the run is over"
        if self.view.state.phase is Phase.SAMPLE:
            return f"group {self.group + 1} has no tokens yet"
        return "the next group to be sampled appears here: Space runs, s runs one step"


def _same(one: object, other: object) -> bool:
    return one is other or (isinstance(one, int | str) and one == other)


def _count(preview: Preview) -> str:
    running = sum(not answer.finished for answer in preview.answers)
    tokens = sum(answer.num_tokens for answer in preview.answers)
    return f"{tokens} tokens, {running} of {len(preview.answers)} still growing"


def _growing(answer: GrowingAnswer) -> Tile:
    state = ("■ ended ", "dim") if answer.finished else ("▸ ", "accent")
    head: Line = ((f"r{answer.index + 1} ", "bold"), state, (f"{answer.num_tokens} tok", "dim"))
    return Tile(head, answer.text, "" if answer.finished else CARET)


def _finished(completion: CompletionRecord) -> Tile:
    glyph, role = verdict_glyph(completion)
    cut = completion.finish_reason == "length"
    head: Line = (
        (f"r{completion.index + 1} ", "bold"),
        (f"{glyph} ", role),
        (number(completion.reward, 2) if completion.reward is not None else "", "bold"),
        (f"  {completion.num_tokens} tok", "dim"),
        ("  cut" if cut else "", "warn"),
    )
    return Tile(head, completion.text)
