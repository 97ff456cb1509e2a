"""Any size, any text, any theme: nothing crashes, and nothing hostile reaches the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest

from grpo_tui.events.records import CompletionRecord, Phase
from grpo_tui.events.types import Event, GroupSampled, GroupScored, Notice, Progress, RunStarted
from grpo_tui.tui.widgets.lines import LinesView
from rewards.base import Explanation, Score, Span, Verdict
from tests.support.apps import Stage, failure, mid_training, stage
from tests.support.builders import T0, ScriptedRun
from tests.tui.hostile import HOSTILE

SIZES = [(1, 1), (10, 4), (40, 12), (59, 24), (60, 16), (80, 24), (100, 20), (100, 30), (120, 40), (200, 60)]


@pytest.mark.parametrize("size", SIZES)
async def test_every_room_at_every_size(size: tuple[int, int]) -> None:
    async with stage(size=size) as it:
        for key in ("enter", "enter", "z", "escape", "left_square_bracket", "L", "question_mark", "escape"):
            await it.press(key)
        for key in ("l", "escape", "q", "escape"):
            await it.press(key)
        await it.play(failure())
        it.app.export_screenshot()


async def test_the_smallest_view_has_phase_reward_and_last_verdict() -> None:
    async with stage(size=(40, 12)) as it:
        text = it.text("brief")
        assert "step 39/60 ● RUN" in text
        assert "upd 3/8" in text
        assert "reward" in text
        assert "✓" in text


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark", "ansi-light", "nord"])
async def test_themes(theme: str) -> None:
    async with stage() as it:
        it.app.theme = theme
        await it.settle()
        assert it.app.export_screenshot()


async def test_no_color_still_says_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with stage() as it:
        assert "✓" in it.text("groups")
        assert "▸UPDATE" in it.text("header")
        assert "+" in it.text("answers")
        it.app.export_screenshot()


def poisoned(text: str, script: ScriptedRun | None = None, steps: int | None = None) -> list[Event]:
    """A mid-training scene (or some finished steps) in which everything that can be text is this text."""
    script = script or ScriptedRun(num_groups=2, group_size=3)
    events = mid_training(script) if steps is None else script.whole(steps)
    return [
        *poison(events, text),
        Notice(time=T0, level="warning", message=text, source=text),
        Notice(time=T0, level="?", message=text),
    ]


def poison(events: Iterable[Event], text: str) -> Iterator[Event]:
    """The same events with this text for everything that can be text."""
    for event in events:
        if isinstance(event, RunStarted):
            event = replace(event, name=text, run_dir=text)
        elif isinstance(event, GroupSampled):
            problem = replace(event.group.problem, id=text, question=text, prompt=text, answer=text)
            completions = tuple(_poison(c, text) for c in event.group.completions)
            event = replace(event, group=replace(event.group, problem=problem, completions=completions))
        elif isinstance(event, GroupScored):
            scores = tuple({text: _poisoned_score(text, n)} for n, _ in enumerate(event.scores_G))
            event = replace(event, scores_G=scores)
        yield event


def _poison(completion: CompletionRecord, text: str) -> CompletionRecord:
    return replace(completion, text=text, finish_reason=text)


def _poisoned_score(text: str, n: int) -> Score:
    explanation = Explanation(
        sentence=text,
        span=Span(len(text) // 3, len(text) * 2),
        source=text,
        runner_up_spans=(Span(0, 2), Span(5, 1), Span(-3, 1)),
        answer_text=text,
        normalized_text=text + "x",
        parsed_answer=text,
        parsed_gold=text,
        rule=text,
        near_miss=text,
        elapsed_ms=1.0,
    )
    return Score(value=float(n), verdict=list(Verdict)[n], explanation=explanation)


def assert_safe(it: Stage) -> None:
    for screen in it.app.screen_stack:
        for view in screen.query(LinesView):
            for y in range(view.size.height):
                painted = view.render_line(y).text
                assert not [
                    c for c in painted if ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u200b\ud800"
                ]


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text_goes_through_every_panel(text: str) -> None:
    script = ScriptedRun(num_groups=2, group_size=3)
    async with stage(poisoned(text), script=script) as it:
        it.session.progress = Progress(
            step=39,
            phase=Phase.UPDATE,
            done=1,
            total=0,
            unit=text,
        )
        for key in ("n", "j", "j", "o"):
            await it.press(key)
        await it.settle()
        assert_safe(it)
        await it.play(replace(failure(message=text), advice=text, kind=text, traceback=text))
        assert_safe(it)
        it.view.log_lines("info", text, [text])
        await it.press("l")
        await it.pilot.pause()
        assert_safe(it)
        await it.press("escape", "question_mark")
        await it.pilot.resize_terminal(80, 24)
        await it.pilot.resize_terminal(40, 12)
        await it.pilot.pause()
        assert_safe(it)
        it.app.export_screenshot()


async def test_markup_is_shown_as_it_is() -> None:
    async with stage(poisoned("[red]x[/red] [1, 2]")) as it:
        assert "[red]x[/red] [1, 2]" in it.text("response")
        assert "[red]x[/red]" in it.text("why")
        assert "[red]x" in it.text("groups")
        assert "[red]x[/red]" in it.text("header")
        assert "[red]x[/red]" in it.panel("prompt").render_line(0).text + str(
            it.panel("prompt")._border_title
        )
