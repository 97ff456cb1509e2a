from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo_tui.ops.intervals import wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # z² = 3.8414588. With p = 0 both roots are z²/2n ± z²/2n over 1 + z²/n: 0 and z²/(n + z²) = 3.8414588 / 13.8414588
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        # centre ½; half = 1.959964 √(0.025 + 3.8414588/400) / 1.38414588 = 1.959964 · 0.1860205 / 1.3841459 = 0.2634060
        (5, 10, 0.2365940, 0.7634060),
        # Newcombe (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_worked_values(successes: int, trials: int, low: float, high: float) -> None:
    # Seen to fail with: p (1 − p) / n² under the root.
    tolerance = 5e-5 if trials > 10 else 1e-6
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=tolerance)


def test_nothing_tried_says_nothing() -> None:
    # Seen to fail with: 0 of 0 counted as 0 of 1.
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_other_confidence() -> None:
    # Seen to fail with: z ignored.
    # z = 1, 5 of 10: half = √(0.025 + 1/400) / 1.1 = 0.1658312 / 1.1 = 0.1507557
    assert wilson_interval(5, 10, z=1.0) == pytest.approx((0.3492443, 0.6507557), abs=1e-6)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_contains_the_proportion_and_mirrors(counts: tuple[int, int]) -> None:
    # Seen to fail with: the centre not drawn towards ½.
    successes, trials = counts
    low, high = wilson_interval(successes, trials)
    assert 0.0 <= low <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= high <= 1.0
    assert wilson_interval(trials - successes, trials) == pytest.approx((1 - high, 1 - low), abs=1e-12)
