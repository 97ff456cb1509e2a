"""Pictures of the screens, compared with those kept beside this file.

``UPDATE_PICTURES=1 pytest tests/tui/test_pictures.py`` keeps the new ones. ``live-120x40.svg`` is the picture in
the README.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Input

from grpo_tui.config.machine import Gpu
from grpo_tui.runs.store import RunSummary
from grpo_tui.runs.writer import RunWriter
from grpo_tui.tui.panels.base import Panel
from tests.support import debugging
from tests.support.apps import Stage, failure, paused_after, stage, wait_for
from tests.support.builders import ScriptedRun
from tests.support.debugging import STEP, act, forked, stopped
from tests.support.looking import by_token, inspected
from tests.support.probing import flip, reverified, story
from tests.tui.test_preflight import before_step_1, done, open_room
from tests.tui.test_tune import changed, edit, tune, typed
from tests.tui.test_welcome import MACHINE, front

PICTURES = Path(__file__).parent / "pictures"


@pytest.fixture(autouse=True)
def steady_cursors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor that blinks would be there in one picture and not in the next, as the machine is quick or slow."""
    monkeypatch.setattr(Input, "_toggle_cursor", lambda _input: None)


def normalised(svg: str) -> str:
    """Without the ids that differ from run to run."""
    return re.sub(r"terminal-\d+-", "terminal-", svg)


def check(name: str, svg: str, tmp_path: Path) -> None:
    kept = PICTURES / f"{name}.svg"
    new = normalised(svg)
    if os.environ.get("UPDATE_PICTURES"):
        PICTURES.mkdir(exist_ok=True)
        kept.write_text(new, encoding="utf-8")
        return
    if not kept.exists() or kept.read_text(encoding="utf-8") != new:
        seen = tmp_path / f"{name}.svg"
        seen.write_text(new, encoding="utf-8")
        pytest.fail(
            f"the picture {name} differs from {kept}; the new one is {seen}. "
            "If it is right: UPDATE_PICTURES=1 python -m pytest tests/tui/test_pictures.py"
        )


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_live(size: tuple[int, int], tmp_path: Path) -> None:
    async with stage(size=size) as it:
        await it.press("n", "n", "n", "j", "j", "j")
        await it.settle()
        check(f"live-{size[0]}x{size[1]}", it.app.export_screenshot(title="grpo-tui"), tmp_path)


async def test_a_past_step_with_a_near_miss(tmp_path: Path) -> None:
    async with stage() as it:
        await it.press("left_square_bracket", "left_square_bracket", "n", "n", "enter", "j")
        await it.settle()
        check("past-120x40", it.app.export_screenshot(title="grpo-tui"), tmp_path)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_failure(size: tuple[int, int], tmp_path: Path) -> None:
    async with stage(size=size) as it:
        await it.play(failure())
        check(f"failure-{size[0]}x{size[1]}", it.app.export_screenshot(title="grpo-tui"), tmp_path)


async def test_loading(tmp_path: Path) -> None:
    script = ScriptedRun()
    async with stage(script.loading()[:3], size=(80, 24)) as it:
        check("loading-80x24", it.app.export_screenshot(title="grpo-tui"), tmp_path)


async def test_response_on_a_narrow_screen(tmp_path: Path) -> None:
    script = ScriptedRun()
    async with stage(paused_after(script, 20), size=(80, 24), script=script) as it:
        await it.press("enter", "j", "enter")
        await it.settle()
        check("response-80x24", it.app.export_screenshot(title="grpo-tui"), tmp_path)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_group(size: tuple[int, int], tmp_path: Path) -> None:
    script = ScriptedRun()
    async with stage(list(by_token(paused_after(script, 20))), size=size, script=script) as it:
        await it.press("n", "j", "j", "2")
        await wait_for(lambda: it.app.screen.id == "group" and it.view.earlier_groups() is not None)
        await it.settle()
        check(f"group-{size[0]}x{size[1]}", await picture(it), tmp_path)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
@pytest.mark.parametrize("keys", ["heat", "diff"])
async def test_response(size: tuple[int, int], keys: str, tmp_path: Path) -> None:
    script = ScriptedRun()
    async with stage(list(by_token(paused_after(script, 20))), size=size, script=script) as it:
        await it.press("n", "j", "j", "3")
        await wait_for(lambda: it.app.screen.id == "response" and it.focused == "tokens")
        it.view.pick_token(3)
        completion, group = it.view.completion, it.view.group
        assert completion is not None
        assert group is not None
        await it.play(inspected(completion, step=20, group=group.index))
        await it.press(*(("d", "c") if keys == "diff" else ("t", "t", "t", "t", "t")))
        check(f"tokens-{keys}-{size[0]}x{size[1]}", await picture(it), tmp_path)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_preflight(size: tuple[int, int], tmp_path: Path) -> None:
    script = ScriptedRun()
    async with stage([*before_step_1(script), *done()], size=size, script=script) as it:
        await open_room(it)
        await wait_for(lambda: it.focused == "probe")
        check(f"preflight-{size[0]}x{size[1]}", await picture(it), tmp_path)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_welcome(size: tuple[int, int], tmp_path: Path) -> None:
    machine = replace(
        MACHINE, gpus=(Gpu("NVIDIA L4", 24 << 30, 22 << 30),)
    )  # whose dtype is the same everywhere
    async with front(tmp_path, survey=machine, size=size) as it:
        it.screen.show_runs(
            [
                RunSummary(
                    path=Path("runs/x"),
                    name="smol-gsm8k",
                    finished_steps=40,
                    total_steps=200,
                    last_reward=0.44,
                )
            ]
        )
        await it.press("down", "right", "right", "enter")
        await wait_for(lambda: "estimated" in it.text("about"))
        await it.pilot.pause()
        check(f"welcome-{size[0]}x{size[1]}", it.app.export_screenshot(title="grpo-tui"), tmp_path)


async def picture(it: Stage) -> str:
    """The room on top, painted anew."""
    await it.pilot.pause()
    it.app.screen.sync_view(force=True)  # type: ignore[attr-defined]
    await it.pilot.pause()
    return it.app.export_screenshot(title="grpo-tui")


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_tune(size: tuple[int, int], tmp_path: Path) -> None:
    """One change applied, two collected, one being typed that is too much."""
    async with tune(changed(1, 17, ("optim.lr", "2e-5", "1e-5")), size=size) as it:
        await it.press("down")
        await edit(it, "cosine")
        await it.press("down")
        await edit(it, "4")
        await it.press("home")
        await typed(it, "0.5")
        await wait_for(lambda: "usual" in it.here("complaint"))
        await it.pilot.pause()
        check(f"tune-{size[0]}x{size[1]}", it.app.export_screenshot(title="grpo-tui"), tmp_path)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_probes(size: tuple[int, int], tmp_path: Path) -> None:
    script = ScriptedRun()
    events = [*paused_after(script, 20), *story(20)]
    async with stage(events, size=size, script=script) as it:
        it.view.look_at(11)
        await it.press("9")
        panel = it.app.screen.query_one("#probe", Panel)
        await wait_for(lambda: "was wrong at step 10" in panel.plain)
        check(f"probes-{size[0]}x{size[1]}", it.app.export_screenshot(title="grpo-tui"), tmp_path)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_triage(size: tuple[int, int], tmp_path: Path) -> None:
    run_dir, script = tmp_path / "run", ScriptedRun()
    with RunWriter.create(run_dir, "") as writer:
        for event in ScriptedRun().whole(20):
            writer.write(event)
    async with stage(paused_after(script, 20), size=size, script=script, run_dir=run_dir) as it:
        await it.press("H")
        panel = it.app.screen.query_one("#outlook", Panel)
        await wait_for(lambda: "dead odds" in panel.plain)
        await it.settle()
        check(f"triage-{size[0]}x{size[1]}", it.app.export_screenshot(title="grpo-tui"), tmp_path)


async def test_verdicts(tmp_path: Path) -> None:
    script = ScriptedRun()
    flips = reverified(flip(3), flip(5, 2, 4), flip(9, 1, 0))
    async with stage([*paused_after(script, 20), flips], size=(120, 40), script=script) as it:
        await it.press("V")
        panel = it.app.screen.query_one("#flips", Panel)
        await wait_for(lambda: "3 verdicts differ" in panel.plain)
        await it.settle()
        check("verdicts-120x40", it.app.export_screenshot(title="grpo-tui"), tmp_path)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_stopped_at_a_breakpoint_and_changed_by_hand(size: tuple[int, int], tmp_path: Path) -> None:
    script = ScriptedRun()
    async with stage(stopped(script), size=size, script=script) as it:
        it.view.sort = "order"
        it.view.pick_row(2)
        assert it.view.group is not None
        await it.play(
            debugging.changed(it.view.group, 1, excluded=True, advantage=0.0),
            act("exclude", "g3·r2: kept out of the update", note="the gold answer is wrong"),
        )
        check(f"stopped-{size[0]}x{size[1]}", it.app.export_screenshot(title="grpo-tui"), tmp_path)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_breakpoints(size: tuple[int, int], tmp_path: Path) -> None:
    script = ScriptedRun()
    async with stage(stopped(script), size=size, script=script) as it:
        await it.press("B")
        await wait_for(lambda: it.app.screen.id == "breakpoints" and it.focused == "list")
        await it.press("a")
        line = it.app.screen.query_one("#line", Input)
        line.cursor_blink = False
        line.value = "any group: sd == 0 and mean_lenght > 15"
        shown = it.app.screen.query_one("#check", Panel)
        await wait_for(lambda: "^" in shown.plain)
        await it.pilot.pause()
        check(f"breakpoints-{size[0]}x{size[1]}", it.app.export_screenshot(title="grpo-tui"), tmp_path)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_fork(size: tuple[int, int], tmp_path: Path) -> None:
    script = ScriptedRun()
    async with stage(stopped(script), size=size, script=script) as it:
        it.view.sort = "order"
        it.view.pick_row(2)
        await it.press("3")
        await wait_for(lambda: it.app.screen.id == "response")
        group, mine = it.view.group, it.view.completion
        assert group is not None
        assert mine is not None
        await it.play(inspected(mine, step=STEP, group=group.index, finished_steps=STEP - 1))
        await it.press("right", "right", "right", "f")
        await wait_for(lambda: it.app.screen.id == "ask")
        await it.press("enter")
        await wait_for(lambda: it.app.screen.id == "response")
        await it.play(forked(mine, group, token=3, right=(2, 7, 0), instead=1000))
        shown = it.app.screen.query_one("#fork", Panel)
        await wait_for(lambda: "2/8" in shown.plain)
        await it.pilot.pause()
        check(f"fork-{size[0]}x{size[1]}", it.app.export_screenshot(title="grpo-tui"), tmp_path)
