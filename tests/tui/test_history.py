"""The History room, by what is on screen: its list, bookmarks, search, filters, timeline and branches."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from grpo_tui.runs.bookmarks import FILE, Bookmarks
from grpo_tui.runs.writer import RunWriter
from grpo_tui.tui.app import GrpoApp
from grpo_tui.tui.finder import Found
from grpo_tui.tui.recorded_session import RecordedSession
from grpo_tui.tui.screens.history import FoundView, HistoryScreen, StepsView
from grpo_tui.tui.screens.live import LiveScreen
from grpo_tui.tui.view import RunView
from grpo_tui.tui.widgets.keybar import KeyBar
from grpo_tui.tui.widgets.lines import LinesView
from tests.support.apps import failure, stage, wait_for
from tests.support.builders import T0, ScriptedRun
from tests.tui.test_pictures import check

STEPS = 12


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve steps, and a branch that left them after the eighth and went two steps."""
    run_dir = tmp_path_factory.mktemp("history") / "run"
    script = ScriptedRun(steps=STEPS)
    with RunWriter.create(run_dir, "") as writer:
        for event in script.whole(STEPS):
            writer.write(event)
    return run_dir


@pytest.fixture
def run_dir(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "run"))


@dataclass
class Room:
    app: GrpoApp
    pilot: Pilot[int]

    @property
    def screen(self) -> HistoryScreen:
        assert isinstance(self.app.screen, HistoryScreen)
        return self.app.screen

    @property
    def view(self) -> RunView:
        assert self.app.view is not None
        return self.app.view

    @property
    def steps(self) -> StepsView:
        return self.screen.query_one(StepsView)

    @property
    def found(self) -> FoundView:
        return self.screen.query_one(FoundView)

    @property
    def problem(self) -> str:
        line = self.screen.query_one("#problem", LinesView)
        return line.plain if line.display else ""

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)

    async def type(self, key: str, text: str) -> None:
        """Open a line, put a text into it, and submit it."""
        await self.press(key)
        line = self.screen.query_one(Input)
        await wait_for(lambda: line.has_focus)
        line.value = text
        await self.press("enter")

    async def shown(self, *words: str) -> str:
        """Wait until the second list holds these words."""
        await wait_for(
            lambda: (
                self.found.display
                and all(word in f"{self.found.border_title} {self.found.plain}" for word in words)
            )
        )
        return self.found.plain

    async def at(self, step: int | None) -> None:
        await wait_for(lambda: self.view.cursor.step == step)


@asynccontextmanager
async def room(run_dir: Path, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Room]:
    session = RecordedSession(run_dir, poll_seconds=0.02)
    app = GrpoApp(recording=session, now=lambda: T0)
    try:
        async with app.run_test(size=size) as pilot:
            await wait_for(lambda: app.view is not None and app.view.watched is not None)
            await pilot.press("4")
            made = Room(app, pilot)
            await wait_for(lambda: isinstance(app.screen, HistoryScreen) and made.steps.count)
            yield made
    finally:
        session.close()


# The list ------------------------------------------------------------------------------------------------------


async def test_one_row_for_each_step_newest_in_sight(run_dir: Path) -> None:
    async with room(run_dir) as it:
        rows = it.steps.plain.splitlines()
        assert [int(row.split()[0]) for row in rows] == list(range(1, STEPS + 1))
        metrics = it.view.state.history[-1]
        assert f"{metrics.reward_mean:.3f}" in rows[-1]
        assert f"{100 * metrics.accuracy:.0f}%" in rows[-1]
        assert "├" in rows[-1]
        assert it.steps.cursor == STEPS - 1


async def test_marks_of_checkpoints_and_evaluations(run_dir: Path) -> None:
    async with room(run_dir) as it:
        row = it.steps.plain.splitlines()[9]
        result = it.view.state.evals[-1]
        assert f"SE{100 * result.accuracy:.0f}%" in row


@pytest.mark.parametrize(
    ("keys", "step"),
    [
        (["up"], 11),
        (["k", "k"], 10),
        (["left_square_bracket"], 11),
        (["left_curly_bracket"], 2),
        (["home"], 1),
        (["home", "down"], 2),
        (["home", "j", "j"], 3),
        (["home", "right_curly_bracket"], 11),
        (["home", "up"], 1),
        (["home", "end"], None),
        (["up", "L"], None),
        (["up", "down"], None),
    ],
)
async def test_keys_move_the_cursor_of_all_rooms(run_dir: Path, keys: list[str], step: int | None) -> None:
    async with room(run_dir) as it:
        await it.press(*keys)
        await it.at(step)
        assert it.steps.cursor == (step or STEPS) - 1


async def test_enter_goes_to_the_step(run_dir: Path) -> None:
    async with room(run_dir) as it:
        await it.press("home", "down", "enter")
        await wait_for(lambda: isinstance(it.app.screen, LiveScreen))
        assert it.view.shown_step == 2
        await wait_for(lambda: "viewing step 2" in it.app.screen.query_one("#banner", LinesView).plain)


async def test_escape_leads_back_and_keeps_the_cursor(run_dir: Path) -> None:
    async with room(run_dir) as it:
        await it.press("up", "escape")
        await wait_for(lambda: isinstance(it.app.screen, LiveScreen))
        assert it.view.cursor.step == STEPS - 1


async def test_the_banner_says_where_one_is_and_where_the_run_is(run_dir: Path) -> None:
    async with room(run_dir) as it:
        banner = it.screen.query_one("#banner", LinesView)
        assert not banner.display
        await it.press("home")
        await wait_for(lambda: "viewing step 1, the last is 12" in banner.plain)


async def test_a_click_goes_to_a_step(run_dir: Path) -> None:
    async with room(run_dir) as it:
        await it.pilot.click(StepsView, offset=(4, 3))
        await it.at(3)


async def test_new_steps_appear_while_the_run_goes_on() -> None:
    async with stage() as it:
        await it.press("4")
        await wait_for(lambda: isinstance(it.app.screen, HistoryScreen))
        steps = it.app.screen.query_one(StepsView)
        await wait_for(lambda: steps.count == 38)
        it.session.play(*(event for _, event in it.script.step(39)))
        await wait_for(lambda: steps.count == 39 and steps.cursor == 38)
        await it.press("up", "up")
        await wait_for(lambda: it.view.cursor.step == 37)
        assert "training is at 39" in it.app.screen.query_one("#banner", LinesView).plain
        it.session.play(*(event for _, event in it.script.step(40)))
        await wait_for(lambda: steps.count == 40)
        assert steps.cursor == 36


async def test_an_error_is_marked_at_its_step() -> None:
    async with stage() as it:
        it.session.play(failure(step=38))
        await it.press("4")
        await wait_for(lambda: isinstance(it.app.screen, HistoryScreen))
        await wait_for(lambda: "✖" in it.app.screen.query_one(StepsView).plain)


async def test_a_run_without_a_step(tmp_path: Path) -> None:
    async with stage(ScriptedRun().loading()) as it:
        await it.press("4")
        await wait_for(lambda: isinstance(it.app.screen, HistoryScreen))
        await it.press("enter")
        assert isinstance(it.app.screen, HistoryScreen)
        await it.press("m", "t", "up", "end")
        assert "no step is finished yet" in str(it.app.screen.query_one(StepsView).border_title)


async def test_thousands_of_rows_cost_what_is_seen_of_them() -> None:
    script = ScriptedRun(num_groups=1, group_size=2)
    async with stage([*script.loading(), *(e for s in range(1, 401) for _, e in script.step(s))]) as it:
        await it.press("4")
        await wait_for(lambda: isinstance(it.app.screen, HistoryScreen))
        steps = it.app.screen.query_one(StepsView)
        await wait_for(lambda: steps.count == 400)
        await it.pilot.pause()
        assert steps.rows_made < 150
        await it.press("home")
        await wait_for(lambda: steps.scroll_offset.y == 0)
        assert steps.plain.splitlines()[0].split()[0] == "1"


# Bookmarks -----------------------------------------------------------------------------------------------------


async def test_a_bookmark_is_set_kept_and_taken_away(run_dir: Path) -> None:
    before = (run_dir / "run.db").read_bytes()
    async with room(run_dir) as it:
        await it.press("home", "down", "m")
        await wait_for(lambda: "◆" in it.steps.plain.splitlines()[1])
    assert dict(Bookmarks(run_dir).load()) == {2: ""}
    async with room(run_dir) as it:
        await wait_for(lambda: "◆" in it.steps.plain.splitlines()[1])
        await it.press("home", "down", "m")
        await wait_for(lambda: "◆" not in it.steps.plain)
    assert dict(Bookmarks(run_dir).load()) == {}
    assert (run_dir / "run.db").read_bytes() == before


async def test_a_bookmark_with_a_note(run_dir: Path) -> None:
    async with room(run_dir) as it:
        await it.press("home")
        await it.type("M", "[b]odd[/b] jump")
        await wait_for(lambda: "◆ [b]odd[/b]" in it.steps.plain.splitlines()[0])
        await it.press("M")
        await wait_for(lambda: it.screen.query_one(Input).value == "[b]odd[/b] jump")
        await it.press("escape")
    assert dict(Bookmarks(run_dir).load()) == {1: "[b]odd[/b] jump"}


async def test_damaged_bookmarks_are_told_and_left_alone(run_dir: Path) -> None:
    (run_dir / FILE).write_text("{")
    async with room(run_dir) as it:
        await wait_for(lambda: "damaged" in it.problem)
        await it.press("m")
        assert "damaged" in it.problem
        assert "◆" not in it.steps.plain
    assert (run_dir / FILE).read_text() == "{"


# Search and filters --------------------------------------------------------------------------------------------


async def test_a_filter_lists_what_matches_and_enter_goes_there(run_dir: Path) -> None:
    async with room(run_dir) as it:
        await it.type("f", "reward=1 & step<4")
        text = await it.shown("Filter reward=1 & step<4", "g", "✓")
        rows = [row.split() for row in text.splitlines()]
        assert {int(row[0]) for row in rows} <= {1, 2, 3}
        wanted = sum(round(m.reward_mean * 64) for m in it.view.state.history[:3])
        assert len(rows) == wanted
        assert f"  {wanted}" in str(it.found.border_title)
        await wait_for(lambda: it.found.has_focus)
        await it.press("down", "enter")
        await wait_for(lambda: not isinstance(it.app.screen, HistoryScreen))
        group, response = (int(part[1:]) for part in rows[1][1].split("·"))
        assert it.view.shown_step == int(rows[1][0])
        assert it.view.group is not None
        assert it.view.group.index + 1 == group
        assert it.view.completion is it.view.group.completions[response - 1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rewad<1", "column 1: no field 'rewad'; did you mean reward?"),
        ("reward<1 &", "column 11: expected a field, but the filter ends"),
        ("mth=1", "did you mean math?"),
        ("verdict=[red]", "means nothing here"),
    ],
)
async def test_a_bad_filter_says_where_and_the_line_stays(run_dir: Path, text: str, problem: str) -> None:
    async with room(run_dir) as it:
        await it.type("f", text)
        await wait_for(lambda: problem in it.problem)
        assert it.screen.query_one(Input).display
        assert not it.found.display
        await it.press("escape")
        await wait_for(lambda: not it.screen.query_one(Input).display and not it.problem)


async def test_a_mistake_is_told_while_one_types_an_unfinished_filter_is_not(run_dir: Path) -> None:
    async with room(run_dir) as it:
        await it.press("f", *"reward<")
        assert it.problem == ""
        await it.press(*"x ")
        await wait_for(lambda: "compared with a number" in it.problem)


async def test_a_filter_that_nothing_matches(run_dir: Path) -> None:
    async with room(run_dir) as it:
        await it.type("f", "reward>1")
        await it.shown("no response matches")
        await it.press("escape")
        await wait_for(lambda: not it.found.display)
        assert it.steps.has_focus


async def test_search_finds_prompts_and_responses(run_dir: Path) -> None:
    async with room(run_dir) as it:
        await it.type("slash", "17 60")
        text = await it.shown("Search 17 60", "17 × 6 = 60")
        assert "✓" in text
        await it.press("escape")
        await it.type("slash", "Simplify")
        text = await it.shown("prompt", "Simplify")
        assert "≡" in text


async def test_the_last_question_wins(run_dir: Path) -> None:
    async with room(run_dir) as it:
        await it.type("f", "step=1")
        stale = it.screen._asked
        await it.type("f", "step=2")
        await it.shown("Filter step=2", "    2 g")
        it.screen.post_message(HistoryScreen.Arrived(Found(number=stale, error="stale")))
        await it.pilot.pause()
        assert "stale" not in it.found.plain


async def test_tab_goes_between_the_lists_and_escape_out_of_them_one_by_one(run_dir: Path) -> None:
    async with room(run_dir) as it:
        await it.type("f", "step=3")
        await wait_for(lambda: it.found.has_focus)
        await it.press("tab")
        assert it.steps.has_focus
        await it.press("up")
        await it.at(STEPS - 1)
        await it.press("tab", "escape")
        await wait_for(lambda: not it.found.display)
        await it.press("escape")
        await wait_for(lambda: isinstance(it.app.screen, LiveScreen))


async def test_a_run_without_a_file_says_so() -> None:
    async with stage() as it:
        await it.press("4")
        await wait_for(lambda: isinstance(it.app.screen, HistoryScreen))
        await it.press("b")
        await wait_for(lambda: "no file" in it.app.screen.query_one("#problem", LinesView).plain)
        await it.press("m")
        await wait_for(lambda: "◆" in it.app.screen.query_one(StepsView).plain)


# One prompt, and branches ---------------------------------------------------------------------------------------


async def test_the_same_prompt_over_the_steps(run_dir: Path) -> None:
    async with room(run_dir) as it:
        group = it.view.group
        assert group is not None
        await it.press("t")
        text = await it.shown(f"Prompt {group.problem.id}", "×")
        rows = text.splitlines()
        last = rows[-1]
        right = sum(str(c.verdict) == "correct" for c in group.completions)
        assert last.split()[0] == str(STEPS)
        assert f"{right}/{len(group.completions)}" in last
        await wait_for(lambda: it.found.has_focus)
        await it.press("enter")
        await wait_for(lambda: not isinstance(it.app.screen, HistoryScreen))
        assert it.view.shown_step == int(rows[0].split()[0])
        assert it.view.group is not None
        assert it.view.group.problem.id == group.problem.id


async def test_branches_are_listed_and_shown(run_dir: Path) -> None:
    script = ScriptedRun(steps=STEPS, seed=9)
    with RunWriter.open(run_dir, truncate_after=8) as writer:
        for event in [*script.loading(), *(e for s in (9, 10) for _, e in script.step(s))]:
            writer.write(event)
    # Loading a new run sets the count of finished steps back: the second branch starts from nothing.
    async with room(run_dir) as it:
        await it.press("b")
        text = await it.shown("Branches", "the run goes on here")
        assert "steps 1–12" in text
        await wait_for(lambda: it.found.has_focus)
        await it.press("home", "enter")
        await wait_for(lambda: it.steps.count == STEPS)
        await wait_for(lambda: "▸   0" in it.found.plain)
        await it.press("end", "enter")
        await wait_for(lambda: it.steps.count == 2)


# Sizes and pictures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(40, 12), (60, 16), (80, 24), (120, 40), (200, 60), (20, 5)])
async def test_every_size_without_a_crash(run_dir: Path, size: tuple[int, int]) -> None:
    async with room(run_dir, size=size) as it:
        assert it.steps.plain.splitlines() or size[1] < 12
        await it.type("f", "step>10")
        await wait_for(lambda: it.found.lines)
        await it.press("escape", "t", "b", "home", "m")
        assert {strip.cell_length for strip in it.app.screen._compositor.render_strips()} == {size[0]}


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_picture(run_dir: Path, size: tuple[int, int], tmp_path: Path) -> None:
    async with room(run_dir, size=size) as it:
        await it.press("home", "down", "down")
        await it.type("M", "first right answer")
        await it.type("f", "verdict=timeout | verdict=unparsed")
        await it.shown("t", "?")
        await wait_for(lambda: it.found.has_focus)
        await it.pilot.pause()
        check(f"history-{size[0]}x{size[1]}", it.app.export_screenshot(title="grpo-tui"), tmp_path)


async def test_the_key_bar_names_the_room(run_dir: Path) -> None:
    async with room(run_dir) as it:
        keys = it.app.screen.query_one(KeyBar).plain
        assert "/ find" in keys
        assert "f filter" in keys
        assert "m bookmark" in keys
        await it.press("escape")
        await wait_for(lambda: "/ find" not in it.app.screen.query_one(KeyBar).plain)
        assert "n/p group" in it.app.screen.query_one(KeyBar).plain
