"""Why did this group move? Everything of one group: its answers with every part of their reward, and what they add up to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Size

from grpo_tui.events.records import CompletionRecord, GroupRecord
from grpo_tui.runs.lines import Visit
from grpo_tui.runs.triage import dead_odds
from grpo_tui.tui.glyphs import verdict_glyph
from grpo_tui.tui.group_facts import (
    component_names,
    final_answers,
    judging,
    loss_share,
    num_correct,
    pushes,
)
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.panels.groups import dimmed, group_facts_line, mark_of
from grpo_tui.tui.text import Line, Span, clean, clip, compact, first_line, fit, number, percent, wrapped
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.lines import list_keys
from grpo_tui.tui.widgets.strips import advantage_bar

FIXED = 24
"""Cells of the columns that are always there."""
COMPONENT = 7
"""Cells of a reward component's column."""
WIDEST_HALF = 8
LEAST_ANSWER = 10


class GroupHeadPanel(Panel):
    """Which group this is: step, prompt, gold answer, and whether time has moved on."""

    TITLE: ClassVar[str] = "Group"

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The group, and where the training is."""
        return (view.group, view.shown_step, view.training_step, view.sort)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """Two lines."""
        group, width = view.group, size.width
        if group is None:
            return [(("no responses yet: the step has not sampled any", "dim"),)], None
        row = (view.row_of(view.groups) or 0) + 1
        facts = f"  {row}/{len(view.groups)} by {view.sort}"
        if view.training_step != view.shown_step:
            facts += f"  training is at {view.training_step}"
        if group.rewards:
            facts += f"  pass {num_correct(group)}/{len(group.completions)}"
            facts += f"  {group_facts_line(group)}"
        lead: Line = (
            (f"Group {group.index + 1} @{view.shown_step}", "bold"),
            (clip(facts, max(0, width - 16)), "dim"),
        )
        question = first_line(group.problem.question)
        gold = f"  gold {first_line(group.problem.answer)}"
        room = max(10, width - min(len(gold), width // 3))
        return [lead, ((clip(question, room), ""), (clip(gold, width // 3), "info"))], None


class GroupAnswersPanel(Panel):
    """One row for each answer, with every part of its reward."""

    BINDINGS: ClassVar[list[BindingType]] = list_keys("move_answer")
    TITLE: ClassVar[str] = "Answers"
    HELP: ClassVar[str] = (
        "Every response of the group: verdict, reward and its parts, advantage, kl_ref, length, how it ended, final answer. "
        "j/k or arrows select, Enter opens its tokens."
    )
    HEADER: ClassVar[int] = 1

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The group and the selection."""
        return (view.group, view.completion, view.state.acts)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """A header and the rows."""
        group = view.group
        if group is None:
            self.set_title("Answers")
            return [], None
        names = component_names([group])
        self.set_title(f"{len(group.completions)} responses", "Enter opens tokens")
        changed = {answer for place, answer in view.acts.changed if place == group.index}
        table = _Table(size.width, names if len(names) > 1 else (), group, changed)
        chosen = view.completion
        cursor = next((row for row, c in enumerate(group.completions) if c is chosen), None)
        lines = [table.head(), *(table.row(c) for c in group.completions)]
        return lines, None if cursor is None else cursor + self.HEADER


class _Table:
    """The columns that fit; the answer itself takes what is left, and parts of the reward go before it does."""

    def __init__(
        self, width: int, names: Sequence[str], group: GroupRecord, changed: Collection[int | None]
    ) -> None:
        self.changed = changed
        left = width - FIXED
        self.half = 0
        self.names: tuple[str, ...] = ()
        self.kl = self.end = False
        if left >= 16:
            left, self.end = left - 4, True
        if left >= 19:
            left, self.kl = left - 7, True
        for name in names:
            if left >= LEAST_ANSWER + COMPONENT:
                left, self.names = left - COMPONENT, (*self.names, name)
        half = min(WIDEST_HALF, (left - LEAST_ANSWER - 2) // 2)
        if half >= 3:
            left, self.half = left - 2 * half - 2, half
        self.answer = max(0, left)
        advantages = (abs(c.advantage) for c in group.completions if c.advantage is not None)
        self.limit = max(2.0, max(advantages, default=1.0))

    def head(self) -> Line:
        cells = [fit(" r#", 5), fit("rew", 5, right=True)]
        cells += [fit(clean(name), COMPONENT - 1, right=True).rjust(COMPONENT) for name in self.names]
        cells.append(fit("adv", 7, right=True))
        if self.half:
            ends = f"{self.limit:.0f}"
            cells.append(f" {fit('−' + ends, self.half)}0{fit('+' + ends, self.half, right=True)}")
        if self.kl:
            cells.append(fit("kl_ref", 7, right=True))
        cells.append(fit("tok", 5, right=True))
        if self.end:
            cells.append(" end")
        return (("".join(cells), "dim"), (fit("  answer", self.answer + 2), "dim"))

    def row(self, completion: CompletionRecord) -> Line:
        glyph, role = verdict_glyph(completion)
        advantage = completion.advantage
        adv_role = "" if not advantage else "up" if advantage > 0 else "down"
        spans: list[Span] = [
            (fit(str(completion.index + 1), 2, right=True), "dim"),
            (f" {glyph}", role),
            mark_of(completion, self.changed),
            (fit(number(completion.reward, 2), 5, right=True), "bold"),
        ]
        for name in self.names:
            part = completion.scores.get(name)
            value = "" if part is None else number(part.value, 2)
            spans.append((fit(value, COMPONENT, right=True), ""))
        spans.append(
            (fit("" if advantage is None else number(advantage, 2, sign=True), 7, right=True), adv_role)
        )
        if self.half:
            spans += [(" ", ""), *advantage_bar(advantage, self.limit, self.half)]
        if self.kl:
            spans.append((fit(compact(completion.kl_ref), 7, right=True), "dim"))
        spans.append((fit(str(completion.num_tokens), 5, right=True), "dim"))
        if self.end:
            cut = completion.finish_reason == "length"
            spans.append((" cut" if cut else " eos", "warn" if cut else "dim"))
        score = judging(completion)
        answer = score.explanation.answer_text if score is not None else ""
        spans.append((fit(f"  {first_line(answer)}", self.answer + 2), role))
        return dimmed(spans) if completion.excluded else tuple(spans)


class HistogramPanel(Panel):
    """The final answers of the group by value."""

    TITLE: ClassVar[str] = "Final answers"
    HELP: ClassVar[str] = (
        "What the responses ended in, by value: right ones together, wrong ones by what the verifier read, so 0.5 and 1/2 "
        "count as one. 'none' is a response without a final answer."
    )

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The group."""
        return (view.group, view.completion)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """One row for each value, most frequent first."""
        group, width = view.group, size.width
        answers = final_answers(group) if group is not None else ()
        if group is None or not answers:
            self.set_title("Final answers")
            return [(("not scored yet", "dim"),)], None
        self.set_title("Final answers", f"{len(answers)} values, {len(group.completions)} responses")
        chosen = view.completion
        label = max(6, min(18, width // 3))
        most = max(len(answer.members) for answer in answers)
        bar = max(1, min(most, width - label - 16))
        lines: list[Line] = []
        cursor = None
        for answer in answers:
            glyph, role = verdict_glyph(answer.example)
            size_of = max(1, round(len(answer.members) / most * bar))
            who = " ".join(f"r{group.completions[i].index + 1}" for i in answer.members)
            if any(group.completions[i] is chosen for i in answer.members):
                cursor = len(lines)
            lines.append(
                (
                    (f"{glyph} ", role),
                    (fit(first_line(answer.label) or "none", label), "bold" if answer.label else "dim"),
                    (fit("█" * size_of, bar), role),
                    (fit(f" ×{len(answer.members)}", 5), "bold"),
                    (clip(who, max(0, width - label - bar - 8)), "dim"),
                )
            )
        return lines, cursor


class EarlierPanel(Panel):
    """The same prompt in other steps of the run; Enter goes there."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *list_keys("move_earlier"),
        Binding(
            "enter", "screen.open_earlier", "go there", show=True, key_display="Enter", id="earlier.open"
        ),
    ]
    TITLE: ClassVar[str] = "Same prompt"
    HELP: ClassVar[str] = (
        "Every group that this prompt had in finished steps: share of right answers and mean reward. Tab comes here, arrows "
        "select, Enter looks at that group."
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.row = 0

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The prompt and what is known of it; the row selected here."""
        return (
            view.group,
            view.shown_step,
            view.earlier.version,
            view.state.last_step,
            self.row,
            self.has_focus,
        )

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """One row for each group."""
        past = view.earlier_groups()
        if past is None:
            self.set_title("Same prompt")
            return [(("looking it up in the run file…", "dim"),)], None
        if not past:
            self.set_title("Same prompt")
            return [(("this prompt has not been in a finished step before", "dim"),)], None
        self.set_title(f"Same prompt  seen {len(past)}×", "Enter goes there" if self.has_focus else "")
        self.row = max(0, min(self.row, len(past) - 1))
        lines = [self._row(view, one, size.width) for one in past]
        if self.has_focus:
            return lines, self.row
        here = next((row for row, one in enumerate(past) if one.step == view.shown_step), len(past) - 1)
        self.call_after_refresh(self.reveal, here)
        return lines, None

    def _row(self, view: RunView, one: Visit, width: int) -> Line:
        group = view.group
        here = group is not None and (one.step, one.group_index) == (view.shown_step, group.index)
        share = one.num_correct / one.num_completions if one.num_completions else 0.0
        bar = max(4, min(12, width - 40))
        full = round(share * bar)
        return (
            ("▸" if here else " ", "accent"),
            (f"step {fit(str(one.step), 5)}", "bold" if here else ""),
            ("█" * full, "good"),
            ("·" * (bar - full), "dim"),
            (f" pass {percent(share):>4} ({one.num_correct}/{one.num_completions})", ""),
            (f"  mean {number(one.reward_mean, 2)}", "dim"),
        )


class FactsPanel(Panel):
    """What the group is worth to the update."""

    TITLE: ClassVar[str] = "Group facts"
    HELP: ClassVar[str] = (
        "The group's share of everything the update pushed, how many responses it pushes which way, and how likely a group of "
        "this prompt is dead (all right or all wrong): p^G + (1−p)^G, p from this prompt's answers so far."
    )

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The group, its step, the prompt's history."""
        return (view.group, view.detail, view.earlier.version)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """Sentences."""
        group, detail = view.group, view.detail
        self.set_title("Group facts")
        if group is None or detail is None or not group.rewards:
            return [(("not scored yet", "dim"),)], None
        lines: list[Line] = []
        for text, role in group_sentences(group, detail.groups, view.earlier_groups(), view.shown_step):
            lines += wrapped(text, size.width, role)
        return lines, None


def group_sentences(
    group: GroupRecord, groups: Sequence[GroupRecord], past: Sequence[Visit] | None, step: int
) -> list[tuple[str, str]]:
    """What can be said of a scored group, each with its role."""
    said: list[tuple[str, str]] = []
    if group.degenerate:
        said.append((f"dead: {group.dead_cause} · all rewards are equal, so it teaches nothing", "warn"))
    elif group.form_only:
        said.append(("only its form teaches: every response is equally right", "warn"))
    share = loss_share(group, groups)
    if share is not None:
        said.append((f"loss share {percent(share)} of the step (Σ|token weight|)", ""))
    if any(c.advantage is not None for c in group.completions):
        up, down = pushes(group)
        said.append((f"{up} of {len(group.completions)} pushed up, {down} down", ""))
    wrong = [answer for answer in final_answers(group) if answer.label and not _right(answer.example)]
    if wrong:
        counts = " · ".join(f"{first_line(a.label)} ×{len(a.members)}" for a in wrong)
        said.append((f"wrong answers: {counts}", ""))
    size = len(group.completions)
    before = [one for one in past or () if one.step < step]
    right = sum(one.num_correct for one in before) + num_correct(group)
    seen = sum(one.num_completions for one in before) + size
    p = right / seen
    since = f", {len(before) + 1} groups" if before else ""
    other = size // 2 if size > 3 else size * 2
    said.append(
        (
            f"dead-group odds at p = {compact(p)} (n = {seen}{since}): {percent(dead_odds(p, size))} "
            f"(G = {other} gives {percent(dead_odds(p, other))})",
            "",
        )
    )
    return said


def _right(completion: CompletionRecord) -> bool:
    verdict = completion.verdict
    return verdict is not None and verdict.right is True
