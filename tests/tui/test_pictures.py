"""Pictures of the screens, compared with those kept beside this file.

``UPDATE_PICTURES=1 pytest tests/tui/test_pictures.py`` keeps the new ones. ``live-120x40.svg`` is the picture in
the README.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support.apps import failure, paused_after, stage
from tests.support.builders import ScriptedRun

PICTURES = Path(__file__).parent / "pictures"


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
