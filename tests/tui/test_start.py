"""The first paint waits for nothing: no torch, no engine, no database."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "transformers", "datasets", "peft", "pyarrow", "sympy", "sqlite3", "grpo_tui.engine")

PROGRAM = f"""
import asyncio, sys
from grpo_tui.tui.app import GrpoApp
import grpo_tui.tui.launch

async def main():
    app = GrpoApp(runs_root="no-such-folder")
    seen = {{}}
    app.open_first = lambda: (app._open_welcome(), seen.update(before=sorted(set({HEAVY!r}) & set(sys.modules))))
    app._find_runs = lambda: None
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        assert app.screen.id == "welcome", app.screen
        assert "tiny" in app.screen.query_one("#choices").plain
        print(sorted(set({HEAVY!r}) & set(sys.modules)))

asyncio.run(main())
"""


def test_first_paint_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
