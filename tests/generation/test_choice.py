from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from grpo_tui.generation.choice import Chosen, _invert, _invert_by_blocks, choose
from grpo_tui.generation.types import SamplingSettings

ALMOST_ONE = float(np.nextafter(1.0, 0.0))
# Probabilities 1/8, 2/8, 5/8 of tokens 0, 1, 2.
EIGHTHS = torch.tensor([0.0, math.log(2), math.log(5)])


def _choose(
    logits: Tensor | Sequence[float],
    uniforms: Sequence[float],
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
) -> Chosen:
    row = torch.as_tensor(logits)
    settings = SamplingSettings(max_new_tokens=1, temperature=temperature, top_p=top_p, top_k=top_k)
    return choose(row.expand(len(uniforms), -1), torch.tensor(uniforms, dtype=torch.float64), settings)


def _grid(count: int) -> list[float]:
    return [(i + 0.5) / count for i in range(count)]


def test_inverts_the_cumulative_distribution() -> None:
    # token 0 below 0.125, token 1 below 0.375, token 2 above; well inside each side of each edge
    uniforms = [0.0, 0.12499, 0.12501, 0.37499, 0.37501, ALMOST_ONE]
    chosen = _choose(EIGHTHS, uniforms)
    assert chosen.tokens_N.tolist() == [0, 0, 1, 1, 2, 2]


def test_logprobs_and_entropy_are_of_the_drawn_distribution() -> None:
    chosen = _choose(EIGHTHS, [0.0, 0.2, 0.9])
    assert chosen.logprobs_N.tolist() == pytest.approx(
        [math.log(1 / 8), math.log(2 / 8), math.log(5 / 8)], abs=1e-6
    )
    assert chosen.entropies_N.tolist() == pytest.approx([0.9002560] * 3, abs=1e-6)


def test_an_even_grid_of_uniforms_gives_the_probabilities() -> None:
    counts = np.bincount(_choose(EIGHTHS, _grid(800)).tokens_N.numpy(), minlength=3)
    assert counts.tolist() == [100, 200, 500]


def test_frequencies_match_by_chi_square() -> None:
    logits = torch.randn(20, generator=torch.Generator().manual_seed(0))
    count = 20_000
    uniforms = np.random.default_rng(0).random(count).tolist()
    observed = np.bincount(_choose(logits, uniforms).tokens_N.numpy(), minlength=20)
    expected = torch.softmax(logits.double(), -1).numpy() * count
    statistic = float(((observed - expected) ** 2 / expected).sum())
    # The 99.9 % point of chi-square with 19 degrees of freedom; the uniforms are fixed.
    assert statistic < 43.82


def test_temperature_changes_the_distribution_and_its_logprobs() -> None:
    # at temperature 2 the weights are 1, √2, √5: p = 0.21504, 0.30411, 0.48085
    chosen = _choose(EIGHTHS, [0.2150, 0.2151, 0.5191, 0.5192], temperature=2.0)
    assert chosen.tokens_N.tolist() == [0, 1, 1, 2]
    assert chosen.logprobs_N.tolist() == pytest.approx(
        [-1.5369278, -1.1903542, -1.1903542, -0.7322088], abs=1e-6
    )
    assert chosen.entropies_N[0].item() == pytest.approx(1.0445844, abs=1e-6)


def test_temperature_zero_takes_the_likeliest_whatever_the_uniform() -> None:
    chosen = _choose([0.0, 3.0, 1.0], [0.0, 0.5, ALMOST_ONE], temperature=0.0)
    assert chosen.tokens_N.tolist() == [1, 1, 1]
    # log-probs at temperature 1: 3 − ln(1 + e³ + e)
    assert chosen.logprobs_N[0].item() == pytest.approx(3 - math.log(1 + math.e**3 + math.e), abs=1e-6)


def test_temperature_zero_tells_near_logits_apart() -> None:
    # normalised in float32 both are −0.6931472
    assert _choose([0.0, 1e-9], [0.5], temperature=0.0).tokens_N.tolist() == [1]


@pytest.mark.parametrize("zeros", [[0], [3], [0, 1], [2, 3], [0, 3], [1, 2], [0, 1, 2], [1, 2, 3]])
@pytest.mark.parametrize("settings", [{}, {"top_k": 2}, {"top_p": 0.9}, {"top_k": 4}, {"top_p": 1e-9}])
def test_a_token_of_probability_zero_is_never_drawn(zeros: list[int], settings: dict[str, float]) -> None:
    logits = torch.zeros(4)
    logits[zeros] = -math.inf
    uniforms = [0.0, 5e-324, 1e-300, 0.25, 0.5, 0.75, *_grid(37), 1 - 2**-52, ALMOST_ONE]
    drawn = _choose(logits, uniforms, **settings)  # type: ignore[arg-type]
    assert not set(drawn.tokens_N.tolist()) & set(zeros)
    assert torch.isfinite(drawn.logprobs_N).all()
    assert torch.isfinite(drawn.entropies_N).all()


def test_a_target_on_the_very_total_takes_the_last_token_that_can_be_drawn() -> None:
    # no stream gives 1, but a device that rounds otherwise may put the target there
    assert _choose([0.0, 0.0, 0.0, -math.inf], [1.0]).tokens_N.tolist() == [2]
    assert _choose([0.0, 1.0, 2.0], [1.0], top_k=1).tokens_N.tolist() == [2]
    assert _choose([2.0, 1.0, 0.0], [1.0], top_p=0.1).tokens_N.tolist() == [0]


def test_an_underflowing_tail_is_never_drawn() -> None:
    # e^{−800} is 0 even in float64: the cumulative sum is flat at both ends
    logits = torch.tensor([-800.0, 0.0, 1.0, -800.0])
    assert set(_choose(logits, [0.0, 5e-324, 0.5, ALMOST_ONE]).tokens_N.tolist()) <= {1, 2}


def test_the_last_token_is_reached_in_a_large_vocabulary() -> None:
    logits = torch.zeros(50_000)
    assert _choose(logits, [0.0, ALMOST_ONE]).tokens_N.tolist() == [0, 49_999]


@pytest.mark.parametrize(
    ("top_k", "kept"), [(1, {2}), (2, {1, 2}), (3, {0, 1, 2}), (9, {0, 1, 2}), (0, {0, 1, 2})]
)
def test_top_k(top_k: int, kept: set[int]) -> None:
    chosen = _choose(EIGHTHS, [0.0, *_grid(64), ALMOST_ONE], top_k=top_k)
    assert set(chosen.tokens_N.tolist()) == kept


def test_top_k_renormalises() -> None:
    # 2/8 and 5/8 become 2/7 = 0.285714 and 5/7
    chosen = _choose(EIGHTHS, [0.2857, 0.2858], top_k=2)
    assert chosen.tokens_N.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        # before each, likeliest first: 0, 0.625, 0.875
        (1e-9, {2}),
        (0.62, {2}),
        (0.63, {1, 2}),
        (0.87, {1, 2}),
        (0.88, {0, 1, 2}),
        (1.0, {0, 1, 2}),
    ],
)
def test_top_p(top_p: float, kept: set[int]) -> None:
    chosen = _choose(EIGHTHS, [0.0, *_grid(64), ALMOST_ONE], top_p=top_p)
    assert set(chosen.tokens_N.tolist()) == kept


def test_top_p_stops_where_it_is_reached_exactly() -> None:
    # Even logits: exactly 1/2 each. Half is reached by the first alone.
    assert set(_choose([0.0, 0.0], _grid(16), top_p=0.5).tokens_N.tolist()) in ({0}, {1})


def test_top_k_comes_before_top_p() -> None:
    # 4, 3, 2, 1 tenths. top_k 3 leaves 4/9, 3/9, 2/9: with top_p 0.75 the third is kept since 7/9 ≥ 0.75 is reached at two.
    logits = torch.log(torch.tensor([0.4, 0.3, 0.2, 0.1]))
    assert set(_choose(logits, _grid(50), top_k=3, top_p=0.75).tokens_N.tolist()) == {0, 1}
    # without top_k, 0.7 < 0.75, and the third is needed
    assert set(_choose(logits, _grid(50), top_p=0.75).tokens_N.tolist()) == {0, 1, 2}


def test_filters_leave_logprobs_as_they_are() -> None:
    chosen = _choose(EIGHTHS, [0.5], top_k=1, top_p=0.5)
    assert chosen.logprobs_N.item() == pytest.approx(math.log(5 / 8), abs=1e-6)


def test_rows_do_not_mix() -> None:
    logits = torch.tensor([[0.0, 9.0, 0.0], [9.0, 0.0, 0.0], [0.0, 0.0, 9.0]])
    uniforms = torch.full((3,), 0.5, dtype=torch.float64)
    for settings in (
        SamplingSettings(max_new_tokens=1),
        SamplingSettings(max_new_tokens=1, top_p=0.9),
        SamplingSettings(max_new_tokens=1, top_k=1),
        SamplingSettings(max_new_tokens=1, temperature=0.0),
    ):
        assert choose(logits, uniforms, settings).tokens_N.tolist() == [1, 0, 2]


def test_half_precision_logits() -> None:
    chosen = _choose(EIGHTHS.bfloat16(), [0.9])
    assert chosen.logprobs_N.dtype is torch.float32


@pytest.mark.parametrize("size", [3, 255, 256, 257, 1000, 4096])
def test_blocks_find_what_the_whole_sum_finds(size: int) -> None:
    """Seen to fail with: the rest inside a block not scaled by its sum; blocks counted from 1; padding drawn."""
    generator = torch.Generator().manual_seed(size)
    weights = torch.randn(200, size, generator=generator).mul(3).exp()
    weights[:, ::7] = 0.0
    uniforms = torch.rand(200, generator=generator, dtype=torch.float64)
    assert _invert_by_blocks(weights, uniforms).tolist() == _invert(weights.double(), uniforms).tolist()


@pytest.mark.parametrize("uniform", [0.0, ALMOST_ONE])
def test_blocks_at_the_very_ends(uniform: float) -> None:
    weights = torch.zeros(1, 700)
    weights[0, [300, 301, 690]] = torch.tensor([1e-6, 1.0, 1e-6])
    token = _invert_by_blocks(weights, torch.tensor([uniform], dtype=torch.float64)).item()
    assert token == (300 if uniform == 0.0 else 690)


@pytest.mark.parametrize("settings", [{}, {"top_p": 0.9}, {"top_k": 2}, {"temperature": 0.0}])
@pytest.mark.parametrize(
    "bad", [[math.nan, 1.0, 2.0], [math.inf, 1.0, 2.0], [-math.inf] * 3, [math.nan] * 600]
)
def test_what_is_no_distribution_is_told_by_nan(bad: list[float], settings: dict[str, float]) -> None:
    """Seen to fail with: a place behind the last token, which on CUDA ends the process."""
    chosen = _choose(bad, [0.0, 0.5, ALMOST_ONE], **settings)  # type: ignore[arg-type]
    assert chosen.logprobs_N.isnan().all()
    assert all(0 <= token < len(bad) for token in chosen.tokens_N.tolist())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 0.7])
def test_the_logits_are_left_as_they_were(dtype: torch.dtype, temperature: float) -> None:
    """Seen to fail with: float32 logits, of which no copy is made, overwritten."""
    logits = torch.linspace(-3.0, 2.0, 2 * 300, dtype=dtype).view(2, 300)
    before = logits.clone()
    settings = SamplingSettings(max_new_tokens=1, temperature=temperature, top_p=1.0, top_k=0)
    choose(logits, torch.tensor([0.2, 0.9], dtype=torch.float64), settings)
    assert torch.equal(logits, before)
