"""The Group room: what it says, where its keys lead, and that it stays where one looks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from textual.screen import Screen

from grpo_tui.events.records import ProblemRecord
from grpo_tui.events.types import GroupScored
from grpo_tui.runs.lines import Visit
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.screens.group import GroupScreen
from grpo_tui.tui.screens.live import LiveScreen
from grpo_tui.tui.screens.response import ResponseScreen
from rewards.base import Explanation, Score, Verdict
from tests.support.apps import Stage, mid_training, paused_after, stage, wait_for
from tests.support.builders import ScriptedRun
from tests.support.looking import by_token


def panel(it: Stage, name: str) -> Panel:
    return it.app.screen.query_one(f"#{name}", Panel)


def said(it: Stage, name: str) -> str:
    """What a panel of the room on top says, its titles included."""
    shown = panel(it, name)
    return f"{shown.border_title or ''} {shown.border_subtitle or ''}\n{shown.plain}"


async def shown(it: Stage, name: str, text: str) -> None:
    """Wait until a panel says something."""
    await wait_for(lambda: text in said(it, name))


async def displayed(it: Stage, name: str) -> None:
    """Wait until a panel has its place."""
    await wait_for(lambda: panel(it, name).display)


async def reached(it: Stage, room: type) -> None:
    """Wait until a room is open."""
    await wait_for(lambda: isinstance(it.app.screen, room))


def on_top(it: Stage) -> Screen[object]:
    return it.app.screen


@asynccontextmanager
async def group_room(*keys: str, steps: int = 20, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Stage]:
    script = ScriptedRun()
    async with stage(list(by_token(paused_after(script, steps))), size=size, script=script) as it:
        await it.press("n", "2")
        await wait_for(lambda: isinstance(it.app.screen, GroupScreen) and panel(it, "answers").has_focus)
        await wait_for(lambda: panel(it, "answers").plain)
        await it.press(*keys)
        yield it


async def test_every_answer_with_its_numbers() -> None:
    async with group_room() as it:
        group = it.view.group
        assert group is not None
        rows = panel(it, "answers").plain.splitlines()
        assert rows[0].split() == ["r#", "rew", "adv", "−2", "0", "+2", "kl_ref", "tok", "end", "answer"]
        assert len(rows) == 9
        assert rows[3].split() == ["3", "✗", "0.00", "−0.35", "█│", "0.020", "25", "eos", "7/12"]
        assert rows[5].split() == ["5", "✓", "1.00", "+2.47", "│███████", "0.022", "29", "eos", "1"]
        assert " cut" in rows[1]
        assert "Simplify 6/8 + 1/4." in panel(it, "head").plain
        assert "gold 1" in panel(it, "head").plain
        assert "pass 1/8" in panel(it, "head").plain


async def test_every_part_of_the_reward_has_its_column() -> None:
    script = ScriptedRun(num_groups=2, group_size=3)
    part = Score(value=0.1, verdict=Verdict.NOT_JUDGED, explanation=Explanation(sentence=""))
    events = [
        replace(event, scores_G=tuple({**scores, "form[at]": part} for scores in event.scores_G))
        if isinstance(event, GroupScored)
        else event
        for event in mid_training(script)
    ]
    async with stage(events, script=script) as it:
        await it.press("2")
        await wait_for(lambda: panel(it, "answers").plain)
        head, first = panel(it, "answers").plain.splitlines()[:2]
        assert head.split()[:4] == ["r#", "rew", "math", "form[…"]
        assert first.split()[4] == "0.10"


async def test_j_and_k_select_answers_and_the_other_panels_follow() -> None:
    async with group_room("j", "j") as it:
        assert it.view.cursor.answer == 2
        assert panel(it, "answers").cursor == 3
        await shown(it, "response", "Response g2·r3")
        await shown(it, "versus", "r3 versus r5")
        await it.press("k", "down", "end")
        assert it.view.cursor.answer == 7
        await shown(it, "versus", "r8 versus r5")


async def test_final_answers_by_value() -> None:
    async with group_room() as it:
        rows = [row.split() for row in panel(it, "histogram").plain.splitlines()]
        assert [(row[0], row[1], row[3]) for row in rows] == [
            ("✗", "7/12", "×5"),
            ("ø", "none", "×2"),
            ("✓", "1", "×1"),
        ]
        assert rows[0][4:] == ["r3", "r4", "r6", "r7", "r8"]
        assert panel(it, "histogram").cursor == 1, "where the selected answer is"


async def test_where_two_answers_part() -> None:
    async with group_room("j", "j") as it:
        await shown(it, "versus", "first split at token 4")
        text = said(it, "versus")
        assert "after 3 shared" in text
        assert "' +' p .797" in text
        assert "' is' p .189" in text
        assert "so the answer is \\boxed{1}" in text
        await it.press("D")
        await shown(it, "versus", "r3 versus r1 ø")
        await it.press("j")
        await shown(it, "versus", "r4 versus r5")


async def test_two_that_say_the_same() -> None:
    async with group_room("j", "j", "D", "D", "D") as it:
        await shown(it, "versus", "r3 versus r4")
        assert "the same tokens throughout" in said(it, "versus")


async def test_the_same_prompt_in_other_steps() -> None:
    async with group_room() as it:
        await shown(it, "earlier", "Same prompt  seen 17×")
        rows = panel(it, "earlier").plain.splitlines()
        assert len(rows) == 17
        assert rows[-1].startswith("▸step 20")
        assert "pass  12% (1/8)  mean 0.12" in rows[-1]
        assert [int(row[6:10]) for row in rows] == sorted({int(row[6:10]) for row in rows})


async def test_enter_goes_to_an_earlier_group_of_the_prompt() -> None:
    async with group_room() as it:
        await shown(it, "earlier", "seen 17×")
        group = it.view.group
        assert group is not None
        second = int(panel(it, "earlier").plain.splitlines()[1].split()[1])
        panel(it, "earlier").focus()
        await it.press("home", "down", "enter")
        there = it.view.group
        assert there is not None
        assert 1 < it.view.shown_step == second < 20
        assert there.problem == group.problem
        await shown(it, "head", f"@{second}")
        await shown(it, "earlier", f"▸step {second}")
        await shown(it, "head", "training is at 20")
        await it.press("L")
        assert it.view.is_live


async def test_an_unknown_past_is_looked_up_without_holding_up_the_screen() -> None:
    import threading

    asked, may_answer = threading.Event(), threading.Event()
    script = ScriptedRun()
    async with stage(paused_after(script, 3), script=script) as it:

        def slowly(problem: ProblemRecord) -> Sequence[Visit]:
            asked.set()
            assert may_answer.wait(10)
            return [
                Visit(step=2, group_index=0, num_completions=4, num_correct=3, num_judged=4, reward_mean=0.75)
            ]

        it.view.earlier._ask = slowly
        await it.press("2")
        await wait_for(asked.is_set)
        await shown(it, "earlier", "looking it up")
        await it.press("j")
        assert it.view.cursor.answer == 1, "keys work meanwhile"
        may_answer.set()
        await shown(it, "earlier", "pass  75% (3/4)")
        await shown(it, "facts", "2 groups")


async def test_facts_of_the_group() -> None:
    async with group_room() as it:
        await shown(it, "facts", "n = 136, 17")
        text = " ".join(said(it, "facts").split())
        assert "dead-group odds at p = 0.184 (n = 136, 17 groups): 20% (G = 4 gives 44%)" in text
        assert "loss share 14% of the step" in text
        assert "1 of 8 pushed up, 7 down" in text
        assert "wrong answers: 7/12 ×5" in text


async def test_enter_and_escape_zoom() -> None:
    async with group_room("j") as it:
        await it.press("enter")
        await wait_for(lambda: isinstance(on_top(it), ResponseScreen))
        assert it.view.cursor.answer == 1
        await it.press("escape")
        await wait_for(lambda: isinstance(on_top(it), GroupScreen))
        assert it.view.cursor.answer == 1
        await it.press("escape")
        await wait_for(lambda: isinstance(on_top(it), LiveScreen))
        assert it.view.cursor.answer == 1


async def test_rooms_by_number() -> None:
    async with group_room() as it:
        for key, room in (
            ("3", ResponseScreen),
            ("2", GroupScreen),
            ("1", LiveScreen),
            ("3", ResponseScreen),
        ):
            await it.press(key)
            await reached(it, room)


async def test_the_room_stays_at_its_step_while_training_goes_on() -> None:
    async with group_room() as it:
        group = it.view.group
        await it.play(*by_token(event for _, event in it.script.step(21)))
        assert it.view.state.last_step == 21
        assert it.view.group is not None
        assert group is not None
        assert (it.view.shown_step, it.view.group.index) == (20, group.index)
        await shown(it, "head", "training is at 21")
        await it.press("escape")
        await wait_for(lambda: isinstance(on_top(it), LiveScreen))
        assert it.view.is_live, "Live follows again: nobody asked to stay in the past"
        assert it.view.shown_step == 21


async def test_a_step_chosen_by_hand_stays_chosen() -> None:
    async with group_room("left_square_bracket") as it:
        assert it.view.shown_step == 19
        await it.press("escape")
        await wait_for(lambda: isinstance(on_top(it), LiveScreen))
        assert it.view.shown_step == 19


async def test_groups_and_sort_work_here_too() -> None:
    async with group_room() as it:
        first = it.view.group
        await it.press("n")
        assert it.view.group is not first
        await it.press("p", "o")
        assert it.view.sort == "order"
        await shown(it, "head", "by order")


async def test_one_panel_at_a_time_on_a_small_screen() -> None:
    async with group_room(size=(80, 24)) as it:
        seen = {p.id for p in it.app.screen.query(Panel) if p.display}
        assert seen == {"head", "answers", "versus", "histogram"}
        assert "w why" in it.keys
        for expected in ("histogram", "earlier", "facts", "response", "versus"):
            await it.press("w")
            await displayed(it, expected)
        await it.press("z")
        assert {p.id for p in it.app.screen.query(Panel) if p.display} == {"head", "answers"}
        await it.press("escape")
        assert panel(it, "versus").display, "Esc gives the space back before it leaves"
        assert isinstance(on_top(it), GroupScreen)


async def test_before_anything_was_sampled() -> None:
    script = ScriptedRun()
    events = [*script.loading(), script.ready(detail="before step 1")]
    async with stage(events, script=script) as it:
        for key in ("2", "j", "n", "w", "D", "enter", "right", "t", "i", "d", "escape"):
            await it.press(key)
        await shown(it, "head", "no responses yet")
        assert it.session.commands == [], "there is nothing to ask about"
