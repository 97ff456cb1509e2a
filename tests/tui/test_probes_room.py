"""The Probes room: pinning by keys, what a reading says, and the difference of two answers."""

from __future__ import annotations

import pytest
from textual.widgets import Input

from grpo_tui.events.commands import PinProbe, UnpinProbe
from grpo_tui.events.types import ProbeUnpinned
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.probing import GONE, MOST, NEW, SAME, diff_lines, differences
from grpo_tui.tui.screens.live import LiveScreen
from grpo_tui.tui.screens.pin import PinScreen
from grpo_tui.tui.screens.probes import ProbesScreen
from grpo_tui.tui.text import cells
from rewards.base import Verdict
from tests.support.apps import Stage, paused_after, stage, wait_for
from tests.support.builders import T0, ScriptedRun
from tests.support.probing import answer, pinned, read, reading, story
from tests.tui.hostile import HOSTILE


async def open_room(it: Stage) -> None:
    await it.press("9")
    await wait_for(lambda: isinstance(it.app.screen, ProbesScreen))


async def test_the_room_invites_where_nothing_is_pinned() -> None:
    async with stage() as it:
        await open_room(it)
        await wait_for(lambda: "No prompt is pinned" in it.here("probe-list"))
        await it.press("escape")
        assert isinstance(it.app.screen, LiveScreen)


async def test_a_typed_prompt_is_pinned() -> None:
    async with stage() as it:
        await open_room(it)
        await it.press("a")
        await wait_for(lambda: isinstance(it.app.screen, PinScreen))
        for name, text in (("question", "What is 2 + 3?"), ("answer", "5"), ("every", "4")):
            it.app.screen.query_one(f"#pin-{name}", Input).value = text
        await it.press("enter")
        await wait_for(lambda: it.session.commands)
        assert it.session.commands == [PinProbe(question="What is 2 + 3?", answer="5", every=4)]


@pytest.mark.parametrize(
    ("question", "every", "line"),
    [("", "1", "the prompt is empty"), ("x", "0", "a whole number"), ("x", "²", "a whole number")],
)
async def test_what_cannot_be_pinned_is_said_in_the_form(question: str, every: str, line: str) -> None:
    async with stage() as it:
        await open_room(it)
        await it.press("a")
        await wait_for(lambda: isinstance(it.app.screen, PinScreen))
        it.app.screen.query_one("#pin-question", Input).value = question
        it.app.screen.query_one("#pin-every", Input).value = every
        await it.press("enter")
        await wait_for(lambda: line in str(it.app.screen.query_one("#box").border_subtitle))
        assert not it.session.commands
        await it.press("escape")
        await wait_for(lambda: isinstance(it.app.screen, ProbesScreen))


async def test_the_selected_prompt_of_any_room_and_the_next_held_out_one() -> None:
    async with stage() as it:
        await it.press("n", "K")
        group = it.view.group
        assert group is not None
        [asked] = it.session.commands
        assert asked == PinProbe(
            question=group.problem.question, answer=group.problem.answer, problem_id=group.problem.id
        )
        await open_room(it)
        await it.press("e")
        assert it.session.commands[-1] == PinProbe(held_out=-1)


async def test_a_row_has_verdicts_log_prob_change_and_course() -> None:
    script = ScriptedRun()
    async with stage([*paused_after(script, 20), *story(20)], script=script) as it:
        await open_room(it)
        await wait_for(lambda: "17 × 6" in it.here("probe-list"))
        rows = it.here("probe-list").splitlines()
        assert rows[1].split()[:5] == ["1", "✓", "✗", "−1.00", "+0.25"]
        assert rows[2].split()[:5] == ["2", "✗", "ø", "−6.00", "−0.10"]
        assert "▁" in rows[1]
        assert "█" in rows[1]
        panel = it.app.screen.query_one("#probe-list", Panel)
        assert "0.4 s a reading, 22% of the step" in str(panel.border_subtitle)


async def test_the_reading_says_what_changed_and_when_it_flipped() -> None:
    script = ScriptedRun()
    async with stage([*paused_after(script, 20), *story(20)], script=script) as it:
        await open_room(it)
        await wait_for(lambda: "✓ at 11" in it.here("probe"))
        assert "the same as at step 19" in it.here("probe")
        assert "[-109-]{+110+}" in it.here("probe")
        await it.press("j")
        await wait_for(lambda: "Simplify" in it.here("probe"))
        await it.press("k")
        await wait_for(lambda: "17 × 6" in it.here("probe"))


async def test_earlier_steps_show_earlier_readings() -> None:
    script = ScriptedRun()
    async with stage([*paused_after(script, 20), *story(20)], script=script) as it:
        await open_room(it)
        it.view.look_at(11)
        await wait_for(lambda: "(was wrong at step 10)" in it.here("probe"))
        assert "{+" in it.here("probe")
        assert str(it.app.screen.query_one("#probe", Panel).border_title) == "Probe 1 after step 11"
        it.view.look_at(5)
        panel = it.app.screen.query_one("#probe", Panel)
        await wait_for(lambda: str(panel.border_title) == "Probe 1 after step 5")
        assert "flips" not in it.here("probe")


async def test_unpinning_and_its_echo() -> None:
    script = ScriptedRun()
    async with stage([*paused_after(script, 4), *story(4)], script=script) as it:
        await open_room(it)
        await wait_for(lambda: "Simplify" in it.here("probe-list"))
        await it.press("j", "x")
        assert it.session.commands[-1] == UnpinProbe(2)
        it.session.play(ProbeUnpinned(time=T0, probe=2))
        await wait_for(lambda: "Simplify" not in it.here("probe-list"))
        assert "17 × 6" in it.here("probe")


async def test_a_recorded_run_shows_probes_and_pins_none() -> None:
    script = ScriptedRun()
    async with stage([*paused_after(script, 4), *story(4)], script=script, read_only=True) as it:
        await open_room(it)
        await wait_for(lambda: "17 × 6" in it.here("probe"))
        await it.press("a", "e", "x", "K")
        assert isinstance(it.app.screen, ProbesScreen)
        assert not it.session.commands


async def test_without_a_gold_there_is_neither_verdict_nor_number() -> None:
    script = ScriptedRun()
    plain_answer = answer("hello there", None)
    events = [pinned(1, "Say hello.", ""), read(4, reading(1, plain_answer, plain_answer, None))]
    async with stage([*paused_after(script, 4), *events], script=script) as it:
        await open_room(it)
        await wait_for(lambda: "hello there" in it.here("probe"))
        assert "none: nothing is judged" in it.here("probe")
        assert "ln p" not in it.here("probe")


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (120, 40)])
async def test_hostile_answers_in_every_size(size: tuple[int, int]) -> None:
    script = ScriptedRun()
    events = [*paused_after(script, 3)]
    for number, text in enumerate(HOSTILE, 1):
        events += [pinned(number, text or " ", text)]
        for step, other in ((2, text), (3, text[::-1])):
            hostile = answer(other, Verdict.WRONG, text)
            events.append(read(step, reading(number, hostile, hostile, -1.0)))
    async with stage(events, script=script, size=size) as it:
        await open_room(it)
        for _ in HOSTILE:
            await it.press("j")
            await it.settle()
            for row in it.here("probe").split("\n"):
                assert "\x1b" not in row
                assert cells(row) <= size[0]
        it.app.export_screenshot()


def test_differences_put_both_texts_together() -> None:
    before, after = "so it is 92, and no more", "so the answer is 102, and more"
    pieces = differences(before, after)
    assert "".join(text for text, kind in pieces if kind != GONE) == after
    assert "".join(text for text, kind in pieces if kind != NEW) == before
    assert differences("same", "same") == [("same", SAME)]
    assert differences("", "new") == [("new", NEW)]


def test_a_long_text_is_compared_in_part_and_says_so() -> None:
    text = "word " * 2000
    assert differences(text, text)[-1][0] == f" … {len(text) - MOST} characters more are not compared"


@pytest.mark.parametrize("width", [1, 7, 30])
def test_diff_lines_fit_and_keep_every_sign(width: int) -> None:
    lines = diff_lines("a bb 漢字", "a ccc 漢字\nnext", width)
    assert all(sum(cells(text) for text, _ in line) <= max(2, width) for line in lines)
    joined = "".join(text for line in lines for text, _ in line)
    assert "{+ccc+}" in joined.replace("\n", "")
