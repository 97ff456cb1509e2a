"""The panels of the Pre-flight room: what some prompts gave, whether the worst step fits, one prompt as the model gets it."""

from __future__ import annotations

from typing import ClassVar

from textual.geometry import Size

from grpo_tui.events.preflight import FitReport, FitTrial, ProbedGroup, ProbeReport, PromptPiece
from grpo_tui.tui.checking import (
    Share,
    advice,
    kept_out,
    pending,
    smaller_groups,
    state_line,
    why_refused,
)
from grpo_tui.tui.glyphs import DEAD, PENDING, VERDICTS
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.text import (
    Line,
    Span,
    cells,
    clean,
    clip,
    duration,
    first_line,
    fit,
    memory,
    number,
    wrapped,
)
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.charts import interval_bar
from rewards.base import Verdict

LABEL = 12
MAX_PREVIEW = 20_000
"""Characters of a prompt that are shown."""
_GLYPHS = {str(verdict): VERDICTS[verdict] for verdict in Verdict}


def _row(label: str, *spans: Span) -> Line:
    return ((fit(label, LABEL), "dim"), *spans)


class CheckBar(Panel, can_focus=False):
    """What is asked for, and what the engine makes of it."""

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The engine's mode, and the gauge while it checks."""
        state = view.state
        return (
            pending(view),
            state.checking,
            state.last_check,
            state.mode,
            state.mode_detail,
            view.gauge,
            state.ended,
        )

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """One row."""
        refused = why_refused(view)
        text, role = (refused, "warn") if refused else state_line(view)
        text = text or "g probes 16 prompts, f measures memory and time; nothing is trained"
        return [((clip(clean(f" {text}"), size.width), role),)], None


class ProbePanel(Panel):
    """What the probe found."""

    TITLE: ClassVar[str] = "Probe"
    HELP: ClassVar[str] = (
        "16 prompts sampled and scored as training would: how many groups will be dead, and why. Nothing is trained."
    )

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The report, and the problems that were kept out."""
        return (view.state.preflight, view.state.data)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """Rows of figures, then a row for each prompt."""
        done, data = view.state.preflight, view.state.data
        rejected = data.rejected if data is not None else ()
        if done is None:
            self.set_title("Probe", "not made yet")
            return [
                *wrapped(_INVITATION, size.width, "dim"),
                (("", ""),),
                *_kept_out(rejected, size.width),
            ], None
        report = done.report
        when = f"after step {report.finished_steps}" if report.finished_steps else "before step 1"
        self.set_title(
            f"Probe {when}: {len(report.groups)} prompts × {report.group_size} responses",
            f"up to {report.max_completion_tokens} tokens",
        )
        lines = [*_figures(report, size.width), *_kept_out(rejected, size.width), (("", ""),)]
        lines += [line for text, role in advice(report) for line in wrapped(text, size.width, role)]
        lines.append((("", ""),))
        lines += [_group_line(group, size.width) for group in report.groups]
        return lines, None


_INVITATION = (
    "g samples 16 prompts, scores the responses, and tells what awaits the training: how many groups will be dead (all "
    "rewards equal, so nothing to learn), too easy or too hard, how many responses are cut at the limit, how long a step "
    "takes. The training does not notice: weights and random numbers stay as they are."
)


def _figures(report: ProbeReport, width: int) -> list[Line]:
    dead = Share(report.num_dead, len(report.groups))
    low, high = dead.interval
    bar = interval_bar(low, dead.value, high, max(10, min(28, width - LABEL - 30)))
    lines = [_row("dead groups", (f"{dead.text}  ", "bold"), (bar, ""))]
    for cause, times in report.dead_causes.items():
        lines.append(_row("", (f"{times} {cause}", "")))
    others = "   ".join(f"G={size}: {100 * share:.0f}%" for size, share in smaller_groups(report))
    if others:
        lines.append(_row("", (f"with smaller groups  {others}", "dim")))
    verdicts = report.verdict_counts
    if verdicts.keys() - {str(Verdict.NOT_JUDGED), ""}:
        right = Share(verdicts.get(str(Verdict.CORRECT), 0), report.num_completions)
        lines.append(_row("right", (right.text, "")))
    lines.append(_row("mean reward", (number(report.mean_reward, 3), "")))
    cut = Share(report.num_truncated, report.num_completions)
    lines.append(_row("cut", (cut.text, "warn" if cut.value >= 0.2 else "")))
    lengths = [length for group in report.groups for length in group.lengths_G]
    if lengths:
        mean = sum(lengths) / len(lengths)
        lines.append(_row("length", (f"{mean:.1f} tokens on average, longest {max(lengths)}", "")))
    speed = report.num_tokens / report.sampling_seconds if report.sampling_seconds else 0.0
    lines.append(
        _row(
            "time",
            (
                f"sampling {duration(report.sampling_seconds)} ({speed:.0f} tok/s), "
                f"scoring {duration(report.scoring_seconds)}",
                "",
            ),
        )
    )
    return lines


def _kept_out(rejected: tuple[str, ...], width: int) -> list[Line]:
    """Problems that are not trained on: gold answers that do not parse, prompts that are too long."""
    unusable, too_long = kept_out(rejected)
    if not rejected:
        return [_row("kept out", ("no problem: every gold answer can be judged", ""))]
    parts = [f"{unusable} whose gold answer or row cannot be used"] if unusable else []
    parts += [f"{too_long} too long for the model's context"] if too_long else []
    lines = [_row("kept out", (" · ".join(parts), "warn"))]
    lines += [_row("", (clip(first_line(line), max(8, width - LABEL)), "dim")) for line in rejected[:3]]
    if len(rejected) > 3:
        lines.append(_row("", (f"{len(rejected) - 3} more in the Log (l)", "dim")))
    return lines


def _group_line(group: ProbedGroup, width: int) -> Line:
    mark: Span = (DEAD if group.dead_cause else " ", "warn")
    strip = tuple(_GLYPHS.get(verdict, PENDING) for verdict in group.verdicts_G[: max(4, width // 3)])
    used = 3 + sum(cells(glyph) for glyph, _ in strip)
    cause = f"  {group.dead_cause}" if group.dead_cause else ""
    room = max(0, width - used - cells(cause))
    return (mark, (" ", ""), *strip, (" ", ""), (fit(first_line(group.question), room), ""), (cause, "dim"))


class FitPanel(Panel):
    """Whether the worst step fits, as it was measured."""

    TITLE: ClassVar[str] = "Fit"
    HELP: ClassVar[str] = (
        "The worst step, really run: longest prompt, full length, growing microbatches. grpo-tui doctor --fit does the same."
    )

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The measurement."""
        return (view.state.fit,)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """What it means first, then what was tried."""
        if view.state.fit is None:
            self.set_title("Fit", "not measured yet")
            return wrapped(_FIT_INVITATION, size.width, "dim"), None
        report = view.state.fit.report
        self.set_title("Fit, measured", "it fits" if report.fits else "does not fit")
        return [*_verdict(report, size.width), *_trials(report), *_notes(report, size.width)], None


_FIT_INVITATION = (
    "f runs the worst step's parts (longest prompt, full length) and reads memory and time. The training does not notice. "
    "Without a run: grpo-tui doctor --fit MODEL."
)


def _verdict(report: FitReport, width: int) -> list[Line]:
    if not report.fits:
        text = "does not fit: lower sampling.max_completion_tokens or sampling.group_size, or take a smaller model"
        return wrapped(text, width, "bad")
    return [
        _row(
            "a step",
            (f"at worst about {duration(report.seconds_per_step)}", "bold"),
            (
                f": sampling {report.sampling_seconds:.1f}, reference {report.reference_seconds:.1f}, "
                f"update {report.update_seconds:.1f}",
                "",
            ),
        ),
        _row("microbatch", (f"up to {report.max_tokens_per_microbatch} tokens fit", "good")),
        _row("groups", (f"up to {report.max_group_size} responses a prompt are sampled at once", "")),
    ]


def _trials(report: FitReport) -> list[Line]:
    lines = [
        _row(
            "memory",
            (f"{memory(report.budget_bytes)} to use of {memory(report.free_bytes)} free, model loaded", ""),
        )
    ]
    for what, trial in (("sampling", report.sampling), *(("update", t) for t in report.microbatches)):
        lines.append(_row(what, *_trial(trial, report.budget_bytes)))
    return lines


def _trial(trial: FitTrial, budget: int) -> tuple[Span, ...]:
    rows = f"{trial.num_rows} rows, {trial.num_tokens} tokens: "
    if trial.extra_bytes is None:
        return ((rows, ""), ("out of memory", "bad"))
    over: Span = ("  too much", "bad") if trial.extra_bytes > budget else ("", "")
    return ((f"{rows}{memory(trial.extra_bytes)}, {trial.seconds:.2f} s", ""), over)


def _notes(report: FitReport, width: int) -> list[Line]:
    return [line for note in report.notes for line in wrapped(note, width, "dim")]


class PromptPanel(Panel):
    """One prompt, token for token as the model is given it."""

    TITLE: ClassVar[str] = "Prompt"
    HELP: ClassVar[str] = (
        "A whole prompt as the model gets it, special tokens underlined: is the chat template what you expect?"
    )

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The report."""
        return (view.state.preflight,)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """The text, broken where it breaks, each line break shown."""
        done = view.state.preflight
        if done is None:
            self.set_title("Prompt as the model gets it")
            return [(("a probe shows it", "dim"),)], None
        report = done.report
        num_special = sum(piece.special for piece in report.preview)
        kind = "by the chat template" if report.is_chat else "plain text, no chat template"
        self.set_title("Prompt as the model gets it", f"{kind}, {num_special} special tokens")
        return preview_lines(report.preview, size.width), None


def preview_lines(pieces: tuple[PromptPiece, ...], width: int) -> list[Line]:
    """A prompt's pieces as rows of at most so many cells; special tokens stand out without colour too."""
    lines: list[list[Span]] = [[]]
    used, left = 0, MAX_PREVIEW
    for piece in pieces:
        role = "accent runner" if piece.special else ""
        text = piece.text[:left]
        left -= len(text)
        parts = text.split("\n")
        for number_of, part in enumerate(parts):
            last = number_of == len(parts) - 1
            for shown, span_role in ((clean(part), role), ("" if last else "⏎", "dim")):
                for char in shown:
                    size = cells(char)
                    if used + size > width and used:
                        lines.append([])
                        used = 0
                    _append(lines[-1], char, span_role)
                    used += size
            if not last:
                lines.append([])
                used = 0
    if left <= 0:
        lines.append([("…", "dim")])
    return [tuple(line) for line in lines]


def _append(line: list[Span], char: str, role: str) -> None:
    if line and line[-1][1] == role:
        line[-1] = (line[-1][0] + char, role)
    else:
        line.append((char, role))
