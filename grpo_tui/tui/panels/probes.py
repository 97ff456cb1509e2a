"""The Probes room's panels: one row for each pinned prompt, and what the weights make of the selected one."""

from __future__ import annotations

from typing import ClassVar

from textual.geometry import Size

from grpo_tui.events.probes import ProbeAnswer, ProbePoint, flips
from grpo_tui.events.types import ProbePinned
from grpo_tui.tui.glyphs import VERDICTS
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.probing import change_of, diff_lines, last_cost
from grpo_tui.tui.text import (
    Line,
    clip,
    clip_line,
    compact,
    duration,
    first_line,
    fit,
    labelled,
    number,
    percent,
    wrapped,
)
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.charts import sparkline
from grpo_tui.tui.widgets.lines import list_keys

INVITATION = (
    "No prompt is pinned. a types one, e takes the next held-out problem, and K in rooms 1 to 3 pins the selected one. "
    "After every update each is read: a greedy answer, a sample by the same random numbers, and the log-prob of the "
    "gold answer. The training does not notice; the seconds it takes are shown."
)
LABEL = 11


def selected(view: RunView) -> ProbePinned | None:
    """The probe looked at."""
    probes = view.state.probes
    return probes[min(view.probe_row, len(probes) - 1)] if probes else None


def _points(view: RunView, probe: ProbePinned) -> tuple[ProbePoint, ...]:
    """Its readings up to the step looked at."""
    last = None if view.is_live else view.cursor.step
    return view.state.probe_points(probe.probe, last)


def _sign(answer: ProbeAnswer) -> tuple[str, str]:
    return (" ", "") if answer.verdict is None else VERDICTS.get(answer.verdict, ("?", "warn"))


class ProbeListPanel(Panel):
    """One row for each pinned prompt."""

    BINDINGS = list_keys("move_probe")
    TITLE: ClassVar[str] = "Probes"
    HELP: ClassVar[str] = (
        "Pinned prompts: the verdicts of the greedy answer and of the sample, ln p of the gold answer with its last change "
        "and its course, and the prompt. j/k or arrows select; a types a new one, e takes a held-out one, x unpins."
    )
    HEADER: ClassVar[int] = 1

    def depends(self, view: RunView) -> tuple[object, ...]:
        """Pins, readings, selection, the step looked at."""
        state = view.state
        return (
            state.probes,
            state.probes_read,
            state.branch,
            state.history,
            view.probe_row,
            view.cursor.step,
        )

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """A header and the rows."""
        probes = view.state.probes
        self.set_title(f"Probes  {len(probes)} pinned", cost(view))
        if not probes:
            return wrapped(INVITATION, size.width, "dim"), None
        spark = max(0, min(24, size.width - 46))
        head = f" # g s  {fit('ln p gold', 9, right=True)} {fit('change', 7, right=True)} {fit('', spark)} prompt"
        lines: list[Line] = [((fit(head, size.width), "dim"),)]
        lines += [self._row(view, probe, size.width, spark) for probe in probes]
        return lines, min(view.probe_row, len(probes) - 1) + self.HEADER

    def _row(self, view: RunView, probe: ProbePinned, width: int, spark: int) -> Line:
        points = _points(view, probe)
        lead: Line = ((fit(str(probe.probe), 2, right=True), "dim"), (" ", ""))
        question = first_line(probe.problem.question)
        if not points:
            return (*lead, (clip(f"not read yet   {question}", max(0, width - 3)), "dim"))
        reading = points[-1].reading
        change = change_of(points)
        role = "" if change is None or not change else "good" if change > 0 else "bad"
        course = sparkline([point.reading.gold_logprob for point in points], spark)
        used = 3 + 4 + 1 + 9 + 1 + 7 + 1 + spark + 1
        return (
            *lead,
            _sign(reading.greedy),
            (" ", ""),
            _sign(reading.sample),
            (f"  {fit(number(reading.gold_logprob, 2), 9, right=True)} ", "bold"),
            (f"{fit(number(change, 2, sign=True), 7, right=True)} ", role),
            (fit(course, spark), "accent"),
            (f" {clip(question, max(0, width - used))}", ""),
        )


def cost(view: RunView) -> str:
    """What the newest reading took, alone and beside its step."""
    read = last_cost(view.state)
    if read is None:
        return ""
    metrics = next((m for m in reversed(view.state.history) if m.step == read.step), None)
    share = f", {percent(read.seconds / metrics.seconds)} of the step" if metrics and metrics.seconds else ""
    return f"{duration(read.seconds)} a reading{share}"


class ProbePanel(Panel):
    """The selected probe: its last reading against the one before."""

    TITLE: ClassVar[str] = "Reading"
    HELP: ClassVar[str] = (
        "What the weights make of this prompt now, against the reading before: {+new+} words, [-gone-] words. The sample "
        "draws the same random numbers every time, so that only the weights differ. [ ] goes to earlier readings."
    )

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The same as the list."""
        state = view.state
        return (state.probes, state.probes_read, state.branch, view.probe_row, view.cursor.step)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """Prompt, gold, flips, and the two answers with what changed."""
        probe, width = selected(view), size.width
        if probe is None:
            self.set_title("Reading")
            return [], None
        points = _points(view, probe)
        often = "every step" if probe.every == 1 else f"every {probe.every} steps"
        self.set_title(
            f"Probe {probe.probe}" + (f" after step {points[-1].step}" if points else ""), f"read {often}"
        )
        lines = _labelled("prompt", probe.problem.question, width, "")[:4]
        lines += _labelled("gold", probe.problem.answer or "none: nothing is judged", width, "bold")[:2]
        if not points:
            return [*lines, (("its first reading comes with the next step", "dim"),)], None
        reading = points[-1].reading
        if reading.gold_logprob is not None:
            per_token = reading.gold_logprob / max(1, reading.num_gold_tokens)
            text = (
                f"ln p {number(reading.gold_logprob, 3)} straight after the prompt, "
                f"{number(per_token, 3)} a token of {reading.num_gold_tokens}"
            )
            change = change_of(points)
            text += (
                f", {number(change, 3, sign=True)} since step {points[-2].step}" if change is not None else ""
            )
            lines += _labelled("", text, width, "")
        turned = flips(points)
        if turned:
            words = ", ".join(f"{'✓' if right else '✗'} at {step}" for step, right in turned[-6:])
            lines += _labelled("flips", f"{len(turned)}: {words}", width, "warn")
        before = points[-2] if len(points) > 1 else None
        old = before.reading if before is not None else None
        lines += _answer("greedy", reading.greedy, before, old.greedy if old is not None else None, width)
        lines += _answer("sample", reading.sample, before, old.sample if old is not None else None, width)
        return lines, None


def _answer(
    name: str, answer: ProbeAnswer, point: ProbePoint | None, before: ProbeAnswer | None, width: int
) -> list[Line]:
    sign, role = _sign(answer)
    verdict = f" {answer.verdict.value}" if answer.verdict is not None else ""
    reward = f"  reward {compact(answer.reward)}" if answer.reward is not None else ""
    was = ""
    if point is not None and before is not None and before.verdict is not answer.verdict and before.verdict:
        was = f"  (was {before.verdict.value} at step {point.step})"
    ended = ", cut at the limit" if answer.finish_reason == "length" else ""
    head: Line = (
        (fit(name, LABEL), "bold"),
        (f"{sign}{verdict}", role),
        (clip(f"{reward}  {answer.num_tokens} tokens{ended}", max(0, width - LABEL - 14)), "dim"),
        (was, "warn"),
    )
    lines: list[Line] = [(("", ""),), clip_line(head, width)]
    if not answer.text and answer.num_tokens > 1:
        return [*lines, (("  the text of so old a reading is not kept in memory", "dim"),)]
    if before is None or not before.text or point is None:
        body = wrapped(answer.text, max(1, width - 2))
    elif before.text == answer.text:
        body = [((f"the same as at step {point.step}:", "dim"),), *wrapped(answer.text, max(1, width - 2))]
    else:
        body = diff_lines(before.text, answer.text, max(1, width - 2))
    lines += [(("  ", ""), *row) for row in body]
    if answer.reason:
        lines += [(("  ", ""), *row) for row in wrapped(f"→ {answer.reason}", max(1, width - 2), "dim")]
    return lines


def _labelled(label: str, text: str, width: int, role: str) -> list[Line]:
    return labelled(label, " ".join(text[:4000].split()), width, role, room=LABEL)
