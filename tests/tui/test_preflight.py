"""The Pre-flight room: what a probe and the measured fit say before step 1, and that they can be taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from grpo_tui.events.commands import MeasureFit, Probe, Withdraw
from grpo_tui.events.preflight import (
    FIT,
    PROBE,
    FitReport,
    FitTrial,
    ProbedGroup,
    ProbeReport,
    PromptPiece,
)
from grpo_tui.events.records import DataRecord, Mode, Phase
from grpo_tui.events.types import (
    DataLoaded,
    Event,
    FitMeasured,
    PreflightDone,
    PreflightEnded,
    PreflightStarted,
    Progress,
)
from grpo_tui.tui.checking import Share, advice, dead_odds, is_due, kept_out, pending, smaller_groups
from grpo_tui.tui.palette import palette_commands
from grpo_tui.tui.panels.base import Panel
from grpo_tui.tui.panels.preflight import preview_lines
from grpo_tui.tui.text import clean, line_width
from tests.support.apps import Stage, failure, paused_after, stage, wait_for
from tests.support.builders import T0, ScriptedRun
from tests.tui.hostile import HOSTILE


def probed(right: int, size: int = 8, cause: str = "", question: str = "What is 2 + 3?") -> ProbedGroup:
    """A group of which so many are right."""
    verdicts = ("correct",) * right + ("wrong",) * (size - right)
    return ProbedGroup(
        problem_id=f"p{right}",
        question=question,
        rewards_G=(1.0,) * right + (0.0,) * (size - right),
        verdicts_G=verdicts,
        lengths_G=(20,) * size,
        truncated_G=(False,) * size,
        dead_cause=cause or ("too easy" if right == size else "" if right else "too hard"),
    )


def report(groups: Sequence[ProbedGroup] | None = None) -> ProbeReport:
    return ProbeReport(
        groups=tuple(groups if groups is not None else [probed(n % 9) for n in range(16)]),
        group_size=8,
        max_completion_tokens=64,
        sampling_seconds=2.5,
        scoring_seconds=0.25,
        finished_steps=0,
        preview=(
            PromptPiece(text="<|user|>", special=True),
            PromptPiece(text="What is 2 + 3?\nThink."),
            PromptPiece(text="<|assistant|>", special=True),
        ),
        is_chat=True,
    )


FITS = FitReport(
    prompt_tokens=40,
    completion_tokens=64,
    prompts_per_step=8,
    group_size=8,
    free_bytes=20_000_000_000,
    margin=0.1,
    sampling=FitTrial(num_rows=64, num_tokens=6656, extra_bytes=90_000_000, seconds=1.5),
    microbatches=(
        FitTrial(num_rows=1, num_tokens=104, extra_bytes=14_000_000, seconds=0.1),
        FitTrial(num_rows=2, num_tokens=208, extra_bytes=None, seconds=0.2),
    ),
    max_tokens_per_microbatch=104,
    max_group_size=32,
    sampling_seconds=1.5,
    reference_seconds=0.25,
    update_seconds=2.0,
    notes=("groups may grow",),
)


def before_step_1(script: ScriptedRun) -> list[Event]:
    return [*script.loading(), script.ready(Mode.PAUSED, "before step 1")]


def done(found: ProbeReport | None = None) -> list[Event]:
    return [
        PreflightStarted(time=T0, what=PROBE, detail="16 prompts × 8 responses of up to 64 tokens"),
        PreflightDone(time=T0, report=found or report()),
        PreflightEnded(time=T0, what=PROBE, reason="done"),
    ]


async def open_room(it: Stage) -> None:
    it.app.action_go_room("preflight")
    await wait_for(lambda: it.app.screen.id == "preflight" and bool(it.app.screen.query("#probe")))


# --- asking ----------------------------------------------------------------------------------------------


async def test_before_step_1_live_offers_a_probe_and_the_key_makes_it() -> None:
    script = ScriptedRun()
    async with stage(before_step_1(script), script=script) as it:
        assert "0 probe first" in it.keys
        assert "0 probes first" in it.text("header")
        await it.press("0")
        await wait_for(lambda: it.session.commands == [Probe()])
        assert it.app.screen.id == "preflight"
        await wait_for(lambda: "probe: begins at once" in it.here("check"))


async def test_after_a_step_the_key_only_opens_the_card() -> None:
    """Seen to fail with: a probe made whenever the key is pressed."""
    script = ScriptedRun()
    async with stage(paused_after(script, 2), script=script) as it:
        assert "probe first" not in it.keys
        await it.press("0")
        await wait_for(lambda: it.app.screen.id == "preflight")
        assert it.session.commands == []
        await wait_for(lambda: "g probe 16 prompts" in it.keys)


async def test_progress_is_shown_and_the_probe_can_be_taken_back() -> None:
    script = ScriptedRun()
    async with stage(before_step_1(script), script=script) as it:
        await it.press("0")
        await wait_for(lambda: it.session.commands == [Probe()])
        await it.play(PreflightStarted(time=T0, what=PROBE, detail="16 prompts"))
        it.session.progress = Progress(
            step=0,
            phase=Phase.SAMPLE,
            done=37,
            total=128,
            unit="responses",
            tokens_per_second=512.4,
            of=PROBE,
        )
        await wait_for(lambda: "probe: 16 prompts · sample 37/128 responses · 512 tok/s" in it.here("check"))
        await wait_for(lambda: "g stop" in it.keys)
        assert "measure fit" not in it.keys, "one check at a time"
        await it.press("g")
        assert it.session.commands == [Probe(), Withdraw(Probe())]
        await it.play(PreflightEnded(time=T0, what=PROBE, reason="stopped"))
        await wait_for(lambda: "the probe was stopped" in it.here("check"))
        await wait_for(lambda: "g probe 16 prompts" in it.keys)


async def test_one_that_still_waits_is_forgotten_when_it_is_taken_back() -> None:
    script = ScriptedRun()
    async with stage(before_step_1(script)[:3], script=script) as it:
        await open_room(it)
        await it.press("g")
        await wait_for(lambda: "waits until the run is loaded" in it.here("check"))
        await it.press("g")
        assert it.session.commands == [Probe(), Withdraw(Probe())]
        await wait_for(lambda: "nothing is trained" in it.here("check"))
        await it.press("f")
        assert it.session.commands[-1] == MeasureFit()


async def test_a_check_that_failed_says_why() -> None:
    script = ScriptedRun()
    async with stage(before_step_1(script), script=script) as it:
        await open_room(it)
        await it.press("f")
        await it.play(
            PreflightEnded(time=T0, what=FIT, reason="failed", message="fit is measured [between] steps")
        )
        await wait_for(lambda: "the fit was failed: fit is measured [between] steps" in it.here("check"))


@pytest.mark.parametrize(
    ("mode", "detail", "line"),
    [
        (Mode.RUNNING, "", "waits for the end of the phase"),
        (Mode.PAUSED, "in sample, after 3 tokens", "waits: paused in sample, after 3 tokens; . runs"),
    ],
)
async def test_it_says_what_it_waits_for(mode: Mode, detail: str, line: str) -> None:
    script = ScriptedRun()
    async with stage([*script.loading(), script.ready(mode, detail)], script=script) as it:
        await open_room(it)
        await it.press("g")
        await wait_for(lambda: line in it.here("check"))


async def test_a_recording_shows_its_checks_and_makes_none() -> None:
    script = ScriptedRun()
    async with stage([*paused_after(script, 2), *done()], script=script, read_only=True) as it:
        await open_room(it)
        await wait_for(lambda: "dead groups" in it.here("probe"))
        assert "can be read, not made" in it.here("check")
        await it.press("g", "f")
        assert it.session.commands == []
        assert not is_due(it.view)


async def test_after_an_error_of_the_engine_it_waits() -> None:
    script = ScriptedRun()
    async with stage([*before_step_1(script), failure(step=1)], script=script) as it:
        await open_room(it)
        await it.press("g")
        await wait_for(lambda: "stopped at an error" in it.here("check"))


async def test_the_palette_has_the_room_and_both_checks() -> None:
    async with stage() as it:
        titles = [command.title for command in palette_commands(it.app, it.app.screen)]
        assert "Pre-flight  (0)" in titles
        assert "Pre-flight: Probe 16 prompts  (g)" in titles
        assert "Pre-flight: Measure fit  (f)" in titles


# --- what it says ----------------------------------------------------------------------------------------


async def test_the_card_tells_dead_groups_with_interval_and_causes() -> None:
    script = ScriptedRun()
    async with stage([*before_step_1(script), *done()], script=script) as it:
        await open_room(it)
        await wait_for(lambda: "dead groups" in it.here("probe"))
        card = it.here("probe")
        # Right answers 0 … 8, then 0 … 6: two groups of none, one of all.
        assert "3 of 16, 19% [7, 43]" in card
        assert "2 too hard" in card
        assert "1 too easy" in card
        assert "right       57 of 128, 45%" in card
        assert "cut         0 of 128, 0%" in card
        assert "20.0 tokens on average, longest 20" in card
        assert "sampling 2.5 s (1024 tok/s), scoring 0.2 s" in card
        assert "13 of 16 groups teach" in card
        assert "✓✓✓✗✗✗✗✗" in card
        assert "· ✗✗✗✗✗✗✗✗" in card


async def test_the_card_is_there_later_and_says_of_when() -> None:
    script = ScriptedRun()
    found = replace(report(), finished_steps=2)
    async with stage([*paused_after(script, 2), *done(found)], script=script) as it:
        await open_room(it)
        panel = it.app.screen.query_one("#probe", Panel)
        await wait_for(lambda: "after step 2" in str(panel.border_title))


async def test_problems_kept_out_are_told() -> None:
    script = ScriptedRun()
    rejected = (
        "p1: gold answer '[b]' cannot be judged",
        "p2: no answer",
        "p3: prompt of 900 tokens + 64 completion tokens exceed context 512",
        "p4: gold answer",
    )
    data = DataLoaded(time=T0, data=DataRecord(source="d", num_train=9, num_eval=0, rejected=rejected))
    async with stage([*before_step_1(script), data], script=script) as it:
        await open_room(it)
        await wait_for(lambda: "kept out" in it.here("probe"))
        card = it.here("probe")
        assert "3 whose gold answer or row cannot be used · 1 too long for the model's context" in card
        assert "'[b]'" in card
        assert "1 more in the Log" in card


async def test_the_prompt_is_shown_as_the_model_gets_it() -> None:
    script = ScriptedRun()
    async with stage([*before_step_1(script), *done()], script=script) as it:
        await open_room(it)
        await wait_for(lambda: "<|user|>" in it.here("prompt"))
        assert it.here("prompt") == "<|user|>What is 2 + 3?⏎\nThink.<|assistant|>"
        panel = it.app.screen.query_one("#prompt", Panel)
        assert "chat template, 2 special tokens" in str(panel.border_subtitle)
        assert panel.lines[0][0][1] == "accent runner"


async def test_the_fit_is_told_in_words_first() -> None:
    script = ScriptedRun()
    async with stage(
        [*before_step_1(script), FitMeasured(time=T0, report=FITS)], script=script, size=(140, 50)
    ) as it:
        await open_room(it)
        await wait_for(lambda: "a step" in it.here("fit"))
        card = it.here("fit")
        assert "at worst about 3.8 s: sampling 1.5, reference 0.2, update 2.0" in card
        assert "up to 104 tokens fit" in card
        assert "2 rows, 208 tokens: out of memory" in card
        assert "18.0 GB to use of 20.0 GB free" in card
        assert "groups may grow" in card
        await it.play(
            FitMeasured(time=T0, report=replace(FITS, max_tokens_per_microbatch=0, microbatches=()))
        )
        await wait_for(lambda: "does not fit: lower sampling.max_completion_tokens" in it.here("fit"))


def test_smaller_groups_are_dead_more_often_and_the_odds_are_exact() -> None:
    """C(4,2) + C(4,2) of C(8,2) pairs are equal; of a whole group the odds are whether it is dead."""
    assert dead_odds(probed(4), 2) == pytest.approx(12 / 28)
    assert dead_odds(probed(8), 4) == dead_odds(probed(0), 2) == 1.0
    assert dead_odds(probed(3), 8) == 0.0
    found = dict(smaller_groups(report([probed(4), probed(8)])))
    assert found.keys() == {4, 2}
    assert found[4] == pytest.approx((2 / 70 + 1) / 2)
    assert found[2] == pytest.approx((12 / 28 + 1) / 2)
    assert smaller_groups(replace(report(), group_size=2)) == []


@pytest.mark.parametrize(
    ("groups", "line"),
    [
        ([probed(0)] * 9 + [probed(4)] * 7, "most groups are too hard"),
        ([probed(8)] * 9 + [probed(4)] * 7, "most groups are too easy"),
        ([probed(0, cause="identical text")] * 16, "most groups repeat one text"),
        ([probed(3)] * 16, "16 of 16 groups teach"),
    ],
)
def test_advice_is_about_what_is_wrong_most(groups: list[ProbedGroup], line: str) -> None:
    assert advice(report(groups))[0][0].startswith(line)


def test_many_cut_responses_come_first() -> None:
    cut = replace(probed(0), truncated_G=(True,) * 8)
    lines = [text for text, _ in advice(report([cut] * 16))]
    assert lines[0].startswith("100% of the responses are cut: raise sampling.max_completion_tokens")
    assert lines[1].startswith("most groups are too hard")


def test_shares_and_reasons() -> None:
    assert Share(0, 0).text == "–"
    assert Share(1, 16).text == "1 of 16, 6% [1, 28]"
    assert kept_out(()) == (0, 0)
    assert advice(report([])) == []


# --- hostile text and sizes ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (40, 12), (20, 5)])
async def test_hostile_text_and_small_screens_are_harmless(size: tuple[int, int]) -> None:
    script = ScriptedRun()
    groups = [replace(probed(n % 9), question=line) for n, line in enumerate(HOSTILE)]
    pieces = tuple(PromptPiece(text=line, special=n % 2 == 0) for n, line in enumerate(HOSTILE))
    data = DataLoaded(time=T0, data=DataRecord(source="d", num_train=9, num_eval=0, rejected=HOSTILE))
    events = [*before_step_1(script), data, *done(replace(report(groups), preview=pieces))]
    async with stage([*events, FitMeasured(time=T0, report=FITS)], script=script, size=size) as it:
        await open_room(it)
        await it.pilot.pause()
        for panel in it.app.screen.query(Panel):
            width = panel.scrollable_content_region.width
            for y in range(panel.size.height if panel.display else 0):
                strip = panel.render_line(y)
                assert strip.cell_length == width
                assert "\x1b" not in strip.text
        await it.press("g", "f", "tab", "escape")
        await wait_for(lambda: it.app.screen.id == "live")


@pytest.mark.parametrize("width", [1, 2, 7, 40])
def test_a_prompt_of_any_text_keeps_to_its_width(width: int) -> None:
    """Seen to fail with: the text put in as it is."""
    pieces = tuple(PromptPiece(text=text, special=n % 2 == 0) for n, text in enumerate(HOSTILE))
    for line in preview_lines(pieces, width):
        assert line_width(line) <= max(2, width)
        assert all(clean(text) == text for text, _ in line)


def test_a_check_that_ended_before_is_not_the_one_asked_for() -> None:
    """Asked, ended, asked again: the first end does not end the second."""
    from grpo_tui.events.fold import reduce
    from grpo_tui.events.state import RunState
    from grpo_tui.tui.view import RunView
    from tests.support.scripted_session import ScriptedSession

    view = RunView(ScriptedSession())
    ended = PreflightEnded(time=T0, what=PROBE, reason="done")
    view.state = reduce(RunState(), ended)
    view.checks.asked, view.checks.ended_before = Probe(), view.state.last_check
    assert pending(view) == PROBE
    view.state = reduce(view.state, PreflightEnded(time=T0, what=PROBE, reason="done"))
    assert pending(view) == ""
