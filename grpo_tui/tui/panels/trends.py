"""Is it learning? One row for each measure, a chart of the two that matter most, and held-out accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

from textual.geometry import Size

from grpo_tui.events.records import StepMetrics
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.text import Line, compact, fit, number, percent
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.charts import Trend, averaged, direction, interval_bar, sparkline

SHOWN_STEPS = 60
"""How far back the sparklines look."""
Measure = Callable[[StepMetrics], float | None]


def _percent(value: float | None) -> str:
    return percent(value) if value is not None else "–"


def _cut_off(m: StepMetrics) -> float | None:
    return m.num_truncated / m.num_completions if m.num_completions else None


MEASURES: tuple[tuple[str, Measure, Callable[[float | None], str], str], ...] = (
    ("reward", lambda m: m.reward_mean, compact, "good"),
    ("kl_ref", lambda m: m.kl_ref, compact, "accent"),
    ("entropy", lambda m: m.entropy, compact, ""),
    ("length", lambda m: m.mean_length, compact, ""),
    ("grad norm", lambda m: m.grad_norm, compact, ""),
    ("|adv|", lambda m: m.advantage_abs_mean, compact, ""),
    ("dead grp", lambda m: float(m.num_degenerate_groups), _percent, "warn"),
    ("cut off", _cut_off, _percent, ""),
    ("clip frac", lambda m: m.clip_fraction, compact, ""),
    ("lenient", lambda m: m.accuracy_lenient, _percent, ""),
)
"""Best first: where the panel is short the last ones are left out."""

PAID_BY_A_MODEL: tuple[tuple[str, Measure, Callable[[float | None], str], str], ...] = (
    ("accuracy", lambda m: m.accuracy, _percent, "good"),
    ("agrees", lambda m: m.agreement.get("learned"), _percent, "warn"),
)
"""After the reward where a reward model is a component: is what it pays for what is true?"""


def _explained_variance(m: StepMetrics) -> float | None:
    critic = m.update.critic if m.update is not None else None
    return (
        critic.explained_variance if critic is not None and math.isfinite(critic.explained_variance) else None
    )


def _kl_step(m: StepMetrics) -> float | None:
    return m.update.kl_step if m.update is not None else None


OF_THE_UPDATE: tuple[tuple[str, Measure, Callable[[float | None], str], str], ...] = (
    ("kl step", _kl_step, compact, "accent"),
    ("critic", _explained_variance, compact, "info"),
)
"""After kl_ref where the run measures them: the exact KL of each update, and the variance that the critic explains."""


def _measures(
    history: list[StepMetrics],
) -> tuple[tuple[str, Measure, Callable[[float | None], str], str], ...]:
    has_model = any("learned" in m.component_means or "learned" in m.agreement for m in history)
    measured = [row for row in OF_THE_UPDATE if any(row[1](m) is not None for m in history)]
    return (*MEASURES[:1], *(PAID_BY_A_MODEL if has_model else ()), MEASURES[1], *measured, *MEASURES[2:])


class TrendsPanel(Panel):
    """Every measure with its value, direction and history."""

    TITLE: ClassVar[str] = "Trends"
    HELP: ClassVar[str] = "Each measure at the step looked at, where it is heading, and its last steps."

    def depends(self, view: RunView) -> tuple[object, ...]:
        """History and the step looked at."""
        return (view.state.history, view.cursor.step, view.groups_per_step)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """One row for each measure."""
        width, height = size
        history = list(view.state.history)
        if view.cursor.step is not None:
            history = [m for m in history if m.step <= (view.cursor.step or 0)]
        spark = max(4, width - 19)
        bucket = max(1, min(len(history), SHOWN_STEPS) // spark)
        shown = min(len(history), spark * bucket)
        every = f", {bucket}/bar" if bucket > 1 and width >= 30 else ""
        self.set_title(f"Trends  last {shown} steps{every}" if shown > 1 else "Trends")
        if not history:
            return [(("nothing finished yet", "dim"),)], None
        lines: list[Line] = []
        for name, measure, show, role in _measures(history)[:height]:
            values = [measure(m) for m in history[-max(shown, 10) :]]
            if name == "dead grp":
                groups = view.groups_per_step
                values = [v / groups if v is not None and groups else None for v in values]
            known = values[-1] is not None
            count = f" n={history[-1].num_agreement_pairs}" if name == "agrees" else ""
            lines.append(
                (
                    (fit(name, 9), "" if known else "dim"),
                    (fit(show(values[-1]), 6, right=True), "bold" if known else "dim"),
                    (f" {direction(values)}  ", "dim"),
                    (sparkline(averaged(values, bucket), max(0, spark - len(count))), role or "info"),
                    (count, "dim"),
                )
            )
        return lines, None


class ChartPanel(Panel):
    """Reward and kl_ref over the whole run, with the step looked at marked."""

    TITLE: ClassVar[str] = "Curves"
    HELP: ClassVar[str] = (
        "Reward (mean over responses) and kl_ref (mean over tokens) at every step; ▲ is the step looked at."
    )
    MIN_INTERVAL: ClassVar[float] = 0.5

    def depends(self, view: RunView) -> tuple[object, ...]:
        """History and the step looked at."""
        return (view.state.history, view.cursor.step)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """Reward above, kl_ref below where there is room for both."""
        width, height = size
        history = view.state.history
        self.set_title("Curves", "▲ step looked at" if view.cursor.step is not None else "")
        if not history:
            return [(("the first curve starts after step 1", "dim"),)], None
        now = view.metrics or history[-1]
        steps = [m.step for m in history]
        reward = Trend(
            steps, [m.reward_mean for m in history], low=min(0.0, *(m.reward_mean for m in history), 0.0)
        )
        both = height >= 10
        upper = height - height // 2 - 2 if both else height - 1
        lines: list[Line] = [(("reward", "good"), (f"  {number(now.reward_mean, 3)}", "dim"))]
        lines += reward.lines(width, upper + 1 if both else upper, role="good", cursor=view.cursor.step)
        if both:
            kl = Trend(steps, [m.kl_ref for m in history], low=0.0)
            lines.append((("kl_ref", "accent"), (f"  {compact(now.kl_ref)}", "dim")))
            lines += kl.lines(width, height - len(lines), role="accent", cursor=view.cursor.step)
        return lines[:height], None


class EvalsPanel(Panel):
    """Held-out accuracy with its 95 % interval."""

    TITLE: ClassVar[str] = "Held-out"
    HELP: ClassVar[str] = "Greedy accuracy on held-out problems, with a 95 % Wilson interval."

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The evaluations."""
        return (view.state.evals,)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """The newest evaluations, one a row, and the first to compare with."""
        width, height = size
        evals = list(view.state.evals)
        if not evals:
            self.set_title("Held-out")
            return [(("no evaluation yet", "dim"),)], None
        self.set_title(f"Held-out  n = {evals[-1].num_problems}")
        shown = evals[::-1][:height]
        if len(evals) > height >= 2:
            shown = [*evals[::-1][: height - 1], evals[0]]
        lines: list[Line] = []
        for index, result in enumerate(shown):
            label = f"@{result.step}"
            bar = interval_bar(result.low, result.accuracy, result.high, max(8, width - 12))
            lines.append(
                (
                    (fit(label, 5), "dim"),
                    (fit(number(result.accuracy, 3), 5), "bold" if index == 0 else ""),
                    ("  ", ""),
                    (bar, "good" if index == 0 else "dim"),
                )
            )
        return lines, None
