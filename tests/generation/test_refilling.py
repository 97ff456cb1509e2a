"""More completions than rows: places of rows that have ended are taken by those that wait, and nothing else changes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest
import torch

from grpo_tui.generation.drawing import Drawn
from grpo_tui.generation.fast import FastSampler
from grpo_tui.generation.refilling import REFILL_AT, SPARE, Rows
from grpo_tui.generation.slab import SlabCache
from grpo_tui.generation.trusted import TrustedSampler
from grpo_tui.generation.types import Glimpse, SampledTokens, SampleRequest, SamplingSettings, TokenTick
from grpo_tui.policy.policy import Policy
from tests.generation.test_fast import KINDS, expect_equal
from tests.policy.models import PEFT_NOISE, tiny_policy

pytestmark = pytest.mark.filterwarnings(PEFT_NOISE)

LIMIT = 40
SETTINGS = SamplingSettings(max_new_tokens=LIMIT)
PROMPTS = [
    (5, 6, 7),
    (20,),
    (9, 8, 7, 6, 5, 4, 3, 2, 11, 12, 13),
    (7, 7, 30, 41, 2),
    tuple(range(10, 40)),
    (3, 3),
]
REQUESTS = [
    SampleRequest(prompt_ids=prompt, stream_key=f"{i}/{k}") for i, prompt in enumerate(PROMPTS) for k in range(15)
]  # fmt: skip
ENDS = (1, 2, 3, 4, 5)
"""Some of 61 tokens: completions of very different length."""


@pytest.fixture(scope="module")
def shared_policy() -> Policy:
    return tiny_policy()


@pytest.fixture
def policy(shared_policy: Policy) -> Policy:
    shared_policy.eos_ids = ENDS
    return shared_policy


def ignore(_tick: TokenTick) -> None:
    pass


def drawn_at_once(policy: Policy, settings: SamplingSettings = SETTINGS) -> list[SampledTokens]:
    return FastSampler(policy).sample(REQUESTS, settings, ignore)


class Watched:
    """What a refilled sampling did at each position."""

    def __init__(self, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
        self.running: list[int] = []
        self.rows: list[int] = []
        self.waiting: list[int] = []
        self.columns: list[int] = []
        self.started = 0
        real, begin = Drawn.draw, Rows._begin

        def draw(drawn: Drawn, *arguments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            self.rows.append(len(arguments[0]))
            self.running.append(int(arguments[2].sum()))
            self.waiting.append(drawn.num_rows - drawn.num_finished - self.running[-1])
            return real(drawn, *arguments)

        def begun(rows: Rows) -> None:
            self.started += 1
            begin(rows)

        monkeypatch.setattr(Drawn, "draw", draw)
        monkeypatch.setattr(Rows, "_begin", begun)

    def sample(
        self, sampler: FastSampler, requests: Sequence[SampleRequest], settings: SamplingSettings = SETTINGS
    ) -> list[SampledTokens]:
        decode = sampler._decode

        def watched(
            tokens: torch.Tensor, positions: torch.Tensor, looks: torch.Tensor | None, cache: SlabCache
        ) -> torch.Tensor:
            self.columns.append(cache.get_seq_length())
            return decode(tokens, positions, looks, cache)

        sampler._decode = watched
        return sampler.sample(requests, settings, ignore)


@pytest.mark.parametrize("settings", KINDS, ids=["sampled", "greedy", "filtered"])
@pytest.mark.parametrize("max_rows", [1, 3, 8, 41])
@pytest.mark.parametrize("captures", [False, True], ids=["plain", "captured"])
def test_each_completion_is_the_same(
    policy: Policy, settings: SamplingSettings, max_rows: int, captures: bool
) -> None:
    """Seen to fail with: starts not set; positions of the row before; looks not made anew; a trimmed cache still seen."""
    whole = TrustedSampler(policy).sample(REQUESTS, settings, ignore)
    assert len({len(sample.token_ids_T) for sample in whole}) >= 5
    ticks: list[TokenTick] = []
    found = FastSampler(policy, max_rows, captures=captures).sample(REQUESTS, settings, ticks.append)
    expect_equal(whole, found)
    assert ticks[-1].num_tokens == sum(len(sample.token_ids_T) for sample in whole)
    assert ticks[-1].num_finished == len(REQUESTS)


@pytest.mark.parametrize("architecture", ["gpt2", "opt", "qwen3", "gpt_neox", "phi3"])
def test_other_architectures(architecture: str) -> None:
    policy = tiny_policy(architecture)
    policy.eos_ids = ENDS
    expect_equal(drawn_at_once(policy), FastSampler(policy, 6).sample(REQUESTS, SETTINGS, ignore))


@pytest.mark.parametrize("architecture", ["gpt2", "opt", "llama"])
def test_a_row_that_has_ended_stays_within_the_context(architecture: str) -> None:
    """Prompt and limit fill the context, and ended rows wait for their places to be taken.

    Seen to fail with: their positions counted on, for which learned positions have no entry.
    """
    policy = tiny_policy(architecture)
    policy.eos_ids = (1,)  # most go on to the limit
    limit = policy.context_length - max(map(len, PROMPTS))
    settings = SamplingSettings(max_new_tokens=limit)
    whole = TrustedSampler(policy).sample(REQUESTS, settings, ignore)
    expect_equal(whole, FastSampler(policy, 16).sample(REQUESTS, settings, ignore))


@pytest.fixture
def fresh_memory_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)  # which fills what is not initialised
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("fresh_memory_is_nan")
@pytest.mark.parametrize("captures", [False, True], ids=["plain", "captured"])
@pytest.mark.parametrize("max_rows", [2, 8])
def test_what_lies_in_fresh_memory_is_never_looked_at(
    policy: Policy, captures: bool, max_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache grows often, and prompts go through in parts of different width. Seen to fail with: no zeros before a short prompt."""
    monkeypatch.setattr("grpo_tui.generation.slab.BLOCK", 2)
    monkeypatch.setattr("grpo_tui.generation.prompts.PREFILL_TOKENS", 25)
    requests = sorted(REQUESTS, key=lambda request: len(request.prompt_ids))
    expect_equal(
        FastSampler(policy).sample(requests, SETTINGS, ignore),
        FastSampler(policy, max_rows, captures=captures).sample(requests, SETTINGS, ignore),
    )


@pytest.mark.usefixtures("fresh_memory_is_nan")
@pytest.mark.parametrize("captures", [False, True], ids=["plain", "captured"])
def test_a_prompt_longer_than_all_that_was_decoded_finds_room(policy: Policy, captures: bool) -> None:
    """Beside a row that goes on. Seen to fail with: no zeros before what is shifted; starts not shifted; no shift."""
    short = [request for request in REQUESTS if len(request.prompt_ids) == 1]
    samples = FastSampler(policy).sample(short, SETTINGS, ignore)
    by_length = sorted(zip((len(s.token_ids_T) for s in samples), range(len(short)), strict=True))
    (least, first), (most, second) = by_length[0], by_length[-1]
    assert 2 * (1 + least) < len(PROMPTS[4]) < most + 10, "more than twice as long, and the other still runs"
    requests = [short[first], short[second], *(r for r in REQUESTS if r.prompt_ids == PROMPTS[4])]
    expect_equal(
        FastSampler(policy).sample(requests, SETTINGS, ignore),
        FastSampler(policy, 2, captures=captures).sample(requests, SETTINGS, ignore),
    )


def test_the_batch_stays_full_while_some_wait(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: refilling only where no row runs, which is a round."""
    watched = Watched(policy, monkeypatch)
    watched.sample(FastSampler(policy, 8, captures=False), REQUESTS)
    busy = [n for n, waiting in zip(watched.running, watched.waiting, strict=True) if waiting]
    assert len(busy) > LIMIT
    assert min(busy) > 8 - max(1, REFILL_AT * 8)
    assert watched.started == 1
    # Where nobody waits any more, rows leave.
    assert watched.rows[-1] < 8


def test_the_cache_stays_as_short_as_its_longest_row(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: columns never dropped; dropped though a row needs them (wrong tokens above)."""
    watched = Watched(policy, monkeypatch)
    drawn = watched.sample(FastSampler(policy, 4, captures=False), REQUESTS)
    longest = max(len(prompt) for prompt in PROMPTS)
    assert sum(len(sample.token_ids_T) for sample in drawn) > 2 * 4 * (longest + LIMIT)
    assert max(watched.columns) <= (longest + LIMIT) * (1 + SPARE) + 1


def test_rows_that_all_end_together_make_place_for_a_fresh_batch(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy.eos_ids = (60,)
    settings = SamplingSettings(max_new_tokens=3, temperature=0.0)
    whole = drawn_at_once(policy, settings)
    watched = Watched(policy, monkeypatch)
    expect_equal(whole, watched.sample(FastSampler(policy, 30, captures=False), REQUESTS, settings))
    assert watched.started == 3


def test_each_prompt_goes_through_once(policy: Policy) -> None:
    """Seen to fail with: what was prefilled forgotten while completions of it wait."""
    ticks: list[TokenTick] = []
    shuffled = [REQUESTS[i * 41 % len(REQUESTS)] for i in range(len(REQUESTS))]
    found = FastSampler(policy, 5).sample(shuffled, SETTINGS, ticks.append)
    assert ticks[-1].num_prompt_tokens == sum(map(len, PROMPTS))
    assert ticks[0].num_prompt_tokens < ticks[-1].num_prompt_tokens, "when its first completion needs it"
    whole = drawn_at_once(policy)
    expect_equal([whole[i * 41 % len(REQUESTS)] for i in range(len(REQUESTS))], found)


def test_prompts_are_kept_only_for_those_that_wait(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: nothing forgotten; a whole part kept for one of its prompts."""
    from grpo_tui.generation.prompts import Prompts

    kept: list[tuple[int, int]] = []
    take = Prompts.take

    def counted(prompts: Prompts, count: int) -> object:
        taken = take(prompts, count)
        parts = {part for part, _ in prompts._kept.values()}
        held = sum(part.cache.layers[0].keys.shape[0] for part in parts)
        kept.append((held, len(prompts)))
        return taken

    monkeypatch.setattr(Prompts, "take", counted)
    FastSampler(policy, 20).sample(REQUESTS, SETTINGS, ignore)
    assert kept[0] == (1, len(REQUESTS) - 20), "of two prompts, the one whose group began"
    assert max(held for held, _ in kept) == 1
    assert kept[-1] == (0, 0)


def test_ticks_tell_of_the_whole_call(policy: Policy) -> None:
    ticks: list[TokenTick] = []
    lengths = [
        len(sample.token_ids_T) for sample in FastSampler(policy, 6).sample(REQUESTS, SETTINGS, ticks.append)
    ]
    for before, after in itertools.pairwise(ticks):
        assert 0 < after.num_tokens - before.num_tokens <= 6
        assert after.num_finished >= before.num_finished
    assert {tick.num_total for tick in ticks} == {len(REQUESTS)}
    assert max(tick.longest for tick in ticks) == max(lengths)
    assert any(later.longest < earlier.longest for earlier, later in itertools.pairwise(ticks))


def test_a_glimpse_of_any_completion(policy: Policy) -> None:
    """Of one that waits, that runs, and that has ended long ago. Seen to fail with: rows counted by their place."""
    whole = [sample.token_ids_T.tolist() for sample in drawn_at_once(policy)]
    seen: list[list[Glimpse]] = []
    ended_flags: list[list[bool]] = []

    def look(tick: TokenTick) -> None:
        seen.append(tick.peek(range(3, 30)))
        ended_flags.append(tick.ended()[3:30])

    FastSampler(policy, 6).sample(REQUESTS, SETTINGS, look)
    assert ended_flags == [[glimpse.finished for glimpse in glimpses] for glimpses in seen]
    waited = ran = ended = 0
    for glimpses in seen:
        assert len(glimpses) == 27
        for tokens, glimpse in zip(whole[3:30], glimpses, strict=True):
            reason = "stop" if tokens[-1] in ENDS else "length"
            assert glimpse.token_ids == tokens[: len(glimpse.token_ids)]
            assert glimpse.finished == (len(glimpse.token_ids) == len(tokens))
            waited += not glimpse.token_ids
            ran += bool(glimpse.token_ids) and not glimpse.finished
            ended += glimpse.finished
            assert glimpse.finish_reason in ("", reason)
    assert min(waited, ran, ended) > 50


class Abandon(Exception):
    """Raised from on_token."""


def test_it_can_be_left_after_a_refill(policy: Policy) -> None:
    sampler = FastSampler(policy, 6)
    before = sampler.sample(REQUESTS, SETTINGS, ignore)

    def leave(tick: TokenTick) -> None:
        if tick.num_finished > 20:
            raise Abandon

    with pytest.raises(Abandon):
        sampler.sample(REQUESTS, SETTINGS, leave)
    expect_equal(before, sampler.sample(REQUESTS, SETTINGS, ignore))


@pytest.mark.parametrize("kind", [FastSampler, TrustedSampler])
def test_out_of_memory_keeps_what_has_ended(
    policy: Policy,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[FastSampler | TrustedSampler],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Seen to fail with: all begun anew; rows that had not ended going on where they were."""
    whole = drawn_at_once(policy)
    real, drawn_anew = Drawn.draw, [0]

    def runs_out(drawn: Drawn, *arguments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        drawn_anew[0] += int(arguments[2].sum())
        if len(arguments[0]) > 4 and drawn.num_finished > 12:
            raise torch.OutOfMemoryError
        return real(drawn, *arguments)

    monkeypatch.setattr(Drawn, "draw", runs_out)
    ticks: list[TokenTick] = []
    expect_equal(whole, kind(policy, 8).sample(REQUESTS, SETTINGS, ticks.append))
    num_tokens = sum(len(sample.token_ids_T) for sample in whole)
    assert ticks[-1].num_tokens == num_tokens
    assert drawn_anew[0] <= num_tokens + 8 * (LIMIT + 1), "only the rows that ran are drawn again"
    finished = [tick.num_finished for tick in ticks]
    assert finished == sorted(finished)
    assert [r.getMessage() for r in caplog.records] == [
        "out of memory in sampling: drawing at most 4 completions at once"
    ]


# --- the slab --------------------------------------------------------------------------------------------


def slab(rows: int, length: int, *, capacity: int = 64) -> SlabCache:
    cache = SlabCache(2, capacity)
    for layer in cache.layers:
        layer.update(torch.randn(rows, 2, length, 4), torch.randn(rows, 2, length, 4))
    return cache


def test_prompts_are_put_where_they_end_together() -> None:
    target, source = slab(3, 9), slab(2, 4)
    before = [layer.keys[:, :, :9].clone() for layer in target.layers]
    target.put(torch.tensor([2, 0]), source, torch.tensor([1, 1]))
    for layer, old, new in zip(target.layers, before, source.layers, strict=True):
        for place in (0, 2):
            assert torch.equal(layer.keys[place, :, 5:9], new.keys[1, :, :4])
            assert torch.equal(layer.values[place, :, 5:9], new.values[1, :, :4])
            assert torch.equal(layer.keys[place, :, :5], old[place, :, :5])
        assert torch.equal(layer.keys[1, :, :9], old[1])
        assert layer.length == 9


def test_of_a_prompt_padded_to_more_than_there_is_the_end_is_put() -> None:
    """Seen to fail with: all of what it was padded to written."""
    target, source = slab(1, 3), slab(1, 8)
    target.put(torch.tensor([0]), source, torch.tensor([0]))
    for layer, new in zip(target.layers, source.layers, strict=True):
        assert torch.equal(layer.keys[:, :, :3], new.keys[:, :, 5:8])


@pytest.mark.parametrize("columns", [-5, -1, 3, 20])
def test_a_slab_is_shifted(columns: int) -> None:
    """20 is more than there is room for."""
    cache = slab(3, 9, capacity=40)
    kept = [layer.values[:, :, max(0, -columns) : 9].clone() for layer in cache.layers]
    cache.shift(columns)
    for layer, old in zip(cache.layers, kept, strict=True):
        assert layer.length == 9 + columns
        assert torch.equal(layer.values[:, :, max(0, columns) : 9 + columns], old)
        assert not layer.values[:, :, : max(0, columns)].any()
