from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from grpo_tui.generation.trusted import TrustedSampler, left_pad
from grpo_tui.generation.types import SampledTokens, SampleRequest, SamplingSettings, TokenTick
from grpo_tui.ops.logprobs import token_logprobs
from grpo_tui.policy.policy import Policy
from tests.policy.models import EOS, PAD, PEFT_NOISE, VOCAB, batch_from_samples, tiny_policy

pytestmark = pytest.mark.filterwarnings(PEFT_NOISE)

PROMPTS = [(5, 6, 7), (9, 8, 7, 6, 5, 4, 3, 2, 11, 12, 13), (20,), (7, 7, 30, 41, 2)]
SETTINGS = SamplingSettings(max_new_tokens=24)
GREEDY = SamplingSettings(max_new_tokens=24, temperature=0.0)


@pytest.fixture(scope="module")
def shared_policy() -> Policy:
    return tiny_policy()


@pytest.fixture
def policy(shared_policy: Policy) -> Policy:
    shared_policy.eos_ids = (EOS,)
    return shared_policy


def _requests(prompts: Sequence[tuple[int, ...]] = PROMPTS, group: int = 3) -> list[SampleRequest]:
    return [
        SampleRequest(prompt_ids=prompt, stream_key=f"{i}/{k}")
        for i, prompt in enumerate(prompts)
        for k in range(group)
    ]


def _sample(
    policy: Policy,
    requests: Sequence[SampleRequest],
    settings: SamplingSettings = SETTINGS,
    *,
    max_rows: int = 256,
    ticks: list[TokenTick] | None = None,
) -> list[SampledTokens]:
    seen: list[TokenTick] = [] if ticks is None else ticks
    return TrustedSampler(policy, max_rows).sample(requests, settings, seen.append)


def _tokens(samples: Sequence[SampledTokens]) -> list[list[int]]:
    return [s.token_ids_T.tolist() for s in samples]


def _often(policy: Policy, requests: Sequence[SampleRequest], settings: SamplingSettings) -> int:
    """A token that ends some completions early when it is made the end of sequence."""
    drawn = _tokens(_sample(policy, requests, settings))
    return drawn[0][4]


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
def test_logprobs_and_entropies_are_those_of_the_trainer(policy: Policy, temperature: float) -> None:
    requests = _requests()
    policy.eos_ids = (_often(policy, requests, SETTINGS),)
    samples = _sample(policy, requests, SamplingSettings(max_new_tokens=24, temperature=temperature))
    assert len({len(s.token_ids_T) for s in samples}) > 1, "completions of one length test less"
    with torch.no_grad():
        logprobs, entropies = policy.logprobs(batch_from_samples(requests, samples), temperature)
    for row, sample in enumerate(samples):
        count = len(sample.token_ids_T)
        torch.testing.assert_close(
            torch.from_numpy(sample.logprobs_T), logprobs[row, :count], rtol=0, atol=1e-4
        )
        torch.testing.assert_close(
            torch.from_numpy(sample.entropies_T), entropies[row, :count], rtol=0, atol=1e-4
        )


def test_logprobs_are_before_top_k_and_top_p(policy: Policy) -> None:
    requests = _requests()
    samples = _sample(policy, requests, SamplingSettings(max_new_tokens=8, top_k=3, top_p=0.8))
    with torch.no_grad():
        logprobs, _ = policy.logprobs(batch_from_samples(requests, samples), 1.0)
    for row, sample in enumerate(samples):
        count = len(sample.token_ids_T)
        torch.testing.assert_close(
            torch.from_numpy(sample.logprobs_T), logprobs[row, :count], rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "mistral_window"])
def test_temperature_zero_is_transformers_own_greedy_search(architecture: str) -> None:
    policy = tiny_policy(architecture)
    requests = _requests(group=1)
    policy.eos_ids = (_often(policy, requests, GREEDY),)
    samples = _sample(policy, requests, GREEDY)
    ids, mask = left_pad(PROMPTS, PAD, torch.device("cpu"))
    generated = policy.model.generate(
        input_ids=ids,
        attention_mask=mask.long(),
        do_sample=False,
        max_new_tokens=24,
        eos_token_id=policy.eos_ids[0],
        pad_token_id=PAD,
    )
    for row, sample in enumerate(samples):
        count = len(sample.token_ids_T)
        completion = generated[row, ids.shape[1] :].tolist()
        assert completion[:count] == sample.token_ids_T.tolist()
        assert set(completion[count:]) <= {PAD}
        assert (count < 24 or completion[-1] == policy.eos_ids[0]) == (sample.finish_reason == "stop")
    assert {s.finish_reason for s in samples} == {"stop", "length"}


def test_greedy_without_a_cache_draws_the_same(policy: Policy) -> None:
    """One whole forward for every token, one prompt at a time: no cache, no padding, no position ids."""
    samples = _sample(policy, _requests(group=1), SamplingSettings(max_new_tokens=10, temperature=0.0))
    for prompt, sample in zip(PROMPTS, samples, strict=True):
        ids = list(prompt)
        for token in sample.token_ids_T.tolist():
            with torch.no_grad():
                assert policy.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax().item() == token
            ids.append(token)


@pytest.mark.parametrize(
    "settings", [SETTINGS, GREEDY, SamplingSettings(max_new_tokens=24, top_p=0.8, top_k=9)]
)
def test_a_completion_does_not_depend_on_its_batch(policy: Policy, settings: SamplingSettings) -> None:
    requests = _requests(group=2)
    policy.eos_ids = (_often(policy, requests, settings),)
    together = _sample(policy, requests, settings)
    for request, sample in zip(requests, together, strict=True):
        (alone,) = _sample(policy, [request], settings)
        assert alone.token_ids_T.tolist() == sample.token_ids_T.tolist()
        assert alone.finish_reason == sample.finish_reason
        assert alone.logprobs_T.tolist() == pytest.approx(sample.logprobs_T.tolist(), abs=1e-4)
    backwards = _sample(policy, requests[::-1], settings)
    assert _tokens(backwards)[::-1] == _tokens(together)


def test_the_same_stream_draws_the_same_and_another_does_not(policy: Policy) -> None:
    requests = [SampleRequest(prompt_ids=PROMPTS[0], stream_key=key) for key in ("a", "b", "a")]
    first, second, third = _tokens(_sample(policy, requests))
    assert first == third
    assert first != second


def test_a_longer_limit_continues_the_same_completion(policy: Policy) -> None:
    short = _tokens(_sample(policy, _requests(), SamplingSettings(max_new_tokens=7)))
    long = _tokens(_sample(policy, _requests(), SamplingSettings(max_new_tokens=20)))
    assert [tokens[:7] for tokens in long] == short


def test_finish_reasons(policy: Policy) -> None:
    requests = _requests()
    policy.eos_ids = (_often(policy, requests, SETTINGS), 17)
    samples = _sample(policy, requests)
    reasons = {s.finish_reason for s in samples}
    assert reasons == {"stop", "length"}
    for sample in samples:
        tokens = sample.token_ids_T.tolist()
        assert not set(tokens[:-1]) & set(policy.eos_ids), "nothing is drawn after the end"
        if sample.finish_reason == "stop":
            assert tokens[-1] in policy.eos_ids, "the end of sequence belongs to the completion"
        else:
            assert len(tokens) == 24
            assert tokens[-1] not in policy.eos_ids
        assert len(sample.logprobs_T) == len(sample.entropies_T) == len(tokens)


def test_an_end_on_the_last_position_is_a_stop(policy: Policy) -> None:
    request = _requests(group=1)[:1]
    (free,) = _tokens(_sample(policy, request))
    place = next(i for i, token in enumerate(free) if i and token not in free[:i])
    policy.eos_ids = (free[place],)
    (sample,) = _sample(policy, request, SamplingSettings(max_new_tokens=place + 1))
    assert sample.token_ids_T.tolist() == free[: place + 1]
    assert sample.finish_reason == "stop"
    (cut,) = _sample(policy, request, SamplingSettings(max_new_tokens=place))
    assert cut.finish_reason == "length"


def test_one_token(policy: Policy) -> None:
    samples = _sample(policy, _requests(), SamplingSettings(max_new_tokens=1))
    assert [len(s.token_ids_T) for s in samples] == [1] * 12


def test_nothing_asked(policy: Policy) -> None:
    assert _sample(policy, []) == []


class Calls:
    """Shapes of what the model is fed."""

    def __init__(self, policy: Policy) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self._handle = policy.model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, _model: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        self.shapes.append(tuple(kwargs["input_ids"].shape))

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._handle.remove()


def test_a_prompt_is_prefilled_once_for_its_whole_group(policy: Policy) -> None:
    requests = _requests(PROMPTS[:2], group=5)
    with Calls(policy) as calls:
        _sample(policy, requests, SamplingSettings(max_new_tokens=4))
    assert calls.shapes == [(2, 11), (10, 1), (10, 1), (10, 1)]


def test_no_forward_after_all_have_ended(policy: Policy) -> None:
    policy.eos_ids = tuple(range(VOCAB))
    with Calls(policy) as calls:
        samples = _sample(policy, _requests())
    assert len(calls.shapes) == 1
    assert all(len(s.token_ids_T) == 1 for s in samples)


def test_interleaved_prompts_keep_their_order(policy: Policy) -> None:
    requests = _requests(group=2)
    shuffled = [requests[i] for i in (5, 0, 7, 2, 4, 1, 6, 3)]
    by_key = dict(zip([r.stream_key for r in requests], _tokens(_sample(policy, requests)), strict=True))
    assert _tokens(_sample(policy, shuffled)) == [by_key[r.stream_key] for r in shuffled]


@pytest.mark.parametrize("max_rows", [1, 5, 11, 12])
def test_rounds_draw_the_same(policy: Policy, max_rows: int) -> None:
    requests = _requests()
    policy.eos_ids = (_often(policy, requests, SETTINGS),)
    ticks: list[TokenTick] = []
    whole, rounds = _sample(policy, requests), _sample(policy, requests, max_rows=max_rows, ticks=ticks)
    assert _tokens(rounds) == _tokens(whole)
    assert [s.finish_reason for s in rounds] == [s.finish_reason for s in whole]
    assert ticks[-1].num_tokens == sum(len(tokens) for tokens in _tokens(whole))
    for before, after in itertools.pairwise(ticks):
        assert after.num_tokens > before.num_tokens
        assert after.num_finished >= before.num_finished


def test_ticks_count_tokens_and_completions(policy: Policy) -> None:
    requests = _requests()
    policy.eos_ids = (_often(policy, requests, SETTINGS),)
    ticks: list[TokenTick] = []
    lengths = [len(tokens) for tokens in _tokens(_sample(policy, requests, ticks=ticks))]
    assert len(ticks) == max(lengths)
    for longest, tick in enumerate(ticks, start=1):
        assert tick.longest == longest
        assert tick.num_total == 12
        assert tick.num_tokens == sum(min(length, longest) for length in lengths)
        ended = sum(length <= longest for length in lengths)
        assert tick.num_finished == (12 if longest == 24 else ended)


class Abandon(Exception):
    """Raised from on_token."""


def test_on_token_may_raise_and_leaves_no_damage(policy: Policy) -> None:
    requests = _requests()
    sampler = TrustedSampler(policy)
    before = _tokens(sampler.sample(requests, SETTINGS, lambda _tick: None))
    weights = policy.base_hash(), policy.adapter_state()

    def stop_at_three(tick: TokenTick) -> None:
        if tick.longest == 3:
            raise Abandon

    with pytest.raises(Abandon):
        sampler.sample(requests, SETTINGS, stop_at_three)
    assert torch.is_grad_enabled()
    assert not policy.model.training
    assert policy.base_hash() == weights[0]
    assert all(torch.equal(p, weights[1][name]) for name, p in policy.adapter_state().items())
    assert _tokens(sampler.sample(requests, SETTINGS, lambda _tick: None)) == before


def test_sampling_keeps_no_graph(policy: Policy) -> None:
    grads: list[bool] = []
    TrustedSampler(policy).sample(_requests(), SETTINGS, lambda _tick: grads.append(torch.is_grad_enabled()))
    assert set(grads) == {False}
    assert all(p.grad is None for p in policy.trainable_parameters().values())


def test_drawn_frequencies_are_the_models(policy: Policy) -> None:
    """From prompt to token, end to end: one position, many streams, chi-square."""
    count = 4000
    requests = [SampleRequest(prompt_ids=(5, 6, 7), stream_key=f"s{i}") for i in range(count)]
    samples = _sample(policy, requests, SamplingSettings(max_new_tokens=1, temperature=1.3), max_rows=count)
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([[5, 6, 7]])).logits[0, -1]
    expected = torch.softmax(logits.double() / 1.3, -1) * count
    observed = torch.bincount(torch.tensor([int(s.token_ids_T[0]) for s in samples]), minlength=VOCAB)
    common = expected >= 5
    statistic = ((observed - expected) ** 2 / expected)[common].sum().item()
    degrees = int(common.sum())
    assert degrees > 5
    # mean + 4 deviations of chi-square; the streams are fixed
    assert statistic < degrees + 4 * (2 * degrees) ** 0.5


def test_left_pad() -> None:
    ids, mask = left_pad([(5, 6, 7), (9,)], PAD, torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [PAD, PAD, 9]]
    assert mask.tolist() == [[True, True, True], [False, False, True]]
    assert mask.dtype is torch.bool
    assert ids.dtype is torch.int64


def test_recorded_logprobs_are_normalised_over_the_vocabulary(policy: Policy) -> None:
    (sample,) = _sample(policy, _requests(group=1)[:1], SamplingSettings(max_new_tokens=1))
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([PROMPTS[0]])).logits[:, -1:]
    logprobs, _ = token_logprobs(logits, torch.tensor([[int(sample.token_ids_T[0])]]))
    assert sample.logprobs_T[0] == pytest.approx(logprobs.item(), abs=1e-5)
