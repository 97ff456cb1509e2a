"""The Playground's panels: what was asked, one row a sample across the sources, and the answers side by side."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from textual.geometry import Size

from grpo_tui.events.records import CompletionRecord, Phase
from grpo_tui.events.state import PlayRecord
from grpo_tui.tui.asking import why_waiting
from grpo_tui.tui.glyphs import verdict_glyph
from grpo_tui.tui.group_facts import judging
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.playing import (
    form_of,
    in_progress,
    pass_rate,
    shown_play,
    splits,
    token_label,
    token_span,
    waiting,
    why_refused,
)
from grpo_tui.tui.text import Line, clean, clip, compact, duration, first_line, fit, number, wrap, wrapped
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.lines import list_keys


def _seen(view: RunView) -> tuple[object, ...]:
    """What every panel here depends on: the plays, and which sample is looked at."""
    form = form_of(view)
    return (view.state.plays, form.shown, form.row)


class PlayBar(Panel, can_focus=False):
    """Sources, and what the engine makes of the request."""

    error = ""
    """Why the form could not be used, until something in it changes."""

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The form, the engine's mode, and the gauge while it samples."""
        state, form = view.state, form_of(view)
        return (
            *_seen(view),
            form.sources,
            form.asked,
            self.error,
            state.mode,
            state.mode_detail,
            state.phase,
            state.last_play_end,
            state.ended,
            view.gauge,
        )

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """Two rows: the sources with their keys, and the state in words."""
        form = form_of(view)
        boxes: Line = ()
        step = "kept step" if form.step is None else f"step {form.step}"
        for key, on, name in (
            ("b", form.with_base, "base"),
            ("a", form.with_adapter, "adapter"),
            ("c", form.step is not None, step),
        ):
            boxes = (*boxes, (f" {key} ", "key"), (f"[{'x' if on else ' '}] {name} ", "" if on else "dim"))
        text, role = self._state(view)
        if size.height < 2:
            return [((clip(clean(text), size.width), role),)], None
        return [boxes, ((clip(f" {clean(text)}", size.width), role),)], None

    def _state(self, view: RunView) -> tuple[str, str]:
        refused = why_refused(view)
        if refused:
            return refused, "warn"
        if self.error:
            return self.error, "bad"
        if waiting(view) is not None:
            return why_waiting(view.state), "warn"
        playing = in_progress(view)
        if playing is not None:
            return _progress(view), "accent"
        end, play = view.state.last_play_end, shown_play(view)
        if end is not None and end.reason == "failed" and form_of(view).shown is None:
            return end.message, "bad"
        if play is None:
            return "i edits the prompt, g samples", "dim"
        return _about(view, play), "dim"


def _progress(view: RunView) -> str:
    gauge = view.gauge
    if gauge is None or gauge.of != "play":
        return "sampling…"
    if gauge.phase is Phase.SCORE:
        return f"judging {gauge.total} {gauge.unit} · g stops"
    pace = f" · {gauge.tokens_per_second:.0f} tok/s" if gauge.tokens_per_second else ""
    return f"sampling {gauge.done}/{gauge.total} {gauge.unit}{pace} · g stops"


def _about(view: RunView, play: PlayRecord) -> str:
    started, plays = play.started, view.state.plays
    place = next((i for i, other in enumerate(plays, start=1) if other is play), 0)
    seconds = sum(answered.seconds for answered in play.answers)
    ended = f", {play.ended.reason}" if play.ended is not None and play.ended.reason != "done" else ""
    gold = (
        f" · gold {clean(started.problem.answer)}"
        if started.problem.answer
        else " · no gold answer, not judged"
    )
    return (
        f"play {place} of {len(plays)}{ended} · {started.num_samples} samples at {started.temperature:g} · "
        f"≤ {started.max_tokens} tok · {duration(seconds)}{gold}"
    )


class SamplesPanel(Panel):
    """One row for each sample, one column for each source."""

    BINDINGS = list_keys("move_sample")
    TITLE: ClassVar[str] = "Samples"
    HELP: ClassVar[str] = (
        "One row for each sample: j/k selects. All sources draw the same random numbers, so where two answers part, "
        "the weights did it. = says what the first column says."
    )
    HEADER: ClassVar[int] = 1

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The plays and the row."""
        return _seen(view)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """A header with the pass rates, and the rows."""
        play = shown_play(view)
        if play is None:
            self.set_title("Samples")
            return wrapped(_INVITATION, size.width, "dim"), None
        self.set_title(f"Samples  {first_line(play.started.problem.question)[:60]}")
        sources = play.started.sources
        column = max(8, (size.width - 4) // max(1, len(sources)))
        head: Line = (("    ", ""),)
        for source in sources:
            head = (*head, (fit(_heading(play, source, column), column), "bold"))
        lines: list[Line] = [head]
        for row in range(play.started.num_samples):
            line: Line = ((fit(str(row + 1), 3, right=True), "dim"), (" ", ""))
            apart = splits(play, row)
            for number_of, source in enumerate(sources):
                line = (*line, *_cell(play, source, row, column, first=number_of == 0, apart=apart))
            lines.append(line)
        row = min(form_of(view).row, play.started.num_samples - 1)
        return lines, row + self.HEADER


_INVITATION = (
    "Type any prompt (i), or try the problem of a response from another room (P). The base model, the adapter and the "
    "adapter as it was at a kept step answer it side by side, from the same random numbers. The training does not notice."
)


def _heading(play: PlayRecord, source: str, width: int) -> str:
    answered = play.of(source)
    if answered is None:
        return source
    rate = pass_rate(answered.group)
    full = f"{source}  {rate.text}" if rate is not None else source
    short = f"{source} {rate.num_correct}/{rate.num_samples}" if rate is not None else source
    return full if len(full) < width else short


def _cell(play: PlayRecord, source: str, row: int, width: int, *, first: bool, apart: dict[str, int]) -> Line:
    completion = sample_of(play, source, row)
    if completion is None:
        waits = "░" if play.ended is None else "–"
        return ((fit(waits, width), "dim"),)
    glyph, role = verdict_glyph(completion) if completion.scores else (" ", "")
    reward = "" if completion.reward is None else number(completion.reward, 2)
    score = judging(completion) if completion.scores else None
    answer = clean(score.explanation.answer_text) if score is not None else ""
    same = not first and source not in apart
    text = ("= " if same else "") + (answer or first_line(completion.text))
    lead = f" {fit(reward, 5)}" if reward else ""
    room = width - 2 - len(lead)
    return ((glyph, role), (f"{lead} ", ""), (fit(text, room - 1) + " ", "dim" if same else ""))


def sample_of(play: PlayRecord, source: str, row: int) -> CompletionRecord | None:
    """One sample; None while it is not there."""
    answered = play.of(source)
    if answered is None or row >= len(answered.group.completions):
        return None
    return answered.group.completions[row]


class AnswerPanel(Panel):
    """The selected sample of one source, with the token marked at which it leaves the first column's."""

    TITLE: ClassVar[str] = "Answer"
    HELP: ClassVar[str] = (
        "The selected sample of one source. The marked token is the first that differs from the first column; its "
        "probability stands above. Arrows scroll."
    )

    def __init__(self, column: int) -> None:
        super().__init__(id=f"answer{column}")
        self.column = column

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The plays and the row."""
        return _seen(view)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """The split, then the text."""
        play, row = shown_play(view), form_of(view).row
        if play is None or self.column >= len(play.started.sources):
            self.set_title("")
            return [], None
        row = min(row, play.started.num_samples - 1)
        source = play.started.sources[self.column]
        completion = sample_of(play, source, row)
        if completion is None:
            self.set_title(source)
            return [(("not sampled yet" if play.ended is None else "not sampled", "dim"),)], None
        glyph, _ = verdict_glyph(completion) if completion.scores else ("", "")
        reward = "" if completion.reward is None else f" {number(completion.reward, 2)}"
        self.set_title(
            f"{source} {row + 1}  {glyph}{reward}",
            f"{completion.num_tokens} tok · logp {compact(float(completion.logprobs_T.mean()))}",
        )
        return _answer_lines(completion, splits(play, row).get(source), size.width), None


def _answer_lines(completion: CompletionRecord, split: int | None, width: int) -> list[Line]:
    lines: list[Line] = []
    low = high = len(completion.text)
    if split is not None:
        low, high = token_span(completion, split)
        label = f"splits at token {split + 1}: {clean(token_label(completion, split))}"
        lines.append(((clip(label, width), "info"),))
    if not completion.text.strip():
        return [*lines, (("(empty)", "dim"),)]
    body = "\n".join(clean(part) for part in completion.text.split("\n"))
    for start, end in wrap(body, width):
        cuts = sorted({start, end, min(end, max(start, low)), min(end, max(start, high))})
        spans = [
            (body[a:b], "mark" if low <= a and b <= high else "dim" if b <= low and split is not None else "")
            for a, b in pairwise(cuts)
        ]
        lines.append(tuple(spans))
    score = judging(completion) if completion.scores else None
    if score is not None and score.explanation.sentence:
        _, role = verdict_glyph(completion)
        lines += [(("", ""),), *wrapped(score.explanation.sentence, width, role)]
    return lines
