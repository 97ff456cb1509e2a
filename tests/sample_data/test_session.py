"""The recorded session opens, and tells the story that its script plays."""

from __future__ import annotations

from pathlib import Path

from grpo_tui.events.breakpoints import Hit
from grpo_tui.events.records import GroupRecord
from grpo_tui.events.types import ActTaken, BreakpointHit, PreviewComputed, ReceiptComputed, WentTo
from grpo_tui.runs.reader import RunReader
from rewards.base import Verdict

SAMPLE_DATA = Path(__file__).parents[2] / "sample_data"


def test_the_session_stops_acts_looks_ahead_and_goes_back() -> None:
    with RunReader(SAMPLE_DATA / "session") as reader:
        hits: list[Hit] = [
            event.hit for event in reader.events_of(BreakpointHit) if isinstance(event, BreakpointHit)
        ]
        [act] = [event for event in reader.events_of(ActTaken) if isinstance(event, ActTaken)]
        assert reader.events_of(PreviewComputed)
        assert reader.events_of(ReceiptComputed)
        assert reader.events_of(WentTo)
        assert len(reader.branches()) == 2
        detail = reader.load_step(act.step)
    assert hits[0].breakpoint.condition == "any group: dead and accuracy = 1"
    assert hits[0].matches[0].group == act.group
    assert detail is not None
    group: GroupRecord = detail.groups[act.group]
    assert [c.verdict is Verdict.CORRECT for c in group.completions] == [False] + [True] * 7
    assert not group.degenerate
    assert {c.advantage and c.advantage > 0 for c in group.completions} == {True, False}


def test_its_pictures_are_those_that_the_readme_shows() -> None:
    readme = (SAMPLE_DATA.parent / "README.md").read_text("utf-8")
    pictures = sorted(path.name for path in (SAMPLE_DATA / "pictures").glob("*.svg"))
    assert len(pictures) == 5
    for name in pictures:
        assert f"sample_data/pictures/{name}" in readme
