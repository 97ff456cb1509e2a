"""Every key of the Live room: commands and state first."""

from __future__ import annotations

import pytest

from grpo_tui.events.commands import Command, Pause, Resume, StepOnce, StepPhase
from grpo_tui.events.records import Mode, Phase
from grpo_tui.events.types import Progress, RunEnded
from grpo_tui.tui.panels.base import Panel
from tests.support.apps import mid_training, paused_after, stage, wait_for
from tests.support.builders import T0, ScriptedRun


@pytest.mark.parametrize(
    ("key", "command", "label"),
    [
        ("space", Resume(), "resuming…"),
        ("s", StepOnce(), "one step…"),
        ("full_stop", StepPhase(), "one phase…"),
    ],
)
async def test_run_keys_while_paused(key: str, command: Command, label: str) -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 3), script=script) as it:
        assert "PAUSED before step 4" in it.text("header")
        assert "Space run" in it.keys
        await it.press(key)
        assert it.session.commands == [command]
        assert label in it.text("header"), "asked is shown at once"
        await it.play(script.ready(Mode.RUNNING, ""))
        assert label not in it.text("header")
        assert "● RUN" in it.text("header")
        assert "Space pause" in it.keys


async def test_space_pauses_and_takes_it_back() -> None:
    async with stage() as it:
        await it.press("space")
        assert it.session.commands == [Pause()]
        assert "pausing…" in it.text("header")
        assert "Space run" in it.keys, "the key now means the other thing"
        await it.press("space")
        assert it.session.commands == [Pause(), Resume()]


async def test_phase_bar_says_what_is_done_now_and_to_come() -> None:
    async with stage() as it:
        header = it.text("header")
        assert "step 39/60" in header
        assert "✓reference ▸UPDATE" in header
        assert "3/8 mb" in header
        assert "·emit" in header
        assert "492 tok/s" in header
        assert "useful groups" in header
        assert "peak 812 MB" in header
        it.session.progress = Progress(step=39, phase=Phase.UPDATE, done=6, total=8, unit="mb")
        await it.settle()
        assert "6/8 mb" in it.text("header")


async def test_groups_and_answers_follow_the_keys() -> None:
    async with stage() as it:
        first = it.view.group
        await it.press("n")
        second = it.view.group
        assert first is not None
        assert second is not None
        assert second is it.view.groups[1]
        assert f"Group {second.index + 1}:" in str(it.panel("answers").border_title)
        await it.press("j", "j", "k")
        assert it.view.completion is second.completions[1]
        await it.press("p")
        assert it.view.group is first
        await it.press("down")
        assert it.view.group is second, "arrows do the same in the focused list"
        await it.press("enter", "down", "down")
        assert it.view.completion is second.completions[2]
        await it.press("home")
        assert it.view.completion is second.completions[0]
        await it.press("end")
        assert it.view.completion is second.completions[-1]


async def test_enter_goes_in_and_escape_goes_out() -> None:
    async with stage() as it:
        live = ["groups", "answers", "response"]
        assert it.focused == live[0]
        for panel in live[1:]:
            await it.press("enter")
            assert (it.app.screen.id, it.focused) == ("live", panel)
        await it.press("enter")
        await wait_for(lambda: (it.app.screen.id, it.focused) == ("response", "tokens"))
        await it.press("escape")
        await wait_for(lambda: (it.app.screen.id, it.focused) == ("group", "answers"))
        await it.press("escape")
        await wait_for(lambda: (it.app.screen.id, it.focused) == ("live", "response"))
        for panel in reversed(live[:-1]):
            await it.press("escape")
            assert (it.app.screen.id, it.focused) == ("live", panel)
        await it.press("left_square_bracket", "escape")
        assert it.view.is_live, "the last layer out is the past"


async def test_tab_goes_round() -> None:
    async with stage() as it:
        seen = set()
        for _ in range(12):
            await it.press("tab")
            seen.add(it.focused)
        assert {
            "trends",
            "chart",
            "evals",
            "groups",
            "answers",
            "prompt",
            "response",
            "why",
            "events",
        } <= seen


async def test_past_steps_have_a_banner_and_a_mark() -> None:
    async with stage() as it:
        assert not it.panel("banner").display
        await it.press("left_square_bracket", "left_square_bracket")
        await it.settle()
        assert it.view.cursor.step == 37
        assert "viewing step 37, training is at 39" in it.text("banner")
        assert "▲" in it.text("chart")
        assert "Groups @37" in str(it.panel("groups").border_title)
        assert "L live" in it.keys
        await it.press("right_square_bracket")
        assert it.view.cursor.step == 38
        await it.press("L")
        assert it.view.is_live
        assert not it.panel("banner").display
        assert "L live" not in it.keys


async def test_training_goes_on_while_the_past_is_looked_at() -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 12), script=script) as it:
        await it.press("left_square_bracket", "n", "j")
        before = it.text("groups"), it.text("response")
        await it.play(*(event for _, event in script.step(13)))
        assert (it.text("groups"), it.text("response")) == before
        assert "viewing step 11, training is at 13" in it.text("banner")


async def test_sorting_is_said_in_the_border() -> None:
    async with stage() as it:
        for sort in ("order", "reward", "signal"):
            await it.press("o")
            assert f"sort: {sort}" in str(it.panel("groups").border_subtitle)


async def test_zoom_gives_the_focused_panel_the_screen() -> None:
    async with stage() as it:
        await it.press("z")
        shown = {panel.id for panel in it.live.query(Panel) if panel.display}
        assert shown == {"header", "groups"}
        await it.press("enter")
        assert it.focused == "answers"
        assert it.panel("answers").display
        await it.press("escape")
        assert it.panel("groups").display
        assert it.panel("trends").display


async def test_narrow_screens_drill_down() -> None:
    async with stage(size=(80, 24)) as it:
        assert not it.panel("answers").display
        await it.press("enter")
        assert it.focused == "answers"
        assert not it.panel("groups").display
        await it.press("enter")
        assert it.focused == "response"
        assert "\\boxed" in it.text("response")
        assert it.panel("why").display
        await it.press("escape", "escape")
        assert it.focused == "groups"


async def test_response_marks_the_judged_answer() -> None:
    async with stage() as it:
        marks = [text for line in it.panel("response").lines for text, role in line if role == "mark"]
        completion = it.view.completion
        assert completion is not None
        assert "".join(marks) == completion.scores["math"].explanation.answer_text


async def test_why_says_it_in_a_sentence_and_in_parts() -> None:
    async with stage() as it:
        completion = it.view.completion
        assert completion is not None
        why = it.text("why").replace("\n", " ")
        assert completion.scores["math"].explanation.sentence.split()[0] in why
        for label in ("answer", "parsed", "gold", "rule", "part", "kl_ref"):
            assert label in why


async def test_a_whole_step_event_by_event() -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 2), script=script) as it:
        for phase, event in script.step(3):
            await it.play(event)
            if phase == "sample" and it.view.shown_step == 3:
                assert "░" in it.text("groups"), "sampled, not yet scored"
        assert "░" not in it.text("groups")
        assert "Groups @3" in str(it.panel("groups").border_title)
        assert "step 3:" in it.text("events")


async def test_dead_groups_are_marked() -> None:
    async with stage() as it:
        dead = [group for group in it.view.groups if group.degenerate]
        assert dead
        assert it.text("groups").count(" ·") == len(dead)


async def test_loading_names_its_stages() -> None:
    script = ScriptedRun()
    loading = script.loading()
    async with stage(loading[:3]) as it:
        text = it.text("loading")
        assert "✓ importing torch" in text
        assert "▸ loading the model" in text
        assert "3.1 s" in text
        await it.play(*loading[3:], script.ready())
        assert not it.panel("loading").display
        assert it.focused == "groups"


async def test_a_finished_run_takes_no_more_commands() -> None:
    async with stage() as it:
        await it.play(RunEnded(time=T0, reason="finished", finished_steps=60))
        await it.press("space", "s", "full_stop")
        assert it.session.commands == []
        assert "DONE" in it.text("header")
        assert "Space" not in it.keys


async def test_a_recorded_run_takes_no_commands_but_can_be_looked_at() -> None:
    async with stage(read_only=True) as it:
        await it.press("space", "s", "full_stop", "left_square_bracket", "n")
        assert it.session.commands == []
        assert it.view.cursor.step == 38


async def test_only_what_changed_is_rebuilt() -> None:
    async with stage() as it:
        before = {panel.id: panel.builds for panel in it.live.query(Panel) if panel.display}
        it.session.progress = Progress(step=39, phase=Phase.UPDATE, done=7, total=8, unit="mb")
        it.app._tick()
        after = {panel.id: panel.builds for panel in it.live.query(Panel) if panel.display}
        assert {id for id in after if after[id] != before[id]} == {"header"}


async def test_clicks_select() -> None:
    async with stage() as it:
        await it.pilot.click("#groups", offset=(6, 4))
        assert it.view.row_of(it.view.groups) == 2
        await it.pilot.click("#answers", offset=(6, 5))
        assert it.view.completion is it.view.groups[2].completions[3]


async def test_a_click_on_a_key_does_what_the_key_does() -> None:
    async with stage() as it:
        at = it.keys.index("pause")
        await it.pilot.click("#keys", offset=(at, 0))
        await it.pilot.pause()
        assert it.session.commands == [Pause()]


async def test_resizing_keeps_the_selection_and_the_focus() -> None:
    async with stage(mid_training(ScriptedRun())) as it:
        await it.press("n", "enter", "j")
        chosen = it.view.completion
        for size in ((80, 24), (40, 12), (100, 30), (200, 60)):
            await it.pilot.resize_terminal(*size)
            await it.settle()
        assert it.view.completion is chosen
        assert it.focused == "answers"
