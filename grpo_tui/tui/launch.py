"""From the command line to the app and back: terminal, signals, crash file, last words."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from grpo_tui.config.schema import RunConfig
from grpo_tui.events.commands import Request, Stop
from grpo_tui.events.records import Mode
from grpo_tui.heap import keep_freed_memory
from grpo_tui.preferences.values import Preferences
from grpo_tui.tui.app import GrpoApp
from grpo_tui.tui.capture import OutputCapture
from grpo_tui.tui.leaving import SAVE_PATIENCE
from grpo_tui.tui.session import Session

SWITCH_INTERVAL = 0.001
"""Seconds between chances for the screen's thread to take the interpreter from the engine's."""
HANGUP_CODE, TERMINATE_CODE = 129, 143


class LaunchedApp(GrpoApp):
    """The app in a real terminal: it obeys signals."""

    _loading = False

    def sync(self) -> None:
        """Also take what was loaded from the garbage collector's rounds: each would hold up screen and training for 0.2 s."""
        super().sync()
        loading = self.view is not None and self.view.state.mode is Mode.LOADING
        if self._loading and not loading:
            gc.freeze()
        self._loading = loading

    async def show_welcome(self, trouble: str = "") -> None:
        """Also free what the run had: frozen, it would stay for as long as the program runs."""
        await super().show_welcome(trouble)
        self._loading = False
        from grpo_tui.tui.live_session import free_memory

        self.call_after_refresh(free_memory)

    def on_load(self) -> None:
        """Stop, save and leave when told to from outside."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(signal.SIGTERM, self.leaving.begin, TERMINATE_CODE)
            loop.add_signal_handler(signal.SIGINT, self.leaving.begin, 130)
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def _hang_up(self) -> None:
        """The terminal is gone: nothing can be drawn any more, so save without a picture and end."""
        threading.Thread(target=self._save_and_end, name="hang-up", daemon=True).start()

    def _save_and_end(self) -> None:
        stop_engine(self)
        os._exit(HANGUP_CODE)


def stop_engine(app: GrpoApp, patience: float = SAVE_PATIENCE) -> bool:
    """Make sure that the engine is told to stop, and wait for it to save; return whether it has."""
    session = app.view.session if app.view is not None else None
    if session is None or not session.alive:
        return True
    session.send(Stop())
    deadline = time.monotonic() + patience
    while session.alive and time.monotonic() < deadline:
        time.sleep(0.05)
    return not session.alive


def launch(
    *,
    config: RunConfig | None,
    preferences: Preferences,
    run_dir: Path | None,
    resume: Path | None,
    recording: Session | None = None,
    paused: bool,
    requests: Sequence[Request] = (),
) -> int:
    """Run the app; return the exit status."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        print("grpo-tui: the app needs a terminal; use `grpo-tui train` without one", file=sys.stderr)  # noqa: T201
        return 2
    sys.setswitchinterval(SWITCH_INTERVAL)
    if recording is None:
        keep_freed_memory()
    capture = OutputCapture()
    capture.start()
    app: GrpoApp | None = None
    status: int | None = None
    try:
        app = LaunchedApp(
            config=config,
            preferences=preferences,
            run_dir=run_dir,
            resume=resume,
            recording=recording,
            paused=paused,
            requests=requests,
            capture=capture,
            warm_up=recording is None,
            spares_training=True,
        )
        status = app.run()
        app.remembering.flush()
        if app.crash_text:
            stop_engine(app)
    finally:
        capture.stop()
    return _last_words(app, 1 if app.crash_text else status or 0)


def _last_words(app: GrpoApp, status: int) -> int:
    run_dir = app.run_dir
    watched = app.view is not None and app.view.session.read_only
    saved = run_dir is not None and (run_dir / "run.db").exists() and not watched
    say = f"run saved in {run_dir} · continue with: grpo-tui resume {run_dir}" if saved else ""
    if app.crash_text:
        own = run_dir is not None and run_dir.is_dir() and not watched
        place = (run_dir if own and run_dir is not None else Path.cwd()) / "crash.txt"
        with contextlib.suppress(OSError):
            place.write_text(app.crash_text, encoding="utf-8", errors="replace")
        _print(f"{app.crash_text}\ngrpo-tui crashed; the traceback is in {place}")
        say = say or ("the recording was only read" if watched else "nothing was saved: no run had started")
    if say:
        _print(say)
    if app.view is not None and app.view.session.alive:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
    return status


def _print(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201
