"""Where the time went, in the help; and what the command line asks of the engine when the app opens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from grpo_tui.config.load import load_config
from grpo_tui.config.schema import RunConfig
from grpo_tui.events.commands import ProfileSteps
from grpo_tui.events.records import PassReport, TimingReport
from grpo_tui.tui.app import GrpoApp
from grpo_tui.tui.panels.timing import timing_lines
from grpo_tui.tui.widgets.lines import LinesView
from tests.events.builders import metrics
from tests.support.apps import stage, wait_for
from tests.support.scripted_session import ScriptedSession

TIMING = TimingReport(
    prefill=PassReport(num_tokens=91, seconds=0.02, tokens_per_second=4550.0),
    decode=PassReport(num_tokens=1466, seconds=0.5, tokens_per_second=2932.0),
    reference=PassReport(),
    update=PassReport(
        num_tokens=1648, seconds=0.4, tokens_per_second=4120.0, num_microbatches=2, padding=0.377
    ),
    device_peak_bytes=2_500_000_000,
    run_file_seconds=0.0104,
)


def text_of(timing: TimingReport | None) -> str:
    lines = timing_lines(replace(metrics(3), seconds=1.04, timing=timing))
    return "\n".join("".join(text for text, _ in line) for line in lines)


def test_each_pass_has_its_tokens_its_speed_and_its_padding() -> None:
    rows = text_of(TIMING).splitlines()
    assert rows[0].startswith("Time of step 3")
    assert [row.split()[0] for row in rows[1:]] == ["prefill", "decode", "update", "run", "memory"]
    assert "2.9k tok/s" in rows[2] or "2932 tok/s" in rows[2] or "2,932 tok/s" in rows[2]
    assert "2 microbatches, 38% padding" in rows[3]
    assert "10 ms, 1% of the step" in rows[4]
    assert "2.5 GB on the device" in rows[5]


def test_a_cpu_has_no_device_memory_and_one_microbatch_is_one() -> None:
    alone = replace(TIMING, device_peak_bytes=None, update=replace(TIMING.update, num_microbatches=1))
    assert "memory" not in text_of(alone)
    assert "1 microbatch, 38%" in text_of(alone)


def test_nothing_is_said_of_a_step_that_was_not_measured() -> None:
    assert text_of(None) == ""
    assert timing_lines(None) == []


async def test_help_tells_where_the_time_of_the_step_looked_at_went() -> None:
    async with stage() as it:
        await it.press("question_mark")
        sheet = it.app.screen.query_one("#sheet", LinesView)
        await wait_for(lambda: "Time of step 38" in sheet.plain)
        await it.press("escape")
        it.view.cursor = replace(it.view.cursor, step=21)
        await it.press("question_mark")
        other = it.app.screen.query_one("#sheet", LinesView)
        await wait_for(lambda: "Time of step 21" in other.plain)
        assert "2 microbatches, 12% padding" in other.plain


async def test_what_the_command_line_asks_reaches_the_engine(tmp_path: Path) -> None:
    session = ScriptedSession([])

    def factory(config: RunConfig, **_rest: Any) -> ScriptedSession:
        return session

    request = ProfileSteps(first=2, last=2, folder=str(tmp_path))
    app = GrpoApp(
        config=load_config(preset="tiny"),
        run_dir=tmp_path / "run",
        session_factory=factory,
        requests=(request,),
    )
    async with app.run_test():
        await wait_for(lambda: request in session.commands)
