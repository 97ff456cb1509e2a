"""What libraries would print goes to the log as notices, and the terminal stays clean."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import pytest

from grpo_tui.engine.libraries import libraries_to_notices
from grpo_tui.events.types import Notice
from tests.engine.support import Events


def test_warnings_and_log_lines_become_notices_once(capfd: pytest.CaptureFixture[str]) -> None:
    events = Events()
    before = warnings.showwarning, list(logging.getLogger().handlers)
    with libraries_to_notices(events.append), warnings.catch_warnings():
        warnings.simplefilter("always")
        for _ in range(3):
            warnings.warn("old\n  thing", DeprecationWarning, stacklevel=1)
            logging.getLogger("transformers.models").warning("look %s", "here")
            logging.getLogger("peft").error("broken")
            logging.getLogger("peft").info("chatter")
    assert (warnings.showwarning, list(logging.getLogger().handlers)) == before
    assert [(e.level, e.source, e.message) for e in events.of(Notice)] == [
        ("warning", "warnings", "DeprecationWarning: old thing"),
        ("warning", "transformers", "look here"),
        ("error", "peft", "broken"),
    ]
    assert capfd.readouterr() == ("", "")


def test_bars_are_switched_off_before_anything_can_draw_one() -> None:
    """``tqdm`` reads its switch when it is imported, and torch imports it."""
    program = (
        "import grpo_tui.engine.runner, grpo_tui.engine.libraries, os, sys\n"
        "assert not {'torch', 'tqdm', 'transformers'} & set(sys.modules)\n"
        "from tqdm.auto import tqdm\n"
        "list(tqdm(range(3)))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
