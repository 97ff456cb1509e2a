"""Normalisation by few kernels is torch's."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import rms_norm

from grpo_tui.policy.norm import RmsNorm


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("shape", [(1, 24), (16, 24), (9, 3, 24)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_it_is_torchs(dtype: torch.dtype, shape: tuple[int, ...], size: float) -> None:
    """Of inputs of 1e-4, ε is the larger part. Seen to fail with: no ε; ε not times the width; the weight left out; the
    input overwritten."""
    torch.manual_seed(0)
    weight, x = torch.randn(24, dtype=dtype), torch.randn(shape, dtype=dtype) * size
    before, expected = x.clone(), rms_norm(x, (24,), weight, 1e-5)
    found = RmsNorm(weight, 1e-5)(x)
    assert found.dtype is dtype
    assert torch.equal(x, before)
    tolerance = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 2**-7}[dtype]
    torch.testing.assert_close(found, expected, atol=0.0, rtol=tolerance)


def test_rows_of_zeros_stay_zero() -> None:
    """Seen to fail with: no ε."""
    assert not RmsNorm(torch.ones(8), 1e-5)(torch.zeros(2, 8)).any()


def test_blocks_are_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: the last block left out."""
    norm, x = RmsNorm(torch.randn(8), 1e-6), torch.randn(23, 2, 8)
    whole = norm(x)
    monkeypatch.setattr("grpo_tui.policy.norm.ELEMENTS", 5 * 16)
    assert torch.equal(norm(x), whole)
