"""The critic on every architecture: V of the state before each token, whatever the padding, apart from the policy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from grpo_tui.policy.critic import Critic
from grpo_tui.policy.policy import Policy
from tests.policy.models import ARCHITECTURES, PEFT_NOISE, batch_of, tiny_policy

pytestmark = pytest.mark.filterwarnings(PEFT_NOISE)

PROMPTS = [(5, 6, 7), (9, 8, 7, 6, 5, 4, 3, 2)]
COMPLETIONS = [[3, 4, 5, 6], [12, 1]]


def noisy(policy: Policy) -> Critic:
    critic = Critic(policy, seed=7)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in critic.parameters().values():
            p.copy_(0.1 * torch.randn(p.shape, generator=generator))
    return critic


def values(critic: Critic, **padding: int) -> Tensor:
    with torch.no_grad(), critic.active():
        return critic.values(batch_of(PROMPTS, COMPLETIONS, **padding))


def test_a_fresh_critic_values_everything_at_0() -> None:
    assert not values(Critic(tiny_policy(), seed=0)).any()


def test_two_critics_of_one_seed_are_one() -> None:
    first, second, other = (Critic(tiny_policy(), seed=seed).state() for seed in (3, 3, 4))
    assert all(first[name].equal(p) for name, p in second.items())
    assert any(not first[name].equal(p) for name, p in other.items())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padding_on_either_side_changes_no_value(name: str) -> None:
    """And values differ between positions: they are of the state before each token."""
    # Seen to fail: the state after the token; position ids that count padding.
    policy = tiny_policy(name)
    critic = noisy(policy)
    plain, wide = values(critic), values(critic, extra_left=3, extra_right=2)
    for row, completion in enumerate(COMPLETIONS):
        length = len(completion)
        torch.testing.assert_close(wide[row, :length], plain[row, :length], rtol=1e-4, atol=1e-4)
    assert plain.std() > 1e-3
    # What comes after does not reach back: the value before a token does not know it.
    changed = [[3, 4, 5, 60], [12, 2]]
    with torch.no_grad(), critic.active():
        later = critic.values(batch_of(PROMPTS, changed))
    torch.testing.assert_close(later[0, :4], plain[0, :4], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(later[1, :2], plain[1, :2], rtol=1e-5, atol=1e-5)


def test_values_are_the_head_on_the_last_hidden_state() -> None:
    policy = tiny_policy()
    critic = noisy(policy)
    found = values(critic)
    with torch.no_grad(), critic.active():
        for row, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
            ids = torch.tensor([[*prompt, *completion]])
            states = policy.model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
            before = states[len(prompt) - 1 : -1]
            expected = before @ critic.head.weight[0] + critic.head.bias
            torch.testing.assert_close(found[row, : len(completion)], expected, rtol=1e-4, atol=1e-4)


def test_only_the_critic_learns_from_its_loss() -> None:
    policy = tiny_policy()
    critic = noisy(policy)
    with critic.active():
        critic.values(batch_of(PROMPTS, COMPLETIONS)).square().sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert all(p.grad is not None for p in critic.parameters().values())
    own = {id(p) for p in critic.parameters().values()}
    assert all(p.grad is None for p in policy.model.parameters() if id(p) not in own)


def test_the_reference_is_without_the_critic_s_adapter_too() -> None:
    policy = tiny_policy()
    batch = batch_of(PROMPTS, COMPLETIONS)
    with torch.no_grad(), policy.reference():
        before, _ = policy.logprobs(batch, 1.0)
    critic = noisy(policy)
    with torch.no_grad():
        with policy.reference():
            after, _ = policy.logprobs(batch, 1.0)
        policy_logprobs, _ = policy.logprobs(batch, 1.0)
    assert torch.equal(before, after)
    assert not torch.equal(policy_logprobs, after)
    assert critic.state().keys() == critic.parameters().keys()
    with pytest.raises(AssertionError, match="another critic"):
        critic.load_state({"other": torch.zeros(1)})


def test_state_comes_back_bitwise_and_in_place() -> None:
    critic = noisy(tiny_policy())
    state, before = critic.state(), values(critic)
    places = {name: p.data_ptr() for name, p in critic.parameters().items()}
    with torch.no_grad():
        for p in critic.parameters().values():
            p.add_(1.0)
    assert not torch.equal(values(critic), before)
    critic.load_state(state)
    assert torch.equal(values(critic), before)
    assert {name: p.data_ptr() for name, p in critic.parameters().items()} == places


def test_the_policy_is_active_again_after_an_error() -> None:
    policy = tiny_policy()
    critic = noisy(policy)
    with torch.no_grad():
        before, _ = policy.logprobs(batch_of(PROMPTS, COMPLETIONS), 1.0)
    with pytest.raises(KeyError), critic.active():
        raise KeyError
    with torch.no_grad():
        after, _ = policy.logprobs(batch_of(PROMPTS, COMPLETIONS), 1.0)
    assert torch.equal(before, after)
    assert all(p.requires_grad for p in policy.trainable_parameters().values())
