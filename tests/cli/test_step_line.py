from __future__ import annotations

import pytest

from grpo_tui.console import step_line
from tests.events.builders import metrics


@pytest.mark.parametrize(("share", "shown"), [(0.8333, ".83"), (1.0, "1.00"), (0.0, ".00"), (0.996, "1.00")])
def test_agreement_of_a_reward_model_with_its_number_of_pairs(share: float, shown: str) -> None:
    line = step_line(metrics(agreement={"learned": share}, num_agreement_pairs=53))
    assert line.endswith(f"  learned agrees {shown} (n=53)")


def test_no_agreement_without_a_reward_model() -> None:
    assert "agrees" not in step_line(metrics(agreement={"length": 0.5}, num_agreement_pairs=53))
    assert "agrees" not in step_line(metrics())
