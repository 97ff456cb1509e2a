from __future__ import annotations

import pytest

from grpo_tui.compare.intervals import newcombe_interval, t_interval, t_quantile_975


def test_newcombes_own_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17:873, table II, method 10, example (a): 56/70 against 48/80.
    result = newcombe_interval((48, 80), (56, 70))
    assert result.value == pytest.approx(0.2)
    assert (result.low, result.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_newcombe_at_the_edge() -> None:
    # Example (h) of the same table: 10/10 against 0/10.
    result = newcombe_interval((0, 10), (10, 10))
    assert (result.value, result.high) == (1.0, 1.0)
    assert result.low == pytest.approx(0.6075, abs=5e-5)


def test_students_t() -> None:
    # Mean 2, standard deviation 1, n 3: 2 ± 4.3027 / √3.
    result = t_interval([1.0, 2.0, 3.0])
    assert result is not None
    assert result == pytest.approx((2.0, -0.4841, 4.4841), abs=1e-4)
    assert t_interval([1.0]) is None
    assert t_interval([]) is None


@pytest.mark.parametrize(
    ("degrees", "value"), [(1, 12.7062), (20, 2.0860), (21, 2.0796), (30, 2.0423), (99, 1.9842)]
)
def test_quantiles_of_t(degrees: int, value: float) -> None:
    assert t_quantile_975(degrees) == pytest.approx(value, abs=1e-4)
