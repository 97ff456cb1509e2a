"""Decoding over fixed addresses draws what decoding over a growing cache draws. The graph itself needs CUDA."""

from __future__ import annotations

import pytest
import torch

from grpo_tui.generation.captured import Captured
from grpo_tui.generation.fast import FastSampler, make_sampler
from grpo_tui.generation.trusted import TrustedSampler
from grpo_tui.generation.types import SamplingSettings
from tests.generation.test_fast import KINDS, REQUESTS, expect_equal
from tests.policy.models import PEFT_NOISE, tiny_policy

pytestmark = pytest.mark.filterwarnings(PEFT_NOISE)


@pytest.mark.parametrize("settings", KINDS, ids=["plain", "greedy", "filtered"])
@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_it_draws_the_same(architecture: str, settings: SamplingSettings) -> None:
    """Rows leave and are padded. Seen to fail with: what is not filled looked at; the place not moved on; not bound anew."""
    policy = tiny_policy(architecture)
    policy.eos_ids = (1, 2, 3, 4)
    sampler = FastSampler(policy, captures=True)
    assert isinstance(sampler._decode, Captured)
    slow = TrustedSampler(policy).sample(REQUESTS, settings, lambda _tick: None)
    expect_equal(slow, sampler.sample(REQUESTS, settings, lambda _tick: None))
    assert len({len(sample.token_ids_T) for sample in slow}) > 1


def test_a_cache_that_grows_is_bound_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpo_tui.generation.slab.BLOCK", 3)
    policy = tiny_policy()
    policy.eos_ids = (1,)
    slow = TrustedSampler(policy).sample(REQUESTS, KINDS[0], lambda _tick: None)
    expect_equal(slow, FastSampler(policy, captures=True).sample(REQUESTS, KINDS[0], lambda _tick: None))


def test_its_distributions_are_the_models() -> None:
    assert FastSampler(tiny_policy(), captures=True).deviation() < 1e-4


def test_nothing_is_kept_after_sampling() -> None:
    sampler = FastSampler(tiny_policy(), captures=True)
    sampler.sample(REQUESTS, KINDS[0], lambda _tick: None)
    assert isinstance(sampler._decode, Captured)
    assert sampler._decode._bound is None


def test_on_a_cpu_nothing_is_captured() -> None:
    assert not isinstance(FastSampler(tiny_policy())._decode, Captured)


def test_where_capturing_fails_it_goes_kernel_by_kernel_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: the whole fast sampler given up."""

    def fails(*_arguments: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    real = FastSampler.__init__

    def capturing(self: FastSampler, policy: object, *, captures: bool | None = None) -> None:
        real(self, policy, captures=True if captures is None else captures)  # type: ignore[arg-type]

    monkeypatch.setattr(FastSampler, "__init__", capturing)
    monkeypatch.setattr(Captured, "__call__", fails)
    said: list[str] = []
    sampler = make_sampler(tiny_policy(), "auto", said.append)
    assert isinstance(sampler, FastSampler)
    assert not sampler.captures
    assert "cannot be captured as a CUDA graph (operation not permitted" in said[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_graph_draws_the_same() -> None:
    policy = tiny_policy()
    policy.model.to("cuda")
    policy.device = torch.device("cuda")
    policy.eos_ids = (1, 2, 3, 4)
    slow = TrustedSampler(policy).sample(REQUESTS, KINDS[0], lambda _tick: None)
    expect_equal(slow, FastSampler(policy).sample(REQUESTS, KINDS[0], lambda _tick: None))
