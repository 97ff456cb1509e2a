"""Disputing a verdict, judging answers again, and the Triage room's remedies, by keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.widgets import Input

from grpo_tui.events.commands import (
    AnswersForPrompt,
    ChangeSettings,
    DisputeVerdict,
    DrawMore,
    DropPrompt,
    KeepReverified,
    PostponePrompt,
    RestorePrompt,
    ReverifyAll,
)
from grpo_tui.events.types import OrderChanged, RequestFailed, VerdictDisputed, VerdictsRevised
from grpo_tui.runs.writer import RunWriter
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.screens.dispute import DisputeScreen
from grpo_tui.tui.screens.group import GroupScreen
from grpo_tui.tui.screens.live import LiveScreen
from grpo_tui.tui.screens.response import ResponseScreen
from grpo_tui.tui.screens.reverify import VerdictsScreen
from grpo_tui.tui.screens.triage import POSTPONED_BY, TriageScreen
from rewards.base import Verdict
from tests.support.apps import Stage, paused_after, stage, wait_for
from tests.support.builders import T0, ScriptedRun
from tests.support.probing import flip, reverified
from tests.tui.hostile import HOSTILE

STEPS = 8


# --- disputes --------------------------------------------------------------------------------------------


async def test_a_verdict_is_disputed_with_a_note() -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 4), script=script) as it:
        await it.press("n", "j", "M")
        await wait_for(lambda: isinstance(it.app.screen, DisputeScreen))
        await wait_for(lambda: "should be" in it.here("facts"))
        group, completion = it.view.group, it.view.completion
        assert group is not None
        assert completion is not None
        right = completion.verdict is Verdict.CORRECT
        assert f"should be {'✗ wrong' if right else '✓ correct'}" in it.here("facts")
        it.app.screen.query_one("#dispute-note", Input).value = "  half is .5 "
        await it.press("enter")
        await wait_for(lambda: it.session.commands)
        assert it.session.commands == [
            DisputeVerdict(
                step=4,
                group=group.index,
                completion=completion.index,
                should_be="wrong" if right else "correct",
                note="half is .5",
            )
        ]


@pytest.mark.parametrize("right", [True, False])
async def test_what_it_should_be_is_the_other_of_right_and_wrong(right: bool) -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 12), script=script) as it:
        place = next(
            (group.index, completion.index)
            for group in it.view.groups
            for completion in group.completions
            if (completion.verdict is Verdict.CORRECT) == right
        )
        it.view.look_at(12, *place)
        await it.press("M")
        await wait_for(lambda: isinstance(it.app.screen, DisputeScreen))
        await it.press("enter")
        await wait_for(lambda: it.session.commands)
        [asked] = it.session.commands
        assert isinstance(asked, DisputeVerdict)
        assert (asked.group, asked.completion) == place
        assert asked.should_be == ("wrong" if right else "correct")


async def test_escape_disputes_nothing() -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 2), script=script) as it:
        await it.press("M")
        await wait_for(lambda: isinstance(it.app.screen, DisputeScreen))
        await it.press("escape")
        await wait_for(lambda: isinstance(it.app.screen, LiveScreen))
        assert not it.session.commands


async def test_disputes_and_second_verdicts_stand_beside_the_first() -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 4), script=script) as it:
        group, completion = it.view.group, it.view.completion
        assert group is not None
        assert completion is not None
        place = {"step": 4, "group": group.index, "completion": completion.index}
        await it.play(
            VerdictDisputed(
                time=T0, branch=0, was="wrong", should_be="correct", case="c1", path="p", note="look", **place
            ),
            VerdictsRevised(
                time=T0,
                rules="other rules",
                num_answers=9,
                flips=(flip(4, group.index, completion.index),),
            ),
        )
        why = it.text("why")
        assert "should be correct: look" in " ".join(why.split())
        assert "wrong → correct under other rules; the record stays" in " ".join(why.split())
        await it.press("j")
        await it.settle()
        assert "should be correct: look" not in " ".join(it.text("why").split())


async def test_nothing_is_disputed_in_a_recording() -> None:
    script = ScriptedRun()
    async with stage(script.whole(3), script=script, read_only=True) as it:
        await it.press("M")
        assert isinstance(it.app.screen, LiveScreen)


# --- judging again ---------------------------------------------------------------------------------------


async def open_verdicts(it: Stage) -> None:
    await it.press("V")
    await wait_for(lambda: isinstance(it.app.screen, VerdictsScreen))


async def test_answers_are_judged_again_by_the_rules_in_force_or_others() -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 4), script=script) as it:
        await open_verdicts(it)
        await wait_for(lambda: "nothing recorded is rewritten" in " ".join(it.here("flips").split()))
        await it.press("g")
        await it.press("i")
        it.app.screen.query_one(
            "#rules", Input
        ).value = "reward.answer_form = boxed, reward.timeout_seconds=1"
        await it.press("enter")
        await wait_for(lambda: len(it.session.commands) == 2)
        assert it.session.commands == [
            ReverifyAll(),
            ReverifyAll((("reward.answer_form", "boxed"), ("reward.timeout_seconds", "1"))),
        ]


async def test_flips_are_listed_before_they_are_kept() -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 4), script=script) as it:
        await open_verdicts(it)
        await it.press("c")
        assert not it.session.commands, "there is nothing to keep"
        it.session.play(reverified(flip(2), flip(3, 1, 2)))
        await wait_for(lambda: "2 verdicts differ" in it.here("flips"))
        rows = it.here("flips").splitlines()
        assert "c keeps them" in rows[0]
        assert rows[2].split()[:5] == ["2", "g1·r2", "✗", "→", "✓"]
        assert "0.50, gold 1/2" in rows[2]
        await it.press("c")
        assert it.session.commands == [KeepReverified()]
        kept = VerdictsRevised(time=T0, rules="the rules in force", num_answers=2432, flips=(flip(2),))
        it.session.play(kept)
        await wait_for(lambda: "c keeps them" not in it.here("flips"))


async def test_enter_looks_at_the_response_that_flips() -> None:
    script = ScriptedRun()
    async with stage([*paused_after(script, 4), reverified(flip(2), flip(3, 5, 2))], script=script) as it:
        await open_verdicts(it)
        await wait_for(lambda: "g6·r3" in it.here("flips"))
        await it.press("j", "enter")
        await wait_for(lambda: isinstance(it.app.screen, ResponseScreen))
        assert it.view.shown_step == 3
        assert it.view.group is not None
        assert it.view.group.index == 5
        assert it.view.completion is not None
        assert it.view.completion.index == 2


async def test_why_it_could_not_be_judged_is_said() -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 2), script=script) as it:
        await open_verdicts(it)
        it.session.play(RequestFailed(time=T0, request="ReverifyAll", message="optim.lr: no rule"))
        await wait_for(lambda: "optim.lr: no rule" in it.here("flips"))
        await it.press("g")
        await wait_for(lambda: "optim.lr: no rule" not in it.here("flips"))
        it.session.play(reverified(message="the answers were not judged again: disk on fire"))
        await wait_for(lambda: "disk on fire" in it.here("flips"))


async def test_hostile_flips() -> None:
    script = ScriptedRun()
    flips = [flip(1, n, reason=text) for n, text in enumerate(HOSTILE)]
    async with stage([*paused_after(script, 2), reverified(*flips)], script=script, size=(80, 24)) as it:
        await open_verdicts(it)
        await wait_for(lambda: "verdicts differ" in it.here("flips"))
        assert "\x1b" not in it.here("flips")
        it.app.export_screenshot()


# --- triage ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("triage") / "run"
    with RunWriter.create(path, "") as writer:
        for event in ScriptedRun().whole(STEPS):
            writer.write(event)
    return path


@asynccontextmanager
async def triage_room(run_dir: Path, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Stage]:
    script = ScriptedRun()
    async with stage(paused_after(script, STEPS), script=script, run_dir=run_dir, size=size) as it:
        await it.press("H")
        await wait_for(lambda: isinstance(it.app.screen, TriageScreen))
        await wait_for(lambda: "groups were dead" in it.here("triage-list"))
        yield it


def selected(it: Stage) -> str:
    assert isinstance(it.app.screen, TriageScreen)
    assert it.app.screen.one is not None
    return it.app.screen.one.history.problem_id


async def test_prompts_with_their_waste_and_odds(run_dir: Path) -> None:
    async with triage_room(run_dir) as it:
        screen = it.app.screen
        assert isinstance(screen, TriageScreen)
        found = screen.found
        assert found is not None
        text = it.here("triage-list")
        assert f"{found.num_dead} of {found.num_groups} groups were dead" in text
        assert found.num_groups == 8 * STEPS
        assert "G=8" in text
        assert "G=16" in text
        first = found.outlooks[0]
        assert first.history.question in text.splitlines()[2]
        assert "at G=8" in it.here("outlook")
        await it.press("j")
        await wait_for(lambda: found.outlooks[1].history.question in it.here("outlook"))


async def test_one_key_for_each_remedy(run_dir: Path) -> None:
    async with triage_room(run_dir) as it:
        await it.press("j")
        id = selected(it)
        await it.press("a", "t", "p", "d", "b")
        assert it.session.commands == [
            AnswersForPrompt(id, 16),
            ChangeSettings((("sampling.temperature", "1.25"),)),
            PostponePrompt(id, POSTPONED_BY),
            DropPrompt(id),
        ], "there is nothing to bring back yet"


async def test_what_was_decided_is_shown_and_can_be_taken_back(run_dir: Path) -> None:
    async with triage_room(run_dir) as it:
        id = selected(it)
        change = OrderChanged(
            time=T0, what="drop", problem_id=id, question="q", step=STEPS + 1, finished_steps=STEPS
        )
        it.session.play(change)
        await wait_for(lambda: "dropped" in it.here("triage-list"))
        await it.press("d")
        assert not it.session.commands, "it is dropped already"
        await it.press("b")
        assert it.session.commands == [RestorePrompt(id)]


async def test_more_answers_in_the_step_in_progress(run_dir: Path) -> None:
    async with triage_room(run_dir) as it:
        await it.press("m")
        assert not it.session.commands, "no step is in progress"
        sampled = [event for name, event in it.script.step(STEPS + 1) if name in ("start", "sample")]
        await it.play(*sampled)
        current = it.view.state.current
        assert current is not None
        screen = it.app.screen
        assert isinstance(screen, TriageScreen)
        for _ in range(10):
            if selected(it) in [group.problem.id for group in current.groups]:
                break
            await it.press("j")
        await it.press("m")
        [group] = [group for group in current.groups if group.problem.id == selected(it)]
        assert it.session.commands == [DrawMore(STEPS + 1, group.index, 8)]


async def test_enter_opens_the_newest_group_of_the_prompt(run_dir: Path) -> None:
    async with triage_room(run_dir) as it:
        id = selected(it)
        await it.press("enter")
        await wait_for(lambda: isinstance(it.app.screen, GroupScreen))
        assert it.view.group is not None
        assert it.view.group.problem.id == id


async def test_a_run_without_a_file_says_so() -> None:
    async with stage() as it:
        await it.press("H")
        await wait_for(lambda: "this run has no file" in it.here("triage-list"))
        await it.press("j", "a", "d", "enter")
        assert isinstance(it.app.screen, TriageScreen)
        assert not it.session.commands


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (120, 40)])
async def test_triage_in_every_size(size: tuple[int, int], run_dir: Path) -> None:
    async with triage_room(run_dir, size) as it:
        for name in ("triage-list", "outlook"):
            panel = it.app.screen.query_one(f"#{name}", Panel)
            assert all(
                sum(len(text) for text, _ in line) <= size[0] for line in panel.lines[: panel.size.height]
            )
        it.app.export_screenshot()
