"""Copies, cards, screenshots and Parquet from the app: always a file, and never a claim about the clipboard."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from grpo_tui.preferences.values import DEFAULTS, Preferences
from grpo_tui.runs.writer import RunWriter
from grpo_tui.tui.clipboard import LIMIT, osc52
from grpo_tui.tui.screens.copy import CHOICES, CopyScreen
from grpo_tui.tui.screens.live import LiveScreen
from tests.support.apps import Stage, paused_after, stage, wait_for
from tests.support.builders import ScriptedRun
from tests.tui.hostile import HOSTILE
from tests.tui.test_sizes import poisoned


def decoded(sequence: str) -> str:
    found = re.fullmatch(r"\x1b\]52;c;([A-Za-z0-9+/=]*)\x07", sequence)
    assert found is not None
    return base64.b64decode(found[1]).decode()


class Sent(list[str]):
    """What the terminal was sent."""


@asynccontextmanager
async def app(run_dir: Path | None, **rest: object) -> AsyncIterator[tuple[Stage, Sent]]:
    async with stage(run_dir=run_dir, **rest) as it:  # type: ignore[arg-type]
        sent = Sent()
        it.app.send_to_terminal = sent.append  # type: ignore[method-assign,assignment]
        yield it, sent


async def note(it: Stage, part: str) -> str:
    found: list[str] = []

    def there() -> bool:
        found[:] = [toast.message for toast in it.app._notifications if part in toast.message]
        return bool(found)

    await wait_for(there)
    return found[-1]


@pytest.fixture(autouse=True)
def no_tmux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)


def test_the_sequence_and_its_bound() -> None:
    assert decoded(osc52("a\nb é 漢", in_tmux=False) or "") == "a\nb é 漢"
    longest = "x" * (LIMIT // 4 * 3)
    assert osc52(longest, in_tmux=False) is not None
    assert osc52(longest + "xxx", in_tmux=False) is None
    assert decoded(osc52("a\ud800", in_tmux=False) or "") == "a?"


def test_in_tmux_it_is_sent_plain_and_wrapped() -> None:
    plain, wrapped = osc52("hi", in_tmux=False), osc52("hi", in_tmux=True)
    assert plain is not None
    assert wrapped == plain + "\x1bPtmux;\x1b" + plain + "\x1b\\"


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_can_end_the_sequence(text: str) -> None:
    sequence = osc52(text, in_tmux=False)
    assert sequence is not None
    assert sequence.count("\x1b") == 1
    assert sequence.count("\x07") == 1


async def test_y_copies_what_the_focused_panel_is_about(tmp_path: Path) -> None:
    async with app(tmp_path) as (it, sent):
        group = it.view.group
        assert group is not None
        await it.press("y")
        assert decoded(sent[-1]) == group.problem.question
        await it.press("enter", "j", "y")
        completion = it.view.completion
        assert completion is not None
        assert completion.index == 1
        assert decoded(sent[-1]) == completion.text
        said = await note(it, "the response: ")
        path = tmp_path / "exports" / f"step-000039-g{group.index + 1}-r2-response.txt"
        assert said == f"the response: sent to the terminal; if it is not in the clipboard: {path}"
        assert path.read_text() == completion.text
        it.live.set_focus(it.panel("why"))
        await it.press("y")
        assert decoded(sent[-1]) == it.text("why") + "\n"
        assert (tmp_path / "exports" / "panel-why.txt").exists() or await note(it, "panel why")


async def test_a_room_may_say_what_it_means_by_this(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiveScreen, "copied", lambda _self: ("the token", " 4"), raising=False)
    async with app(tmp_path) as (it, sent):
        await it.press("y")
        assert decoded(sent[-1]) == " 4"
        assert "the token: sent" in await note(it, "the token")


async def test_what_is_too_long_goes_to_the_file_alone(tmp_path: Path) -> None:
    script = ScriptedRun(num_groups=1, group_size=2)
    async with app(tmp_path, events=poisoned("y" * 80_000, script, 1), script=script) as (it, sent):
        await it.press("enter", "y")
        said = await note(it, "too long")
        assert sent == []
        path = Path(said.rpartition("it is in ")[2])
        assert path.read_text() == "y" * 80_000


async def test_nothing_to_copy_is_said() -> None:
    async with app(None, events=ScriptedRun().loading()[:2]) as (it, sent):
        await it.press("y")
        assert "nothing to copy here" in await note(it, "nothing")
        assert sent == []


@pytest.mark.parametrize(("key", "name"), [(key, name) for key, name, _ in CHOICES])
async def test_every_form(tmp_path: Path, key: str, name: str) -> None:
    async with app(tmp_path) as (it, sent):
        await it.press("n", "enter", "Y")
        assert isinstance(it.app.screen, CopyScreen)
        await it.press(key)
        completion, group = it.view.completion, it.view.group
        assert completion is not None
        assert group is not None
        await wait_for(lambda: list((tmp_path / "exports").glob("*")))
        [path] = (tmp_path / "exports").glob("*")
        await note(it, path.name)
        text = path.read_text(encoding="utf-8")
        if name == "svg":
            assert sent == []
            ElementTree.fromstring(text)
        else:
            assert decoded(sent[-1]) == text
        expected = {
            "prompt": group.problem.question,
            "response": completion.text,
            "gold": group.problem.answer,
        }
        assert text == expected.get(name, text)
        if name == "json":
            assert json.loads(text)["text"] == completion.text
        if name == "numbers":
            assert text.startswith(f"reward {completion.reward:.4f}")


async def test_choosing_can_be_left(tmp_path: Path) -> None:
    async with app(tmp_path) as (it, sent):
        await it.press("Y", "escape")
        assert isinstance(it.app.screen, LiveScreen)
        assert sent == []


async def test_a_screenshot_is_a_file(tmp_path: Path) -> None:
    async with app(tmp_path) as (it, _):
        await it.press("ctrl+s")
        said = await note(it, "screenshot: ")
        svg = Path(said.removeprefix("screenshot: ")).read_text(encoding="utf-8")
        ElementTree.fromstring(svg)
        assert "Trends" in svg


async def test_a_folder_that_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "exports").write_text("in the way")
    async with app(tmp_path) as (it, _):
        await it.press("y")
        said = await note(it, "cannot write")
        assert "\n" not in said


async def test_without_a_run_folder_a_place_of_our_own() -> None:
    async with app(None) as (it, _):
        await it.press("y")
        said = await note(it, "the prompt")
        path = Path(said.rpartition("clipboard: ")[2])
        assert path.read_text() == (it.view.group.problem.question if it.view.group else "")


async def test_the_preferences_may_name_the_folder(tmp_path: Path) -> None:
    preferences = Preferences(values={**DEFAULTS, "paths.exports": str(tmp_path / "mine")})
    async with app(tmp_path / "run", preferences=preferences) as (it, _):
        await it.press("y")
        await wait_for(lambda: list((tmp_path / "mine").glob("*-prompt.txt")))


async def test_a_step_and_a_run_as_parquet(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    script = ScriptedRun(num_groups=3, group_size=4)
    events = paused_after(script, 5)
    with RunWriter.create(run_dir, "") as writer:
        for event in events:
            writer.write(event)
    async with app(run_dir, events=events, script=script) as (it, _):
        await it.press("left_square_bracket")
        it.app.action_export_step()
        said = await note(it, "12 responses: ")
        assert set(parquet.read_table(said.partition(": ")[2])["step"].to_pylist()) == {4}
        it.app.action_export_run()
        said = await note(it, "60 responses: ")
        assert said.endswith("completions.parquet")


async def test_a_step_in_progress_cannot_be_exported_yet(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    script = ScriptedRun()
    with RunWriter.create(run_dir, "") as writer:
        for event in script.whole(2):
            writer.write(event)
    async with app(run_dir) as (it, _):
        it.app.action_export_step()
        assert "has no finished step 39; it has steps 1 to 2" in await note(it, "no finished step")


async def test_hostile_text_is_copied_as_it_is_and_toasted_harmlessly(tmp_path: Path) -> None:
    script = ScriptedRun(num_groups=1, group_size=2)
    text = "[red]x[/red] \x1b[31m [/]"
    async with app(tmp_path, events=poisoned(text, script, 1), script=script) as (it, sent):
        await it.press("enter", "y")
        assert decoded(sent[-1]) == text
        it.app.handing_out.send("[b]what[/b]", text, "name.txt")
        assert (await note(it, "[b]what[/b]")).startswith("[b]what[/b]: sent to the terminal")
