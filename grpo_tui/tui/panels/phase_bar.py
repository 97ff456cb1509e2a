"""The header: run, mode, the seven phases with progress inside the present one, and the run's pace."""

from __future__ import annotations

from typing import ClassVar

from textual.geometry import Size

from grpo_tui.events.records import PHASES, Mode, Phase, StepMetrics
from grpo_tui.tui.glyphs import MODES, PHASE_SHORT, WATCHED
from grpo_tui.tui.pace import evaluation, phase_share, run_left, step_left
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.session import Watched
from grpo_tui.tui.text import Line, Span, clean, clip, clip_line, count, duration, line_width, memory
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.charts import progress_bar

PHASE_KEYS = (Phase.SAMPLE, Phase.SCORE, Phase.REFERENCE, Phase.UPDATE)


def mode_span(view: RunView) -> Span:
    """The mode as reached, and what was asked for and is not reached yet."""
    glyph, name, role = MODES[view.state.mode]
    if view.watched is not None:
        return watched_span(view.watched, name)
    if view.request is not None:
        return f"{glyph} {name} → {view.request.label}", "warn bold"
    detail = view.state.mode_detail
    if view.state.mode is Mode.PAUSED and view.state.hit is not None:
        return f"{glyph} BREAK {clean(detail)}", "bad bold"
    if view.state.mode is Mode.PAUSED and detail:
        return f"{glyph} {name} {clean(detail)}", f"{role} bold"
    return f"{glyph} {name}", f"{role} bold"


def watched_span(watched: Watched, mode: str) -> Span:
    """What kind of recording is on screen, and the mode that its engine was last in."""
    if watched.trouble:
        return f"⚠ {clean(watched.trouble)}", "bad bold"
    glyph, role = WATCHED[watched.status]
    said = clean(watched.detail) if watched.detail else mode.lower()
    return f"{glyph} {watched.status.upper()} {said}", f"{role} bold"


def step_label(view: RunView) -> str:
    """``step 3/60``."""
    total = view.state.run.total_steps if view.state.run else 0
    if total:
        return f"step {view.training_step}/{total}"
    return f"step {view.training_step}" if view.training_step else "step –"


def spread(left: Line, right: Line, width: int) -> Line:
    """Put one line at the left and one at the right end; the left one gives way."""
    gap = width - line_width(left) - line_width(right)
    if gap >= 1:
        return (*left, (" " * gap, ""), *right)
    room = width - line_width(right) - 1
    if room <= 0:
        return left
    kept = clip_line(left, room)
    return (*kept, (" " * (1 + room - line_width(kept)), ""), *right)


class PhaseBar(Panel, can_focus=False):
    """Three lines that always say what the machine does now, and for how long."""

    HELP: ClassVar[str] = "What the engine does now."
    DEFAULT_CSS = "PhaseBar { background: $panel; overflow: hidden hidden; }"

    def depends(self, view: RunView) -> tuple[object, ...]:
        """The gauge too: this is the one panel that moves while a phase runs."""
        state = view.state
        bar = self._share(view)
        return (
            state.run, state.mode, state.mode_detail, state.phase, state.phase_seconds, state.history,
            state.current and state.current.step, state.model, state.data, view.request, view.cursor.step,
            view.watched, view.debug, state.branch, state.went, state.kept, state.hit,
            *bar,
        )  # fmt: skip

    def _share(self, view: RunView) -> tuple[float, str, float]:
        """Progress of the present phase in eighths of a bar, its count, tokens per second."""
        gauge = view.phase_gauge
        if gauge is None:
            held_out = evaluation(view)
            if held_out is None:
                return 0.0, "", 0.0
            return (
                round(80 * held_out.done / held_out.total) / 80,
                f"{held_out.done}/{held_out.total} held out",
                0.0,
            )
        return round(80 * phase_share(view)) / 80, view.progress_text, round(gauge.tokens_per_second)

    def build(self, view: RunView, size: Size) -> tuple[list[Line], int | None]:
        """Name and model; step, mode and phases; pace."""
        width = size.width
        wide = width >= 98
        mode = mode_span(view)
        phases = self._phases(view, short=not wide)
        eta = run_left(view)
        pace: Line = ((f"ETA {duration(eta)}", "") if eta is not None else ("", ""),)
        metrics = view.metrics
        if not wide and metrics is not None and not view.imported:
            pace = ((f"{duration(metrics.seconds)}/step  {self._speed(view):.0f} tok/s  ", "dim"), *pace)
        head: Line = ((" " + step_label(view) + "  ", "bold"), mode, ("   ", ""))
        return [
            self._about(view, width),
            spread((*head, *(phases if wide else ())), pace, width),
            self._pace(view, width) if wide else spread((*phases,), self._follow(view), width),
        ], None

    def _about(self, view: RunView, width: int) -> Line:
        state = view.state
        left: list[Span] = [(" grpo-tui", "accent bold")]
        if state.run is not None:
            left.append((f"  {clean(state.run.name)}", "bold"))
        left += _line_of(view)
        right: list[str] = []
        if state.model is not None:
            model = state.model
            right.append(
                f"{clean(model.source)} {count(model.num_parameters)} + LoRA {count(model.num_trainable)}"
            )
            right.append(f"{clean(model.dtype)} on {clean(model.device)}")
        if state.data is not None:
            right.append(f"{state.data.num_train} problems of {clean(state.data.source)}")
        text = view.debug or "  ·  ".join(right)
        return spread(tuple(left), ((clip(text, width - line_width(tuple(left)) - 2), "dim"),), width)

    def _phases(self, view: RunView, *, short: bool) -> Line:
        state = view.state
        share, amount, _ = self._share(view)
        spans: list[Span] = [] if not short else [(" ", "")]
        if evaluation(view) is not None:
            bar = progress_bar(share, 6 if short else 10)
            return (*spans, ("▸EVALUATION", "accent bold"), (f" {bar}", "accent"), (f" {amount}", "dim"))
        now = PHASES.index(state.phase) if state.phase is not None else -1
        for index, phase in enumerate(PHASES):
            name = PHASE_SHORT[phase] if short else phase.value
            if index:
                spans.append((" ", ""))
            if index == now and phase not in state.phase_seconds:
                standing = state.mode is not Mode.RUNNING
                spans.append(
                    (f"{'‖' if standing else '▸'}{name.upper()}", "warn bold" if standing else "accent bold")
                )
                if not standing or amount:
                    spans.append((f" {progress_bar(share, 6 if short else 10)}", "accent"))
                    spans.append((f" {amount}" if amount and not short else "", "dim"))
            elif phase in state.phase_seconds:
                spans.append((f"✓{name}", "good"))
            else:
                spans.append((f"·{name}", "dim"))
        return tuple(spans)

    def _pace(self, view: RunView, width: int) -> Line:
        metrics, left = view.metrics, [(" ", "")]
        if view.imported:
            left += [("imported: tokens, times, KL and losses are not recorded", "dim")]
        elif metrics is not None:
            left += [(f"{duration(metrics.seconds)}/step", ""), (f" ({_split(metrics)})", "dim")]
            now = step_left(view) if view.state.mode is Mode.RUNNING else None
            if now is not None:
                left += [(f"  {duration(now)} to go", "")]
            groups = view.groups_per_step
            left += [(f"   {self._speed(view):.0f} tok/s", "")]
            if groups:
                left += [(f"   useful groups {groups - metrics.num_degenerate_groups}/{groups}", "")]
            left += [(f"   peak {memory(metrics.peak_memory_bytes)}", "")]
            kept = view.state.kept
            if kept is not None and width >= 140:
                left += [(f"   {kept.num_states} states {memory(kept.num_bytes)}", "dim")]
        elif view.state.mode is Mode.RUNNING:
            left += [("the first step is on its way", "dim")]
        elif view.session.read_only:
            left += [("no step finished yet", "dim")]
        elif view.state.mode is not Mode.LOADING:
            left += [
                ("no step finished yet: s runs one step, . one phase, Space runs on, 0 probes first", "dim")
            ]
        return spread(tuple(left), self._follow(view), width)

    def _speed(self, view: RunView) -> float:
        metrics = view.metrics
        return self._share(view)[2] or (metrics.tokens_per_second if metrics else 0.0)

    def _follow(self, view: RunView) -> Line:
        if view.state.mode is Mode.LOADING:
            return (("", ""),)
        live = "● live" if view.grows else "last step"
        where: Line = ((live, "good"),) if view.is_live else ((f"▲ step {view.cursor.step}", "warn bold"),)
        return where


def _line_of(view: RunView) -> Line:
    """The branch and the state's hash, once there is more than one line, or the run went somewhere."""
    state = view.state
    if len(state.branches) < 2 and state.went is None:
        return ()
    return ((f"  {clean(state.branch_label)}", "accent"), (f" {state.state_hash[:12]}", "dim"))


def _split(metrics: StepMetrics) -> str:
    parts = [(p, metrics.seconds_by_phase.get(p.value, 0.0)) for p in PHASE_KEYS]
    return " ".join(f"{PHASE_SHORT[p]} {s:.2f}" for p, s in parts)
