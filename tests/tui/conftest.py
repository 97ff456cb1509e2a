"""One time zone, and no settings of the developer's own terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (
        "NO_COLOR",
        "TEXTUAL_THEME",
        "TEXTUAL_COLOR_SYSTEM",
        "TEXTUAL_FPS",
        "COLORTERM",
        "FORCE_COLOR",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
