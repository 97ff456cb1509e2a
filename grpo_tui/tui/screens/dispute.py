"""A verdict that somebody says is wrong: what it should be, and why."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input

from grpo_tui.events.commands import DisputeVerdict
from grpo_tui.events.records import CompletionRecord, GroupRecord
from grpo_tui.tui.glyphs import VERDICTS, verdict_glyph
from grpo_tui.tui.group_facts import judging
from grpo_tui.tui.text import Line, fit, labelled, wrapped
from grpo_tui.tui.widgets.lines import LinesView
from grpo_tui.tui.widgets.plain_input import PlainInput
from rewards.base import Verdict

LABEL = 10


def disputable(completion: CompletionRecord | None) -> bool:
    """Whether there is a verdict on truth."""
    return completion is not None and completion.verdict not in (None, Verdict.NOT_JUDGED)


class DisputeScreen(ModalScreen[DisputeVerdict | None]):
    """Answers with the dispute, or None. What it should be follows: the other of right and wrong."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "cancel", id="dispute.cancel"),
    ]
    DEFAULT_CSS = """
    DisputeScreen { align: center middle; }
    DisputeScreen #box { width: 76; max-width: 100%; height: 14; max-height: 100%; border: round $accent; padding: 0 1;
        background: $surface; }
    DisputeScreen #facts { height: 1fr; background: $surface; }
    DisputeScreen Input { height: 3; border: round $foreground 25%; background: $surface; padding: 0 1; }
    DisputeScreen Input:focus { border: round $accent; }
    """

    def __init__(self, step: int, group: GroupRecord, completion: CompletionRecord) -> None:
        super().__init__(id="dispute")
        self._step, self._group, self._completion = step, group, completion
        self.should_be = "wrong" if completion.verdict is Verdict.CORRECT else "correct"

    def compose(self) -> ComposeResult:
        """The facts and a note."""
        with Vertical(id="box") as box:
            where = f"step {self._step} g{self._group.index + 1}·r{self._completion.index + 1}"
            box.border_title = Content(f"This verdict is wrong  {where}")
            box.border_subtitle = Content("Enter makes it a case, Esc cancels")
            yield LinesView(id="facts")
            note = PlainInput("", id="dispute-note", placeholder="why, in a few words (optional)")
            note.border_title = Content("note")
            yield note

    def on_mount(self) -> None:
        """Begin with the note."""
        self.query_one("#dispute-note").focus()
        self.call_after_refresh(self._write)

    def on_resize(self) -> None:
        """Wrap to the new width."""
        self.call_after_refresh(self._write)

    def _write(self) -> None:
        sheet = self.query_one("#facts", LinesView)
        width = max(20, sheet.scrollable_content_region.width)
        sign, role = verdict_glyph(self._completion)
        score = judging(self._completion)
        verdict = self._completion.verdict
        other = Verdict.CORRECT if self.should_be == "correct" else Verdict.WRONG
        new_sign, new_role = VERDICTS[other]
        answer = score.explanation.answer_text if score is not None else ""
        lines: list[Line] = [
            (
                (fit("judged", LABEL), "dim"),
                (f"{sign} {verdict.value if verdict else ''}", f"{role} bold"),
                ("   should be ", ""),
                (f"{new_sign} {self.should_be}", f"{new_role} bold"),
            ),
            *_labelled("answer", answer or "none found", width)[:2],
            *_labelled("gold", self._group.problem.answer, width)[:2],
            *(_labelled("because", score.explanation.sentence, width)[:3] if score is not None else []),
            *wrapped(
                "It becomes a line of disputes.jsonl in the run's folder; the reward stays.", width, "dim"
            ),
        ]
        sheet.set_lines(lines)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Send it."""
        event.stop()
        self.dismiss(
            DisputeVerdict(
                step=self._step,
                group=self._group.index,
                completion=self._completion.index,
                should_be=self.should_be,
                note=event.value.strip(),
            )
        )


def _labelled(label: str, text: str, width: int) -> list[Line]:
    return labelled(label, " ".join(text[:2000].split()), width, room=LABEL)
