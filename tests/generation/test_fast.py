"""The fast sampler draws what the trusted one draws, for every architecture it takes; the others fall back and say so."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from grpo_tui.generation.drawing import Drawn
from grpo_tui.generation.fast import TOLERANCE, FastSampler, make_sampler
from grpo_tui.generation.refilling import LEAVE_AT
from grpo_tui.generation.slab import SlabLayer
from grpo_tui.generation.trusted import TrustedSampler
from grpo_tui.generation.types import SampledTokens, SampleRequest, SamplingSettings, TokenTick
from grpo_tui.policy.policy import Policy
from tests.policy.models import ARCHITECTURES, PEFT_NOISE, VOCAB, batch_from_samples, tiny_policy

pytestmark = pytest.mark.filterwarnings(PEFT_NOISE)

PROMPTS = [(5, 6, 7), (9, 8, 7, 6, 5, 4, 3, 2, 11, 12, 13), (20,), (7, 7, 30, 41, 2)]
REQUESTS = [
    SampleRequest(prompt_ids=prompt, stream_key=f"{i}/{k}")
    for i, prompt in enumerate(PROMPTS)
    for k in range(3)
]
TAKES = {"llama", "llama_biased", "qwen2", "qwen3", "gpt2", "opt", "gpt_neox", "phi3", "mistral"}
"""Those that must not fall back."""
KINDS = [
    SamplingSettings(max_new_tokens=24),
    SamplingSettings(max_new_tokens=24, temperature=0.0),
    SamplingSettings(max_new_tokens=24, temperature=0.7, top_p=0.8, top_k=9),
]


def both(
    policy: Policy, settings: SamplingSettings, requests: Sequence[SampleRequest] = REQUESTS
) -> tuple[list[SampledTokens], list[SampledTokens], list[TokenTick], list[TokenTick]]:
    slow_ticks: list[TokenTick] = []
    fast_ticks: list[TokenTick] = []
    slow = TrustedSampler(policy).sample(requests, settings, slow_ticks.append)
    fast = FastSampler(policy).sample(requests, settings, fast_ticks.append)
    return slow, fast, slow_ticks, fast_ticks


def expect_equal(slow: Sequence[SampledTokens], fast: Sequence[SampledTokens]) -> None:
    assert [s.token_ids_T.tolist() for s in fast] == [s.token_ids_T.tolist() for s in slow]
    assert [s.finish_reason for s in fast] == [s.finish_reason for s in slow]
    for mine, theirs in zip(fast, slow, strict=True):
        assert mine.logprobs_T.tolist() == pytest.approx(theirs.logprobs_T.tolist(), abs=1e-4)
        assert mine.entropies_T.tolist() == pytest.approx(theirs.entropies_T.tolist(), abs=1e-4)


@pytest.fixture(scope="module")
def shared_policy() -> Policy:
    return tiny_policy()


@pytest.fixture
def policy(shared_policy: Policy) -> Policy:
    shared_policy.eos_ids = (1,)
    return shared_policy


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_is_taken_exactly_or_handed_on(architecture: str) -> None:
    """Seen to fail with: no left padding in the mask; positions off by one; adapter not folded; scale left out."""
    policy = tiny_policy(architecture)
    said: list[str] = []
    sampler = make_sampler(policy, "auto", said.append)
    if isinstance(sampler, TrustedSampler):
        assert architecture not in TAKES
        assert len(said) == 1
        assert said[0].startswith("the fast sampler cannot take this model")
        return
    assert said == []
    slow, fast, slow_ticks, fast_ticks = both(policy, KINDS[0])
    expect_equal(slow, fast)
    assert fast_ticks == slow_ticks
    with torch.no_grad():
        logprobs, _ = policy.logprobs(batch_from_samples(REQUESTS, fast), 1.0)
    for row, sample in enumerate(fast):
        ours = torch.from_numpy(sample.logprobs_T)
        torch.testing.assert_close(ours, logprobs[row, : len(ours)], rtol=0, atol=1e-4)


@pytest.mark.parametrize("settings", KINDS, ids=["sampled", "greedy", "filtered"])
def test_rows_leave_and_the_others_go_on(policy: Policy, settings: SamplingSettings) -> None:
    """Seen to fail with: rows of the cache, positions or masks not picked when the batch shrinks."""
    free = TrustedSampler(policy).sample(REQUESTS, settings, lambda _tick: None)
    policy.eos_ids = tuple(
        {int(s.token_ids_T[min(3 + i, len(s.token_ids_T) - 1)]) for i, s in enumerate(free[:4])}
    )
    slow, fast, slow_ticks, fast_ticks = both(policy, settings)
    lengths = sorted(len(sample.token_ids_T) for sample in slow)
    assert lengths[int(len(lengths) * (1 - LEAVE_AT))] < lengths[-1], "no row would leave before the end"
    expect_equal(slow, fast)
    assert fast_ticks == slow_ticks


def test_it_follows_the_adapter(policy: Policy) -> None:
    sampler = FastSampler(policy)
    before = sampler.sample(REQUESTS, KINDS[0], lambda _tick: None)
    state = policy.adapter_state()
    with policy.weights({name: tensor * -2.0 for name, tensor in state.items()}):
        moved = sampler.sample(REQUESTS, KINDS[0], lambda _tick: None)
        expect_equal(TrustedSampler(policy).sample(REQUESTS, KINDS[0], lambda _tick: None), moved)
    assert [s.token_ids_T.tolist() for s in moved] != [s.token_ids_T.tolist() for s in before]
    expect_equal(before, sampler.sample(REQUESTS, KINDS[0], lambda _tick: None))


def test_the_policys_own_weights_stay_as_they_are(policy: Policy) -> None:
    weights, adapter = policy.base_hash(), policy.adapter_state()
    FastSampler(policy).sample(REQUESTS, KINDS[0], lambda _tick: None)
    assert policy.base_hash() == weights
    assert all(torch.equal(t, adapter[name]) for name, t in policy.adapter_state().items())
    assert all(p.requires_grad for p in policy.trainable_parameters().values())
    assert all(p.grad is None for p in policy.trainable_parameters().values())


def test_untouched_weights_are_shared(policy: Policy) -> None:
    twin = FastSampler(policy)._twin.model
    assert twin.get_input_embeddings().weight is policy.model.get_input_embeddings().weight
    assert not any("lora" in name for name, _ in twin.named_parameters())


def test_in_bf16_the_adapter_stays_beside_the_matrix() -> None:
    """Seen to fail with: the scale left out, A and B swapped."""
    policy = tiny_policy(adapter_noise=0.1)
    policy.model.to(torch.bfloat16)
    for parameter in policy.trainable_parameters().values():
        parameter.data = parameter.data.float()
    sampler = FastSampler(policy)
    assert sampler.deviation() < TOLERANCE[torch.bfloat16]
    layer = next(m for m in policy.model.modules() if hasattr(m, "lora_A"))
    joined = next(iter(sampler._twin.joined.values()))
    x = torch.randn(3, 5, layer.in_features, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.no_grad(), sampler._twin.awake(15):
        change = (joined.parts[0](x) - layer.base_layer(x)).float()
    expected = layer.get_delta_weight("default").float() @ x.float().flatten(0, 1).t()
    assert change.abs().sum() > 0
    similarity = torch.nn.functional.cosine_similarity(
        change.flatten(0, 1).t().flatten(), expected.flatten(), dim=0
    )
    assert similarity > 0.9


@pytest.mark.parametrize("max_rows", [1, 5, 12])
def test_rounds_draw_the_same(policy: Policy, max_rows: int) -> None:
    whole = FastSampler(policy).sample(REQUESTS, KINDS[0], lambda _tick: None)
    ticks: list[TokenTick] = []
    rounds = FastSampler(policy, max_rows).sample(REQUESTS, KINDS[0], ticks.append)
    expect_equal(whole, rounds)
    assert ticks[-1].num_tokens == sum(len(s.token_ids_T) for s in whole)


def test_a_slab_makes_more_room_when_it_is_full(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: what was filled not moved along."""
    whole = FastSampler(policy).sample(REQUESTS, KINDS[0], lambda _tick: None)
    monkeypatch.setattr("grpo_tui.generation.slab.BLOCK", 2)
    expect_equal(whole, FastSampler(policy).sample(REQUESTS, KINDS[0], lambda _tick: None))


@pytest.mark.parametrize("kind", [FastSampler, TrustedSampler])
def test_out_of_memory_draws_the_same_in_smaller_rounds(
    policy: Policy,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[FastSampler | TrustedSampler],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Seen to fail with: the round that did not fit left out; its ticks counted twice."""
    whole = kind(policy).sample(REQUESTS, KINDS[0], lambda _tick: None)
    real = Drawn.draw

    def runs_out(drawn: Drawn, *arguments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if len(arguments[0]) > 4 and drawn.longest == 3:
            raise torch.OutOfMemoryError
        return real(drawn, *arguments)

    monkeypatch.setattr(Drawn, "draw", runs_out)
    ticks: list[TokenTick] = []
    expect_equal(whole, kind(policy).sample(REQUESTS, KINDS[0], ticks.append))
    assert ticks[-1].num_tokens == sum(len(s.token_ids_T) for s in whole)
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory in sampling: drawing at most 6 completions at once",
        "out of memory in sampling: drawing at most 3 completions at once",
    ]


def test_where_not_even_one_row_fits_sampling_fails(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    def always(*_arguments: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Drawn, "draw", always)
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        FastSampler(policy).sample(REQUESTS, KINDS[0], lambda _tick: None)


def test_a_large_model_is_not_copied(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a size the adapter stays beside the weights in float32 too, and draws the same."""
    whole = FastSampler(policy).sample(REQUESTS, KINDS[0], lambda _tick: None)
    monkeypatch.setattr("grpo_tui.generation.folded.FOLDED_PARAMETERS", 0)
    sampler = FastSampler(policy)
    own = {id(p) for p in policy.model.parameters()}
    assert all(id(p) in own for p in sampler._twin.model.parameters())
    expect_equal(whole, sampler.sample(REQUESTS, KINDS[0], lambda _tick: None))


def test_prefill_in_parts_draws_the_same(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FastSampler(policy).sample(REQUESTS, KINDS[0], lambda _tick: None)
    monkeypatch.setattr("grpo_tui.generation.prompts.PREFILL_TOKENS", 25)
    expect_equal(whole, FastSampler(policy).sample(REQUESTS, KINDS[0], lambda _tick: None))


def test_ends_at_once_and_nothing_asked(policy: Policy) -> None:
    policy.eos_ids = tuple(range(VOCAB))
    samples = FastSampler(policy).sample(REQUESTS, KINDS[0], lambda _tick: None)
    assert all(len(s.token_ids_T) == 1 and s.finish_reason == "stop" for s in samples)
    assert FastSampler(policy).sample([], KINDS[0], lambda _tick: None) == []


class Abandon(Exception):
    """Raised from on_token."""


def test_on_token_may_raise_and_leaves_no_damage(policy: Policy) -> None:
    sampler = FastSampler(policy)
    before = sampler.sample(REQUESTS, KINDS[0], lambda _tick: None)

    def stop_at_three(tick: TokenTick) -> None:
        if tick.longest == 3:
            raise Abandon

    with pytest.raises(Abandon):
        sampler.sample(REQUESTS, KINDS[0], stop_at_three)
    expect_equal(before, sampler.sample(REQUESTS, KINDS[0], lambda _tick: None))


def test_a_wrong_twin_is_found_out(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpo_tui.generation.products._folded", _forget_to_fold)
    said: list[str] = []
    assert isinstance(make_sampler(policy, "auto", said.append), TrustedSampler)
    assert "distributions differ by up to" in said[0]
    with pytest.raises(ValueError, match="'fast' does not work with this model"):
        make_sampler(policy, "fast")


def _forget_to_fold(plain: torch.nn.Linear, _source: object) -> torch.Tensor:
    return plain.weight


def test_the_sampler_asked_for(policy: Policy) -> None:
    assert isinstance(make_sampler(policy, "trusted"), TrustedSampler)
    assert isinstance(make_sampler(policy, "fast"), FastSampler)
    assert isinstance(make_sampler(policy, "auto"), FastSampler)


@pytest.mark.parametrize("kind", [TrustedSampler, FastSampler])
def test_a_model_that_has_diverged_says_so(kind: type[TrustedSampler] | type[FastSampler]) -> None:
    diverged = tiny_policy()
    sampler = kind(diverged)
    next(iter(diverged.trainable_parameters().values())).data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="it has diverged"):
        sampler.sample(REQUESTS, KINDS[0], lambda _tick: None)


def test_a_slab_makes_room_for_all_that_comes_at_once() -> None:
    """Seen to fail with: room doubled, however much is to be written."""
    layer = SlabLayer(capacity=5000)
    first, many = torch.randn(2, 1, 3, 4), torch.randn(2, 1, 1500, 4)
    layer.update(first, first)
    keys, values = layer.update(many, many)
    assert torch.equal(keys, torch.cat([first, many], dim=2))
    assert torch.equal(values, keys)
