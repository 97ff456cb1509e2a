"""The Tune room: what it shows, what it collects, what it asks the engine for, and what it makes of the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Input

from grpo_tui.config.changes import with_changes
from grpo_tui.config.emit import to_toml
from grpo_tui.config.load import load_config
from grpo_tui.config.presets import PRESETS
from grpo_tui.config.schema import RunConfig
from grpo_tui.config.settings import all_settings
from grpo_tui.events.commands import ChangeSettings, Pause, UndoSettings
from grpo_tui.events.records import Mode, Phase, SettingChange
from grpo_tui.events.types import (
    Event,
    ModeChanged,
    PhaseFinished,
    PhaseStarted,
    RequestFailed,
    RunEnded,
    RunStarted,
    SettingsChanged,
)
from grpo_tui.tui.knobs import Draft, began_with, knobs, mark_label, net_changes
from grpo_tui.tui.screens.help import HelpScreen
from grpo_tui.tui.screens.live import LiveScreen
from grpo_tui.tui.screens.tune import TuneScreen
from tests.support.apps import Stage, mid_training, stage, wait_for
from tests.support.builders import T0, ScriptedRun
from tests.tui.hostile import HOSTILE

CONFIG = PRESETS["gsm8k"]()
LR = ("optim.lr", "2e-5", "1e-5")


def changed(
    number: int, step: int, *pairs: tuple[str, str, str], config: RunConfig = CONFIG, undoes: int = 0
) -> SettingsChanged:
    """A change of settings, and the config with it."""
    config = with_changes(config, [(key, new) for key, _, new in pairs])
    return SettingsChanged(
        time=T0 + 50 + number,
        number=number,
        step=step,
        finished_steps=step - 1,
        changes=tuple(SettingChange(key=key, old=old, new=new) for key, old, new in pairs),
        config_toml=to_toml(config),
        undoes=undoes,
    )


def events_of(script: ScriptedRun, config: RunConfig, run_dir: str = "runs/r") -> list[Event]:
    return [
        replace(event, config_toml=to_toml(config), run_dir=run_dir)
        if isinstance(event, RunStarted)
        else event
        for event in mid_training(script)
    ]


@asynccontextmanager
async def tune(
    *after: Event,
    size: tuple[int, int] = (120, 40),
    config: RunConfig = CONFIG,
    read_only: bool = False,
    run_dir: str = "runs/r",
) -> AsyncIterator[Stage]:
    """The app in the Tune room, in the middle of step 39's update."""
    script = ScriptedRun()
    events = [*events_of(script, config, run_dir), *after]
    async with stage(events, size=size, script=script, read_only=read_only) as it:
        await it.press("5")
        await wait_for(lambda: isinstance(it.app.screen, TuneScreen) and it.here("knobs"))
        yield it


def row(it: Stage, name: str) -> str:
    return next(line for line in it.here("knobs").splitlines() if line[2:].startswith(f"{name} "))


def editor(it: Stage) -> Input:
    return it.app.screen.query_one("#edit", Input)


async def typed(it: Stage, text: str) -> None:
    """Edit the selected setting to a text, without leaving the line."""
    await it.press("enter")
    await wait_for(lambda: it.app.focused is editor(it))
    editor(it).value = text
    await it.pilot.pause()


async def edit(it: Stage, text: str) -> None:
    await typed(it, text)
    await it.press("enter")
    await wait_for(lambda: not editor(it).display)


async def select(it: Stage, key: str) -> None:
    screen = it.app.screen
    assert isinstance(screen, TuneScreen)
    screen._selected = key
    screen.sync_view()
    await it.pilot.pause()
    assert screen.knob is not None
    assert screen.knob.key == key


async def answered(it: Stage, *events: Event) -> None:
    it.session.play(*events)
    screen = it.app.screen
    assert isinstance(screen, TuneScreen)
    await wait_for(lambda: not screen.asking.waits)
    await it.pilot.pause()


# --- what is shown ---------------------------------------------------------------------------------------


async def test_every_setting_is_there_with_its_value() -> None:
    async with tune() as it:
        text = it.here("knobs")
        assert len(text.splitlines()) == len(all_settings()) + 11
        assert row(it, "lr").split() == ["lr", "2e-5", "next", "update", "1e-5", "at", "least", "0"]
        assert "one of constant, linear, cosine" in row(it, "schedule")
        assert "next step" in row(it, "group_size")
        assert "at once" in row(it, "checkpoint_every")
        assert "AdamW on the adapter" in text


async def test_locked_settings_say_why_and_are_not_edited() -> None:
    async with tune() as it:
        assert "locked" in row(it, "lora_rank")
        assert "belongs to the adapter" in row(it, "lora_rank")
        assert "no critic" in row(it, "value_lr")
        await select(it, "model.lora_rank")
        assert "Enter" not in it.keys
        await it.press("enter")
        assert not editor(it).display


async def test_the_selected_setting_is_told_in_full() -> None:
    async with tune(changed(1, 17, LR)) as it:
        text = it.here("about")
        assert "optim.lr  peak learning rate" in text
        assert "counts from the next update" in text
        assert "now 1e-5 · default 1e-5 · @17 2e-5 → 1e-5" in text
        assert "usual for LoRA: 1e-6 to 0.01" in text
        assert "@17" in row(it, "lr")


async def test_a_rate_that_seldom_works_is_told() -> None:
    async with tune(config=with_changes(CONFIG, [("optim.lr", "0.5")])) as it:
        assert "⚠ optim.lr 0.5 is outside the range usual for LoRA" in it.here("about")


async def test_the_keys_move_and_stop_at_the_ends() -> None:
    async with tune() as it:
        screen = it.app.screen
        assert isinstance(screen, TuneScreen)
        await it.press("down", "j")
        assert screen._selected == "optim.warmup_steps"
        await it.press("up", "k", "k")
        assert screen._selected == "optim.lr"
        await it.press("end")
        assert screen._selected == "model.lora_targets"
        await it.press("home", "pagedown")
        assert screen._selected == [entry.knob.key for entry in screen.rows if entry.knob][10]


async def test_the_filter_finds_by_name_help_and_state() -> None:
    async with tune(changed(1, 17, LR)) as it:
        await it.press("slash", *"clip")
        await wait_for(lambda: "clip_high" in it.here("knobs") and "schedule" not in it.here("knobs"))
        assert "max_grad_norm" in it.here("knobs"), "its help says that the norm is clipped"
        await it.press("enter")
        assert it.focused == "knobs"
        await it.press("slash")
        it.app.screen.query_one("#filter", Input).value = "changed"
        await wait_for(lambda: len(it.here("knobs").splitlines()) == 2)
        await it.press("escape")
        await wait_for(lambda: "model" in it.here("knobs"))
        assert it.app.screen.id == "tune"
        await it.press("escape")
        assert isinstance(it.app.screen, LiveScreen)


async def test_a_filter_that_nothing_meets_says_so() -> None:
    async with tune() as it:
        await it.press("slash", *"xyzzy[/]")
        await wait_for(lambda: "no setting has these words" in it.here("knobs"))
        await it.press("enter", "enter", "a", "u", "backspace")
        assert not it.session.commands


# --- collecting ------------------------------------------------------------------------------------------


async def test_enter_edits_in_place_and_collects() -> None:
    async with tune() as it:
        await typed(it, "1e-4")
        region = it.app.screen.query_one("#knobs").content_region
        assert editor(it).region.y == region.y + 1, "over the row of lr, below the table's name"
        await it.press("enter")
        await wait_for(lambda: it.view.draft.edits == {"optim.lr": "1e-4"})
        assert row(it, "lr").split()[:3] == ["»", "lr", "→"]
        assert "1 change, from the next update: lr 2e-5 → 1e-4" in it.here("draft")
        assert not it.session.commands, "nothing is asked for yet"


@pytest.mark.parametrize(
    ("key", "text", "complaint"),
    [
        ("optim.lr", "fast", "must be a number, not the text 'fast'"),
        ("optim.lr", "-1", "must be at least 0"),
        ("algorithm.clip", "bound", "did you mean 'bounds'?"),
        ("optim.warmup_steps", "9999", "warm-up would"),
        ("algorithm.advantage", "gae", "needs a critic from the start"),
        ("reward.weights", "{math = 0}", "nothing to learn"),
        ("reward.weights", "{math = [red]}", "cannot be read"),
    ],
)
async def test_what_cannot_be_is_said_below_the_line_while_it_is_typed(
    key: str, text: str, complaint: str
) -> None:
    async with tune() as it:
        await select(it, key)
        await typed(it, text)
        await wait_for(lambda: complaint in " ".join(it.here("complaint").split()))
        below = it.app.screen.query_one("#complaint")
        assert below.region.y == editor(it).region.y + 1
        await it.press("enter")
        assert editor(it).display, "it stays open"
        await it.press("escape")
        assert not editor(it).display
        assert it.view.draft.edits == {}


async def test_what_harms_is_said_while_it_is_typed_and_with_the_changes() -> None:
    async with tune() as it:
        await typed(it, "0.5")
        await wait_for(lambda: "outside the range" in it.here("complaint"))
        await it.press("enter")
        await wait_for(lambda: "⚠ optim.lr 0.5 is outside" in it.here("draft"))


async def test_up_and_down_go_through_the_choices() -> None:
    async with tune() as it:
        await select(it, "optim.schedule")
        await it.press("enter")
        await wait_for(lambda: it.app.focused is editor(it))
        assert editor(it).value == "constant"
        await it.press("down")
        assert editor(it).value == "linear"
        await it.press("up", "up")
        assert editor(it).value == "cosine"
        await it.press("enter")
        await wait_for(lambda: it.view.draft.edits == {"optim.schedule": "cosine"})


async def test_an_algorithm_brings_its_parts() -> None:
    async with tune() as it:
        await select(it, "algorithm.name")
        await edit(it, "dr_grpo")
        assert {
            "algorithm.name",
            "algorithm.advantage",
            "algorithm.aggregation",
        } <= it.view.draft.edits.keys()
        assert "from the next scoring" in it.here("draft")


async def test_a_collected_change_is_dropped_or_typed_back() -> None:
    async with tune() as it:
        await edit(it, "1e-4")
        await it.press("down", "down")
        await edit(it, "3")
        assert "2 changes, together from the next update: lr 2e-5 → 1e-4 · warmup_steps 0 → 3" in it.here(
            "draft"
        )
        await it.press("backspace")
        assert it.view.draft.edits == {"optim.lr": "1e-4"}
        await it.press("home")
        await edit(it, "0.00002")
        assert it.view.draft.edits == {}
        assert "nothing collected" in it.here("draft")


async def test_the_draft_outlives_the_room() -> None:
    async with tune() as it:
        await edit(it, "1e-4")
        await it.press("1", "5")
        await wait_for(lambda: isinstance(it.app.screen, TuneScreen) and it.here("draft"))
        assert "lr 2e-5 → 1e-4" in it.here("draft")


# --- asking ----------------------------------------------------------------------------------------------


async def test_a_applies_after_a_question() -> None:
    async with tune() as it:
        await edit(it, "1e-4")
        await it.press("a")
        assert "Apply 1 change?  a does it" in it.here("draft")
        assert not it.session.commands
        await it.press("escape")
        assert "Apply" not in it.here("draft")
        assert isinstance(it.app.screen, TuneScreen)
        await it.press("a", "a")
        assert it.session.commands == [ChangeSettings((("optim.lr", "1e-4"),))]
        assert "waiting for the end of the phase (update)" in it.here("draft")
        await it.press("a", "a", "u", "u")
        assert len(it.session.commands) == 1, "one question at a time"
        await answered(it, changed(1, 40, ("optim.lr", "2e-5", "1e-4")))
        assert "✓ applied, from step 40: lr 2e-5 → 1e-4" in it.here("draft")
        assert row(it, "lr").split()[:2] == ["lr", "1e-4"]
        assert "@40" in row(it, "lr")
        assert it.view.draft.edits == {}


async def test_another_key_withdraws_the_question() -> None:
    async with tune() as it:
        await edit(it, "1e-4")
        await it.press("a", "down", "a")
        assert not it.session.commands


async def test_a_refusal_is_told_and_the_draft_is_kept() -> None:
    async with tune() as it:
        await select(it, "eval.every")
        await edit(it, "7")
        await it.press("a", "a")
        message = "eval.every cannot change: no held-out [red]problems[/] \x1b[2J were loaded"
        await answered(it, RequestFailed(time=T0, request="ChangeSettings", message=message))
        assert "✗ not changed: eval.every cannot change: no held-out [red]problems[/] ␛[2J" in it.here(
            "draft"
        )
        assert it.view.draft.edits == {"eval.every": "7"}


async def test_the_refusal_of_another_request_is_not_ours() -> None:
    async with tune() as it:
        await edit(it, "1e-4")
        await it.press("a", "a")
        await it.play(RequestFailed(time=T0, request="InspectCompletion", message="no such step"))
        assert "waiting" in it.here("draft")


async def test_u_takes_back_after_a_question() -> None:
    async with tune(changed(1, 17, LR)) as it:
        assert "u takes back, from step 17: lr 2e-5 → 1e-5" in it.here("draft")
        await it.press("u")
        assert "Take back 1 change of step 17?" in it.here("draft")
        assert "lr 1e-5 → 2e-5" in it.here("draft")
        await it.press("u")
        assert it.session.commands == [UndoSettings()]
        await answered(it, changed(2, 40, ("optim.lr", "1e-5", "2e-5"), undoes=1))
        assert "✓ taken back, from step 40" in it.here("draft")
        assert "taken back" in it.here("about")
        await it.press("u")
        assert len(it.session.commands) == 1, "there is nothing more to take back"


async def test_with_nothing_to_take_back_no_step_is_taken_back() -> None:
    """Elsewhere u and U go over steps."""
    async with tune() as it:
        await it.press("u", "U", "u", "U")
        await it.pilot.pause()
        assert it.app.screen.id == "tune"
        assert not it.session.commands


async def test_capital_u_collects_the_way_back_to_the_start() -> None:
    first = changed(1, 17, LR)
    both = with_changes(CONFIG, [("optim.lr", "1e-5")])
    second = changed(2, 20, ("sampling.group_size", "8", "4"), ("optim.lr", "1e-5", "5e-5"), config=both)
    async with tune(first, second) as it:
        await it.press("U")
        assert it.view.draft.edits == {"optim.lr": "2e-5", "sampling.group_size": "8"}
        assert not it.session.commands


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ((ModeChanged(time=T0, mode=Mode.PAUSED, detail="in update, microbatch 3"),), "Space or . runs on"),
        (
            (
                PhaseFinished(time=T0, step=39, phase=Phase.UPDATE, seconds=1.0),
                PhaseStarted(time=T0, step=39, phase=Phase.EMIT),
            ),
            "waiting for the end of the phase (emit)",
        ),
        ((ModeChanged(time=T0, mode=Mode.PAUSED, detail="before step 40"),), "waiting for the engine"),
    ],
)
async def test_while_it_waits_it_says_for_what(events: Sequence[Event], text: str) -> None:
    async with tune(*events) as it:
        await edit(it, "1e-4")
        await it.press("a", "a")
        assert text in it.here("draft")


async def test_a_run_that_ends_first_is_told() -> None:
    async with tune() as it:
        await edit(it, "1e-4")
        await it.press("a", "a")
        await answered(it, RunEnded(time=T0, reason="stopped", finished_steps=38))
        assert "the run ended first" in it.here("draft")
        assert "the run is over" in str(it.app.screen.query_one("#knobs").border_title)


async def test_training_is_paused_from_here_too() -> None:
    async with tune() as it:
        await it.press("space")
        assert it.session.commands == [Pause()]


async def test_a_recorded_run_shows_everything_and_offers_no_editing() -> None:
    async with tune(changed(1, 17, LR), read_only=True) as it:
        assert "recorded run" in str(it.app.screen.query_one("#knobs").border_title)
        assert "@17" in row(it, "lr")
        for word in ("edit", "apply", "undo"):
            assert word not in it.keys
        await it.press("enter", "a", "a", "u", "u", "U", "backspace")
        assert not editor(it).display
        assert not it.session.commands
        assert it.view.draft.edits == {}


async def test_the_settings_are_written_for_another_run(tmp_path: Path) -> None:
    async with tune(changed(1, 17, LR), run_dir=str(tmp_path)) as it:
        await it.press("w")
        await wait_for(lambda: (tmp_path / "config-now.toml").exists())
        assert load_config(file=tmp_path / "config-now.toml") == with_changes(CONFIG, [("optim.lr", "1e-5")])
        assert [toast.title for toast in it.app._notifications] == ["settings written"]


async def test_a_folder_that_refuses_is_told(tmp_path: Path) -> None:
    async with tune(run_dir=str(tmp_path / "gone")) as it:
        await it.press("w")
        await wait_for(lambda: [toast.title for toast in it.app._notifications] == ["not written"])


async def test_a_click_selects_and_a_second_edits() -> None:
    async with tune() as it:
        screen = it.app.screen
        assert isinstance(screen, TuneScreen)
        await it.pilot.click("#knobs", offset=(10, 3))
        assert screen._selected == "optim.schedule"
        await it.pilot.click("#knobs", offset=(10, 3))
        await wait_for(lambda: it.app.focused is editor(it))
        assert editor(it).value == "constant"


async def test_help_begins_with_the_room() -> None:
    async with tune() as it:
        await it.press("question_mark")
        assert isinstance(it.app.screen, HelpScreen)
        await wait_for(lambda: it.here("sheet").startswith("Here: Tune"))
        assert "Apply the changes that are collected" in it.here("sheet")


# --- sizes and strange text ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(40, 12), (60, 16), (80, 24), (200, 60)])
async def test_every_size_edits(size: tuple[int, int]) -> None:
    async with tune(size=size) as it:
        await it.press("end", "home", "down", "down")
        await edit(it, "2")
        assert it.view.draft.edits == {"optim.warmup_steps": "2"}
        await typed(it, "x")
        await it.pilot.resize_terminal(90, 20)
        await it.pilot.pause()
        assert editor(it).value == "x", "what was typed is kept"
        await it.press("escape", "a", "a")
        assert len(it.session.commands) == 1


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text_is_shown_and_typed_as_it_is(text: str) -> None:
    storable = text.encode("utf-8", "replace").decode()
    config = with_changes(CONFIG, [("data.system_prompt", storable)])
    event = changed(1, 17, ("algorithm.beta", "0", "0.1"))
    strange = replace(event, changes=(SettingChange(key="optim.lr", old=text, new=text + "!"),))
    async with tune(strange, config=config) as it:
        await select(it, "data.system_prompt")
        await select(it, "optim.lr")
        await typed(it, storable)
        await it.press("escape")
        await it.press("slash")
        it.app.screen.query_one("#filter", Input).value = storable
        await it.pilot.pause()
        await it.press("escape", "escape")
        assert isinstance(it.app.screen, LiveScreen)
        await it.settle()


# --- the marks on the curves -----------------------------------------------------------------------------


async def test_a_change_is_marked_on_the_curves() -> None:
    async with stage([*events_of(ScriptedRun(), CONFIG)]) as it:
        assert "┊" not in it.text("chart")
        await it.play(changed(1, 17, LR))
        assert "┊lr 1e-5" in it.text("chart")
        assert "lr 2e-5" not in it.text("chart")
        await it.play(changed(2, 17, ("optim.lr", "1e-5", "2e-5"), undoes=1))
        assert "┊" not in it.text("chart"), "taken back before it counted: nothing changed"


async def test_the_number_of_steps_and_groups_follow() -> None:
    event = changed(1, 39, ("run.steps", "200", "77"), ("sampling.prompts_per_step", "8", "5"))
    async with stage([*events_of(ScriptedRun(), CONFIG), event]) as it:
        assert "step 39/77" in it.text("header")
        assert it.view.groups_per_step == 5


# --- without a screen ------------------------------------------------------------------------------------


def test_marks_are_short() -> None:
    events = [
        changed(1, 5, LR, ("sampling.group_size", "8", "4")),
        changed(2, 9, ("algorithm.name", "grpo", "dapo"), ("algorithm.clip_high", "0.2", "0.28")),
    ]
    assert {step: mark_label(pairs) for step, pairs in net_changes(events).items()} == {
        5: "lr 1e-5 +1",
        9: "dapo",
    }


def test_what_the_run_began_with_is_found_through_all_changes() -> None:
    one = changed(1, 5, ("optim.lr", "2e-5", "1e-5"))
    config = with_changes(CONFIG, [("optim.lr", "1e-5")])
    two = changed(2, 9, ("optim.lr", "1e-5", "5e-5"), ("algorithm.beta", "0", "0.1"), config=config)
    now = with_changes(config, [("optim.lr", "5e-5"), ("algorithm.beta", "0.1")])
    began = began_with(now, [one, two])
    assert began.optim.lr == 2e-5
    assert began.algorithm.beta == 0


def test_a_draft_that_no_longer_fits_is_let_go() -> None:
    draft = Draft()
    none = with_changes(CONFIG, [("algorithm.advantage", "none")])
    draft.edit(none, "sampling.group_size", "1")
    assert draft.over(none).sampling.group_size == 1
    assert draft.over(CONFIG) == CONFIG  # advantages inside a group, in the meantime
    assert draft.edits == {}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_its_knobs(name: str) -> None:
    config = PRESETS[name]()
    found = knobs(config, config, [])
    assert {knob.key for knob in found} == set(all_settings())
    assert not any(knob.drafted for knob in found)
    assert sum(not knob.locked for knob in found) > 40
