"""The Triage room's panels: which prompts give dead groups, why, what it has cost, and what would help."""

from __future__ import annotations

from typing import ClassVar

from textual.geometry import Size

from grpo_tui.events.order import PromptPlan
from grpo_tui.runs.triage import Outlook, PromptVisit, Triage
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.text import Line, clean, clip, count, first_line, fit, labelled, percent
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.charts import interval_bar
from grpo_tui.tui.widgets.lines import list_keys

SIGNS = {
    "": (" ", ""),
    "too easy": ("✓", "good"),
    "too hard": ("✗", "bad"),
    "identical text": ("=", "warn"),
    "equal rewards": ("≡", "warn"),
    "form only": ("!", "warn"),
}
"""Of each cause: a glyph and its role."""
LEGEND = "✓ too easy  ✗ too hard  = identical text  ≡ equal rewards  ! form only"
LABEL = 10
MOST_VISITS = 12


def standing(problem_id: str, plan: PromptPlan) -> str:
    """What was decided about a prompt, in a word or two; empty where nothing was."""
    words = []
    if problem_id in plan.away:
        until = plan.away[problem_id]
        words.append(f"until {until}" if until else "dropped")
    if problem_id in plan.group_sizes:
        words.append(f"{plan.group_sizes[problem_id]} answers")
    return ", ".join(words)


def summary(found: Triage) -> str:
    """All of it in a line."""
    if not found.num_groups:
        return "no group is recorded yet"
    causes = ", ".join(f"{number} {cause}" for cause, number in sorted(found.by_cause.items()))
    return (
        f"{found.num_dead} of {found.num_groups} groups were dead, {count(found.tokens_wasted)} of "
        f"{count(found.tokens)} tokens ({percent(found.share_wasted)})" + (f": {causes}" if causes else "")
    )


def odds(value: float) -> str:
    """Odds as percent, never rounded to certainty."""
    return f"{min(99, max(1, round(100 * value)))}%"


class TriagePanel(Panel):
    """One row for each prompt."""

    BINDINGS = list_keys("move_prompt")
    TITLE: ClassVar[str] = "Dead groups"
    HELP: ClassVar[str] = (
        "One row for each prompt, those that wasted most tokens first: groups seen, share of right answers in its last "
        "four, the odds that its next group is dead at the run's group size and at twice it, tokens wasted, why its newest "
        "group taught nothing, and what was decided about it."
    )
    HEADER: ClassVar[int] = 2

    found: Triage | None = None
    note: str = ""
    row: int = 0

    def depends(self, view: RunView) -> tuple[object, ...]:
        """What was found, the selection, and decisions."""
        return (
            self.found,
            self.note,
            self.row,
            view.state.order_changes,
            view.state.history,
            view.state.branch,
        )

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """The sum, a header and the rows."""
        width, found = size.width, self.found
        if found is None:
            self.set_title("Dead groups")
            return [((clip(clean(self.note), width), "dim"),)], None
        self.set_title(f"Dead groups  {len(found.outlooks)} prompts", LEGEND if width > 100 else "")
        plan = view.state.plan
        wide = width >= 76
        twice = 2 * found.group_size
        head = " seen right"
        head += f" {fit(f'G={found.group_size}', 5, right=True)}"
        head += f" {fit(f'G={twice}', 5, right=True)}" if wide else ""
        head += f" {fit('wasted', 6, right=True)}   " + (fit("decided", 12) if wide else "") + " prompt"
        lines: list[Line] = [
            ((clip(summary(found), width), "bold" if found.num_dead else ""),),
            ((fit(head, width), "dim"),),
        ]
        lines += [self._row(one, plan, found.group_size, width, wide) for one in found.outlooks]
        return lines, min(self.row, len(found.outlooks) - 1) + self.HEADER if found.outlooks else None

    def _row(self, one: Outlook, plan: PromptPlan, size: int, width: int, wide: bool) -> Line:
        rate = "  –" if one.pass_rate is None else percent(one.pass_rate)
        decided = standing(one.history.problem_id, plan)
        gone = one.history.problem_id in plan.away
        likely = one.odds[size] >= 0.5
        spans: Line = (
            (fit(str(one.num_seen), 5, right=True), "dim"),
            (fit(rate, 6, right=True), ""),
            (fit(odds(one.odds[size]), 6, right=True), "warn bold" if likely else ""),
        )
        used = 17
        if wide:
            spans = (*spans, (fit(odds(one.odds[2 * size]), 6, right=True), ""))
            used += 6
        wasted = count(one.tokens_wasted) if one.tokens_wasted else "–"
        sign, role = SIGNS.get(one.last_cause, ("?", "warn"))
        spans = (*spans, (fit(wasted, 7, right=True), ""), (" ", ""), (sign, role), (" ", ""))
        used += 10
        if wide:
            spans = (*spans, (fit(decided, 12), "accent"))
            used += 12
        elif decided:
            spans = (*spans, ("⊘" if gone else "+", "accent"))
            used += 1
        question = first_line(one.history.question)
        return (*spans, (f" {clip(question, max(0, width - used - 1))}", "dim" if gone else ""))


class PromptOutlookPanel(Panel):
    """The selected prompt: its past groups, its odds, its remedy."""

    TITLE: ClassVar[str] = "Outlook"
    HELP: ClassVar[str] = (
        "The selected prompt: pass rate with its 95 % interval, odds of a dead group at several sizes (the mean of "
        "p^G + (1−p)^G over what its answers say of p), its past groups, and what would help."
    )

    one: Outlook | None = None

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The selected prompt and decisions."""
        return (self.one, view.state.order_changes, view.state.history, view.state.branch)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """Facts, one a line."""
        one, width = self.one, size.width
        if one is None:
            self.set_title("Outlook")
            return [], None
        self.set_title("Outlook", standing(one.history.problem_id, view.state.plan))
        lines = _labelled("prompt", one.history.question, width, "")[:3]
        lines += _labelled("gold", one.history.answer, width, "")[:1]
        if one.remedy:
            lines += _labelled("remedy", one.remedy, width, "accent bold")
        if one.pass_rate is None:
            lines += _labelled("right", "nothing was judged for truth", width, "dim")
        else:
            bar = interval_bar(one.low, one.pass_rate, one.high, max(8, min(30, width - 50)))
            text = (
                f"{one.num_correct} of {one.num_judged} lately {bar} "
                f"{percent(one.pass_rate)} [{100 * one.low:.0f}, {100 * one.high:.0f}]"
            )
            lines += _labelled("right", text, width, "")
        chances = " · ".join(f"{odds(value)} at G={group}" for group, value in one.odds.items())
        lines += _labelled("dead odds", chances, width, "")
        causes = ", ".join(f"{number} {cause}" for cause, number in sorted(one.causes.items())) or "none"
        lines += _labelled("dead", f"{causes} of {one.num_seen} groups", width, "")
        lines += _labelled("tokens", f"{count(one.tokens_wasted)} of {count(one.tokens)} wasted", width, "")
        visits = one.history.visits[-MOST_VISITS:]
        lines += _labelled("groups", "  ".join(_visit(visit) for visit in visits), width, "dim")
        return lines, None


def _visit(visit: PromptVisit) -> str:
    sign = SIGNS.get(visit.cause, ("?", ""))[0].strip()
    return f"{visit.step}: {visit.num_correct}/{visit.num_completions}{sign and f' {sign}'}"


def _labelled(label: str, text: str, width: int, role: str) -> list[Line]:
    return labelled(label, " ".join(text[:4000].split()), width, role, room=LABEL)
