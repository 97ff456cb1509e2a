"""What was changed by hand in a run, one JSON object an act: the part of its provenance that no config holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from grpo_tui.events.types import ActTaken
from grpo_tui.runs.reader import RunReader


def acts_as_json(run_dir: Path, *, step: int | None = None) -> list[str]:
    """The acts on the present line of steps, oldest first; ``step``: on this one only."""
    with RunReader(run_dir) as reader:
        acts = [act for act in reader.load_state().acts if step in (None, act.step)]
    back = taken_back(acts)
    return [
        json.dumps(act_row(act, taken_back=place in back), ensure_ascii=False)
        for place, act in enumerate(acts)
        if act.act != "undo"
    ]


def taken_back(acts: list[ActTaken]) -> set[int]:
    """Places of the acts that an ``undo`` of the same step took back."""
    found: set[int] = set()
    for place, act in enumerate(acts):
        if act.act == "undo":
            before = (p for p in range(place - 1, -1, -1) if acts[p].step == act.step)
            last = next((p for p in before if acts[p].act != "undo" and p not in found), None)
            if last is not None:
                found.add(last)
    return found


def act_row(act: ActTaken, *, taken_back: bool) -> dict[str, Any]:
    """One act; group and response count from 1, as everywhere a person reads them."""
    return {
        "step": act.step,
        "act": act.act,
        "group": act.group + 1,
        "response": None if act.completion is None else act.completion + 1,
        "sentence": act.sentence,
        "note": act.note,
        "by": act.by,
        "taken_back": taken_back,
        "time": datetime.fromtimestamp(act.time, UTC).isoformat(timespec="seconds"),
    }
