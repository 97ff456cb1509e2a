"""Log, help, palette and Welcome."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from grpo_tui.config.presets import PRESETS
from grpo_tui.config.schema import RunConfig
from grpo_tui.runs.store import RunSummary
from grpo_tui.tui.actions import APP_ACTIONS, LOOK_ACTIONS, RUN_ACTIONS
from grpo_tui.tui.app import GrpoApp
from grpo_tui.tui.help_text import GLOSSARY
from grpo_tui.tui.palette import palette_commands
from grpo_tui.tui.rooms import ROOM_ACTIONS
from grpo_tui.tui.screens.help import HelpScreen
from grpo_tui.tui.screens.live import LiveScreen
from grpo_tui.tui.screens.log import LogScreen
from grpo_tui.tui.screens.welcome import WelcomeScreen
from grpo_tui.tui.widgets.lines import LinesView
from tests.support.apps import stage, wait_for
from tests.support.scripted_session import ScriptedSession


def lines_of(screen: Any, name: str) -> str:
    return str(screen.query_one(f"#{name}", LinesView).plain)


async def test_log_holds_events_and_output_and_follows() -> None:
    async with stage() as it:
        it.view.log_lines("info", "output", ["Loading weights: 100%"], at=1e10)
        await it.press("l")
        await wait_for(
            lambda: (
                isinstance(it.app.screen, LogScreen) and "Loading weights" in lines_of(it.app.screen, "lines")
            )
        )
        text = lines_of(it.app.screen, "lines")
        assert text.index("step 1:") < text.index("step 38:") < text.index("Loading weights")
        lines = it.app.screen.query_one("#lines", LinesView)
        await wait_for(lambda: lines.scroll_offset.y == lines.max_scroll_y > 0)
        it.view.log_lines("info", "output", ["newest"], at=2e10)
        await wait_for(lambda: "newest" in lines.plain and lines.scroll_offset.y == lines.max_scroll_y)
        await it.press("f")
        await it.press("home")
        it.view.log_lines("info", "output", ["newer still"], at=3e10)
        await wait_for(lambda: "newer still" in lines.plain)
        assert lines.scroll_offset.y == 0
        await it.press("escape")
        assert isinstance(it.app.screen, LiveScreen)


async def test_training_can_be_paused_from_the_log() -> None:
    async with stage() as it:
        await it.press("7", "space")
        assert len(it.session.commands) == 1


async def test_help_starts_with_the_focused_panel() -> None:
    async with stage() as it:
        await it.press("enter", "question_mark")
        assert isinstance(it.app.screen, HelpScreen)
        await wait_for(lambda: lines_of(it.app.screen, "sheet"))
        text = lines_of(it.app.screen, "sheet")
        assert text.startswith("Here: Responses")
        for action in (*RUN_ACTIONS, *LOOK_ACTIONS, *ROOM_ACTIONS, *APP_ACTIONS):
            assert action.help.split(".")[0][:40] in text.replace("\n         ", " ")
        for word, formula, _ in GLOSSARY:
            assert word in text
            assert formula in text
        await it.press("escape")
        assert isinstance(it.app.screen, LiveScreen)


async def test_palette_has_every_action_that_can_be_done() -> None:
    async with stage() as it:
        titles = [command.title for command in palette_commands(it.app, it.app.screen)]
        assert "Pause  (Space)" in titles
        assert "Sort  (o)" in titles
        assert not [title for title in titles if title.startswith(("Run ", "Retry"))]
        commands = {command.title: command.callback for command in palette_commands(it.app, it.app.screen)}
        await commands["Sort  (o)"]()
        assert it.view.sort == "order"
        await it.press("ctrl+p")
        await wait_for(lambda: it.app.screen.id != "live")
        await it.press("escape")


def test_every_action_has_an_id_of_its_own() -> None:
    ids = [action.id for action in (*RUN_ACTIONS, *LOOK_ACTIONS, *ROOM_ACTIONS, *APP_ACTIONS)]
    assert len(set(ids)) == len(ids)


class Starts:
    """Takes the place of the engine and writes down what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[RunConfig, Path, bool, bool]] = []

    def __call__(self, config: RunConfig, *, run_dir: Path, resume: bool, paused: bool) -> ScriptedSession:
        self.calls.append((config, run_dir, resume, paused))
        return ScriptedSession()


@pytest.mark.parametrize(("key", "paused"), [("enter", True), ("r", False)])
async def test_one_key_starts_the_tiny_run(tmp_path: Path, key: str, paused: bool) -> None:
    starts = Starts()
    app = GrpoApp(runs_root=tmp_path, session_factory=starts)
    async with app.run_test(size=(100, 30)) as pilot:
        assert "tiny" in lines_of(app.screen, "choices")
        await pilot.press(key)
        await wait_for(lambda: isinstance(app.screen, LiveScreen))
        [(config, run_dir, resume, was_paused)] = starts.calls
        assert config == PRESETS["tiny"]()
        assert run_dir.parent == tmp_path
        assert (resume, was_paused) == (False, paused)
        assert app.view is not None
        assert app.view.session.alive


async def test_a_typed_model_takes_the_place_of_the_presets(tmp_path: Path) -> None:
    starts = Starts()
    app = GrpoApp(runs_root=tmp_path, session_factory=starts)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("down", "m")
        app.screen.query_one("#model", Input).value = " some/model[q] "
        await pilot.press("enter", "enter")
        await wait_for(lambda: starts.calls)
        config, _, _, paused = starts.calls[0]
        assert config.model.source == "some/model[q]"
        assert config.data == PRESETS["gsm8k"]().data
        assert paused


async def test_q_and_p_can_be_typed_into_a_line() -> None:
    app = GrpoApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("m", "q", "p", "m", "escape")
        assert app.screen.query_one("#model", Input).value == "qpm"
        assert app.focused is not None
        assert app.focused.id == "choices"


async def test_recent_runs_can_be_resumed(tmp_path: Path) -> None:
    from grpo_tui.config.emit import to_toml

    run = tmp_path / "old-run"
    run.mkdir()
    (run / "config.toml").write_text(to_toml(PRESETS["tiny"]()), encoding="utf-8")
    starts = Starts()
    app = GrpoApp(runs_root=tmp_path, session_factory=starts)
    async with app.run_test(size=(100, 30)) as pilot:
        await wait_for(lambda: "none yet" in lines_of(app.screen, "choices"))
        screen = app.screen
        assert isinstance(screen, WelcomeScreen)
        summaries = [
            RunSummary(path=run, name="old [b]run", finished_steps=12, total_steps=60, last_reward=0.4),
            RunSummary(path=tmp_path / "bad", name="bad", problem="cannot read it"),
        ]
        screen.show_runs(summaries)
        text = lines_of(screen, "choices")
        assert "old [b]run" in text
        assert "step 12/60" in text
        assert "cannot read it" in text
        await pilot.press(*["down"] * len(PRESETS), "enter")
        await wait_for(lambda: starts.calls)
        config, run_dir, resume, paused = starts.calls[0]
        assert (config, run_dir, resume, paused) == (PRESETS["tiny"](), run, True, True)


async def test_a_start_that_fails_stays_on_welcome(tmp_path: Path) -> None:
    def refuse(config: RunConfig, *, run_dir: Path, resume: bool, paused: bool) -> ScriptedSession:
        raise OSError("disk [full]")

    app = GrpoApp(runs_root=tmp_path, session_factory=refuse)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, WelcomeScreen)
        assert [toast.message for toast in app._notifications] == ["disk [full]"]


async def test_with_a_config_the_run_is_opened_paused(tmp_path: Path) -> None:
    starts = Starts()
    config = PRESETS["tiny"]()
    app = GrpoApp(config=config, runs_root=tmp_path, run_dir=tmp_path / "here", session_factory=starts)
    async with app.run_test():
        await wait_for(lambda: isinstance(app.screen, LiveScreen))
        assert starts.calls == [(config, tmp_path / "here", False, True)]
