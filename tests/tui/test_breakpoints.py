"""The Breakpoints room: written, checked as typed, tried on the step looked at, set, switched, taken away."""

from __future__ import annotations

import pytest
from textual.widgets import Input

from grpo_tui.events.breakpoints import Breakpoint
from grpo_tui.events.commands import Command, RemoveBreakpoint, SetBreakpoint
from grpo_tui.events.measures import NAMES
from grpo_tui.events.records import PHASES, Mode, Phase
from grpo_tui.events.types import BreakpointsChanged, ModeChanged, RequestFailed, RunEnded
from grpo_tui.tui.breaking import EXAMPLES, check_line, offers
from grpo_tui.tui.palette import palette_commands
from grpo_tui.tui.panels.breakpoints import BreakpointsPanel, CheckPanel, GuidePanel
from grpo_tui.tui.screens.breakpoints import BreakpointsScreen
from grpo_tui.tui.screens.response import ResponseScreen
from grpo_tui.tui.text import clean
from tests.support.apps import Stage, stage, wait_for
from tests.support.builders import T0, ScriptedRun
from tests.support.debugging import STEP, stopped
from tests.tui.hostile import HOSTILE

FIRST = Breakpoint(id=1, condition="any group: dead")
SECOND = Breakpoint(id=2, phase=Phase.UPDATE, enabled=False)


def told(*breakpoints: Breakpoint) -> BreakpointsChanged:
    return BreakpointsChanged(time=T0, breakpoints=breakpoints)


def room(it: Stage) -> BreakpointsScreen:
    assert isinstance(it.app.screen, BreakpointsScreen)
    return it.app.screen


def listed(it: Stage) -> str:
    return room(it).query_one("#list", BreakpointsPanel).plain


def said(it: Stage) -> str:
    return room(it).query_one("#check", CheckPanel).plain


async def open_room(it: Stage, *breakpoints: Breakpoint) -> None:
    if breakpoints:
        await it.play(told(*breakpoints))
    await it.press("B")
    await wait_for(lambda: isinstance(it.app.screen, BreakpointsScreen) and it.app.screen.focused)
    await wait_for(lambda: listed(it))


async def write(it: Stage, text: str) -> None:
    room(it).query_one("#line", Input).value = text
    await wait_for(lambda: room(it).check.text == text)
    await it.pilot.pause()


def sent(it: Stage) -> list[Command]:
    return [c for c in it.session.commands if isinstance(c, (SetBreakpoint, RemoveBreakpoint))]


async def test_typing_begins_at_once_and_an_error_has_its_column_under_a_caret() -> None:
    async with stage() as it:
        await open_room(it)
        await it.press(*"any", "space", *"group")
        assert room(it).line.value == "any group"
        await write(it, "any group: sdd == 0")
        line, caret, why = said(it).splitlines()[:3]
        assert line[caret.index("^") :].startswith("sdd == 0")
        assert why.startswith("column 12: no measure 'sdd' of a group; did you mean sd?")
        await it.press("enter")
        assert sent(it) == []
        assert room(it).line.value == "any group: sdd == 0"


async def test_a_condition_is_tried_on_the_step_looked_at_before_it_is_set() -> None:
    async with stage() as it:
        await open_room(it)
        await write(it, "any group: dead")
        dead = [group for group in it.view.state.current.groups if group.degenerate]  # type: ignore[union-attr]
        assert dead
        matches = "match" if len(dead) == 1 else "matches"
        assert said(it).startswith(f"would stop step {STEP}: {len(dead)} {matches}; Enter sets it")
        for group in dead:
            assert f"g{group.index + 1}: dead = 1" in said(it)
        assert sent(it) == []
        await write(it, "no group: size > 0")
        assert said(it).startswith(f"would not stop step {STEP}")


async def test_a_change_is_tried_against_the_step_before() -> None:
    async with stage() as it:
        await it.press("left_square_bracket")
        step = it.view.shown_step
        history = {m.step: m.reward_mean for m in it.view.state.history}
        change = history[step] - history[step - 1]
        way, least = ("jumped", change) if change > 0 else ("fell", -change)
        await open_room(it)
        await write(it, f"reward {way} > {least - 0.001:.6f}")
        assert f"would stop step {step}: 1 match" in said(it)
        await write(it, f"reward {way} > {least + 0.001:.6f}")
        assert f"would not stop step {step}" in said(it)


async def test_enter_sets_it_and_the_list_says_that_it_waits() -> None:
    async with stage() as it:
        await open_room(it)
        await write(it, " any group: sd == 0 & mean > .5 ")
        await it.press("enter")
        assert sent(it) == [SetBreakpoint(condition="any group: sd == 0 & mean > .5")]
        assert "◌ waits for the end of the phase: any group: sd == 0" in listed(it)
        assert it.focused == "list"
        assert room(it).line.value == ""
        await it.play(told(Breakpoint(id=1, condition="any group: sd == 0 & mean > .5")))
        await wait_for(lambda: "◌" not in listed(it))
        assert "  1 ● any group: sd == 0 & mean > .5" in listed(it)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_plain_stop_at_each_phase(phase: Phase, when: str) -> None:
    read = check_line(f"{when} {phase}")
    if (when, phase) == ("before", Phase.EMIT):
        assert "stop after update instead" in read.error
        assert read.column == len("before ")
    else:
        assert read.breakpoint == Breakpoint(id=0, phase=phase, after=when == "after")
        assert f"{when} {phase}" in {offer.text for offer in offers()}


def test_a_phase_that_is_none_is_told_with_its_place() -> None:
    read = check_line("  before updat")
    assert read.column == len("  before ")
    assert "did you mean update?" in read.error


async def test_a_plain_stop_is_set_from_the_line() -> None:
    async with stage() as it:
        await open_room(it)
        await write(it, "after score")
        assert said(it).startswith("stops every step after score; Enter sets it")
        await it.press("enter")
        assert sent(it) == [SetBreakpoint(phase="score", after=True)]


async def test_switch_once_and_delete() -> None:
    async with stage() as it:
        await open_room(it, FIRST, SECOND)
        assert it.focused == "list"
        await it.press("space")
        await it.press("down")
        await it.press("space", "o", "d")
        assert sent(it) == [
            SetBreakpoint(id=1, condition="any group: dead", enabled=False),
            SetBreakpoint(id=2, phase="update", enabled=True),
            SetBreakpoint(id=2, phase="update", enabled=False, once=True),
            RemoveBreakpoint(2),
        ]
        assert "  2 ○ before update  off" in listed(it)


async def test_edit_keeps_number_and_once() -> None:
    async with stage() as it:
        await open_room(it, Breakpoint(id=7, condition="reward > 2", once=True))
        assert "reward > 2  once" in listed(it)
        await it.press("enter")
        assert room(it).line.value == "reward > 2"
        assert it.focused == "line"
        await write(it, "reward > 3")
        await it.press("enter")
        assert sent(it) == [SetBreakpoint(id=7, condition="reward > 3", once=True)]


async def test_the_same_twice_is_not_set() -> None:
    async with stage() as it:
        await open_room(it, FIRST)
        await it.press("a")
        await write(it, "any group: dead")
        await it.press("enter")
        assert sent(it) == []
        assert "breakpoint 1 is this one already" in said(it)


async def test_the_guide_has_examples_that_can_be_read_and_every_measure_with_its_meaning() -> None:
    for text, _ in EXAMPLES:
        assert check_line(text).breakpoint is not None, text
    async with stage(size=(200, 120)) as it:
        await open_room(it)
        text = room(it).query_one("#guide", GuidePanel).plain
        for measures in NAMES.values():
            for name, measure in measures.items():
                assert name in text
                assert measure.help in text


async def test_enter_in_the_guide_puts_it_into_the_line() -> None:
    async with stage() as it:
        await open_room(it)
        guide = room(it).query_one("#guide", GuidePanel)
        guide.focus()
        await it.press("down", "enter")
        assert room(it).line.value == EXAMPLES[1][0]
        assert it.focused == "line"
        await write(it, "any group:")
        room(it).line.cursor_position = len("any group:")
        guide.row = next(row for row, offer in enumerate(guide.offers) if offer.text == "form_only")
        guide.focus()
        await it.press("enter")
        assert room(it).line.value == "any group:form_only "
        assert room(it).check.checked.breakpoint is not None


async def test_the_guide_goes_over_headings_and_stays_inside() -> None:
    guide = GuidePanel()
    seen = set()
    for _ in range(2 * len(guide.offers)):
        seen.add(guide.row)
        guide.move(1)
    assert all(guide.offers[row].text for row in seen)
    assert len(seen) == sum(bool(offer.text) for offer in guide.offers)
    guide.move(-10_000)
    assert guide.names(guide.row)


async def test_b_from_a_room_and_back_to_it() -> None:
    async with stage() as it:
        await it.press("3")
        await wait_for(lambda: isinstance(it.app.screen, ResponseScreen))
        await open_room(it, FIRST)
        await it.press("escape")
        await wait_for(lambda: isinstance(it.app.screen, ResponseScreen))


async def test_from_breakpoints_to_another_room_leaves_no_room_behind() -> None:
    async with stage() as it:
        await it.press("3")
        await open_room(it, FIRST)
        await it.press("2")
        await wait_for(lambda: it.app.screen.id == "group")
        assert [screen.id for screen in it.app.screen_stack][1:] == ["live", "group"]


async def test_escape_leaves_the_line_before_the_room() -> None:
    async with stage() as it:
        await open_room(it)
        await write(it, "reward > 1")
        await it.press("escape")
        assert room(it).line.value == ""
        assert it.focused == "list"
        await it.press("escape")
        await wait_for(lambda: it.app.screen.id == "live")


async def test_what_the_engine_refuses_is_told() -> None:
    async with stage() as it:
        await open_room(it)
        await write(it, "reward > 1")
        await it.press("enter")
        await it.play(RequestFailed(time=T0, request="SetBreakpoint", message="there is no breakpoint 9"))
        await wait_for(lambda: "✖ there is no breakpoint 9" in listed(it))
        assert "◌" not in listed(it)


async def test_a_recording_and_a_run_that_ended_take_none() -> None:
    async with stage(read_only=True) as it:
        await open_room(it)
        await it.press("a", "x")
        assert room(it).line.value == ""
        assert "a recording stops nowhere" in listed(it)
    async with stage() as it:
        await it.play(RunEnded(time=T0, reason="stopped", finished_steps=38))
        await open_room(it)
        await write(it, "reward > 1")
        room(it).line.focus()
        await it.press("enter")
        assert sent(it) == []
        assert "the run has ended" in said(it)


async def test_the_hit_is_marked_in_the_list() -> None:
    script = ScriptedRun()
    async with stage(stopped(script), script=script) as it:
        await open_room(it)
        assert "any group: dead  ‖ stopped here" in listed(it)
        assert f"stopped before UPDATE of step {STEP}" in said(it)
        assert "g5: dead = 1 (+1 more)" in said(it)


async def test_space_runs_and_pauses_where_the_list_has_not_the_focus() -> None:
    async with stage() as it:
        await open_room(it, FIRST)
        room(it).query_one("#guide").focus()
        await it.pilot.pause()
        await it.press("space")
        assert sent(it) == []
        assert len(it.session.commands) == 1


async def test_the_palette_has_the_room_and_its_actions() -> None:
    async with stage() as it:
        titles = [command.title for command in palette_commands(it.app, it.app.screen)]
        assert "Breakpoints  (B)" in titles
        assert "Breakpoints: Add  (a)" in titles


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_conditions(text: str) -> None:
    async with stage(size=(80, 24)) as it:
        await open_room(it, Breakpoint(id=1, condition=text or "x"))
        await write(it, clean(text.replace("\n", " ")[:600]))
        await it.press("enter")
        room(it).sync_view(force=True)
        it.app.export_screenshot()
        assert "\x1b" not in listed(it) + said(it)


@pytest.mark.parametrize("size", [(10, 4), (40, 12), (60, 16), (80, 24), (120, 40), (200, 60)])
async def test_at_every_size(size: tuple[int, int]) -> None:
    async with stage(size=size) as it:
        await it.play(told(FIRST, SECOND), ModeChanged(time=T0, mode=Mode.PAUSED, detail="before update"))
        await it.press("B")
        await wait_for(lambda: it.app.screen.id == "breakpoints")
        await it.press("a", "r", "e", "enter", "tab", "down", "enter", "escape", "escape")
        it.app.export_screenshot()
