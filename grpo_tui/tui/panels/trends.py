"""Is it learning? One row for each measure, the curves, and held-out accuracy."""

from __future__ import annotations

import math
from typing import ClassVar

from textual.geometry import Size

from grpo_tui.tui.change import finite
from grpo_tui.tui.measures import KL_REF, Measure, measures_of
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.run_settings import settings_of
from grpo_tui.tui.text import Line, Span, cells, compact, fit, line_width, number
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.charts import averaged, direction, interval_bar, sparkline
from grpo_tui.tui.widgets.trend import MARK, POINT, Trend

SHOWN_STEPS = 60
"""How far back the sparklines look."""
TWO_CHARTS = 10
"""Rows from which on there is room for two curves."""
BAND_ROWS = 9
"""Rows of a chart from which on the spread can be told from the line."""


class TrendsPanel(Panel):
    """Every measure with its value, direction and history."""

    TITLE: ClassVar[str] = "Trends"
    HELP: ClassVar[str] = (
        "Each measure at the step looked at, where it is heading (→: no more than its noise), and its last steps."
    )

    def depends(self, view: RunView) -> tuple[object, ...]:
        """History and the step looked at."""
        state = view.state
        return (state.history, view.cursor.step, state.run, state.settings_changes)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """One row for each measure."""
        width, height = size
        config = settings_of(view.state)
        history = list(view.state.history)
        if view.cursor.step is not None:
            history = [m for m in history if m.step <= (view.cursor.step or 0)]
        spark = max(4, width - 19)
        bucket = max(1, min(len(history), SHOWN_STEPS) // spark)
        shown = min(len(history), spark * bucket)
        every = f", {bucket}/bar" if bucket > 1 and width >= 30 else ""
        n = f"n = {history[-1].num_completions} a step" if history else ""
        self.set_title(f"Trends  last {shown} steps{every}" if shown > 1 else "Trends", n)
        if not history:
            return [(("nothing finished yet", "dim"),)], None
        lines: list[Line] = []
        for measure in measures_of(history, config)[:height]:
            why_not = _not_imported(view, measure) or measure.undefined(config)
            if why_not:
                lines.append(
                    ((fit(measure.name, 9) + fit("–", 6, right=True), "dim"), (f"    {why_not}", "dim"))
                )
                continue
            values = [measure.of(m, config) for m in history[-max(shown, 20) :]]
            known = values[-1] is not None
            count = f" n={history[-1].num_agreement_pairs}" if measure.name == "agrees" else ""
            lines.append(
                (
                    (fit(measure.name, 9), "" if known else "dim"),
                    (fit(measure.show(values[-1]), 6, right=True), "bold" if known else "dim"),
                    (f" {direction(values)}  ", "dim"),
                    (
                        sparkline(averaged(values[-shown:], bucket), max(0, spark - len(count))),
                        measure.role or "info",
                    ),
                    (count, "dim"),
                )
            )
        return lines, None


def _not_imported(view: RunView, measure: Measure) -> str:
    """Why another program's recording has no such measure; empty where it has. NaN is what it did not record."""
    if not view.imported or not view.state.history:
        return ""
    value = measure.of(view.state.history[-1], settings_of(view.state))
    unknown = value is None or not math.isfinite(value) or measure.name == "cut off"
    return "not recorded" if unknown else ""


def charted(view: RunView) -> list[Measure]:
    """The measures that have a curve."""
    config = settings_of(view.state)
    measures = measures_of(view.state.history, config)
    return [m for m in measures if not m.undefined(config) and not _not_imported(view, m)]


class ChartPanel(Panel):
    """Curves over the whole run, with the step looked at marked. A click goes to a step."""

    TITLE: ClassVar[str] = "Curves"
    HELP: ClassVar[str] = (
        "A measure at every step; g shows the next one, a click goes to that step. Dots: mean ± sd of the groups' "
        "mean rewards; ○: held-out accuracy; ┊: a setting or the step was changed; ▲: the step looked at."
    )
    MIN_INTERVAL: ClassVar[float] = 0.5

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._trend: Trend | None = None
        self._width = 0

    def depends(self, view: RunView) -> tuple[object, ...]:
        """History, evaluations, the step looked at, and what is charted."""
        return (
            view.state.history,
            view.state.evals,
            view.state.run,
            view.cursor.step,
            view.chart,
            view.state.settings_changes,
            view.state.acts,
        )

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """First reward and kl_ref together where there is room; then each measure by itself."""
        width, height = size
        measures = charted(view)
        what = " or ".join(
            [*(["setting"] if view.state.settings_changes else []), *(["step"] if view.state.acts else [])]
        )
        marks = [f"{MARK} {what} changed"] if view.marks else []
        self.set_title("Curves", " · ".join([*marks, "g next curve"]))
        if not view.state.history:
            return [(("the first curve starts after step 1", "dim"),)], None
        number_of = view.chart % (len(measures) + 1)
        if number_of or height < TWO_CHARTS or len(measures) < 2:
            return self._chart(view, measures[max(0, number_of - 1)], width, height)[:height], None
        lines = self._chart(view, measures[0], width, height - height // 2)
        second = KL_REF if KL_REF in measures else measures[1]
        lines += self._chart(view, second, width, height - len(lines))
        return lines[:height], None

    def _chart(self, view: RunView, measure: Measure, width: int, height: int) -> list[Line]:
        """A title and the curve, ``height`` rows in all."""
        history, config = view.state.history, settings_of(view.state)
        metrics = view.metrics or history[-1]
        values = [measure.of(m, config) for m in history]
        spread = [measure.spread(m, config) for m in history] if measure.spread is not None else []
        evals = view.state.evals if measure.with_held_out else ()
        known = finite(values)
        trend = Trend(
            [m.step for m in history],
            values,
            low=min(0.0, *known) if measure.from_zero and known else None,
            spread=spread if height >= BAND_ROWS and any(s is not None for s in spread) else (),
            points={e.step: e.accuracy for e in evals},
            marks=view.marks,
        )
        self._trend, self._width = trend, width
        title: list[Span] = [
            (measure.name, measure.role or "info"),
            (f"  {measure.show(measure.of(metrics, config))}", "bold"),
        ]
        room = max(0, width - line_width(tuple(title)))
        aside = next((a for a in self._asides(view, measure) if cells(a) <= room), "")
        title.append((aside, "dim"))
        return [
            tuple(title),
            *trend.lines(width, height - 1, role=measure.role or "info", cursor=view.cursor.step),
        ]

    def _asides(self, view: RunView, measure: Measure) -> list[str]:
        """What stands behind the value in the title, the longest first."""
        metrics = view.metrics or view.state.history[-1]
        sd = measure.spread(metrics, settings_of(view.state)) if measure.spread is not None else None
        parts = [(f" ± {compact(sd)}", f" of {metrics.num_groups} groups")] if sd is not None else []
        evals = [e for e in view.state.evals if e.step <= metrics.step] if measure.with_held_out else []
        if evals:
            parts.append((f"  {POINT} {compact(evals[-1].accuracy)}", f" held-out @{evals[-1].step}"))
        if not parts:
            return [f"  {measure.about}"]
        return ["".join(short + more for short, more in parts), "".join(short for short, _ in parts)]

    def step_at(self, column: int) -> int | None:
        """The step drawn in a column of the panel."""
        return self._trend.step_at(column, self._width) if self._trend is not None else None


class EvalsPanel(Panel):
    """Held-out accuracy with its 95 % interval."""

    TITLE: ClassVar[str] = "Held-out"
    HELP: ClassVar[str] = "Accuracy on held-out problems, with a 95 % Wilson interval."

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
