"""Decoding over fixed addresses draws what decoding over a growing cache draws. The graph itself needs CUDA."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from grpo_tui.generation.captured import Captured, Fixed
from grpo_tui.generation.fast import FastSampler, make_sampler
from grpo_tui.generation.refilling import FEW_ROWS, Rows
from grpo_tui.generation.trusted import TrustedSampler
from grpo_tui.generation.types import SamplingSettings, TokenTick
from tests.generation.test_fast import KINDS, REQUESTS, expect_equal
from tests.generation.test_refilling import ENDS
from tests.generation.test_refilling import REQUESTS as MANY
from tests.policy.models import PEFT_NOISE, on_cuda, tiny_policy

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


def test_a_record_that_is_still_held_holds_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: the graph left to the record, which every tick of the sampling holds."""
    made: list[weakref.ref[Fixed]] = []
    real = Fixed.__init__

    def watched(self: Fixed) -> None:
        made.append(weakref.ref(self))
        real(self)

    monkeypatch.setattr(Fixed, "__init__", watched)
    ticks: list[TokenTick] = []
    gc.disable()
    try:
        FastSampler(tiny_policy(), captures=True).sample(REQUESTS, KINDS[0], ticks.append)
        assert len(ticks) > 1
        assert [ref() for ref in made] == [None]
    finally:
        gc.enable()


def test_what_is_recorded_over_fixed_addresses_may_change_shape() -> None:
    """Seen to fail with: the old inputs kept for another number of rows."""
    fixed = Fixed()
    for size in (3, 3, 5, 2):
        a, b = torch.arange(size), torch.ones(size, dtype=torch.long)
        assert [t.tolist() for t in fixed(lambda a, b: (a + b, a * b), a, b)] == [
            (a + b).tolist(),
            a.tolist(),
        ]


def test_rows_leave_by_halves_while_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: nobody leaving; leaving as early as without a graph; leaving however few there are."""
    left: list[tuple[int, int]] = []
    real = Rows._leave

    def watched(self: Rows) -> None:
        before = len(self._rows_N)
        real(self)
        left.append((before, len(self._rows_N)))

    monkeypatch.setattr(Rows, "_leave", watched)
    policy = tiny_policy()
    policy.eos_ids = ENDS
    FastSampler(policy, captures=True).sample(MANY, SamplingSettings(max_new_tokens=60), lambda _tick: None)
    assert left
    assert all(after <= before / 2 and before > FEW_ROWS for before, after in left)


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


on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("settings", KINDS, ids=["plain", "greedy", "filtered"])
@pytest.mark.parametrize("architecture", ["llama", "llama_biased", "qwen3", "gpt2"])
def test_the_graph_draws_the_same(architecture: str, settings: SamplingSettings) -> None:
    policy = on_cuda(tiny_policy(architecture))
    policy.eos_ids = (1, 2, 3, 4)
    slow = TrustedSampler(policy).sample(REQUESTS, settings, lambda _tick: None)
    expect_equal(slow, FastSampler(policy).sample(REQUESTS, settings, lambda _tick: None))


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("max_rows", [7, 16])
def test_refilled_under_a_graph_it_draws_the_same(max_rows: int) -> None:
    """The cache is trimmed, shifted and grows while graphs hold its address."""
    policy = on_cuda(tiny_policy())
    policy.eos_ids = ENDS
    expected = TrustedSampler(policy).sample(MANY, KINDS[0], lambda _tick: None)
    sampler = FastSampler(policy, max_rows=max_rows)
    assert sampler.captures
    expect_equal(expected, sampler.sample(MANY, KINDS[0], lambda _tick: None))


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("fuses", [True, False])
@pytest.mark.parametrize("architecture", ["llama_wide", "qwen3_wide"])
def test_in_bf16_its_distributions_are_the_models(architecture: str, fuses: bool) -> None:
    policy = on_cuda(tiny_policy(architecture, scale=0.1))
    policy.model.get_base_model().to(torch.bfloat16)
    sampler = FastSampler(policy, fuses=fuses)
    assert sampler.fuses is fuses
    assert sampler.deviation() < 0.05


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("folds", [True, False])
@pytest.mark.parametrize("max_rows", [7, 90])
@pytest.mark.parametrize("architecture", ["llama_wide", "llama_biased_wide", "qwen3_wide"])
def test_tritons_kernels_draw_the_same(
    architecture: str, max_rows: int, folds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not folds:
        monkeypatch.setattr("grpo_tui.generation.folded.FOLDED_PARAMETERS", 0)
    policy = on_cuda(tiny_policy(architecture))
    policy.eos_ids = ENDS
    sampler = FastSampler(policy, max_rows=max_rows)
    assert sampler.fuses
    assert sampler.deviation() < 1e-4
    expected = TrustedSampler(policy).sample(MANY, KINDS[0], lambda _tick: None)
    expect_equal(expected, sampler.sample(MANY, KINDS[0], lambda _tick: None))
