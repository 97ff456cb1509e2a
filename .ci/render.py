"""Open the installed app without a terminal, train the tiny model in it, and print a picture of it as SVG."""

import asyncio
import sys
import tempfile
from pathlib import Path

from grpo_tui.events.commands import Stop
from grpo_tui.tui.app import GrpoApp


async def render() -> str:
    """Press Enter on the first screen, then Space, and wait for a finished step."""
    app = GrpoApp(runs_root=Path(tempfile.mkdtemp()))
    async with app.run_test(size=(120, 40)) as pilot:
        while app.screen.id != "welcome":
            await asyncio.sleep(0.05)
        await pilot.press("enter")
        while app.view is None:
            await asyncio.sleep(0.05)
        await pilot.press("space")  # a run begins paused before step 1
        while app.view is None or not app.view.state.history:
            if app.view is not None and app.view.state.failure is not None:
                raise SystemExit(app.view.state.failure.traceback)
            await asyncio.sleep(0.1)
        await pilot.pause(0.5)
        picture = app.export_screenshot()
        app.view.session.send(Stop())
        while app.view.session.alive:
            await asyncio.sleep(0.05)
        return picture


sys.stdout.write(asyncio.run(asyncio.wait_for(render(), 240)))
