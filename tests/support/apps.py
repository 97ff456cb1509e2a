"""The app over a scripted session, and patience that waits for a condition rather than for a clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from textual.pilot import Pilot

from grpo_tui.events.records import Mode, Phase
from grpo_tui.events.types import Event, PhaseStarted, Progress, TrainerFailed
from grpo_tui.preferences.values import Preferences
from grpo_tui.tui.app import GrpoApp
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.screens.live import LiveScreen
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView
from tests.support.builders import T0, ScriptedRun
from tests.support.scripted_session import ScriptedSession

HISTORY = 38


@dataclass
class Stage:
    """A running app and everything a test asks of it."""

    app: GrpoApp
    pilot: Pilot[int]
    session: ScriptedSession
    script: ScriptedRun

    @property
    def view(self) -> RunView:
        assert self.app.view is not None
        return self.app.view

    @property
    def live(self) -> LiveScreen:
        assert isinstance(self.app.screen, LiveScreen)
        return self.app.screen

    def panel(self, name: str) -> Panel:
        return next(s for s in self.app.screen_stack if isinstance(s, LiveScreen)).query_one(
            f"#{name}", Panel
        )

    def text(self, name: str) -> str:
        return self.panel(name).plain

    def here(self, name: str) -> str:
        """What a panel, or any other list of lines, of the screen on top says."""
        return self.app.screen.query_one(f"#{name}", LinesView).plain

    @property
    def keys(self) -> str:
        return self.app.screen.query_one(KeyBar).plain

    @property
    def focused(self) -> str | None:
        focused = self.app.screen.focused
        return focused.id if focused is not None else None

    async def play(self, *events: Event) -> None:
        """Let events happen, and wait until they are on screen."""
        self.session.play(*events)
        await self.settle()

    async def settle(self) -> None:
        """Wait until the view has everything, and repaint all panels and the key bar, however young their last paint."""
        await wait_for(
            lambda: (
                self.app.view is None
                or (self.session.waiting == 0 and self.app.view.gauge is self.session.progress)
            )
        )
        await self.pilot.pause()
        for screen in self.app.screen_stack:
            if isinstance(screen, LiveScreen) and screen.is_current:
                screen.sync_view(force=True)
        if self.app.view is not None:
            self.app._keys_at = float("-inf")
            self.app._refresh_keys(self.app.view)
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)


async def wait_for(condition: Callable[[], object], seconds: float = 40.0) -> None:
    """Wait until a condition holds; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def stage(
    events: Iterable[Event] | None = None,
    *,
    size: tuple[int, int] = (120, 40),
    script: ScriptedRun | None = None,
    read_only: bool = False,
    preferences: Preferences | None = None,
    run_dir: Path | None = None,
) -> AsyncIterator[Stage]:
    """An app in the Live room; by default in the middle of step 39, its update under way."""
    script = script or ScriptedRun()
    session = ScriptedSession(mid_training(script) if events is None else events, read_only=read_only)
    if events is None:
        session.progress = Progress(
            step=HISTORY + 1, phase=Phase.UPDATE, done=3, total=8, unit="mb", tokens_per_second=492.0
        )
    app = GrpoApp(runs_root=Path("no-runs-here"), preferences=preferences, now=lambda: T0 + 6.0)
    app.open_first = lambda: app.open_session(session, run_dir, paused=True)  # type: ignore[method-assign]
    async with app.run_test(size=size) as pilot:
        made = Stage(app, pilot, session, script)
        await made.settle()
        yield made


def mid_training(script: ScriptedRun) -> list[Event]:
    """Loading, 38 finished steps, and step 39 up to the start of its update."""
    events = list(script.whole(HISTORY))
    for _, event in script.step(HISTORY + 1):
        events.append(event)
        if isinstance(event, PhaseStarted) and event.phase is Phase.UPDATE:
            break
    return events


def paused_after(script: ScriptedRun, steps: int) -> list[Event]:
    """Loading and some finished steps, then paused between steps."""
    return [*script.whole(steps), script.ready(Mode.PAUSED, f"before step {steps + 1}")]


def failure(
    *, step: int = 39, can_retry: bool = True, message: str = "CUDA out of memory. Tried 2.00 GiB"
) -> TrainerFailed:
    """An error of the engine."""
    return TrainerFailed(
        time=T0 + 200,
        step=step,
        kind="OutOfMemoryError",
        message=message,
        advice="Make sampling.group_size smaller, then retry.",
        traceback='Traceback (most recent call last):\n  File "engine.py", line 7, in step\nOutOfMemoryError',
        can_retry=can_retry,
    )
