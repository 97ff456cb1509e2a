from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from grpo_tui.ops.kl import exact_kl

F64 = torch.float64
LN2, LN3, LN5 = math.log(2), math.log(3), math.log(5)
# Logits 0, ln 2, ln 5 and 0, ln 3, 0: probabilities (1, 2, 5)/8 and (1, 3, 1)/5.
FIRST = torch.tensor([[[0.0, LN2, LN5]]], dtype=F64)
SECOND = torch.tensor([[[0.0, LN3, 0.0]]], dtype=F64)


def _random(dtype: torch.dtype = F64, vocab: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(vocab)
    first, second = 2 * torch.randn(2, 2, 5, vocab, dtype=F64, generator=generator)
    return first.to(dtype), second.to(dtype)


def _plain(first: Tensor, second: Tensor, temperature: float = 1.0) -> Tensor:
    p, q = (torch.log_softmax(t / temperature, -1) for t in (first, second))
    return (p.exp() * (p - q)).sum(-1)


def test_worked_values() -> None:
    # Seen to fail with: the two distributions swapped; weights of the second.
    # ⅛ ln(5/8) + ¼ ln((1/4)/(3/5)) + ⅝ ln((5/8)/(1/5)) = −0.0587505 − 0.2188672 + 0.7121464
    assert exact_kl(FIRST, SECOND).item() == pytest.approx(0.43452879, abs=1e-8)
    # the other direction: ⅕ ln(8/5) + ⅗ ln((3/5)/(1/4)) + ⅕ ln((1/5)/(5/8)) = 0.0940007 + 0.5252812 − 0.2278869
    assert exact_kl(SECOND, FIRST).item() == pytest.approx(0.39139511, abs=1e-8)


def test_worked_gradients() -> None:
    # Seen to fail with: the policy's probabilities detached; the anchor detached.
    first, second = FIRST.clone().requires_grad_(), SECOND.clone().requires_grad_()
    by_first, by_second = torch.autograd.grad(exact_kl(first, second).sum(), (first, second))
    # p (log p/q − KL): log p/q = −0.47000363, −0.87546874, 1.13943428 less 0.43452879
    expected = [-0.90453242 / 8, -1.30999753 / 4, 0.70490549 * 5 / 8]
    assert by_first.flatten().tolist() == pytest.approx(expected, abs=1e-8)
    # q − p: 1/5 − 1/8, 3/5 − 1/4, 1/5 − 5/8
    assert by_second.flatten().tolist() == pytest.approx([0.075, 0.35, -0.425], abs=1e-14)


def test_temperature_divides_both() -> None:
    # Seen to fail with: the second's logits not divided.
    # At temperature ½ the weights are squared: (1, 4, 25)/30 and (1, 9, 1)/11:
    # (ln(11/30) + 4 ln(44/270) + 25 ln(275/30)) / 30 = (−1.0033021 − 7.2569293 + 55.3893429) / 30
    assert exact_kl(FIRST, SECOND, temperature=0.5).item() == pytest.approx(1.57097038, abs=1e-8)


@pytest.mark.parametrize("chunk", [1, 7, 13, 14, 15, 69, 70, 71, 1 << 24])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_any_chunk_size_equals_the_whole(chunk: int, temperature: float) -> None:
    # Seen to fail with: the second's chunk always the first; a chunk a row too short.
    first, second = (t.requires_grad_() for t in _random())
    weights = torch.linspace(-1, 1, 10, dtype=F64).reshape(2, 5)
    expected = _plain(first, second, temperature)
    actual = exact_kl(first, second, temperature=temperature, chunk_elements=chunk)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-14)
    ours = torch.autograd.grad((actual * weights).sum(), (first, second))
    theirs = torch.autograd.grad((expected * weights).sum(), (first, second))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


@pytest.mark.parametrize("chunk", [7, 1 << 24])
def test_the_gradient_numerically(chunk: int) -> None:
    # Seen to fail with: gradients stopped anywhere (no_grad in the chunk).
    first, second = (t[:1, :2].clone().requires_grad_() for t in _random())

    def function(a: Tensor, b: Tensor) -> Tensor:
        return exact_kl(a, b, temperature=0.7, chunk_elements=chunk)

    assert gradcheck(function, (first, second))


@pytest.mark.parametrize("chunk", [7, 1 << 24])
def test_of_a_distribution_to_itself_value_and_gradient_are_zero(chunk: int) -> None:
    # Seen to fail with: p log p − q log q + KL's own constant (a term forgotten in the gradient).
    first = _random()[0].requires_grad_()
    kl = exact_kl(first, first.detach().clone(), chunk_elements=chunk)
    assert (kl == 0).all()
    assert torch.autograd.grad(kl.sum(), first)[0].abs().max() < 1e-15


def test_its_curvature_at_itself_is_the_fisher_matrix() -> None:
    # Seen to fail with: the chunk recomputed without gradient. TRPO's products are made of this.
    logits = FIRST.flatten()

    def of(x: Tensor) -> Tensor:
        return exact_kl(FIRST, x.reshape(1, 1, 3)).sum()

    hessian = torch.autograd.functional.hessian(of, logits)  # type: ignore[no-untyped-call,unused-ignore]
    p = torch.tensor([1, 2, 5], dtype=F64) / 8
    torch.testing.assert_close(hessian, torch.diag(p) - torch.outer(p, p), rtol=0, atol=1e-14)


def test_forbidden_tokens_count_nothing() -> None:
    # Seen to fail with: the masked_fill left out, which gives 0 · ∞.
    first = torch.tensor([[[0.0, LN3, -math.inf]]], dtype=F64, requires_grad=True)
    # ¼ ln(¼/⅓) + ¾ ln(¾/⅓) where the second allows the token; ¼ ln(½) + ¾ ln(3/2) where it does not either
    for third, kl in [
        (0.0, 0.25 * math.log(0.75) + 0.75 * math.log(2.25)),
        (-math.inf, 0.75 * LN3 - LN2),
    ]:
        second = torch.tensor([[[0.0, 0.0, third]]], dtype=F64, requires_grad=True)
        actual = exact_kl(first, second)
        assert actual.item() == pytest.approx(kl, abs=1e-14)
        gradients = torch.autograd.grad(actual.sum(), (first, second))
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_half_precision_is_raised_to_float32() -> None:
    # Seen to fail with: logits of below float32 not raised.
    first, second = _random(torch.bfloat16, 50)
    kl = exact_kl(first, second)
    assert kl.dtype is torch.float32
    torch.testing.assert_close(kl, _plain(first.float(), second.float()), rtol=1e-6, atol=1e-6)


def _saved(function: Callable[[], Tensor]) -> list[int]:
    """Sizes of the float32 tensors that the backward pass of ``function`` would keep."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.dtype is torch.float32 and tensor.numel() >= 100:
            sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sizes


def test_log_softmax_is_never_held_whole() -> None:
    # Seen to fail with: no recomputation in the backward pass.
    first, second = (t.requires_grad_() for t in _random(torch.bfloat16, 100))
    assert _saved(lambda: exact_kl(first, second, chunk_elements=200)) == []
    # In one chunk there is nothing to save by recomputing.
    assert len(_saved(lambda: exact_kl(first, second))) > 0
    assert len(_saved(lambda: exact_kl(first, second, chunk_elements=1000))) > 0
    with torch.no_grad():
        assert not exact_kl(first, second, chunk_elements=200).requires_grad
