"""Make the pictures of the recorded session that the README shows: ``python sample_data/make_pictures.py``.

The program itself, without a terminal, over ``sample_data/session``, read-only as ``grpo-tui view`` opens it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from grpo_tui.tui.app import GrpoApp
from grpo_tui.tui.recorded_session import open_recording

HERE = Path(__file__).resolve().parent
SIZE = (120, 40)
PATIENCE = 30.0
DEAD = (9, 6)
"""Step and group of the session's breakpoint."""

PICTURES: Sequence[tuple[str, Sequence[str]]] = (
    ("1-dead-group", ("2",)),
    ("2-tokens-that-paid", ("3", "t", "t", "t")),
    ("3-preview", ("8",)),
    ("4-receipt", ("8", "right", "right")),
    ("5-branches", ("4", "b")),
)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something to be so."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.05)


async def picture(run: Path, keys: Sequence[str]) -> str:
    """Open the run, look at the dead group, press keys, and take the screen."""
    recording = open_recording(run)
    app = GrpoApp(recording=recording)
    try:
        async with app.run_test(size=SIZE) as pilot:
            await until(lambda: app.view is not None and bool(app.view.state.history))
            view: Any = app.view
            step, group = DEAD
            view.look_at(step, group)
            await until(lambda: view.group is not None and view.group.index == group)
            for key in keys:
                await pilot.press(key)
                await asyncio.sleep(0.6)
            await asyncio.sleep(1.0)
            return app.export_screenshot(title="grpo-tui")
    finally:
        recording.close()


def main() -> None:
    """Write every picture beside the session."""
    folder = HERE / "pictures"
    folder.mkdir(exist_ok=True)
    for name, keys in PICTURES:
        svg = asyncio.run(picture(HERE / "session", keys))
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
        print(folder / f"{name}.svg")


if __name__ == "__main__":
    main()
