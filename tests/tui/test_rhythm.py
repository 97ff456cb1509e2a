"""How often the screen looks: its share of the processor while nobody is there, the usual rhythm otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from grpo_tui.events.records import Mode
from grpo_tui.tui.app import KEYS_SECONDS
from grpo_tui.tui.rhythm import LIVELY_SECONDS, LONGEST, SHARE, TICK, Rhythm
from tests.support.apps import stage
from tests.support.builders import ScriptedRun


@dataclass
class Clock:
    now: float = 100.0
    spent: float = 1.0

    def rhythm(self, *, spares: bool = True) -> Rhythm:
        return Rhythm(spares=spares, now=lambda: self.now, spent=lambda: self.spent)

    def work(self, seconds: float, *, pause: float = 0.0) -> None:
        self.spent += seconds
        self.now += seconds + pause


def test_a_look_that_costs_much_is_followed_by_a_long_wait() -> None:
    """Seen to fail with: what was spent counted from the start."""
    clock = Clock()
    rhythm = clock.rhythm()
    clock.work(0.5, pause=LIVELY_SECONDS)
    rhythm.next_wait(trains=True)
    clock.work(0.2 * SHARE)
    assert rhythm.next_wait(trains=True) == pytest.approx(0.2)
    clock.work(1.0)
    assert rhythm.next_wait(trains=True) == LONGEST
    clock.work(0.0001)
    assert rhythm.next_wait(trains=True) == TICK


@pytest.mark.parametrize("spares", [True, False])
@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize("touched", [True, False])
def test_the_usual_rhythm_while_there_is_nothing_to_spare_or_someone_to_see(
    spares: bool, trains: bool, touched: bool
) -> None:
    clock = Clock()
    rhythm = clock.rhythm(spares=spares)
    clock.work(0.0, pause=LIVELY_SECONDS + 1)
    if touched:
        rhythm.touch()
    clock.work(0.1)
    slow = spares and trains and not touched
    assert rhythm.next_wait(trains=trains) == (LONGEST if slow else TICK)


async def test_a_key_ends_a_long_wait() -> None:
    """Seen to fail with: the key noted, and the timer left as it was."""
    async with stage(ScriptedRun().whole(2)) as on:
        app = on.app
        app._tick_in(60.0)
        waiting = app._tick_at
        await on.pilot.press("j")
        assert app._tick_at < waiting - 50


async def test_while_training_runs_the_keys_on_offer_follow_it_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen to fail with: every change followed at once; what a person did made to wait."""
    script = ScriptedRun()
    async with stage([*script.whole(2), script.ready(Mode.RUNNING, "")], script=script) as on:
        app, now = on.app, [1000.0]
        monkeypatch.setattr("grpo_tui.tui.app.time.monotonic", lambda: now[0])
        asked: list[float] = []
        monkeypatch.setattr(app, "refresh_bindings", lambda: asked.append(now[0]))
        app._keys_at = now[0]
        history = on.view.state.history
        for done in (1, 2, 1):
            on.view.state = replace(on.view.state, history=history[:done])
            app.sync()
            now[0] += 0.1
        assert not asked
        on.view.cursor = replace(on.view.cursor, step=1)
        app.sync()
        assert len(asked) == 1
        on.view.state = replace(on.view.state, history=history)
        app.sync()
        assert len(asked) == 1
        now[0] += KEYS_SECONDS
        app.sync()
        assert len(asked) == 2
