"""Stopped before the update: why, what can be changed, what was, and how it is taken back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.widgets import Input

from grpo_tui.events.breakpoints import Breakpoint, Hit, Match
from grpo_tui.events.commands import (
    Command,
    DrawMore,
    Exclude,
    ForkResponse,
    InspectCompletion,
    OverrideReward,
    OverrideVerdict,
    Request,
    Reroll,
    Resume,
    UndoAct,
)
from grpo_tui.events.records import Mode, Phase
from grpo_tui.events.types import (
    Event,
    GroupSampled,
    ModeChanged,
    PhaseStarted,
    RequestFailed,
    StepStarted,
)
from grpo_tui.tui.acting import ACTS, describe, standing, steps_acted_on
from grpo_tui.tui.palette import palette_commands
from grpo_tui.tui.panels.acts import act_lines, hit_line
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.screens.ask import AskScreen
from grpo_tui.tui.screens.response import ResponseScreen
from grpo_tui.tui.text import cells
from grpo_tui.tui.widgets.lines import LinesView
from rewards.base import Verdict
from tests.support.apps import HISTORY, Stage, failure, stage, wait_for
from tests.support.builders import T0, ScriptedRun
from tests.support.debugging import STEP, act, changed, forked, hit_at, stopped, until
from tests.support.looking import inspected
from tests.tui.hostile import HOSTILE


def sent(it: Stage) -> list[Command]:
    return [c for c in it.session.commands if isinstance(c, Request) and not isinstance(c, InspectCompletion)]


def bar(it: Stage) -> str:
    it.app.screen.sync_view(force=True)  # type: ignore[attr-defined]
    return it.app.screen.query_one("#acts", Panel).plain


def marks(it: Stage) -> list[int]:
    return list(it.view.marks)


def the_stop(phase: Phase = Phase.UPDATE) -> tuple[ScriptedRun, list[Event]]:
    script = ScriptedRun()
    return script, stopped(script, phase)


async def asked(it: Stage) -> AskScreen:
    await wait_for(lambda: isinstance(it.app.screen, AskScreen) and it.app.screen.focused is not None)
    assert isinstance(it.app.screen, AskScreen)
    return it.app.screen


# --- the stop ------------------------------------------------------------------------------------------------


async def test_a_hit_says_where_why_and_with_which_numbers() -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        text = it.text("acts")
        assert "stopped before UPDATE of step 39 by 'any group: dead': g5: dead = 1 (+1 more)" in text
        assert "O verdict is wrong" in text
        assert "‖ BREAK before update" in it.text("header")
        assert "O verdict" in it.keys
        assert "x keep out" in it.keys


async def test_a_hit_puts_the_cursor_on_the_first_match() -> None:
    script = ScriptedRun()
    found = (Match(sentence="step"), Match(sentence="g7·r4: reward = 0", group=6, completion=3))
    async with stage(stopped(script, matches=found), script=script) as it:
        assert it.view.group is not None
        assert it.view.completion is not None
        assert (it.view.group.index, it.view.completion.index) == (6, 3)
        assert it.view.is_live


async def test_who_reads_a_past_step_is_left_there() -> None:
    script = ScriptedRun()
    async with stage(until(script, Phase.UPDATE), script=script) as it:
        await it.press("left_square_bracket", "left_square_bracket")
        before = it.view.cursor
        await it.play(*hit_at(matches=[Match(sentence="g5", group=4)]))
        assert it.view.cursor == before
        assert "stopped before UPDATE of step 39" in bar(it)
        assert "only step 39, which is in progress, can be changed: L goes there" in bar(it)


async def test_going_on_takes_the_lines_away() -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        await it.press("space")
        assert [type(c) for c in it.session.commands] == [Resume]
        await it.play(ModeChanged(time=T0, mode=Mode.RUNNING))
        assert not it.panel("acts").display


async def test_a_plain_stop_behind_a_phase() -> None:
    script = ScriptedRun()
    after = Breakpoint(id=3, phase=Phase.SCORE, after=True)
    events = [*until(script, Phase.ADVANTAGES), *hit_at(Phase.SCORE, breakpoint=after)]
    async with stage(events, script=script) as it:
        assert "stopped after SCORE of step 39 by breakpoint 3" in it.text("acts")


def test_a_narrow_line_keeps_the_numbers_and_gives_up_the_condition() -> None:
    long = Breakpoint(id=1, condition="any group: sd == 0 and mean_length > 150 and mean < 0.5")
    found = (Match(sentence="g6: sd = 0, mean_length = 160, mean = 0"),)
    hit = Hit(breakpoint=long, step=47, phase=Phase.UPDATE, matches=found)
    for width in (78, 100, 118, 198):
        text = "".join(part for part, _ in hit_line(hit, width, keys=True))
        assert found[0].sentence in text or width < 90
        assert "stopped before UPDATE of step 47 by 'any group:" in text
        assert cells(text) <= width
    assert "Space go on" in text


async def test_more_matches_than_are_told() -> None:
    script = ScriptedRun()
    found = [Match(sentence=f"g{n}: sd = 0") for n in range(1, 21)]
    async with stage(stopped(script, matches=found), script=script) as it:
        assert "g1: sd = 0 (+at least 19 more)" in it.text("acts")


# --- when it is possible ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "why"),
    [
        (Phase.SAMPLE, "only step 39"),
        (Phase.SCORE, "not all responses are drawn and judged yet: . goes on to the advantages"),
        (Phase.ADVANTAGES, ""),
        (Phase.REFERENCE, ""),
        (Phase.UPDATE, ""),
        (Phase.EMIT, "the update of step 39 has begun"),
    ],
)
async def test_acts_are_possible_from_the_judging_to_the_update(phase: Phase, why: str) -> None:
    script = ScriptedRun()
    events = until(script, phase)
    if phase is Phase.EMIT:
        events.append(PhaseStarted(time=T0, step=STEP, phase=Phase.EMIT))
    events.append(ModeChanged(time=T0, mode=Mode.PAUSED, detail=f"before {phase}"))
    async with stage(events, script=script) as it:
        assert it.view.acts.why_not.startswith(why)
        assert bool(it.view.acts.why_not) == bool(why)
        await it.press("x")
        assert bool(sent(it)) == (not why)
        assert ("x keep out" in it.keys) == (not why)
        if why:
            assert why in bar(it)


async def test_a_dead_key_says_why_and_the_next_phase_forgets_it() -> None:
    script = ScriptedRun()
    async with stage(until(script, Phase.SCORE), script=script) as it:
        await it.press("O")
        assert it.app.screen.id == "live"
        assert "✖ not all responses are drawn and judged yet" in bar(it)
        await it.play(PhaseStarted(time=T0, step=STEP, phase=Phase.SCORE))
        assert not it.panel("acts").display


async def test_nothing_can_be_changed_in_a_recording_or_after_an_error() -> None:
    script, events = the_stop()
    async with stage(events, script=script, read_only=True) as it:
        await it.press("x", "O", "R")
        assert it.app.screen.id == "live"
        assert sent(it) == []
        assert "a recording cannot be changed" in bar(it)
    script, events = the_stop()
    async with stage([*events, failure()], script=script) as it:
        await it.press("x")
        assert sent(it) == []
        assert it.view.dismissed is not None


async def test_the_palette_offers_every_act_there_is() -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        titles = {command.title for command in palette_commands(it.app, it.app.screen)}
        assert titles >= {
            "Verdict  (O)",
            "Keep out  (x)",
            "Keep group out  (X)",
            "Reward  (W)",
            "Draw anew  (R)",
            "More responses  (+)",
        }
        assert "Take back  (Bksp)" not in titles
        assert "Response: Fork  (f)" in titles


# --- the acts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ["live", "group", "response"])
async def test_keep_out_and_take_in_again(room: str) -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        if room != "live":
            await it.press("2" if room == "group" else "3")
            await wait_for(lambda: it.app.screen.id == room)
        await it.press("x")
        assert sent(it) == [Exclude(STEP, 4, 0, excluded=True)]
        assert "◌ g5·r1 keep out of the update: the engine is at it…" in bar(it)
        group = it.view.group
        assert group is not None
        await it.play(
            changed(group, 0, excluded=True),
            act("exclude", "g5·r1: kept out of the update", group=4, completion=0),
        )
        assert "✎ changed by you: g5·r1: kept out of the update" in bar(it)
        await it.press("x")
        assert sent(it)[1] == Exclude(STEP, 4, 0, excluded=False)


async def test_what_is_kept_out_is_marked_and_not_counted() -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        it.view.sort = "order"
        it.view.pick_row(0)
        group = it.view.group
        assert group is not None
        first = group.completions[0]
        await it.play(
            changed(group, 0, excluded=True, advantage=0.0),
            act("exclude", "g1·r1: kept out", group=0, completion=0),
        )
        row = it.text("answers").splitlines()[1]
        assert row.startswith(" 1 ")
        assert "⊖" in row
        assert "⊖1 kept out" in str(it.panel("answers").border_subtitle)
        kept = [c.reward for c in group.completions[1:]]
        assert f"mean {sum(kept) / len(kept):.2f}" in str(it.panel("answers").border_subtitle)  # type: ignore[arg-type]
        assert "✎" in it.text("groups").splitlines()[1]
        assert "⊖" in it.text("groups").splitlines()[1]
        assert all("dim" in role.split() for text, role in it.panel("answers").lines[1] if text.strip())
        assert first.verdict is not None


async def test_a_group_is_kept_out_and_drawn_anew() -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        await it.press("X", "R")
        assert sent(it) == [Exclude(STEP, 4, None, excluded=True), Reroll(STEP, 4)]
        assert "◌ g5 keep out of the update (+1 more): the engine is at it…" in bar(it)
        group = it.view.group
        assert group is not None
        out = replace(group, completions=tuple(replace(c, excluded=True) for c in group.completions))
        await it.play(GroupSampled(time=T0, step=STEP, group=out))
        await it.press("X")
        assert sent(it)[2] == Exclude(STEP, 4, None, excluded=False)


async def test_a_wrong_verdict_is_put_right_with_a_note() -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        completion = it.view.completion
        assert completion is not None
        await it.press("O")
        question = await asked(it)
        likely = Verdict.WRONG if completion.verdict is Verdict.CORRECT else Verdict.CORRECT
        choices = question.query_one("#choices", LinesView)
        assert f"▸ {'w ✗ wrong' if likely is Verdict.WRONG else 'c ✓ correct'}" in choices.plain
        await it.press("u", "tab", *"bad", "space", *"box", "enter")
        await wait_for(lambda: sent(it))
        assert sent(it) == [OverrideVerdict(STEP, 4, 0, "unparsed", "bad box")]
        assert it.app.screen.id == "live"


async def test_letters_in_the_note_choose_nothing() -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        await it.press("O")
        await asked(it)
        await it.press("w", "tab", *"cutting", "enter")
        await wait_for(lambda: sent(it))
        assert sent(it) == [OverrideVerdict(STEP, 4, 0, "wrong", "cutting")]


async def test_escape_asks_for_nothing() -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        for key in ("O", "W", "plus"):
            await it.press(key)
            await asked(it)
            await it.press("escape")
            await wait_for(lambda: it.app.screen.id == "live")
        assert sent(it) == []


@pytest.mark.parametrize(("text", "reward"), [("0.5", 0.5), ("−1", -1.0), ("1,5", 1.5)])
async def test_a_reward_by_hand(text: str, reward: float) -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        await it.press("W")
        question = await asked(it)
        question.query_one("#reward", Input).value = text
        await it.press("enter")
        await wait_for(lambda: sent(it))
        assert sent(it) == [OverrideReward(STEP, 4, 0, reward, "")]


@pytest.mark.parametrize(
    ("key", "blank", "text", "why"),
    [
        ("W", "reward", "much", "a number, such as 1 or 0.5"),
        ("W", "reward", "nan", "a number, such as 1 or 0.5"),
        ("plus", "count", "0", "a whole number from 1 to 64"),
        ("plus", "count", "65", "a whole number from 1 to 64"),
        ("plus", "count", "", "a whole number from 1 to 64"),
    ],
)
async def test_what_cannot_be_read_is_asked_again(key: str, blank: str, text: str, why: str) -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        await it.press(key)
        question = await asked(it)
        question.query_one(f"#{blank}", Input).value = text
        await it.press("enter")
        assert question.complaint == why
        assert it.app.screen is question
        assert sent(it) == []


async def test_more_responses() -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        await it.press("plus")
        await asked(it)
        await it.press("enter")
        await wait_for(lambda: sent(it))
        assert sent(it) == [DrawMore(STEP, 4, 8)]


async def test_the_step_may_have_gone_on_while_the_question_was_open() -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        await it.press("O")
        await asked(it)
        await it.play(PhaseStarted(time=T0, step=STEP, phase=Phase.UPDATE))
        await it.press("enter")
        await wait_for(lambda: it.app.screen.id == "live")
        assert sent(it) == []
        assert "the update of step 39 has begun" in bar(it)


async def test_the_last_act_is_taken_back_one_after_the_other() -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        await it.press("backspace")
        assert sent(it) == []
        assert "there is no act on this step to take back" in bar(it)
        await it.play(
            act("verdict", "g3·r2: verdict wrong → correct", note="why"),
            act("reroll", "g4: drawn anew", group=3),
        )
        assert "g4: drawn anew (+1 more)" in bar(it)
        assert "Bksp takes it back" in bar(it)
        await it.press("backspace")
        assert sent(it) == [UndoAct(STEP)]
        await it.play(act("undo", "g4: the last act is taken back", group=3))
        assert "g3·r2: verdict wrong → correct (why)" in bar(it)
        assert "more)" not in bar(it).splitlines()[1]


def test_standing_acts() -> None:
    one, two, three = (act("reward", name) for name in "abc")
    other = act("reward", "other step", step=STEP - 1)
    back = act("undo", "back")
    assert standing([one, other, two, back, three], STEP) == [one, three]
    assert standing([one, back, back], STEP) == []
    assert steps_acted_on([one, other, back]) == {STEP - 1}


async def test_what_the_engine_refuses_is_told_in_its_words() -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        await it.press("x")
        await it.play(RequestFailed(time=T0, request="Exclude", message="step 39 is not in progress"))
        assert "✖ step 39 is not in progress" in bar(it)
        assert it.view.acts.asked == ()


async def test_a_request_inside_a_phase_is_said_to_wait() -> None:
    script = ScriptedRun()
    async with stage(until(script, Phase.UPDATE), script=script) as it:
        await it.press("R")
        assert "◌ g" in bar(it)
        assert "waits for the end of the phase…" in bar(it)


def test_every_act_is_described() -> None:
    requests: list[Request] = [
        OverrideVerdict(STEP, 2, 1, "correct"),
        OverrideReward(STEP, 2, 1, 0.5),
        Exclude(STEP, 2, None),
        Exclude(STEP, 2, 1, excluded=False),
        Reroll(STEP, 2),
        DrawMore(STEP, 2, 4),
        UndoAct(STEP),
    ]
    assert {type(request) for request in requests} == set(ACTS.values())
    assert [describe(request) for request in requests] == [
        "g3·r2 verdict → correct",
        "g3·r2 reward → 0.5",
        "g3 keep out of the update",
        "g3·r2 take in again",
        "g3 draw anew",
        "g3 4 more responses",
        "take back the last act",
    ]


async def test_acts_are_marked_on_the_charts_until_they_are_taken_back() -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        assert marks(it) == []
        await it.play(act("reward", "g3·r2: reward"))
        assert marks(it) == [STEP]
        assert "step changed" in str(it.panel("chart").border_subtitle)
        await it.play(act("undo", "back"))
        assert marks(it) == []


async def test_a_step_that_failed_is_taken_again_without_its_acts() -> None:
    script, events = the_stop()
    async with stage([*events, act("reward", "g3·r2: reward"), failure()], script=script) as it:
        assert it.view.state.acts == ()
        await it.play(StepStarted(time=T0, step=STEP))
        assert it.view.acts.standing == []


# --- forks -------------------------------------------------------------------------------------------------------


async def response_room(it: Stage) -> ResponseScreen:
    await it.press("3")
    await wait_for(lambda: isinstance(it.app.screen, ResponseScreen))
    assert isinstance(it.app.screen, ResponseScreen)
    return it.app.screen


async def test_fork_at_the_token_under_the_cursor() -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        room = await response_room(it)
        await it.press("right", "right", "f")
        question = await asked(it)
        assert not question.query("#choices")
        question.query_one("#count", Input).value = "12"
        token = it.view.token
        assert token > 0
        await it.press("enter")
        await wait_for(lambda: any(isinstance(c, ForkResponse) for c in sent(it)))
        assert [c for c in sent(it) if isinstance(c, ForkResponse)] == [
            ForkResponse(STEP, 4, 0, token, 12, None)
        ]
        await wait_for(lambda: room.query_one("#fork", Panel).display)
        await wait_for(lambda: "◌ g5·r1 fork at token" in room.query_one("#fork", Panel).plain)


async def test_fork_with_another_token_instead() -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        await response_room(it)
        assert it.view.completion is not None
        await it.play(inspected(it.view.completion, step=STEP, group=4, finished_steps=HISTORY))
        await it.press("f")
        await asked(it)
        await it.press("j", "enter")
        await wait_for(lambda: any(isinstance(c, ForkResponse) for c in sent(it)))
        [fork] = [c for c in sent(it) if isinstance(c, ForkResponse)]
        assert fork.instead is not None
        assert fork.instead != int(it.view.completion.token_ids_T[0])


async def test_a_fork_shows_both_rates_with_intervals_and_where_continuations_part() -> None:
    script, events = the_stop()
    async with stage(events, script=script) as it:
        room = await response_room(it)
        group, mine = it.view.group, it.view.completion
        assert group is not None
        assert mine is not None
        await it.play(forked(mine, group, token=3, right=(2, 7, 0), instead=1000))
        panel = room.query_one("#fork", Panel)
        await wait_for(lambda: panel.display and "2/8" in panel.plain)
        text = panel.plain
        assert "2/8 25% [7, 59]" in text
        assert "7/8 88% [53, 98]" in text
        assert "0/8 0% [0, 32]" in text
        assert "✓ parts at 4: 'o" in text or "✗ parts at 4: 'o" in text
        assert "parts at 5: " in text
        assert "n = 8" in str(panel.border_subtitle)
        await it.press("j")
        await wait_for(lambda: not panel.display or "f samples on" in panel.plain)


async def test_a_recording_cannot_be_forked() -> None:
    script, events = the_stop()
    async with stage(events, script=script, read_only=True) as it:
        await response_room(it)
        await it.press("f")
        await it.pilot.pause()
        assert it.app.screen.id == "response"


# --- any size, any text --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(10, 4), (40, 12), (60, 16), (80, 24), (120, 40), (200, 60)])
async def test_at_every_size(size: tuple[int, int]) -> None:
    script, events = the_stop()
    async with stage(
        [*events, act("verdict", "g3·r2: verdict wrong → correct")], script=script, size=size
    ) as it:
        for key in ("O", "escape", "2", "W", "escape", "3", "f", "escape", "plus", "escape", "x", "1", "x"):
            await it.press(key)
        it.app.export_screenshot()
        for line in act_lines(it.view, size[0]):
            assert sum(len(text) for text, _ in line) <= max(size[0], 60)


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text(text: str) -> None:
    script = ScriptedRun()
    breakpoint = Breakpoint(id=1, condition=text or "x")
    events = [
        *until(script, Phase.UPDATE),
        *hit_at(matches=[Match(sentence=text, group=4)], breakpoint=breakpoint),
        act("verdict", text, note=text),
    ]
    async with stage(events, script=script, size=(80, 24)) as it:
        await it.press("x")
        await it.play(RequestFailed(time=T0, request="Exclude", message=text or "no"))
        await it.press("O")
        question = await asked(it)
        question.query_one("#note", Input).value = text.replace("\n", " ")[:300]
        it.app.export_screenshot()
        await it.press("enter")
        await wait_for(lambda: it.app.screen.id == "live")
        it.app.export_screenshot()
        assert "\x1b" not in bar(it)
        assert sent(it)[-1] == OverrideVerdict(STEP, 4, 0, sent(it)[-1].verdict, sent(it)[-1].note)  # type: ignore[attr-defined]


async def test_on_a_very_small_terminal_the_stop_is_still_said() -> None:
    script, events = the_stop()
    async with stage(events, script=script, size=(40, 12)) as it:
        assert "‖ BREAK before update" in it.text("brief")
