"""A session whose events the test hands out one by one; commands are recorded, and obeyed only if asked to."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from grpo_tui.events.commands import Command
from grpo_tui.events.fold import reduce
from grpo_tui.events.records import ProblemRecord, StepDetail
from grpo_tui.events.state import RunState
from grpo_tui.events.types import Event, Preview, Progress
from grpo_tui.runs.lines import Visit
from rewards.base import Verdict


class ScriptedSession:
    """Implements :class:`grpo_tui.tui.session.Session` over a queue that the test fills."""

    def __init__(self, events: Iterable[Event] = (), *, read_only: bool = False) -> None:
        self._queue: deque[Event] = deque(events)
        self._state = RunState()
        self._read_only = read_only
        self.started = False
        self.commands: list[Command] = []
        self.progress: Progress | None = None
        self.watched: list[int | None] = []
        self.seen: Preview | None = None
        self.steps: dict[int, StepDetail] = {}
        self.loaded: list[int] = []
        self.is_alive = True
        self.drained = 0
        self.closed = False

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def alive(self) -> bool:
        return self.is_alive

    def start(self) -> None:
        self.started = True

    def play(self, *events: Event) -> None:
        """Let these events happen."""
        self._queue.extend(events)

    def drain(self, limit: int) -> Sequence[Event]:
        taken = [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]
        self.drained += len(taken)
        for event in taken:
            self._remember(event)
        return taken

    def _remember(self, event: Event) -> None:
        self._state = reduce(self._state, event)
        for detail in self._state.recent[-1:]:
            self.steps[detail.step] = detail

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def gauge(self) -> Progress | None:
        return self.progress

    def watch(self, group: int | None) -> None:
        self.watched.append(group)

    def preview(self) -> Preview | None:
        return self.seen

    def send(self, command: Command) -> None:
        self.commands.append(command)

    def groups_of_problem(self, problem: ProblemRecord) -> Sequence[Visit]:
        """As the run file would answer from the steps that have happened."""
        found = []
        for step, detail in sorted(self.steps.items()):
            for group in detail.groups:
                if group.problem == problem:
                    right = sum(c.verdict is Verdict.CORRECT for c in group.completions)
                    found.append(
                        Visit(
                            step=step,
                            group_index=group.index,
                            num_completions=len(group.completions),
                            num_correct=right,
                            num_judged=len(group.completions),
                            reward_mean=group.reward_mean,
                        )
                    )
        return found

    def close(self) -> None:
        self.closed = True

    def load_step(self, step: int) -> StepDetail | None:
        self.loaded.append(step)
        return self.steps.get(step)
