"""Rows of the History room: one step, one answer found, one visit of a problem, one branch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from grpo_tui.events.records import StepMetrics
from grpo_tui.events.state import RunState
from grpo_tui.runs.lines import Branch, Visit
from grpo_tui.runs.search import SearchHit
from grpo_tui.tui.glyphs import VERDICTS
from grpo_tui.tui.text import Line, clean, clip, compact, fit, number, percent
from grpo_tui.tui.widgets.charts import interval_bar
from rewards.base import Verdict

BOOKMARK, EVALUATION, SAVED, CHANGED, ERROR = "◆", "E", "S", "┊", "✖"
LEGEND = "◆ bookmark  E held-out  S saved  ┊ setting changed  ✖ error"
_OF_STEP = re.compile(r"step (\d+): ")
MARKS_WIDTH = 14
WIDEST_BAR = 24


@dataclass(frozen=True, slots=True)
class Columns:
    """What fits beside each other at one width; the reward's bar and then the marks take what is left."""

    names: tuple[str, ...]
    bar: int
    marks: int

    @classmethod
    def for_width(cls, width: int) -> Columns:
        """Step, reward and pass rate always; the rest in order of worth."""
        left = width - sum(_WIDTHS[name] for name in ("step", "reward", "pass")) - 4
        chosen = {"step", "reward", "pass"}
        for name in ("marks", "dead", "kl_ref", "length", "entropy", "seconds"):
            if left >= _WIDTHS[name]:
                left -= _WIDTHS[name]
                chosen.add(name)
        bar = min(left - 2, WIDEST_BAR) if left >= 10 else 0
        left -= bar + 2 if bar else 0
        return cls(tuple(name for name in _WIDTHS if name in chosen), bar, MARKS_WIDTH + max(0, left))


_WIDTHS = {
    "step": 6, "reward": 13, "pass": 6, "dead": 7, "kl_ref": 8, "entropy": 8, "length": 8, "seconds": 8,
    "marks": MARKS_WIDTH,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scale:
    """The range of the rewards of a run, spread included: what the bars are drawn over."""

    low: float
    high: float

    @classmethod
    def of(cls, history: Sequence[StepMetrics]) -> Scale:
        """From 0 at most to the highest end of a bar."""
        ends = [m.reward_mean + sign * m.reward_std for m in history for sign in (-1, 1)]
        known = [end for end in ends if math.isfinite(end)]
        low, high = min(0.0, *known, 0.0), max(*known, 0.0, 0.0)
        return cls(low, high if high > low else low + 1.0)

    def share(self, value: float) -> float:
        """Where a reward stands, from 0 to 1."""
        return (value - self.low) / (self.high - self.low)


def head_row(columns: Columns, scale: Scale) -> Line:
    """Names over the columns; the bar's ends are labelled."""
    cells = []
    for name in columns.names:
        if name == "reward":
            cells.append(fit("reward ± sd", _WIDTHS[name] + 1, right=True))
            if columns.bar:
                low, high = number(scale.low, 1), number(scale.high, 1)
                cells.append("  " + fit(low, columns.bar - len(high)) + high)
        elif name == "marks":
            cells.append("  marks")
        else:
            cells.append(fit(name, _WIDTHS[name], right=True))
    return (("".join(cells), "dim"),)


def step_row(
    m: StepMetrics, columns: Columns, scale: Scale, marks: str, num_groups: int, imported: bool
) -> Line:
    """One step. ``imported``: a number that is not one was not recorded."""

    def known(value: float | None) -> float | None:
        return None if imported and value is not None and not math.isfinite(value) else value

    spans: list[tuple[str, str]] = []
    for name in columns.names:
        width = _WIDTHS[name]
        if name == "step":
            spans.append((fit(str(m.step), width, right=True), "dim"))
        elif name == "reward":
            spans += [
                (fit(number(m.reward_mean, 3), 8, right=True), "bold"),
                (fit(f" ±{number(m.reward_std, 2)}", width - 7), "dim"),
            ]
            if columns.bar:
                spans += [("  ", ""), (_bar(m, columns.bar, scale), "good")]
        elif name == "marks":
            spans.append((f"  {clip(clean(marks), columns.marks - 2)}", "accent"))
        else:
            text, role = _cell(name, m, num_groups, known)
            spans.append((fit(text, width, right=True), role))
    return tuple(spans)


def _cell(
    name: str, m: StepMetrics, num_groups: int, known: Callable[[float | None], float | None]
) -> tuple[str, str]:
    if name == "pass":
        share = known(m.accuracy)
        return (percent(share) if share is not None and math.isfinite(share) else number(share)), ""
    if name == "dead":
        dead = m.num_degenerate_groups
        text = percent(dead / num_groups) if num_groups else str(dead)
        return text, "warn" if num_groups and dead * 2 >= num_groups else "" if dead else "dim"
    value = known(
        {"kl_ref": m.kl_ref, "entropy": m.entropy, "length": m.mean_length, "seconds": m.seconds}[name]
    )
    if name == "seconds":
        return number(value, 1), "dim"
    return compact(value), ""


def _bar(m: StepMetrics, width: int, scale: Scale) -> str:
    if not math.isfinite(m.reward_mean):
        return " " * width
    spread = m.reward_std if math.isfinite(m.reward_std) else 0.0
    low, middle, high = (scale.share(m.reward_mean + part) for part in (-spread, 0.0, spread))
    return interval_bar(low, middle, high, width)


def marks_of(state: RunState, bookmarks: Mapping[int, str]) -> dict[int, str]:
    """What is marked at each step, in short signs; a bookmark's note last."""
    marks: dict[int, str] = {}

    def add(step: int, sign: str) -> None:
        have = marks.get(step, "")
        if sign not in have:
            marks[step] = have + sign

    for step in bookmarks:
        add(step, BOOKMARK)
    for change in state.settings_changes:
        add(change.step, CHANGED)
    for line in state.log:
        match = _OF_STEP.match(line.message) if line.level == "error" and line.source == "engine" else None
        if match:
            add(int(match[1]), ERROR)
    for saved in state.checkpoints:
        add(saved.step, SAVED)
    for result in state.evals:
        add(result.step, f"{EVALUATION}{percent(result.accuracy)}")
    for step, note in bookmarks.items():
        if note:
            marks[step] += f" {note}"
    return marks


def place(step: int, group: int, answer: int | None) -> str:
    """``31 g3·r2``: how a place is written everywhere."""
    return f"{step:>5} g{group + 1}" + ("" if answer is None else f"·r{answer + 1}")


def hit_row(hit: SearchHit, width: int) -> Line:
    """One answer that was found: where, its verdict, its reward, its text."""
    if hit.completion_index is None:
        glyph, role = "≡", "dim"
    else:
        glyph, role = _verdict(hit.verdict)
    reward = number(hit.reward, 2) if hit.completion_index is not None else "prompt"
    head = fit(place(hit.step, hit.group_index, hit.completion_index), 14)
    text = clean(hit.snippet)
    return (
        (head, "dim"),
        (f"{glyph} ", role),
        (fit(reward, 7, right=True), "bold"),
        (f"  {clip(text, max(0, width - 25))}", ""),
    )


def _verdict(verdict: str | None) -> tuple[str, str]:
    try:
        return VERDICTS[Verdict(verdict or "")]
    except ValueError:
        return "–", "dim"


def visit_rows(visits: Sequence[Visit], width: int) -> list[Line]:
    """One row for each time the problem was drawn; an answer that was not commonest the time before is marked."""
    rows: list[Line] = []
    for before, visit in pairwise([None, *visits]):
        if visit is None:
            continue
        rate = f"{visit.num_correct}/{visit.num_judged}" if visit.num_judged else "–"
        share = visit.num_correct / visit.num_judged if visit.num_judged else math.nan
        bar = "█" * round(share * 8) if visit.num_judged else ""
        strip = [_verdict(verdict) for verdict in visit.verdicts[:16]]
        answers = " · ".join(
            f"{clip(clean(text), 24) or 'none'} ×{count}" for text, count in visit.answers[:6]
        )
        more = f" · {len(visit.answers) - 6} others" if len(visit.answers) > 6 else ""
        changed = (
            before is not None
            and visit.answers[:1]
            and before.answers[:1]
            and visit.answers[0][0] != before.answers[0][0]
        )
        used = 6 + 7 + 10 + 7 + len(strip) + 4
        rows.append(
            (
                (fit(str(visit.step), 6, right=True), "dim"),
                (fit(rate, 7, right=True), "bold"),
                (f" {bar:·<8} ", "good"),
                (fit(number(visit.reward_mean, 2), 6, right=True), ""),
                (" ", ""),
                *strip,
                (" → " if changed else "   ", "warn"),
                (clip(answers + more, max(0, width - used)), "warn" if changed else ""),
            )
        )
    return rows


def branch_rows(branches: Sequence[Branch], shown: int | None, width: int) -> list[Line]:
    """One row for each branch: where it left its parent, what it holds, where its reward ended."""
    rows: list[Line] = []
    for branch in branches:
        here = branch.id == shown or (shown is None and branch.active)
        came = (
            "from the start"
            if branch.parent is None
            else f"from {branch.parent} after step {branch.fork_step}"
        )
        steps = f"steps {branch.first}–{branch.last}" if branch.last else "no finished step"
        now = "  the run goes on here" if branch.active else ""
        reward = f"reward {number(branch.last_reward, 3)}" if branch.last else ""
        text = f"{fit(came, 26)} {fit(steps, 20)} {fit(reward, 13)}{now}"
        rows.append(
            (
                (f"{'▸' if here else ' '} {branch.id:>3}  ", "accent" if here else "dim"),
                (clip(text, max(0, width - 7)), ""),
            )
        )
    return rows
