"""The lean twin is the model that PEFT wraps: same numbers, same gradients, on the very same parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from grpo_tui.policy.errors import PolicyError
from grpo_tui.policy.loading import make_lean
from grpo_tui.policy.packing import SharedPrompts
from grpo_tui.policy.policy import Policy, TokenBatch
from tests.policy.models import ARCHITECTURES, PEFT_NOISE, batch_of, tiny_policy

pytestmark = pytest.mark.filterwarnings(PEFT_NOISE)

PROMPTS = [(5, 6, 7), (9, 8, 7, 6, 5, 4, 3, 2, 11, 12, 13), (20,)]
COMPLETIONS = [[3, 4, 5, 6, 7, 8, 9, 10, 11], [12], [13, 14]]
TAKES = {"llama", "qwen2", "qwen3", "mistral"}
"""Those that must not keep PEFT's layers."""


def batch() -> TokenBatch:
    return batch_of(PROMPTS, COMPLETIONS)


@contextmanager
def with_peft(policy: Policy) -> Iterator[None]:
    lean, policy.lean = policy.lean, None
    try:
        yield
    finally:
        policy.lean = lean


def numbers(policy: Policy, made: TokenBatch | None = None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Log-probs, entropies and the adapter's gradient of a weighted sum of log-probs."""
    made = made or batch()
    mask = made.completion_mask_B_T
    logprobs, entropies = policy.logprobs(made, 0.8)
    weights = torch.linspace(-1.0, 2.0, int(mask.sum()))
    (logprobs[mask] * weights).sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    gradients = {}
    for name, parameter in policy.trainable_parameters().items():
        assert parameter.grad is not None, name
        gradients[name] = parameter.grad
        parameter.grad = None
    return logprobs.detach()[mask], entropies[mask], gradients


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_agrees_or_keeps_pefts_layers(architecture: str) -> None:
    """Seen to fail with: the scale left out of B's gradient; A and B swapped; states of the wrong positions."""
    policy = tiny_policy(architecture)
    said: list[str] = []
    make_lean(policy, "auto", lambda name, _detail: said.append(name))
    if policy.lean is None:
        assert architecture not in TAKES
        assert said == ["keeping PEFT's layers"]
        return
    assert said == []
    logprobs, entropies, gradients = numbers(policy)
    with with_peft(policy):
        expected, expected_entropies, expected_gradients = numbers(policy)
    torch.testing.assert_close(logprobs, expected, rtol=0, atol=3e-5)
    torch.testing.assert_close(entropies, expected_entropies, rtol=0, atol=3e-5)
    for name, gradient in gradients.items():
        # Each is some 6e-6 from float64's.
        assert (gradient - expected_gradients[name]).norm() < 5e-5 * expected_gradients[name].norm()


def shared_batch() -> TokenBatch:
    """Five completions of three prompts of unequal length, not in the prompts' order; and the same prompts, once each."""
    order = [1, 0, 1, 2, 0]
    whole = batch_of([PROMPTS[i] for i in order], [*COMPLETIONS, [30], [31, 32, 33, 34]])
    once = batch_of(PROMPTS, COMPLETIONS)
    shared = SharedPrompts(
        ids_Q_P=once.prompt_ids_B_P, mask_Q_P=once.prompt_mask_B_P, prompt_of_B=torch.tensor(order)
    )
    return replace(whole, shared=shared)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("length", [9, 1])
def test_a_shared_prompt_is_as_good_as_its_copies(architecture: str, length: int) -> None:
    """Seen to fail with: positions that begin at 0; the prompt's padding attended to; rows in the prompts' order."""
    policy = tiny_policy(architecture)
    make_lean(policy, "auto")
    if policy.lean is None or not policy.lean.shares_prompts:
        assert architecture not in TAKES
        return
    made = shared_batch()
    made = replace(
        made,
        completion_ids_B_T=made.completion_ids_B_T[:, :length],
        completion_mask_B_T=made.completion_mask_B_T[:, :length],
    )
    alone = numbers(policy, replace(made, shared=None))
    together = numbers(policy, made)
    torch.testing.assert_close(together[0], alone[0], rtol=0, atol=3e-5)
    torch.testing.assert_close(together[1], alone[1], rtol=0, atol=3e-5)
    for name, gradient in together[2].items():
        assert (gradient - alone[2][name]).norm() < 5e-5 * alone[2][name].norm()


@pytest.mark.parametrize("straight", [True, False])
def test_a_shared_prompt_goes_through_once(straight: bool) -> None:
    policy = tiny_policy()
    make_lean(policy, "lean")
    assert policy.lean is not None
    assert policy.lean.straight is not None
    if not straight:
        policy.lean.straight = None
    shapes: list[tuple[int, ...]] = []
    handle = policy.lean.model.get_input_embeddings().register_forward_pre_hook(
        lambda _module, args: shapes.append(tuple(args[0].shape))
    )
    with torch.no_grad():
        policy.logprobs(shared_batch(), 1.0)
    handle.remove()
    # Nine tokens at most, of which the last predicts nothing; two short completions of one prompt share a row.
    if straight:
        assert shapes == [(64,)]  # 3 prompts of 11, 3 rows of 8, made up to a multiple of 16
    else:
        assert shapes == [(3, 11), (3, 8)]


@pytest.fixture(scope="module")
def policy() -> Policy:
    made = tiny_policy()
    make_lean(made, "lean")
    return made


def test_the_reference_is_the_adapter_switched_off(policy: Policy) -> None:
    with torch.no_grad():
        with policy.reference():
            lean, _ = policy.logprobs(batch(), 1.0)
            with with_peft(policy):
                peft, _ = policy.logprobs(batch(), 1.0)
        on, _ = policy.logprobs(batch(), 1.0)
    mask = batch().completion_mask_B_T
    torch.testing.assert_close(lean[mask], peft[mask], rtol=0, atol=3e-5)
    assert (on - lean)[mask].abs().max() > 1e-3


def test_a_new_adapter_is_the_base_bitwise() -> None:
    fresh = tiny_policy(adapter_noise=0.0)
    make_lean(fresh, "lean")
    with torch.no_grad():
        on, _ = fresh.logprobs(batch(), 1.0)
        with fresh.reference():
            off, _ = fresh.logprobs(batch(), 1.0)
    assert torch.equal(on, off)


def test_it_shares_every_parameter(policy: Policy) -> None:
    assert policy.lean is not None
    known = {id(p) for p in policy.model.parameters()}
    assert all(id(p) in known for p in policy.lean.model.parameters())


def test_the_check_leaves_the_adapter_bitwise(policy: Policy) -> None:
    before = policy.adapter_state()
    rng = torch.get_rng_state()
    assert policy.lean_deviation() < 1e-4
    assert all(torch.equal(p, before[name]) for name, p in policy.adapter_state().items())
    assert torch.equal(torch.get_rng_state(), rng)


def test_a_wrong_twin_is_found_out_although_a_new_adapter_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: the comparison made at B = 0, where a twin without an adapter looks right."""

    def without_adapter(_self: object, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(x, _self.weight, _self.bias)  # type: ignore[attr-defined]

    monkeypatch.setattr("grpo_tui.policy.lean.LeanLora.forward", without_adapter)
    fresh = tiny_policy(adapter_noise=0.0)
    make_lean(fresh, "auto")
    assert fresh.lean is None
    with pytest.raises(PolicyError, match="adapter_layers: 'lean' does not work"):
        make_lean(fresh, "lean")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_soft_capped_head_is_found_out_although_its_logits_are_small(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with: log-probs alone compared, to which so soft a cap looks like the rounding of bf16."""
    made = tiny_policy()
    made.model.to(dtype)
    base = made.model.get_base_model()
    head = base.get_output_embeddings()
    head.weight.data *= 8.0 / made.logits(batch()).abs().max()  # the largest logit is about 8
    plain = type(base).forward

    def capped(self: object, *arguments: object, **named: object) -> object:
        output = plain(self, *arguments, **named)
        output.logits = 30.0 * torch.tanh(output.logits / 30.0)
        return output

    monkeypatch.setattr(type(base), "forward", capped)
    make_lean(made, "auto")
    assert made.lean is None


def test_it_says_why_it_keeps_the_models_own_attention(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_options: object) -> None:
        raise ValueError("attention with sinks")

    monkeypatch.setattr("grpo_tui.policy.attention.refuse_other_kinds", refuse)
    caplog.set_level("INFO")
    made = tiny_policy()
    make_lean(made, "lean")
    assert made.lean is not None
    assert [r.getMessage() for r in caplog.records if r.name == "policy"] == [
        "scoring and updating use the model's own attention, slower on a CPU: attention with sinks"
    ]


def test_peft_can_be_asked_for() -> None:
    plain = tiny_policy()
    make_lean(plain, "peft")
    assert plain.lean is None


def test_in_bf16_gradients_come_in_float32_and_close() -> None:
    made = tiny_policy()
    exact = numbers(made)[2]
    made.model.to(torch.bfloat16)
    for parameter in made.trainable_parameters().values():
        parameter.data = parameter.data.float()
    make_lean(made, "lean")
    gradients = numbers(made)[2]
    mine = torch.cat([g.flatten() for g in gradients.values()])
    theirs = torch.cat([exact[name].flatten() for name in gradients])
    assert mine.dtype is torch.float32
    assert torch.nn.functional.cosine_similarity(mine, theirs, dim=0) > 0.99
