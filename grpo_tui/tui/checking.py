"""What the Pre-flight room knows apart from its widgets: what was asked for, how far it is, and what the numbers mean."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grpo_tui.events.commands import MeasureFit, Probe, Request
from grpo_tui.events.preflight import FIT, PROBE, ProbedGroup, ProbeReport
from grpo_tui.events.types import PreflightEnded
from grpo_tui.ops.intervals import wilson_interval
from grpo_tui.tui.asking import why_waiting

if TYPE_CHECKING:
    from grpo_tui.tui.view import RunView

REQUESTS: dict[str, type[Request]] = {PROBE: Probe, FIT: MeasureFit}
MUCH_CUT = 0.2
"""From this share of responses cut at the limit on, that is the first thing to mend."""
MUCH_DEAD = 0.5


@dataclass(slots=True)
class Checks:
    """The check that was asked for last; it outlives the screen."""

    asked: Request | None = None
    ended_before: PreflightEnded | None = None
    """The last one that had ended when it was asked for."""


def pending(view: RunView) -> str:
    """The check that was asked for and is not over: ``probe``, ``fit`` or nothing."""
    asked = view.checks.asked
    if view.over or asked is None or view.state.last_check is not view.checks.ended_before:
        return ""
    return next(what for what, kind in REQUESTS.items() if isinstance(asked, kind))


def state_line(view: RunView) -> tuple[str, str]:
    """What the engine makes of the request, with its role; nothing where none is open and none failed."""
    what, state = pending(view), view.state
    if not what:
        last = state.last_check
        if last is not None and last.reason != "done":
            return f"the {last.what} was {last.reason}{f': {last.message}' if last.message else ''}", "warn"
        return "", ""
    checking, gauge = state.checking, view.gauge
    if checking is None or checking.what != what:
        return f"{what}: {why_waiting(state)}", "dim"
    line = f"{what}: {checking.detail}"
    if gauge is not None and gauge.of == what:
        total = f"/{gauge.total}" if gauge.total else ""
        line += f" · {gauge.phase} {gauge.done}{total} {gauge.unit}"
        if gauge.tokens_per_second:
            line += f" · {gauge.tokens_per_second:.0f} tok/s"
    return line, "accent"


def why_refused(view: RunView) -> str:
    """Why nothing can be asked for in this session; empty where it can."""
    if view.session.read_only:
        return "a recorded run: its checks can be read, not made"
    return "the run is over: resume it (grpo-tui resume RUN) to check" if view.over else ""


def is_due(view: RunView) -> bool:
    """Whether a probe is worth offering: a live run before its first step, not probed yet."""
    state = view.state
    return not (state.history or state.preflight or why_refused(view))


# --- what the numbers mean -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Share:
    """A share of something counted, with its 95 % Wilson interval."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """The share; 0 of nothing."""
        return self.count / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds of the true share."""
        return wilson_interval(self.count, self.total)

    @property
    def text(self) -> str:
        """``6 of 16, 38% [18, 61]``."""
        low, high = self.interval
        return (
            f"{self.count} of {self.total}, {100 * self.value:.0f}% [{100 * low:.0f}, {100 * high:.0f}]"
            if self.total
            else "–"
        )


def dead_odds(group: ProbedGroup, size: int) -> float:
    """How likely ``size`` of a group's completions all have one reward: Σ C(n_r, size) / C(G, size) over rewards r.

    Unbiased for groups of that size, which must be no larger than the one that was drawn.
    """
    total = math.comb(len(group.rewards_G), size)
    same = sum(math.comb(number, size) for number in Counter(group.rewards_G).values())
    return same / total if total else 0.0


def smaller_groups(report: ProbeReport) -> list[tuple[int, float]]:
    """Expected share of dead groups at smaller group sizes, half and a quarter."""
    sizes = [size for size in (report.group_size // 2, report.group_size // 4) if size >= 2]
    groups = report.groups
    return [(size, sum(dead_odds(group, size) for group in groups) / len(groups)) for size in sizes if groups]


def advice(report: ProbeReport) -> list[tuple[str, str]]:
    """What to do before step 1, each with a role; one line each, the most urgent first."""
    lines: list[tuple[str, str]] = []
    cut = Share(report.num_truncated, report.num_completions)
    if cut.value >= MUCH_CUT:
        lines.append(
            (
                f"{100 * cut.value:.0f}% of the responses are cut: raise sampling.max_completion_tokens, or ask for "
                "shorter answers in the prompt",
                "warn",
            )
        )
    causes, dead = report.dead_causes, Share(report.num_dead, len(report.groups))
    worst = max(causes, key=lambda cause: causes[cause], default="")
    if dead.value >= MUCH_DEAD:
        lines.append((_ABOUT_DEAD[worst], "warn"))
    if not lines and report.groups:
        lines.append((f"{len(report.groups) - report.num_dead} of {len(report.groups)} groups teach", "good"))
    return lines


_ABOUT_DEAD = {
    "too hard": "most groups are too hard: easier problems, a stronger model, larger groups, or groups.resample_tries",
    "too easy": "most groups are too easy: harder problems, or groups.resample_tries",
    "identical text": "most groups repeat one text: raise sampling.temperature",
    "equal rewards": "the reward hardly tells responses apart: another reward, or a second component",
}


def kept_out(rejected: tuple[str, ...]) -> tuple[int, int]:
    """Problems kept out of training: how many for their gold answer or row, and how many for their length."""
    too_long = sum("exceed context" in line for line in rejected)
    return len(rejected) - too_long, too_long
