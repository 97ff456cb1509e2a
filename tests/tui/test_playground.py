"""The Playground room: what it asks of the engine, and what it shows of the answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Input, TextArea

from grpo_tui.events.commands import ADAPTER, BASE, Play, Withdraw
from grpo_tui.events.records import Mode, Phase
from grpo_tui.events.types import (
    Event,
    ModeChanged,
    PhaseStarted,
    Progress,
    RunEnded,
    RunStarted,
    StepStarted,
)
from grpo_tui.tui.palette import palette_commands
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.playing import pass_rate, splits, token_label
from grpo_tui.tui.screens.live import LiveScreen
from grpo_tui.tui.screens.playground import PlaygroundScreen
from tests.support.apps import Stage, failure, paused_after, stage, wait_for
from tests.support.builders import T0, ScriptedRun
from tests.support.plays import answered, echo, ended, started, whole_play, words
from tests.tui.hostile import HOSTILE
from tests.tui.test_pictures import check
from tests.tui.test_sizes import SIZES, assert_safe

TOML = """
[run]
seed = 5
[sampling]
prompts_per_step = 2
group_size = 4
temperature = 0.7
max_completion_tokens = 48
"""


def scene(run_dir: Path | str = "no-run-here", *more: Event) -> list[Event]:
    """Paused before step 3, its settings known."""
    script = ScriptedRun(num_groups=2, group_size=4)
    events = [
        replace(event, run_dir=str(run_dir), config_toml=TOML) if isinstance(event, RunStarted) else event
        for event in paused_after(script, 2)
    ]
    return [*events, *more]


@asynccontextmanager
async def playground(
    events: Iterable[Event] | None = None,
    *,
    size: tuple[int, int] = (120, 40),
    read_only: bool = False,
    question: str = "What is 2 + 2?",
) -> AsyncIterator[Stage]:
    """The app in room 6, with a prompt in the form."""
    async with stage(scene() if events is None else events, size=size, read_only=read_only) as it:
        if question:
            from grpo_tui.tui.playing import form_of

            form_of(it.view).question = question
        await it.press("6")
        await wait_for(lambda: isinstance(it.app.screen, PlaygroundScreen))
        await settle(it)
        yield it


async def settle(it: Stage) -> None:
    await it.settle()
    screen = it.app.screen
    if isinstance(screen, PlaygroundScreen):
        screen.sync_view(force=True)
    await it.pilot.pause()


async def play_events(it: Stage, *events: Event) -> None:
    it.session.play(*events)
    await settle(it)


def asked(it: Stage) -> list[Play]:
    return [command for command in it.session.commands if isinstance(command, Play)]


def title(it: Stage, name: str) -> str:
    return str(it.app.screen.query_one(f"#{name}", Panel).border_title)


# --- asking ----------------------------------------------------------------------------------------------


async def test_g_asks_with_the_run_s_own_settings() -> None:
    async with playground() as it:
        await it.press("g")
        [play] = asked(it)
        assert play == Play(
            id=1,
            question="What is 2 + 2?",
            num_samples=4,
            temperature=0.7,
            max_tokens=48,
            sources=(BASE, ADAPTER),
            seed=5,
        )


async def test_what_is_typed_is_asked() -> None:
    async with playground(question="") as it:
        assert isinstance(it.app.focused, TextArea), "an empty form is edited at once"
        await it.press(*"gib", "space", "6")
        for name, value in (
            ("answer", "4 "),
            ("num_samples", "16"),
            ("temperature", "0"),
            ("max_tokens", "9"),
        ):
            it.app.screen.query_one(f"#{name}", Input).value = value
        await it.press("ctrl+r")
        [play] = asked(it)
        assert (play.question, play.answer) == ("gib 6", "4")
        assert (play.num_samples, play.temperature, play.max_tokens) == (16, 0.0, 9)
        assert not isinstance(it.app.focused, TextArea), "letters are keys again"


async def test_enter_in_a_field_samples() -> None:
    async with playground() as it:
        it.app.screen.query_one("#answer", Input).focus()
        await it.press("4", "enter")
        assert asked(it)[0].answer == "4"


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("num_samples", "65", "samples: 65 is not a whole number from 1 to 64"),
        ("num_samples", "", "samples: nothing is not"),
        ("temperature", "-1", "temperature: -1 is not a number from 0 to 100"),
        ("temperature", "[red]", "temperature: [red] is not"),
        ("max_tokens", "1.5", "tokens: 1.5 is not a whole number"),
    ],
)
async def test_what_cannot_be_used_is_said_and_not_sent(name: str, value: str, line: str) -> None:
    async with playground() as it:
        it.app.screen.query_one(f"#{name}", Input).value = value
        await it.pilot.pause()
        await it.press("g")
        assert asked(it) == []
        assert line in it.here("bar")
        it.app.screen.query_one(f"#{name}", Input).value = "1"
        await wait_for(lambda: line not in it.here("bar"))


async def test_an_empty_prompt_is_said() -> None:
    async with playground(question=" ") as it:
        await it.press("g")
        assert asked(it) == []
        assert "the prompt is empty" in it.here("bar")


async def test_sources_can_be_chosen_and_one_is_needed(tmp_path: Path) -> None:
    for step in (10, 20):
        (tmp_path / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)
    async with playground(scene(tmp_path)) as it:
        await it.press("b", "c")
        assert "[ ] base" in it.here("bar")
        assert "[x] step 20" in it.here("bar")
        await it.press("c", "g")
        assert asked(it)[0].sources == (ADAPTER, "step 10")
        await it.press("g", "c", "a")
        assert "[ ] kept step" in it.here("bar")
        await it.press("g")
        assert len(asked(it)) == 1
        assert "nothing to sample from" in it.here("bar")


async def test_without_checkpoints_the_key_says_so() -> None:
    async with playground() as it:
        await it.press("c")
        assert "no checkpoint is kept yet" in it.here("bar")
        await it.press("g")
        assert asked(it)[0].sources == (BASE, ADAPTER)


# --- waiting and stopping --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "line"),
    [
        ([], "begins at once"),
        (
            [
                ModeChanged(time=T0, mode=Mode.RUNNING),
                StepStarted(time=T0, step=3),
                PhaseStarted(time=T0, step=3, phase=Phase.UPDATE),
            ],
            "waits for the end of the phase update",
        ),
        (
            [ModeChanged(time=T0, mode=Mode.PAUSED, detail="in update, microbatch 2 of 8")],
            "waits: paused in update, microbatch 2 of 8; . runs to the end of the phase",
        ),
        ([failure(step=3)], "waits: the engine stopped at an error; r retries the step"),
    ],
)
async def test_it_says_what_it_waits_for(events: list[Event], line: str) -> None:
    async with playground(scene("no-run-here", *events)) as it:
        await it.press("g")
        assert line in it.here("bar")


async def test_one_that_waits_is_taken_back_by_the_same_key() -> None:
    async with playground() as it:
        await it.press("g")
        assert "g stop" in it.keys
        await it.press("g")
        [play] = asked(it)
        assert it.session.commands[-1] == Withdraw(play)
        assert "g sample" in it.keys
        await it.press("g")
        assert [p.id for p in asked(it)] == [1, 1], "it never began, so its number is free"


async def test_one_in_progress_shows_how_far_it_is_and_is_stopped() -> None:
    async with playground() as it:
        await it.press("g")
        [play] = asked(it)
        it.session.progress = Progress(
            step=2, phase=Phase.SAMPLE, done=3, total=8, unit="responses", tokens_per_second=120.0, of="play"
        )
        await play_events(it, echo(play))
        assert "sampling 3/8 responses · 120 tok/s" in it.here("bar")
        it.session.progress = replace(it.session.progress, phase=Phase.SCORE, done=0, total=4)
        await settle(it)
        assert "judging 4 responses" in it.here("bar")
        await it.press("g")
        assert it.session.commands[-1] == Withdraw(play)
        await play_events(it, ended(play.id, "stopped"))
        assert "stopped" in it.here("bar")
        assert "g sample" in it.keys
        await it.press("g")
        assert asked(it)[-1].id == 2


async def test_the_training_s_phase_bar_is_not_moved_by_a_play() -> None:
    async with stage() as it:
        it.session.progress = Progress(step=39, phase=Phase.UPDATE, done=7, total=9, of="play")
        await it.settle()
        assert "7/9" not in it.text("header")


async def test_a_failed_play_says_why() -> None:
    async with playground() as it:
        await it.press("g")
        await play_events(it, ended(1, "failed", "prompt of 900 tokens exceeds [context] 256"))
        assert "prompt of 900 tokens exceeds [context] 256" in it.here("bar")
        await it.press("g")
        assert asked(it)[-1].id == 2


async def test_training_is_run_and_paused_from_here() -> None:
    async with playground() as it:
        await it.press("space", "s")
        assert len(it.session.commands) == 2


@pytest.mark.parametrize("over", [True, False])
async def test_where_nothing_can_be_sampled_it_says_so(over: bool) -> None:
    last = RunEnded(time=T0, reason="finished", finished_steps=2)
    events = scene("x", *whole_play(), *([last] if over else []))
    async with playground(events, read_only=not over) as it:
        await it.press("g")
        assert it.session.commands == []
        assert ("the run is over" if over else "a recorded run") in it.here("bar")
        assert "g sample" not in it.keys
        assert "✓" in it.here("samples"), "what was played can be read"


# --- reading ---------------------------------------------------------------------------------------------


async def test_columns_fill_one_by_one_with_verdicts_and_pass_rates() -> None:
    async with playground() as it:
        begun = started()
        await play_events(it, begun, answered(begun, BASE))
        rows = it.here("samples").splitlines()
        assert "base  1/3 33% [6, 79]" in rows[0]
        assert "░" in rows[1]
        assert "✗" in rows[1]
        assert "✓ 1.00  1" in rows[2]
        assert "ø 0.00" in rows[3]
        await play_events(it, answered(begun, ADAPTER), ended())
        rows = it.here("samples").splitlines()
        assert "adapter  3/3 100% [44, 100]" in rows[0]
        assert "= 1" in rows[2], "the second sample says the same"
        assert "= " not in rows[1]


async def test_the_first_split_is_marked_with_both_tokens_probabilities() -> None:
    async with playground() as it:
        await play_events(it, *whole_play())
        assert "splits at token 11: ' 2' p .52" in it.here("answer0")
        assert "splits at token 11: ' 4' p .4" in it.here("answer1")
        marked = [
            (span, role)
            for line in it.app.screen.query_one("#answer1", Panel).lines
            for span, role in line
            if role == "mark"
        ]
        assert marked == [(" 4", "mark")]
        assert "1 is the gold answer." in it.here("answer1")
        await it.press("j")
        assert "splits" not in it.here("answer1")
        assert "adapter 2  ✓ 1.00" in title(it, "answer1")


async def test_three_sources_three_columns_against_the_first() -> None:
    async with playground() as it:
        await play_events(it, *whole_play(sources=(BASE, ADAPTER, "step 20")))
        assert title(it, "answer2").startswith("step 20 1")
        await it.press("j")
        assert "splits at token 4: ' 7'" in it.here("answer2")
        assert "splits at token 4: ' 1'" in it.here("answer0")
        assert "splits" not in it.here("answer1")


async def test_without_a_gold_answer_nothing_is_judged() -> None:
    async with playground() as it:
        await play_events(it, *whole_play(answer=""))
        assert "no gold answer, not judged" in it.here("bar")
        assert "%" not in it.here("samples")
        assert "the answer is 1" in it.here("samples")


async def test_the_rows_move_and_stop_at_the_ends_and_clicks_select() -> None:
    async with playground() as it:
        await play_events(it, *whole_play())
        await it.press("k", "j", "j", "j", "j")
        assert title(it, "answer0").startswith("base 3")
        await it.pilot.click("#samples", offset=(5, 2))
        await wait_for(lambda: title(it, "answer0").startswith("base 1"))


async def test_earlier_plays_are_kept_and_a_new_one_is_shown() -> None:
    async with playground() as it:
        await play_events(it, *whole_play(1), *whole_play(2, (ADAPTER,)))
        assert "play 2 of 2" in it.here("bar")
        await it.press("left_square_bracket")
        assert "play 1 of 2" in it.here("bar")
        assert "base" in it.here("samples").splitlines()[0]
        await it.press("left_square_bracket", "g")
        assert asked(it)[0].id == 3
        await play_events(it, echo(asked(it)[0]))
        assert "play" not in it.here("bar").splitlines()[1][:5]
        assert "sampling" in it.here("bar")


async def test_only_the_last_eight_stay_in_memory() -> None:
    async with playground() as it:
        await play_events(it, *(event for id in range(1, 12) for event in whole_play(id)))
        assert [play.started.id for play in it.view.state.plays] == list(range(4, 12))


# --- from other rooms, and back --------------------------------------------------------------------------


async def test_a_response_s_problem_is_tried_from_live() -> None:
    async with stage(scene()) as it:
        group = it.view.group
        assert group is not None
        await it.press("P")
        await wait_for(lambda: isinstance(it.app.screen, PlaygroundScreen))
        assert it.app.screen.query_one("#prompt", TextArea).text == group.problem.question
        assert it.app.screen.query_one("#answer", Input).value == group.problem.answer
        await it.press("g")
        [play] = asked(it)
        assert (play.question, play.answer) == (group.problem.question, group.problem.answer)
        assert play.problem_id == group.problem.id
        await it.press("escape")
        assert isinstance(it.app.screen, LiveScreen)


async def test_the_palette_offers_it_where_there_is_a_problem() -> None:
    async with stage(scene()) as it:
        titles = [command.title for command in palette_commands(it.app, it.app.screen)]
        assert "Try in Playground  (P)" in titles
        assert "Play  (6)" in titles
        await it.press("6")
        titles = [command.title for command in palette_commands(it.app, it.app.screen)]
        assert "Sample  (g)" in titles
        assert "Try in Playground  (P)" not in titles


async def test_the_form_is_there_again_and_esc_leaves_a_field_first() -> None:
    async with playground(question="") as it:
        await it.press(*"abc", "escape")
        assert isinstance(it.app.screen, PlaygroundScreen)
        await it.press("escape")
        assert isinstance(it.app.screen, LiveScreen)
        await it.press("6")
        await wait_for(lambda: isinstance(it.app.screen, PlaygroundScreen))
        assert it.app.screen.query_one("#prompt", TextArea).text == "abc"


# --- any text, any size ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_every_size(size: tuple[int, int]) -> None:
    async with playground(scene("x", *whole_play(sources=(BASE, ADAPTER, "step 20"))), size=size) as it:
        await it.press("j", "i", "x", "escape", "g", "b", "question_mark", "escape", "escape")
        it.app.export_screenshot()


async def test_the_smallest_screen_still_shows_state_and_an_answer() -> None:
    async with playground(scene("x", *whole_play()), size=(40, 12)) as it:
        assert "play 1 of 1" in it.here("bar")
        assert "6 / 8 is 3 / 4" in it.here("answer0")


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_hostile_text(hostile: str) -> None:
    begun = started(question=hostile, answer=hostile, num_samples=1)
    say = [answered(begun, source, [hostile or "x"]) for source in (BASE, ADAPTER)]
    async with playground(scene("x", begun, *say), question=hostile) as it:
        assert_safe(it)
        area = it.app.screen.query_one("#prompt", TextArea)
        area.focus()
        await it.pilot.pause()
        for y in range(area.size.height):
            painted = area.render_line(y).text
            assert not [c for c in painted if ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u200b"]
        it.app.screen.query_one("#answer", Input).value = hostile
        await it.pilot.pause()
        await play_events(it, ended(1, "failed", hostile))
        await it.pilot.resize_terminal(80, 24)
        await it.pilot.pause()
        assert_safe(it)
        it.app.export_screenshot()


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_picture(size: tuple[int, int], tmp_path: Path) -> None:
    events = scene("x", *whole_play(sources=(BASE, ADAPTER, "step 20")))
    async with playground(events, size=size, question="Simplify 6/8 + 1/4") as it:
        check(f"playground-{size[0]}x{size[1]}", it.app.export_screenshot(title="grpo-tui"), tmp_path)


# --- the parts by themselves -----------------------------------------------------------------------------


def test_the_first_column_has_the_earliest_split() -> None:
    begun = started(sources=("x", "y", "z"), num_samples=1)
    texts = {"x": "a b c d", "y": "a b c e", "z": "a q"}
    events = [begun, *(answered(begun, source, [texts[source]]) for source in "xyz")]
    from grpo_tui.events.fold import reduce
    from grpo_tui.events.state import RunState

    state = RunState()
    for event in events:
        state = reduce(state, event)
    assert splits(state.plays[0], 0) == {"x": 1, "y": 3, "z": 1}
    assert splits(state.plays[0], 5) == {}


def test_token_label() -> None:
    completion = words(0, "a b")
    assert token_label(completion, 0) == "'a' p .90"
    assert token_label(completion, 1) == "' b' p .30"
    assert token_label(completion, 2) == "ends here"


def test_pass_rate_counts_only_what_was_judged() -> None:
    begun = started()
    rate = pass_rate(answered(begun, BASE).group)
    assert rate is not None
    assert (rate.num_correct, rate.num_samples) == (1, 3)
    assert pass_rate(answered(started(answer=""), BASE).group) is None
