"""Why did this group move? The groups of a step, what teaches most first, and the answers of one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import ClassVar

from textual.binding import BindingType
from textual.geometry import Size

from grpo_tui.events.records import CompletionRecord, GroupRecord
from grpo_tui.tui.glyphs import ACTED, EXCLUDED, group_mark, verdict_glyph
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.text import Line, Span, compact, first_line, fit, number, wrapped
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.lines import list_keys
from grpo_tui.tui.widgets.strips import advantage_bar, verdict_strip


class GroupsPanel(Panel):
    """One row for each prompt of the step."""

    BINDINGS: ClassVar[list[BindingType]] = list_keys("move_group")

    TITLE: ClassVar[str] = "Groups"
    HELP: ClassVar[str] = (
        "One row for each prompt: n/p or arrows select, o sorts, Enter looks at its responses."
    )
    HEADER: ClassVar[int] = 1

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The step looked at, the order, the selection."""
        return (view.detail, view.sort, view.cursor, view.state.acts)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """A header and the rows."""
        width = size.width
        groups = view.groups
        detail = view.detail
        state = "" if detail is None or detail.metrics is not None else "  in progress"
        self.set_title(f"Groups @{view.shown_step}{state}", f"sort: {view.sort}")
        if not groups:
            return [(("no responses yet", "dim"),)], None
        strip = max(4, min(max(len(g.completions) for g in groups), width // 3))
        wide = width >= 46
        numbers = 15 if wide else 5
        prompt = max(6, width - strip - numbers - 5)
        head = f" # {fit('prompt', prompt)}  {fit('', strip)}" + (" mean   sd  tok" if wide else " mean")
        lines: list[Line] = [((fit(head, width), "dim"),)]
        changed = {group for group, _ in view.acts.changed}
        lines += [self._row(group, prompt, strip, wide, acted=group.index in changed) for group in groups]
        row = view.row_of(groups)
        return lines, None if row is None else row + self.HEADER

    def _row(self, group: GroupRecord, prompt: int, strip: int, wide: bool, *, acted: bool) -> Line:
        all_of, group = group.completions, compared(group)
        mean = number(group.reward_mean, 2) if group.rewards else ""
        role = "dim" if group.degenerate else ""
        spans: Line = (
            (fit(str(group.index + 1), 2, right=True), "dim"),
            (" ", ""),
            (fit(first_line(group.problem.question), prompt), role),
            (ACTED if acted else " ", "accent bold"),
            (group_mark(group), "warn"),
            *verdict_strip(all_of, strip),
            (fit(mean, 5, right=True), role or "bold"),
        )
        if wide:
            spread = number(group.reward_std, 2) if group.rewards else ""
            tokens = sum(c.num_tokens for c in group.completions) / max(1, len(group.completions))
            spans = (
                *spans,
                (fit(spread, 5, right=True), role),
                (fit(f"{tokens:.0f}" if tokens else "–", 5, right=True), "dim"),
            )
        return spans


class AnswersPanel(Panel):
    """One row for each answer of the selected group."""

    BINDINGS: ClassVar[list[BindingType]] = list_keys("move_answer")

    TITLE: ClassVar[str] = "Responses"
    HELP: ClassVar[str] = (
        "The selected group: j/k or arrows select a response, Enter reads it, Esc goes back."
    )
    HEADER: ClassVar[int] = 1

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The step looked at and the selection."""
        return (view.detail, view.sort, view.cursor, view.state.acts)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """A header and the rows."""
        width = size.width
        group = view.group
        if group is None:
            self.set_title("Responses")
            return [(("select a group", "dim"),)], None
        facts = ""
        if group.rewards:
            facts = group_facts_line(group)
            facts += f"  · dead: {group.dead_cause}" if group.degenerate else ""
            facts += "  ! only its form teaches" if group.form_only else ""
        self.set_title(f"Group {group.index + 1}: {len(group.completions)} responses", facts)
        half = max(2, min(14, (width - 34) // 2))
        limit = max((abs(c.advantage) for c in group.completions if c.advantage is not None), default=1.0)
        limit = max(2.0, limit)
        changed = {answer for place, answer in view.acts.changed if place == group.index}
        columns = _Columns(width, half, limit, changed)
        selected = view.completion
        cursor = next((row for row, c in enumerate(group.completions) if c is selected), None)
        return [
            columns.head(),
            *(columns.row(c) for c in group.completions),
        ], None if cursor is None else cursor + 1


class _Columns:
    """The columns of the answers list for one width."""

    def __init__(self, width: int, half: int, limit: float, changed: Collection[int | None]) -> None:
        self.width, self.half, self.limit, self.changed = width, half, limit, changed
        used = 17 + 2 * half
        self.show_kl = width - used >= 7
        self.show_tokens = width - used >= 12
        self.show_end = width - used >= 17

    def head(self) -> Line:
        """Column names; the bar's ends are labelled with its limit."""
        scale = f"{self.limit:.0f}" if self.limit == int(self.limit) else f"{self.limit:.1f}"
        bar = fit(f"−{scale}", self.half) + "0" + fit(f"+{scale}", self.half, right=True)
        cells = [
            (" r#  ", "dim"),
            ("rew ", "dim"),
            (fit("adv", 6, right=True), "dim"),
            (" ", ""),
            (bar, "dim"),
        ]
        if self.show_kl:
            cells.append((fit("kl_ref", 7, right=True), "dim"))
        if self.show_tokens:
            cells.append((fit("tok", 5, right=True), "dim"))
        if self.show_end:
            cells.append(("  end", "dim"))
        return tuple(cells)

    def row(self, completion: CompletionRecord) -> Line:
        """One answer."""
        glyph, role = verdict_glyph(completion)
        advantage = completion.advantage
        adv_role = "" if not advantage else "up" if advantage > 0 else "down"
        cells = [
            (fit(str(completion.index + 1), 2, right=True), "dim"),
            (f" {glyph}", role),
            mark_of(completion, self.changed),
            (fit(number(completion.reward, 2), 4, right=True), "bold"),
            (fit("" if advantage is None else number(advantage, 2, sign=True), 6, right=True), adv_role),
            (" ", ""),
            *advantage_bar(advantage, self.limit, self.half),
        ]
        if self.show_kl:
            cells.append((fit(compact(completion.kl_ref), 7, right=True), "dim"))
        if self.show_tokens:
            cells.append((fit(str(completion.num_tokens or "–"), 5, right=True), "dim"))
        if self.show_end:
            cut = completion.finish_reason == "length"
            ended = "  cut" if cut else "  eos" if completion.finish_reason else "    –"
            cells.append((ended, "warn" if cut else "dim"))
        return dimmed(cells) if completion.excluded else tuple(cells)


def compared(group: GroupRecord) -> GroupRecord:
    """The group as it is compared: without the responses that a person keeps out."""
    kept = tuple(c for c in group.completions if not c.excluded)
    return group if len(kept) in (0, len(group.completions)) else replace(group, completions=kept)


def group_facts_line(group: GroupRecord) -> str:
    """Mean and sd of what is compared, and how many are kept out."""
    inside = compared(group)
    out = sum(c.excluded for c in group.completions)
    kept_out = f"  {EXCLUDED[0]}{out} kept out" if out else ""
    return f"mean {number(inside.reward_mean, 2)}  sd {number(inside.reward_std, 2)}{kept_out}"


def mark_of(completion: CompletionRecord, changed: Collection[int | None]) -> Span:
    """One cell: kept out of the update, changed by hand, or nothing."""
    if completion.excluded:
        return EXCLUDED
    return (ACTED, "accent bold") if completion.index in changed or None in changed else (" ", "")


def dimmed(line: Sequence[Span]) -> Line:
    """A row of something that does not count."""
    return tuple((text, "dim") for text, _ in line)


class PromptPanel(Panel):
    """The prompt of the selected group exactly as the model got it, and the gold answer."""

    TITLE: ClassVar[str] = "Prompt"
    HELP: ClassVar[str] = "The whole text given to the model, template included, and the gold answer."

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The selected group."""
        return (view.group,)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """The prompt, wrapped."""
        width = size.width
        group = view.group
        if group is None:
            self.set_title("Prompt")
            return [], None
        problem = group.problem
        self.set_title(f"Prompt {problem.id}", f"{problem.num_prompt_tokens} tokens")
        gold = wrapped(problem.answer, max(1, width - 6))
        lines: list[Line] = [(("gold  ", "dim"), *gold[0]), *gold[1:]]
        return [*lines, *wrapped(problem.prompt, width)], None
