"""Log-probs and entropies from hidden states are those of the full logits, value and gradient, in any chunks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from grpo_tui.ops.head import head_logprobs
from grpo_tui.ops.logprobs import entropy_of, token_logprobs

F64 = torch.float64


def make(dtype: torch.dtype = F64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(7, 5, generator=generator, dtype=F64).to(dtype)
    weight = torch.randn(11, 5, generator=generator, dtype=F64).to(dtype)
    bias = torch.randn(11, generator=generator, dtype=F64).to(dtype)
    tokens = torch.randint(11, (7,), generator=generator)
    return hidden, weight, bias, tokens


def test_two_tokens_worked() -> None:
    """h = 1, W = (0, ln 3): p = (1/4, 3/4). Seen to fail with: the temperature multiplied, the token's logit left out."""
    hidden = torch.tensor([[1.0]], dtype=F64, requires_grad=True)
    weight = torch.tensor([[0.0], [math.log(3.0)]], dtype=F64)
    logprobs, entropies = head_logprobs(hidden, weight, None, torch.tensor([0]))
    assert logprobs.item() == pytest.approx(math.log(0.25), abs=1e-15)
    assert entropies.item() == pytest.approx(0.25 * math.log(4) + 0.75 * math.log(4 / 3), abs=1e-15)
    # dl/dh = sum_v (onehot - p)_v W_v = -(3/4) ln 3
    logprobs.sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert hidden.grad is not None
    assert hidden.grad.item() == pytest.approx(-0.75 * math.log(3.0), abs=1e-15)


@pytest.mark.parametrize("chunk_elements", [1, 11, 30, 10_000])
@pytest.mark.parametrize("temperature", [1.0, 0.6, 2.0])
@pytest.mark.parametrize("with_bias", [False, True])
def test_it_equals_the_full_log_softmax(chunk_elements: int, temperature: float, with_bias: bool) -> None:
    """Seen to fail with: a chunk's tokens taken from the start; the sign of p in backward; no division by temperature."""
    hidden, weight, bias, tokens = make()
    hidden.requires_grad_()
    some_bias = bias if with_bias else None
    logprobs, entropies = head_logprobs(
        hidden, weight, some_bias, tokens, temperature=temperature, chunk_elements=chunk_elements
    )
    logits = torch.nn.functional.linear(hidden, weight, some_bias)
    expected, expected_entropies = token_logprobs(logits, tokens, temperature=temperature)
    torch.testing.assert_close(logprobs, expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(entropies, expected_entropies, rtol=0, atol=1e-13)
    assert not entropies.requires_grad
    outside = torch.linspace(-1.0, 2.0, 7, dtype=F64)
    (mine,) = torch.autograd.grad((logprobs * outside).sum(), hidden)
    (theirs,) = torch.autograd.grad((expected * outside).sum(), hidden)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-13)


def test_the_gradient_numerically() -> None:
    hidden, weight, bias, tokens = make()
    hidden.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda h: head_logprobs(h, weight, bias, tokens, temperature=0.7, chunk_elements=25)[0], (hidden,)
    )


def test_bf16_states_give_float32_numbers() -> None:
    hidden, weight, bias, tokens = make(torch.bfloat16)
    hidden.requires_grad_()
    logprobs, entropies = head_logprobs(hidden, weight, bias, tokens)
    assert logprobs.dtype is entropies.dtype is torch.float32
    logprobs.sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert hidden.grad is not None
    assert hidden.grad.dtype is torch.bfloat16


def test_forbidden_tokens_leave_everything_finite() -> None:
    """A bias of -inf, as some heads have for unused ids. Seen to fail with: 0 * -inf in the entropy."""
    hidden, weight, bias, _ = make()
    hidden.requires_grad_()
    bias[4:] = -torch.inf
    tokens = torch.zeros(7, dtype=torch.long)
    logprobs, entropies = head_logprobs(hidden, weight, bias, tokens)
    logprobs.sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert hidden.grad is not None
    assert torch.isfinite(hidden.grad).all()
    logits = torch.nn.functional.linear(hidden.detach(), weight, bias)
    torch.testing.assert_close(entropies, entropy_of(torch.log_softmax(logits, -1)), rtol=0, atol=1e-13)


def test_no_positions() -> None:
    hidden, weight, bias, _ = make()
    logprobs, entropies = head_logprobs(hidden[:0], weight, bias, torch.zeros(0, dtype=torch.long))
    assert logprobs.shape == entropies.shape == (0,)


def test_without_entropy_the_log_probs_are_the_same() -> None:
    hidden, weight, bias, tokens = make()
    whole, _ = head_logprobs(hidden, weight, bias, tokens, chunk_elements=25)
    bare, entropies = head_logprobs(hidden, weight, bias, tokens, with_entropy=False, chunk_elements=25)
    assert bare.tolist() == whole.tolist()
    assert entropies.tolist() == [0.0] * 7
