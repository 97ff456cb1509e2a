"""The rows of the Trends panel that a reward model adds."""

from __future__ import annotations

from dataclasses import replace

from grpo_tui.events.types import Event, StepFinished
from tests.support.apps import mid_training, stage
from tests.support.builders import ScriptedRun


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
