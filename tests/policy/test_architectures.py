"""The same claims for every architecture that a small configuration builds: positions, windows, softcaps, caches."""

from __future__ import annotations

import pytest
import torch

from grpo_tui.generation.trusted import TrustedSampler
from grpo_tui.generation.types import SampleRequest, SamplingSettings
from tests.policy.models import ARCHITECTURES, PEFT_NOISE, batch_from_samples, batch_of, tiny_policy

pytestmark = pytest.mark.filterwarnings(PEFT_NOISE)

PROMPTS = [(5, 6, 7), (5, 6, 7), (9, 8, 7, 6, 5, 4, 3, 2, 11, 12, 13), (20,)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sampler_and_trainer_agree(architecture: str) -> None:
    policy = tiny_policy(architecture)
    requests = [SampleRequest(prompt_ids=prompt, stream_key=str(i)) for i, prompt in enumerate(PROMPTS)]
    settings = SamplingSettings(max_new_tokens=16)
    sampler = TrustedSampler(policy)
    samples = sampler.sample(requests, settings, lambda _tick: None)
    logprobs, entropies = policy.logprobs(batch_from_samples(requests, samples), 1.0)
    logprobs.sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    for row, (request, sample) in enumerate(zip(requests, samples, strict=True)):
        count = len(sample.token_ids_T)
        ours = logprobs.detach()[row, :count]
        torch.testing.assert_close(torch.from_numpy(sample.logprobs_T), ours, rtol=0, atol=1e-4)
        torch.testing.assert_close(
            torch.from_numpy(sample.entropies_T), entropies[row, :count], rtol=0, atol=1e-4
        )
        (alone,) = sampler.sample([request], settings, lambda _tick: None)
        assert alone.token_ids_T.tolist() == sample.token_ids_T.tolist()
        # The plain forward of this row alone, nothing passed but ids: what the model means by itself.
        ids = torch.tensor([[*request.prompt_ids, *sample.token_ids_T.tolist()]])
        with torch.no_grad():
            logits = policy.model(input_ids=ids, use_cache=False).logits[0, len(request.prompt_ids) - 1 : -1]
        plain = torch.log_softmax(logits, -1).gather(-1, ids[0, len(request.prompt_ids) :, None]).squeeze(-1)
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-4)
    for name, parameter in policy.trainable_parameters().items():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_changes_nothing(architecture: str) -> None:
    policy = tiny_policy(architecture)
    completions = [[3, 4, 5, 6, 7, 8, 9, 10, 11], [12], [13, 14], [15, 16, 17]]
    with torch.no_grad():
        tight, _ = policy.logprobs(batch_of(PROMPTS, completions), 1.0)
        wide, _ = policy.logprobs(batch_of(PROMPTS, completions, extra_left=5, extra_right=4, pad_id=33), 1.0)
    for row, completion in enumerate(completions):
        torch.testing.assert_close(
            wide[row, : len(completion)], tight[row, : len(completion)], rtol=0, atol=1e-4
        )
    assert torch.isfinite(wide).all(), "slots outside the mask hold finite numbers"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_fresh_adapter_is_the_base_bitwise(architecture: str) -> None:
    policy = tiny_policy(architecture, adapter_noise=0.0)
    batch = batch_of(PROMPTS, [[3, 4, 5], [6], [7, 8], [9, 10]])
    with torch.no_grad():
        on, _ = policy.logprobs(batch, 1.0)
        with policy.reference():
            off, _ = policy.logprobs(batch, 1.0)
    assert torch.equal(on, off)
