"""The rows of the Trends panel that a reward model adds."""

from __future__ import annotations

from dataclasses import replace

from grpo_tui.events.records import SettingChange
from grpo_tui.events.types import Event, RunStarted, SettingsChanged, StepFinished
from grpo_tui.tui.panels.trends import ChartPanel, charted
from grpo_tui.tui.widgets.trend import MARK
from tests.support.apps import mid_training, stage
from tests.support.builders import T0, ScriptedRun


def paid_by_a_model(event: Event) -> Event:
    """The same step with a reward model among its components, which agrees less and less."""
    if not isinstance(event, StepFinished):
        return event
    found = replace(
        event.metrics,
        component_means={**event.metrics.component_means, "learned": 1.5},
        agreement={"learned": 0.9 - event.metrics.step / 100},
        num_agreement_pairs=53,
    )
    return replace(event, metrics=found)


async def test_accuracy_and_agreement_stand_below_the_reward_it_pays() -> None:
    async with stage([paid_by_a_model(event) for event in mid_training(ScriptedRun())]) as it:
        rows = it.text("trends").splitlines()
        assert [row.split()[0] for row in rows[:4]] == ["reward", "accuracy", "agrees", "kl_ref"]
        assert "52%" in rows[2]  # 0.9 − 38/100
        assert "↘" in rows[2]
        assert rows[2].rstrip().endswith("n=53")
        assert len(rows[2].rstrip()) <= len(rows[0].rstrip())


async def test_no_such_rows_without_one() -> None:
    async with stage() as it:
        assert "agrees" not in it.text("trends")
        assert "accuracy" not in it.text("trends")


def with_settings(toml: str) -> list[Event]:
    """The usual run under other settings."""
    return [
        replace(event, config_toml=toml) if isinstance(event, RunStarted) else event
        for event in mid_training(ScriptedRun())
    ]


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(name))


async def test_a_measure_that_does_not_exist_at_these_settings_is_greyed_with_the_reason() -> None:
    async with stage() as it:
        assert row(it.text("trends"), "clip frac").split() == ["clip", "frac", "–", "1", "update/step"]
        grey = next(line for line in it.panel("trends").lines if line[0][0].startswith("clip frac"))
        assert {role for _, role in grey} == {"dim"}
    async with stage(with_settings("[algorithm]\nnum_epochs = 2\n")) as it:
        assert "0.010" in row(it.text("trends"), "clip frac")


async def test_kl_that_is_not_measured_is_greyed_and_has_no_curve() -> None:
    toml = "[algorithm]\nbeta = 0.0\nmeasure_kl_ref = false\n"
    async with stage(with_settings(toml)) as it:
        assert "not measured" in row(it.text("trends"), "kl_ref")
        assert "kl_ref" not in it.text("chart")


async def test_g_goes_round_the_curves() -> None:
    async with stage() as it:
        assert "kl_ref" in it.text("chart"), "reward and kl_ref together"
        heads = []
        for _ in range(len(charted(it.view)) + 1):
            await it.press("g")
            await it.settle()
            heads.append(it.text("chart").split()[0])
        assert heads[:3] == ["reward", "kl_ref", "entropy"]
        assert heads[-1] == "reward"
        assert "kl_ref" in it.text("chart"), "round once"


async def test_the_reward_curve_shows_its_spread_and_held_out_accuracy() -> None:
    async with stage() as it:
        await it.press("g")
        await it.settle()
        head, *plot = it.text("chart").splitlines()
        shown = it.view.metrics
        assert shown is not None
        assert f"± {shown.group_mean_std:.3f}" in head
        assert "○ 0.535" in head
        assert sum(line.count("○") for line in plot) == 4, "evaluations at 0, 10, 20 and 30"
        band = [line for line in it.panel("chart").lines[1:-2] for text, role in line[1:] if role == "dim"]
        assert band, "the spread"


async def test_a_click_on_the_curve_goes_to_that_step() -> None:
    async with stage() as it:
        chart = it.panel("chart")
        assert isinstance(chart, ChartPanel)
        await it.pilot.click("#chart", offset=(20, 4))
        await it.settle()
        # A border and one cell of padding stand before the text.
        assert it.view.cursor.step == chart.step_at(18)
        assert "▲" in it.text("chart")
        assert not it.view.is_live


async def test_a_narrow_screen_shows_curves_in_the_place_of_the_trends() -> None:
    async with stage(size=(80, 24)) as it:
        assert not it.panel("chart").display
        await it.press("g")
        await it.settle()
        assert it.panel("chart").display
        assert not it.panel("trends").display
        assert it.text("chart").startswith("reward")
        for _ in charted(it.view):
            await it.press("g")
        await it.settle()
        assert it.panel("trends").display, "after the last, the trends again"


async def test_a_changed_setting_is_marked_on_the_curve_and_takes_effect_in_what_exists() -> None:
    async with stage() as it:
        assert "setting changed" not in str(it.panel("chart").border_subtitle)
        await it.play(
            SettingsChanged(
                time=T0,
                number=1,
                step=20,
                finished_steps=19,
                changes=(SettingChange(key="algorithm.num_epochs", old="1", new="2"),),
                config_toml="[algorithm]\nnum_epochs = 2\n",
            )
        )
        assert "┊ setting changed" in str(it.panel("chart").border_subtitle)
        column = next(line for line in it.text("chart").splitlines()[1:] if MARK in line).index(MARK)
        chart = it.panel("chart")
        assert isinstance(chart, ChartPanel)
        assert chart.step_at(column) in (19, 20), "two steps may share a column"
        assert "0.010" in row(it.text("trends"), "clip frac"), "with two epochs there is something to clip"
        builds = chart.builds
        for _ in range(3):
            it.live.sync_view()
        assert chart.builds == builds
