"""What the screens look at: the folded state, the cursor shared by all rooms, and what was asked for.

One :class:`RunView` belongs to one session. It is plain Python without widgets, so every rule about browsing,
sorting and requested modes is tested without a screen.
"""

from __future__ import annotations

import time
import tomllib
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from grpo_tui.events.commands import (
    Command,
    Fork,
    GoTo,
    Pause,
    Redo,
    Resume,
    Retry,
    StepOnce,
    StepPhase,
    Stop,
    Undo,
)
from grpo_tui.events.fold import reduce
from grpo_tui.events.records import CompletionRecord, GroupRecord, Mode, StepDetail, StepMetrics
from grpo_tui.events.state import LogLine, RunState
from grpo_tui.events.types import (
    ActTaken,
    BreakpointHit,
    Event,
    ModeChanged,
    Progress,
    RequestFailed,
    RunEnded,
    RunStarted,
    SettingsChanged,
    TrainerFailed,
    WentTo,
)
from grpo_tui.tui.acting import Acts, steps_acted_on
from grpo_tui.tui.checking import Checks
from grpo_tui.tui.earlier import EarlierGroups
from grpo_tui.tui.heat import Glance, Lens
from grpo_tui.tui.inspections import Inspections
from grpo_tui.tui.knobs import Draft, mark_label, net_changes
from grpo_tui.tui.playing import PlayForm
from grpo_tui.tui.session import FOLLOWING, Opened, Recorded, Session, Watched
from grpo_tui.tui.text import clean
from grpo_tui.tui.tokens import counterparts
from grpo_tui.tui.updating import UpdateDesk

if TYPE_CHECKING:
    from grpo_tui.runs.lines import Visit

SORTS = ("signal", "order", "reward")
CACHED_STEPS = 16
OUTPUT_LINES = 2000
DRAIN_CHUNK = 16
ENDED = (Mode.FINISHED, Mode.STOPPED)
_JOURNEYS = {"Undo": "going back…", "Redo": "going forward…", "GoTo": "going there…", "Fork": "forking…"}
"""What is shown until a journey is made, by its request's name."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the person looks. ``step`` None follows the training."""

    step: int | None = None
    group_row: int = 0
    """Row in the sorted list, used until a group of this step is picked."""
    picked: tuple[int, int] | None = None
    """(step, group index) of the group picked by hand."""
    answer: int = 0
    token: int = 0
    """Of the answer; 0 again whenever another one is looked at."""


@dataclass(frozen=True, slots=True)
class Request:
    """A mode asked for and not yet reached."""

    label: str
    target: Mode


class RunView:
    """A session, its state so far, and the cursor over it."""

    def __init__(
        self, session: Session, *, paused: bool = True, now: Callable[[], float] = time.time
    ) -> None:
        self.session = session
        self.state = RunState()
        self.cursor = Cursor()
        self.sort = SORTS[0]
        self._sorted: tuple[object, str, list[GroupRecord]] = (None, "", [])
        self.request: Request | None = None
        self.gauge: Progress | None = None
        self.output: deque[LogLine] = deque(maxlen=OUTPUT_LINES)
        self.output_version = 0
        self.dismissed: TrainerFailed | None = None
        self.now = now
        self.started_at = now()
        self.groups_per_step = 0
        self.chart = 0
        """Which curves are shown: 0 for reward and kl_ref together, then each measure alone."""
        self.watched: Watched | None = None
        """What kind of recording this is; None for a live run."""
        self.play_form: PlayForm | None = None
        self.checks = Checks()
        self.probe_row = 0
        """Row of the probe looked at."""
        self.update_desk: UpdateDesk | None = None
        """What the Update room remembers."""
        self.debug = ""
        """Shown in the header in the place of the model, while someone looks into the app itself."""
        self.inspections = Inspections(self)
        self.acts = Acts(self)
        self.lens = Lens()
        self.earlier = EarlierGroups(session.groups_of_problem)
        self._held_at: int | None = None
        self.refused = ""
        """Why the engine did not do what was asked last; shown once, then emptied."""
        self.draft = Draft()
        """Changes of settings that are collected in the Tune room."""
        self.request_failed: RequestFailed | None = None
        """The last request that the engine could not carry out."""
        self._marked: tuple[SettingsChanged, ...] = ()
        self._marked_acts: tuple[ActTaken, ...] = ()
        self._marks: Mapping[int, str] = {}
        self._starts_running = not paused
        self._old_steps: OrderedDict[int, StepDetail | None] = OrderedDict()

    # --- events in ---------------------------------------------------------------------------------------

    def pump(self, budget: float = 0.008) -> bool:
        """Fold waiting events for at most ``budget`` seconds; return whether more may be waiting."""
        deadline = time.perf_counter() + budget
        self.gauge = self.session.gauge()
        while True:
            events = self.session.drain(DRAIN_CHUNK)
            for event in events:
                self._fold(event)
            if len(events) < DRAIN_CHUNK:
                return False
            if time.perf_counter() > deadline:
                return True

    def _fold(self, event: Event) -> None:
        if isinstance(event, Recorded):
            quiet = {
                "mode": Mode.LOADING,
                "current": None,
                "phase": None,
                "failure": None,
                "ended": None,
                "loading": (),
            }
            self.state = replace(event.state, **quiet)  # type: ignore[arg-type]
            return
        if isinstance(event, Opened):
            self._open(event.state)
            return
        if isinstance(event, Watched):
            self.watched = event
            return
        self.state = reduce(self.state, event)
        self.inspections.take(event)
        self.acts.take(event)
        if isinstance(event, ModeChanged) and self.request is not None:
            if event.mode is self.request.target or event.mode in (*ENDED, Mode.FAILED):
                self.request = None
        elif isinstance(event, TrainerFailed):
            self.request = None
            self.log_lines("error", event.kind, event.traceback.splitlines(), event.time)
        elif isinstance(event, RunEnded):
            self.request = None
        elif isinstance(event, RequestFailed):
            self.request_failed = event
            self.log_lines("error", event.request, event.detail.splitlines(), event.time)
            if event.request in _JOURNEYS:
                self.request, self.refused = None, event.message
        elif isinstance(event, WentTo):
            self.request = None
            self._old_steps.clear()
            self.earlier.forget()
            self.groups_per_step = _prompts_per_step(self.state.config_toml)
            self.go_live()
        elif isinstance(event, SettingsChanged):
            self.groups_per_step = _prompts_per_step(event.config_toml)
        elif isinstance(event, BreakpointHit):
            self._look_at_match()
        elif isinstance(event, RunStarted):
            self._old_steps.clear()
            self.earlier.forget()
            self.groups_per_step = _prompts_per_step(event.config_toml)

    def _look_at_match(self) -> None:
        """Put the cursor on what stopped the run, where it follows the training; who reads a past step is left there."""
        hit, detail = self.state.hit, self.detail
        match = next((m for m in hit.matches if m.group is not None), None) if hit is not None else None
        if not self.is_live or hit is None or match is None or detail is None or detail.step != hit.step:
            return
        group = next((g for g in detail.groups if g.index == match.group), None)
        if group is not None:
            rows = [c.index for c in group.completions]
            answer = rows.index(match.completion) if match.completion in rows else 0
            self.cursor = replace(self.cursor, picked=(hit.step, group.index), answer=answer, token=0)

    def _open(self, state: RunState) -> None:
        """Show another line of steps, or another moment, of a recording."""
        self.state = state
        self._old_steps.clear()
        self.earlier.forget()
        self.groups_per_step = _prompts_per_step(state.run.config_toml) if state.run else 0
        if self.cursor.step is not None and self.place_of(self.cursor.step) is None:
            self.go_live()

    def log_lines(self, level: str, source: str, lines: Iterable[str], at: float | None = None) -> None:
        """Add lines for the Log that are not events: captured output, tracebacks."""
        moment = self.now() if at is None else at
        self.output.extend(LogLine(moment, level, source, line) for line in lines)
        self.output_version += 1

    def log_output(self, text: str, *, replaces: bool) -> None:
        """Add a captured line; a redrawn one takes the place of the one before."""
        if replaces and self.output and self.output[-1].source == "output":
            self.output.pop()
        self.log_lines("info", "output", [text])

    # --- commands out ------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether the engine is done and takes no more commands."""
        return self.state.ended is not None or self.state.mode in ENDED

    @property
    def grows(self) -> bool:
        """Whether more steps are to come: a live run, or a recording that a process still writes."""
        return self.watched.status == FOLLOWING if self.watched is not None else not self.over

    @property
    def imported(self) -> bool:
        """Whether another program recorded it: NaN then means not recorded."""
        return self.watched is not None and self.watched.imported

    @property
    def wants_running(self) -> bool:
        """The mode as asked for: True when running, or about to."""
        if self.request is not None:
            return self.request.target is Mode.RUNNING
        if self.state.mode is Mode.LOADING:
            return self._starts_running
        return self.state.mode is Mode.RUNNING

    @property
    def served_now(self) -> bool:
        """Whether the engine waits where it carries out requests: between two phases, not inside one."""
        state = self.state
        return state.mode is Mode.PAUSED and state.mode_detail.startswith(("before ", "after "))

    def ask(self, command: Command) -> bool:
        """Send a command and show at once what was asked for; False if it cannot be obeyed now."""
        if self.session.read_only or self.over:
            return False
        loading = self.state.mode is Mode.LOADING
        if isinstance(command, Pause):
            self.request = Request("pausing…", Mode.PAUSED)
        elif isinstance(command, Resume):
            self.request = Request("will run when loaded" if loading else "resuming…", Mode.RUNNING)
        elif isinstance(command, StepOnce):
            self.request = Request("one step…", Mode.PAUSED if self.wants_running else Mode.RUNNING)
        elif isinstance(command, StepPhase):
            self.request = Request("one phase…", Mode.PAUSED if self.wants_running else Mode.RUNNING)
        elif isinstance(command, Retry):
            self.request = Request("retrying…", Mode.RUNNING)
        elif isinstance(command, Undo | Redo | GoTo | Fork):
            self.request = Request(_JOURNEYS[type(command).__name__], Mode.PAUSED)
        elif isinstance(command, Stop):
            self.request = Request("stopping…", Mode.STOPPED)
        if loading and isinstance(command, Pause):
            self._starts_running, self.request = False, None
        self.session.send(command)
        return True

    # --- what is looked at -------------------------------------------------------------------------------

    @property
    def is_live(self) -> bool:
        """Whether the view follows the training."""
        return self.cursor.step is None

    @property
    def training_step(self) -> int:
        """The step the engine is at: in progress, or the last finished."""
        return self.state.current.step if self.state.current else self.state.last_step

    @property
    def shown_step(self) -> int:
        """Number of the step whose groups are shown."""
        detail = self.detail
        return detail.step if detail is not None else (self.cursor.step or self.training_step)

    @property
    def detail(self) -> StepDetail | None:
        """The step looked at. Live, the last finished one stays until the next has groups to show."""
        state = self.state
        if self.cursor.step is not None:
            return state.detail(self.cursor.step) or self._load(self.cursor.step)
        if state.current is not None and state.current.groups:
            return state.current
        if state.recent and state.recent[-1].step == state.last_step:
            return state.recent[-1]
        return self._load(state.last_step) if state.last_step else state.current

    def _load(self, step: int) -> StepDetail | None:
        if step not in self._old_steps:
            self._old_steps[step] = self.session.load_step(step)
            while len(self._old_steps) > CACHED_STEPS:
                self._old_steps.popitem(last=False)
        self._old_steps.move_to_end(step)
        return self._old_steps[step]

    @property
    def metrics(self) -> StepMetrics | None:
        """Metrics of the step looked at: live, of the last finished one."""
        history = self.state.history
        if self.cursor.step is None:
            return history[-1] if history else None
        place = self.place_of(self.cursor.step)
        return history[place] if place is not None else None

    def place_of(self, step: int) -> int | None:
        """Where a finished step stands in the history."""
        history = self.state.history
        place = bisect_left(history, step, key=lambda metrics: metrics.step)
        return place if place < len(history) and history[place].step == step else None

    @property
    def groups(self) -> list[GroupRecord]:
        """Groups of the step looked at, in the order of the list."""
        detail = self.detail
        if detail is not self._sorted[0] or self.sort != self._sorted[1]:
            self._sorted = (
                detail,
                self.sort,
                in_order(detail.groups if detail is not None else (), self.sort),
            )
        return list(self._sorted[2])

    def row_of(self, groups: list[GroupRecord]) -> int | None:
        """Row of the selected group."""
        if not groups:
            return None
        picked = self.cursor.picked
        if picked is not None and picked[0] == self.shown_step:
            for row, group in enumerate(groups):
                if group.index == picked[1]:
                    return row
        return min(self.cursor.group_row, len(groups) - 1)

    @property
    def group(self) -> GroupRecord | None:
        """The selected group."""
        groups = self.groups
        row = self.row_of(groups)
        return groups[row] if row is not None else None

    @property
    def completion(self) -> CompletionRecord | None:
        """The selected answer."""
        group = self.group
        if group is None or not group.completions:
            return None
        return group.completions[min(self.cursor.answer, len(group.completions) - 1)]

    @property
    def progress_text(self) -> str:
        """How far the present phase is, as ``412/2048 tok``; empty where nobody counts."""
        gauge = self.phase_gauge
        if gauge is None:
            return ""
        return f"{gauge.done}/{gauge.total} {clean(gauge.unit)}".rstrip()

    @property
    def phase_gauge(self) -> Progress | None:
        """The gauge, if it is of the phase in progress."""
        gauge, current = self.gauge, self.state.current
        if (
            gauge is None
            or current is None
            or gauge.step != current.step
            or gauge.phase is not self.state.phase
            or gauge.of
        ):
            return None
        return gauge

    @property
    def marks(self) -> Mapping[int, str]:
        """Steps from which on a setting was another, or that were changed by hand, with words for each, for the charts.

        The same object as long as nothing changes, so that panels can tell.
        """
        changes, acts = self.state.settings_changes, self.state.acts
        if changes is not self._marked or acts is not self._marked_acts:
            self._marked, self._marked_acts = changes, acts
            marks = {step: mark_label(pairs) for step, pairs in net_changes(changes).items()}
            for step in steps_acted_on(acts):
                marks[step] = f"{marks[step]}, by hand" if step in marks else "by hand"
            self._marks = dict(sorted(marks.items()))
        return self._marks

    # --- moving ------------------------------------------------------------------------------------------

    def move_group(self, by: int) -> None:
        """Select another group."""
        groups = self.groups
        row = self.row_of(groups)
        if row is not None:
            self.pick_row(max(0, min(len(groups) - 1, row + by)))

    def pick_row(self, row: int) -> None:
        """Select the group in this row of the list."""
        groups = self.groups
        if 0 <= row < len(groups):
            picked = (self.shown_step, groups[row].index)
            same = picked == self.cursor.picked
            answer, token = (self.cursor.answer, self.cursor.token) if same else (0, 0)
            self.cursor = replace(self.cursor, group_row=row, picked=picked, answer=answer, token=token)

    def move_answer(self, by: int) -> None:
        """Select another answer of the group."""
        group = self.group
        if group is not None and group.completions:
            last = len(group.completions) - 1
            self.pick_answer(max(0, min(last, min(self.cursor.answer, last) + by)))

    def pick_answer(self, row: int) -> None:
        """Select the answer in this row; the group stays picked while its step is shown."""
        group = self.group
        if group is not None and 0 <= row < len(group.completions):
            picked = (self.shown_step, group.index)
            group_row = self.row_of(self.groups) or 0
            token = self.cursor.token if row == self.cursor.answer else 0
            self.cursor = replace(self.cursor, answer=row, picked=picked, group_row=group_row, token=token)

    def move_token(self, by: int) -> None:
        """Look at another token of the answer."""
        self.pick_token(self.token + by)

    def pick_token(self, token: int) -> None:
        """Look at this token of the answer, or at the nearest there is."""
        completion = self.completion
        if completion is not None:
            self.cursor = replace(self.cursor, token=max(0, min(token, completion.num_tokens - 1)))

    @property
    def token(self) -> int:
        """The token looked at; 0 where the answer has none."""
        completion = self.completion
        last = completion.num_tokens - 1 if completion is not None else 0
        return max(0, min(self.cursor.token, last))

    def hold(self) -> None:
        """Stay at the step that is looked at while the training goes on: one does not read what is taken away."""
        detail = self.detail
        if self.is_live and detail is not None and detail.groups:
            group = self.group
            picked = (detail.step, group.index) if group is not None else None
            self._held_at = detail.step
            self.cursor = replace(self.cursor, step=detail.step, picked=picked)

    def release(self) -> None:
        """Follow the training again, if it was only left by :meth:`hold`."""
        if self._held_at is not None and self._held_at == self.cursor.step:
            self.cursor = replace(self.cursor, step=None)
        self._held_at = None

    def move_step(self, by: int) -> bool:
        """Look at an earlier or later finished step; going past the last returns to live."""
        history = self.state.history
        if not history or (self.is_live and by > 0):
            return False
        last = len(history) - 1
        here = self.cursor.step if self.cursor.step is not None else self.shown_step
        place = bisect_left(history, here, key=lambda metrics: metrics.step) + by
        place = max(0, place)
        if place > last or (place == last and by > 0 and self.state.current is None):
            self.go_live()
            return True
        return self.look_at(history[place].step)

    def look_at(self, step: int, group_index: int | None = None, answer: int = 0, token: int = 0) -> bool:
        """Look at a step, and at one of its groups, answers and tokens; return whether that is another step."""
        moved = step != self.cursor.step
        picked = (step, group_index) if group_index is not None else None
        if moved or picked is not None:
            self._held_at = None
            answer, token = (answer, token) if picked else (0, 0)
            self.cursor = replace(self.cursor, step=step, picked=picked, answer=answer, token=token)
        return moved

    def go_to_step(self, step: int) -> bool:
        """Look at a finished step; the last one is looked at live when nothing is in progress."""
        if not any(m.step == step for m in self.state.history):
            return False
        if step == self.state.last_step and self.state.current is None:
            self.go_live()
        else:
            self._held_at = None
            self.cursor = replace(self.cursor, step=step, picked=None, token=0)
        return True

    def go_live(self) -> None:
        """Follow the training again."""
        self._held_at = None
        self.cursor = replace(self.cursor, step=None, picked=None, token=0)

    @property
    def glance(self) -> Glance | None:
        """The selected answer with everything that can be said of its tokens."""
        completion, step = self.completion, self.shown_step
        if completion is None:
            return None
        seen = self.inspections.current
        return Glance(
            completion=completion,
            step=step,
            updated=step <= self.state.last_step,
            inspected=seen,
            missing="" if seen is not None else self.inspections.why_not,
            source=self.lens.source,
        )

    @property
    def counterpart(self) -> CompletionRecord | None:
        """The answer of the same group that the selected one is held against."""
        group, completion = self.group, self.completion
        if group is None or completion is None or len(group.completions) < 2:
            return None
        others = counterparts(group.completions, completion)
        return others[self.lens.versus % len(others)]

    def earlier_groups(self) -> tuple[Visit, ...] | None:
        """Every group that the selected prompt had in finished steps, oldest first; None while that is found out."""
        group = self.group
        return None if group is None else self.earlier.of(group.problem, self.state.last_step)

    def cycle_sort(self) -> str:
        """Sort the groups the next way; the selected group stays selected."""
        group = self.group
        self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
        if group is not None and self.cursor.picked is not None:
            self.cursor = replace(self.cursor, picked=(self.shown_step, group.index))
        return self.sort


def _prompts_per_step(config_toml: str) -> int:
    """Groups of one step as the run's settings say; 0 where they cannot be read."""
    try:
        return int(tomllib.loads(config_toml)["sampling"]["prompts_per_step"])
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError):
        return 0


def in_order(groups: Sequence[GroupRecord], sort: str) -> list[GroupRecord]:
    """The groups as one of :data:`SORTS` wants them."""
    if sort == "signal":
        return sorted(groups, key=lambda group: (-(group.reward_std or 0.0), group.index))
    if sort == "reward":
        return sorted(groups, key=lambda group: (-(group.reward_mean or 0.0), group.index))
    return list(groups)
