"""Health on screen: the worst first, what is well in a line, and the room with the advice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from grpo_tui.events.types import Event, StepFinished
from grpo_tui.tui.panels.health import NOT_YET
from grpo_tui.tui.screens.health import HealthScreen
from grpo_tui.tui.screens.live import LiveScreen
from tests.support.apps import Stage, mid_training, paused_after, stage, wait_for
from tests.support.builders import ScriptedRun


def ill(event: Event) -> Event:
    """The same step, long-winded and undecided about nothing."""
    if not isinstance(event, StepFinished):
        return event
    return replace(event, metrics=replace(event.metrics, num_truncated=10, entropy=0.01))


def ill_run() -> list[Event]:
    return [ill(event) for event in mid_training(ScriptedRun())]


def report(it: Stage) -> str:
    assert isinstance(it.app.screen, HealthScreen)
    return it.app.screen.query_one("#report").plain  # type: ignore[attr-defined, no-any-return]


async def test_the_worst_stands_first_and_what_is_well_in_one_line() -> None:
    async with stage(ill_run()) as it:
        first, second, *rest = it.text("health").splitlines()
        assert first == "⚠ entropy 0.010 nats"
        assert second.startswith("◇ truncation 16% of 640 cut")
        assert rest[0].startswith("✓ held-out · dead groups")


async def test_nothing_is_said_before_there_is_enough() -> None:
    script = ScriptedRun()
    async with stage([*script.loading(), script.ready()], script=script) as it:
        assert it.text("health") == NOT_YET


async def test_enter_opens_evidence_advice_and_settings_and_escape_comes_back() -> None:
    async with stage(ill_run()) as it:
        it.panel("health").focus()
        await it.press("enter")
        await wait_for(lambda: isinstance(it.app.screen, HealthScreen) and report(it))
        text = report(it)
        assert "0.010 nats a token, mean of the last 10 steps" in text
        assert "→ The policy stops exploring" in text
        assert "sampling.temperature 1" in text, "with its present value"
        assert text.index("entropy") < text.index("truncation") < text.index("held-out")
        await it.press("escape")
        assert isinstance(it.app.screen, LiveScreen)


async def test_h_opens_it_from_anywhere_and_time_moves_in_it() -> None:
    async with stage(ill_run()) as it:
        await it.press("h")
        await wait_for(lambda: isinstance(it.app.screen, HealthScreen) and "0.010" in report(it))
        for _ in range(3):
            await it.press("left_square_bracket")
        assert it.view.cursor.step == 36
        title = it.app.screen.query_one("#report").border_title
        assert "after step 36" in str(title)
        await it.press("h")
        assert isinstance(it.app.screen, LiveScreen)


async def test_a_past_step_shows_the_health_it_had() -> None:
    events = [
        ill(event) if isinstance(event, StepFinished) and event.metrics.step > 30 else event
        for event in mid_training(ScriptedRun())
    ]
    async with stage(events) as it:
        assert "◇ truncation" in it.text("health")
        assert it.view.go_to_step(30)
        await it.settle()
        assert "◇ truncation" not in it.text("health")


async def test_health_is_examined_once_a_step_and_not_at_every_tick() -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 20), script=script) as it:
        panel = it.panel("health")
        builds = panel.builds
        for _ in range(5):
            it.live.sync_view()
        assert panel.builds == builds
        it.session.play(*(event for _, event in script.step(21)))
        await it.settle()
        assert panel.builds > builds


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (100, 20), (120, 40), (200, 60)])
async def test_every_size_has_its_health_or_its_room(size: tuple[int, int]) -> None:
    async with stage(ill_run(), size=size) as it:
        if size != (40, 12):
            assert it.panel("health").display
            assert it.text("health").startswith("⚠ entropy")
        await it.press("h")
        await wait_for(lambda: isinstance(it.app.screen, HealthScreen) and "⚠ entropy" in report(it))


async def test_a_large_screen_gives_the_advice_at_once() -> None:
    async with stage(ill_run(), size=(200, 60)) as it:
        assert "The policy stops exploring" in it.text("health")
