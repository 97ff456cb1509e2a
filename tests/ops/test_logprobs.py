from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from grpo_tui.ops.logprobs import entropy_of, token_logprobs

# Logits 0, ln 2, ln 5: probabilities 1/8, 2/8, 5/8.
WORKED = torch.tensor([[[0.0, math.log(2), math.log(5)]]], dtype=torch.float64)


def _token(token: int) -> Tensor:
    return torch.tensor([[token]])


def _random(rows: int, length: int, vocab: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows * 100 + vocab)
    logits = 3 * torch.randn(rows, length, vocab, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.randint(vocab, (rows, length), generator=generator)


def test_worked_values() -> None:
    # Seen to fail with: the wrong token gathered (token 0 always).
    logprob, entropy = token_logprobs(WORKED, _token(2))
    # ln(5/8)
    assert logprob.item() == pytest.approx(-0.470003629245736, abs=1e-14)
    # (1/8) ln 8 + (2/8) ln 4 + (5/8) ln(8/5) = 0.2599302 + 0.3465736 + 0.2937523
    assert entropy.item() == pytest.approx(0.9002560513, abs=1e-9)
    assert token_logprobs(WORKED, _token(0))[0].item() == pytest.approx(-math.log(8), abs=1e-14)


def test_worked_values_at_temperature_two() -> None:
    # Seen to fail with: the temperature not applied.
    logprob, entropy = token_logprobs(WORKED, _token(2), temperature=2.0)
    # weights 1, √2, √5, total 4.650281539873; p = 0.2150407, 0.3041135, 0.4808457; ln p = −1.536928, −1.190354, −0.732209
    assert logprob.item() == pytest.approx(-0.7322088078, abs=1e-9)
    assert entropy.item() == pytest.approx(1.0445843777, abs=1e-9)


def test_gradient_is_onehot_minus_probabilities_over_temperature() -> None:
    # Seen to fail with: log-probs multiplied by the temperature instead.
    logits = WORKED.clone().requires_grad_()
    token_logprobs(logits, _token(2))[0].sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert logits.grad is not None
    # (0, 0, 1) − (1/8, 2/8, 5/8)
    torch.testing.assert_close(
        logits.grad.flatten(), torch.tensor([-0.125, -0.25, 0.375], dtype=torch.float64)
    )
    logits = WORKED.clone().requires_grad_()
    token_logprobs(logits, _token(2), temperature=2.0)[0].sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert logits.grad is not None
    # half of (0, 0, 1) − (0.2150407, 0.3041135, 0.4808457)
    expected = torch.tensor([-0.10752037, -0.15205677, 0.25957714], dtype=torch.float64)
    torch.testing.assert_close(logits.grad.flatten(), expected, atol=1e-7, rtol=0)


def test_entropy_carries_no_gradient() -> None:
    # Seen to fail with: entropy computed with gradient.
    logits = WORKED.clone().requires_grad_()
    logprobs, entropies = token_logprobs(logits, _token(1))
    assert logprobs.requires_grad
    assert not entropies.requires_grad


@pytest.mark.parametrize("chunk", [1, 7, 8, 15, 21, 34, 35, 36, 69, 70, 71, 1 << 24])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_any_chunk_size_equals_the_full_log_softmax(chunk: int, temperature: float) -> None:
    # Seen to fail with: the tokens of the first chunk used for all.
    logits, tokens = _random(2, 5, 7)
    weights = torch.linspace(-1, 1, 10, dtype=torch.float64).reshape(2, 5)
    full = logits.clone().requires_grad_()
    all_logprobs = torch.log_softmax(full / temperature, -1)
    expected = all_logprobs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    (expected * weights).sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    chunked = logits.clone().requires_grad_()
    logprobs, entropies = token_logprobs(chunked, tokens, temperature=temperature, chunk_elements=chunk)
    (logprobs * weights).sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    torch.testing.assert_close(logprobs, expected, atol=1e-14, rtol=0)
    torch.testing.assert_close(entropies, -(all_logprobs.exp() * all_logprobs).sum(-1), atol=1e-13, rtol=0)
    torch.testing.assert_close(chunked.grad, full.grad, atol=1e-14, rtol=0)


@pytest.mark.parametrize("chunk", [7, 1 << 24])
def test_float32_is_bitwise_the_same_in_chunks_of_one_row(chunk: int) -> None:
    # Seen to fail with: float32 logits raised to float64.
    logits, tokens = _random(2, 3, 7, torch.float32)
    expected, _ = token_logprobs(logits, tokens)
    actual, _ = token_logprobs(logits.requires_grad_(), tokens, chunk_elements=chunk)
    assert torch.equal(actual, expected)


def test_half_precision_logits_are_raised_to_float32() -> None:
    # Seen to fail with: logits not raised.
    logits, tokens = _random(2, 3, 50, torch.bfloat16)
    logprobs, entropies = token_logprobs(logits, tokens)
    assert logprobs.dtype is torch.float32
    assert entropies.dtype is torch.float32
    expected = torch.log_softmax(logits.float(), -1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(logprobs, expected, atol=0, rtol=0)


def test_gradient_reaches_half_precision_logits_through_chunks() -> None:
    # Seen to fail with: logits detached when raised.
    logits, tokens = _random(2, 3, 50, torch.bfloat16)
    logits.requires_grad_()
    token_logprobs(logits, tokens, chunk_elements=100)[0].sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert logits.grad is not None
    assert logits.grad.dtype is torch.bfloat16
    assert torch.isfinite(logits.grad).all()


@given(st.lists(st.floats(-200, 200), min_size=2, max_size=9), st.floats(0.05, 20))
def test_entropy_is_between_zero_and_log_vocabulary(logits: list[float], temperature: float) -> None:
    # Seen to fail with: entropy in bits.
    _, entropy = token_logprobs(
        torch.tensor([[logits]], dtype=torch.float64), _token(0), temperature=temperature
    )
    assert -1e-12 <= entropy.item() <= math.log(len(logits)) + 1e-12


def test_entropy_reaches_both_bounds() -> None:
    # Seen to fail with: the sign of entropy.
    assert entropy_of(torch.full((1, 4), -math.log(4))).item() == pytest.approx(math.log(4))
    assert entropy_of(torch.tensor([[0.0, -math.inf, -math.inf]])).item() == 0.0


def test_forbidden_tokens_leave_value_and_gradient_finite() -> None:
    # Seen to fail with: NaN of 0 · −∞ not replaced.
    logits = torch.tensor([[[0.0, 0.0, -math.inf]]], dtype=torch.float64, requires_grad=True)
    logprobs, entropies = token_logprobs(logits, _token(0))
    logprobs.sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert logprobs.item() == pytest.approx(-math.log(2))
    assert entropies.item() == pytest.approx(math.log(2))
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == pytest.approx([0.5, -0.5, 0.0])


def test_log_softmax_is_never_held_whole() -> None:
    # Seen to fail with: no recomputation in the backward pass.
    """What the backward keeps is the logits themselves, not float32 copies of them."""
    logits, tokens = _random(4, 8, 100, torch.bfloat16)
    logits.requires_grad_()
    saved: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.dtype is torch.float32 and tensor.numel() >= 100:
            saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logprobs, _ = token_logprobs(logits, tokens, chunk_elements=200)
    assert saved == []
    logprobs.sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
