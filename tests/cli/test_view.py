"""``grpo-tui view``: errors as one line, and the whole of it without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from grpo_tui.cli import main
from grpo_tui.runs.writer import RunWriter
from tests.events.builders import run_events


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    with RunWriter.create(tmp_path / "run", "") as writer:
        for event in run_events(3):
            writer.write(event)
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_path_that_is_no_run(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("grpo-tui: error: cannot open")
    assert error.count("\n") == 1


def test_without_a_terminal(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(finished)]) == 2
    assert "needs a terminal" in capsys.readouterr().err


DRIVE = """
import asyncio, sys, time
from pathlib import Path
from grpo_tui.cli import build_parser
from grpo_tui.tui.app import GrpoApp
from grpo_tui.tui.recorded_session import open_recording
from grpo_tui.tui.rooms import ROOMS

assert build_parser().parse_args(["view", sys.argv[1]]).run == Path(sys.argv[1])

async def drive():
    app = GrpoApp(recording=open_recording(Path(sys.argv[1])))
    async with app.run_test(size=(120, 40)) as pilot:
        end = time.monotonic() + 20
        while not app.view.state.history:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        for key in ("left_square_bracket", "n", "j", "enter", "L"):
            await pilot.press(key)
        for room in ROOMS:
            app.action_go_room(room.id)
            await pilot.pause()
        print("steps", app.view.state.last_step, "return", app.return_code)
        await pilot.press("q")
    print("left with", app.return_value)

asyncio.run(drive())
heavy = sorted({"torch", "transformers", "peft", "datasets", "pyarrow"} & set(sys.modules))
print("heavy", heavy)
"""


def test_every_room_of_a_recording_opens_without_torch(finished: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRIVE, str(finished)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "steps 3" in done.stdout
    assert "left with 0" in done.stdout
    assert "heavy []" in done.stdout
