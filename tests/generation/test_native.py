"""Compiled decoding gives what the model gives, to the rounding of bfloat16; without the processor's own instructions too."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from grpo_tui.config.schema import ModelConfig
from grpo_tui.generation import compiler, fast
from grpo_tui.generation.choice import choose
from grpo_tui.generation.compiler import CannotBuildError, library
from grpo_tui.generation.fast import FastSampler, make_sampler
from grpo_tui.generation.native import Native, _Arena
from grpo_tui.generation.prompts import new_cache, prefill
from grpo_tui.generation.straight import Straight
from grpo_tui.generation.types import SampleRequest, SamplingSettings
from grpo_tui.policy.loading import _add_adapter
from grpo_tui.policy.policy import Policy, TokenBatch
from tests.policy import models
from tests.policy.models import PEFT_NOISE, batch_of, tiny_policy
from tests.support.compiled import needs_compiler

pytestmark = [pytest.mark.filterwarnings(PEFT_NOISE), needs_compiler]


def in_bf16(policy: Policy) -> Policy:
    policy.model.get_base_model().to(torch.bfloat16)
    for parameter in policy.trainable_parameters().values():
        parameter.data = parameter.data.float()
    return policy


def made(name: str, rank: int = 4, targets: tuple[str, ...] = ("all-linear",)) -> Policy:
    """In float32, of weights that bfloat16 can hold; norms are not all ones, as new ones are."""
    policy = tiny_policy(name, rank=rank, scale=0.1, adapter_noise=0.04, targets=targets)
    base = policy.model.get_base_model()
    for layer in base.model.layers:
        layer.self_attn.scaling = 0.3  # not 1/√D, which attention takes where nobody tells it
    for name, parameter in base.named_parameters():
        if "norm" in name:
            parameter.data.normal_(1.0, 0.3)
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16().float()
    return policy


def batch(num_rows: int, length: int = 9) -> TokenBatch:
    """Prompts of unlike lengths, so that rows look from columns of their own on."""
    generator = torch.Generator().manual_seed(num_rows)
    ids = torch.randint(2, models.VOCAB, (num_rows, 40 + length), generator=generator).tolist()
    prompts = [row[: 3 + 7 * number % 38] for number, row in enumerate(ids)]
    return batch_of(prompts, [row[40:] for row in ids])


def found_by(sampler: FastSampler, tokens: TokenBatch) -> Tensor:
    return sampler.logits(tokens).float()


SHAPES = {
    "heads of 32": {},
    "heads of 64, six to a key": {"head_dim": 64, "num_attention_heads": 12},
    "heads of 96, one to a key": {"head_dim": 96, "num_key_value_heads": 4},
}
ODD_SHAPES = {
    "three to a key": {"num_attention_heads": 6},
    "seven to a key, heads of 256": {"hidden_size": 112, "head_dim": 256, "num_attention_heads": 14},
    "inputs that end in half a chunk": {"hidden_size": 144, "num_attention_heads": 4},
}


@pytest.mark.parametrize("num_rows", [1, 6, 20, 48])
@pytest.mark.parametrize("rank", [3, 16])
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("family", ["llama", "llama_biased", "qwen2", "qwen3", "mistral"])
def test_its_logits_are_as_near_to_the_models_as_torchs(
    family: str, shapes: dict[str, int], rank: int, num_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the same weights in float32: not much further off than torch's own bfloat16.

    Seen to fail with: a sine's sign; k for v; the norm of heads left out; one adapter's A for another's; an odd rank's last
    column lost; the residual left out; a bias left out; unseen columns looked at; the last few columns left out; the second
    tile of rows fed the first's inputs.
    """
    monkeypatch.setattr(models, "WIDE", models.WIDE | shapes)
    exact, rounded = (made(f"{family}_wide", rank) for _ in range(2))
    tokens = batch(num_rows)
    with torch.no_grad():
        expected = exact.logits(tokens)
    in_bf16(rounded)
    native, torchs = FastSampler(rounded, compiles=True), FastSampler(rounded, compiles=False)
    assert native.compiles
    assert isinstance(torchs._decode, Straight)
    off = [
        float((found_by(sampler, tokens) - expected).square().mean().sqrt()) for sampler in (native, torchs)
    ]
    assert off[0] < (1.25 if num_rows > 1 else 1.6) * off[1], off
    assert off[1] < 0.03 * float(expected.std())  # else there would be nothing to see


@pytest.mark.parametrize("shapes", ODD_SHAPES.values(), ids=ODD_SHAPES)
def test_odd_shapes_too(shapes: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: three queries weighed as two; room for half the numbers of a head; tiles not made up to whole chunks."""
    monkeypatch.setattr(models, "WIDE", models.WIDE | shapes)
    exact, rounded = (made("llama_wide") for _ in range(2))
    tokens = batch(36)
    with torch.no_grad():
        expected = exact.logits(tokens)
    in_bf16(rounded)
    found, torchs = (
        float((found_by(FastSampler(rounded, compiles=compiles), tokens) - expected).square().mean().sqrt())
        for compiles in (True, False)
    )
    assert found < 1.25 * torchs


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("k_proj", "down_proj"), ("up_proj",)])
def test_some_layers_may_have_no_adapter(targets: tuple[str, ...]) -> None:
    """Against torch. Seen to fail with: one layer's adapter for another's; a layer without one left to what lay there."""
    exact, rounded = (made("llama_biased_wide", 3, targets) for _ in range(2))
    for policy in (exact, rounded):
        for parameter in policy.trainable_parameters().values():
            parameter.data.mul_(5.0)
    tokens = batch(20)
    with torch.no_grad():
        expected = exact.logits(tokens)
    in_bf16(rounded)
    native, torchs = FastSampler(rounded, compiles=True), FastSampler(rounded)
    assert native.compiles
    assert isinstance(torchs._decode, Straight)

    def off(sampler: FastSampler) -> float:
        return float((found_by(sampler, tokens) - expected).square().mean().sqrt())

    found = off(native)
    assert found < 1.25 * off(torchs)
    with rounded.weights({name: torch.zeros_like(t) for name, t in rounded.adapter_state().items()}):
        assert off(native) > 5 * found


@pytest.fixture
def policy() -> Policy:
    return in_bf16(made("llama_wide"))


@pytest.fixture
def two_threads() -> Iterator[None]:
    """At will of the test."""
    yield
    torch.set_num_threads(1)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For code that is built otherwise."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield
    library.cache_clear()


def test_a_row_comes_out_the_same_whoever_is_beside_it(policy: Policy) -> None:
    """To the last bit, from the same cache. Seen to fail with: rows of a tile summed in another order."""
    sampler = FastSampler(policy, compiles=True)
    requests = [SampleRequest(prompt_ids=(5, 6, 7), stream_key=str(row)) for row in range(21)]
    settings = SamplingSettings(max_new_tokens=12)
    together = sampler.sample(requests, settings, lambda _tick: None)
    for row in (0, 7, 20):
        (alone,) = sampler.sample([requests[row]], settings, lambda _tick: None)
        assert alone.token_ids_T.tolist() == together[row].token_ids_T.tolist()
        assert alone.logprobs_T.tolist() == together[row].logprobs_T.tolist()


@pytest.mark.usefixtures("two_threads", "own_cache")
@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize("num_rows", [1, 20])
def test_threads_make_no_difference(
    policy: Policy, num_rows: int, late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though one of them is late at every stage. Seen to fail with: each of the barriers left out."""
    tokens = batch(num_rows)
    alone = found_by(FastSampler(policy, compiles=True), tokens)
    monkeypatch.setattr(compiler, "COMPILED", (*compiler.COMPILED, f"-DLATE_THREAD={late}"))
    library.cache_clear()
    policy.decodes_alone = False  # else so small a model gets one thread
    torch.set_num_threads(2)
    assert torch.equal(found_by(FastSampler(policy, compiles=True), tokens), alone)


class Decoded:
    """One position by compiled code and by torch, over caches that can be tampered with."""

    def __init__(self, policy: Policy) -> None:
        self.samplers = [FastSampler(policy, compiles=compiles) for compiles in (True, False)]
        self.ids = torch.randint(2, models.VOCAB, (2, 40), generator=torch.Generator().manual_seed(0))

    def __call__(
        self, tamper: Callable[[Any], object] = lambda _cache: None, looks: Tensor | None = None
    ) -> list[Tensor]:
        found = []
        for sampler in self.samplers:
            with torch.no_grad(), sampler._twin.awake(2) as model:
                cache = new_cache(model, 50)
                prefill(model, self.ids, torch.ones_like(self.ids, dtype=torch.bool), cache)
                tamper(cache)
                found.append(sampler._decode(self.ids[:, 0], torch.tensor([40, 40]), looks, cache).float())
        return found


def test_columns_that_a_row_may_not_look_at_count_nothing(policy: Policy) -> None:
    """In the midst of others. Seen to fail with: the mask of what lies between the first and the last left out."""
    looks = torch.ones(2, 1, 1, 41, dtype=torch.bool)
    looks[1, ..., 3:38] = False

    def tamper(cache: Any) -> None:
        for layer in cache.layers:
            layer.keys[1, :, 3:38] = layer.values[1, :, 3:38] = 5.0

    decoded = Decoded(policy)
    (hidden, expected), (usual, _) = decoded(tamper, looks), decoded()
    torch.testing.assert_close(hidden, expected, atol=0.05, rtol=0.05)
    assert (hidden[1] - usual[1]).abs().max() > 0.2
    assert torch.equal(hidden[0], usual[0])


def test_one_key_that_is_not_a_number_shows(policy: Policy) -> None:
    """The sampler says then that the model has diverged. Seen to fail with: exp(NaN) = 0."""

    def tamper(cache: Any) -> None:
        cache.layers[1].keys[1, 0, 17, 5] = float("nan")

    found, _ = Decoded(policy)(tamper)
    assert found[0].isfinite().all()
    assert found[1].isnan().all()


def test_it_follows_the_adapter_and_lets_its_copies_go(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for a small model's, which it keeps. Seen to fail with: B not laid out a second time."""
    sampler, tokens = FastSampler(policy, compiles=True), batch(3)
    before = found_by(sampler, tokens)
    native = sampler._decode
    assert isinstance(native, Native)
    with policy.weights({name: tensor * -2.0 for name, tensor in policy.adapter_state().items()}):
        assert not torch.equal(found_by(sampler, tokens), before)
    assert torch.equal(found_by(sampler, tokens), before)
    assert native._model is None
    kept = native._arena
    assert torch.equal(found_by(sampler, tokens), before)
    assert native._arena is kept
    monkeypatch.setattr("grpo_tui.generation.native.KEPT_BYTES", 0)  # as a large model has it
    for _ in range(2):
        assert torch.equal(found_by(sampler, tokens), before)
        assert native._arena is None


def test_frozen_it_does_not_see_the_adapter_move(policy: Policy) -> None:
    """Prompts neither. Seen to fail with: A shared with the policy."""
    sampler, tokens = FastSampler(policy, compiles=True), batch(3)
    before = found_by(sampler, tokens)
    sampler.freeze(3)
    for parameter in policy.trainable_parameters().values():
        parameter.data.mul_(-2.0)
    assert torch.equal(found_by(sampler, tokens), before)
    sampler.thaw()
    assert not torch.equal(found_by(sampler, tokens), before)


def test_it_goes_on_through_caches_that_grow_shift_and_are_taken_by_others(policy: Policy) -> None:
    """Against each row alone. Seen to fail with: no room made; a row's start taken for another's."""
    requests = [
        SampleRequest(prompt_ids=tuple(range(2, 5 + 9 * (row % 3))), stream_key=str(row)) for row in range(7)
    ]
    settings = SamplingSettings(max_new_tokens=90)
    sampler = FastSampler(policy, max_rows=3, compiles=True)
    expected = [sampler.sample([request], settings, lambda _tick: None)[0] for request in requests]
    found = sampler.sample(requests, settings, lambda _tick: None)
    # Prompts that go through together are rounded otherwise than alone, so that a draw can come out another.
    same = [
        e.token_ids_T[:8].tolist() == f.token_ids_T[:8].tolist() for e, f in zip(expected, found, strict=True)
    ]
    assert sum(same) >= 6


def test_a_cache_makes_more_room_when_it_is_full(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: none made, which would write beyond it."""
    sampler, tokens = FastSampler(policy, compiles=True), batch(5, length=20)
    usual = found_by(sampler, tokens)
    monkeypatch.setattr("grpo_tui.generation.slab.BLOCK", 2)
    assert torch.equal(found_by(sampler, tokens), usual)


def test_laying_out_that_breaks_off_is_begun_anew(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: what was laid out of it taken for all."""
    sampler, tokens = FastSampler(policy, compiles=True), batch(3)
    usual = found_by(FastSampler(policy, compiles=True), tokens)
    lay, calls = _Arena._lay, iter(range(100))

    def breaks(self: _Arena, matrix: Tensor) -> None:
        if next(calls) == 6:
            raise MemoryError
        lay(self, matrix)

    monkeypatch.setattr(_Arena, "_lay", breaks)
    with pytest.raises(MemoryError):
        sampler.logits(tokens)
    assert torch.equal(found_by(sampler, tokens), usual)


def test_it_goes_with_its_sampler_and_on_closing(policy: Policy) -> None:
    """Without the garbage collector. Seen to fail with: an arena that holds who holds it."""
    sampler = FastSampler(policy, compiles=True)
    found_by(sampler, batch(3))
    native = sampler._decode
    assert isinstance(native, Native)
    assert native._arena is not None
    memory = weakref.ref(native._arena)
    sampler.close()
    assert memory() is None
    found_by(sampler, batch(3))
    memory = weakref.ref(native._arena)
    gc.disable()
    try:
        del sampler, native
        assert memory() is None
    finally:
        gc.enable()


def test_an_adapter_of_the_head_is_left_to_torch(policy: Policy) -> None:
    """Seen to fail with: the head without it."""
    names = {
        name.rpartition(".")[2] for name, module in policy.model.named_modules() if hasattr(module, "lora_A")
    }
    base = policy.model.unload()
    policy.model = _add_adapter(base, ModelConfig(lora_rank=4, lora_targets=(*sorted(names), "lm_head")), 0)
    assert not FastSampler(policy, compiles=True).compiles


@pytest.mark.parametrize("family", ["llama", "phi3", "smollm3"])
def test_what_it_does_not_take_is_left_to_torch(family: str) -> None:
    """Heads of 8 numbers; other families."""
    assert not FastSampler(in_bf16(tiny_policy(family)), compiles=True).compiles


def test_adapters_of_several_ranks_are_left_to_torch(policy: Policy) -> None:
    up = policy.model.get_base_model().model.layers[1].mlp.up_proj
    up.lora_A["default"].weight = torch.nn.Parameter(up.lora_A["default"].weight[:2].clone())
    up.lora_B["default"].weight = torch.nn.Parameter(up.lora_B["default"].weight[:, :2].clone())
    assert not FastSampler(policy, compiles=True).compiles


def test_float32_is_left_to_torch() -> None:
    """There a run must come out the same with a compiler and without."""
    assert not FastSampler(tiny_policy("llama_wide"), compiles=True).compiles


def test_without_a_compiler_it_goes_on_and_says_so(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise CannotBuildError("no C compiler was found; gcc would do")

    monkeypatch.setattr(fast, "has_dots", lambda: True)
    monkeypatch.setattr("grpo_tui.generation.native.library", none)
    said: list[str] = []
    sampler = make_sampler(policy, "auto", said.append)
    assert isinstance(sampler, FastSampler)
    assert not sampler.compiles
    assert said == [
        "decoding goes by torch, two to four times slower than by compiled code: no C compiler was found; gcc would do"
    ]


@pytest.mark.parametrize(
    ("device", "dtype", "dots", "tiles", "says"),
    [
        ("cpu", torch.bfloat16, True, 1, "compiled code with matrix instructions (AMX)"),
        ("cpu", torch.bfloat16, True, 0, "compiled code"),
        (
            "cpu",
            torch.bfloat16,
            True,
            None,
            "torch, two to four times slower than compiled code: there is none",
        ),
        ("cpu", torch.bfloat16, False, 1, "torch"),
        ("cpu", torch.float32, True, 1, "torch"),
        ("cuda", torch.bfloat16, True, 1, "CUDA graphs of Triton's kernels"),
    ],
)
def test_the_way_of_decoding_in_words(
    device: str, dtype: torch.dtype, dots: bool, tiles: int | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``doctor`` tells it."""

    def built() -> SimpleNamespace:
        if tiles is None:
            raise CannotBuildError("there is none")
        return SimpleNamespace(has_tiles=lambda: tiles)

    monkeypatch.setattr(fast, "has_dots", lambda: dots)
    monkeypatch.setattr(fast, "can_fuse", lambda: True)
    monkeypatch.setattr(fast, "library", built)
    assert fast.way_of_decoding(torch.device(device), dtype) == says


def test_where_it_is_off_it_goes_on_without_and_says_so(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast, "has_dots", lambda: True)
    monkeypatch.setattr(
        Native, "__call__", lambda _self, tokens, *_rest: torch.randn(len(tokens), models.VOCAB)
    )
    said: list[str] = []
    sampler = make_sampler(policy, "auto", said.append)
    assert isinstance(sampler, FastSampler)
    assert not sampler.compiles
    (line,) = said
    assert line.startswith("compiled decoding is off by up to ")


ALMOST_ONE = 1.0 - 2.0**-53
ROUNDING = 3e-6
"""Of a cumulative sum in float32 blocks: uniform numbers so near to a token's end may draw its neighbour."""


@pytest.fixture(scope="module")
def native() -> Native:
    decode = FastSampler(in_bf16(made("llama_wide")), compiles=True)._decode
    assert isinstance(decode, Native)
    return decode


@pytest.mark.parametrize("temperature", [1.0, 0.7, 3.0])
@pytest.mark.parametrize("size", [3, 16, 255, 257, 1000, 4099])
def test_it_draws_what_the_model_gives(native: Native, size: int, temperature: float) -> None:
    """Seen to fail with: no temperature; tokens beyond the last drawn; a block passed twice; the entropy's sign."""
    generator = torch.Generator().manual_seed(size)
    logits = torch.randn(400, size, generator=generator).mul(3).bfloat16()
    logits[:, ::7] = -math.inf
    uniforms = torch.rand(400, generator=generator, dtype=torch.float64)
    settings = SamplingSettings(max_new_tokens=1, temperature=temperature)
    found, expected = (draw(logits, uniforms, settings) for draw in (native.choose, choose))
    shares = torch.softmax(logits.double() / temperature, dim=-1)
    ends, share = (t.gather(-1, found.tokens_N[:, None]).squeeze(-1) for t in (shares.cumsum(-1), shares))
    assert ((ends - share - ROUNDING <= uniforms) & (uniforms <= ends + ROUNDING)).all()
    same = found.tokens_N == expected.tokens_N
    assert same.float().mean() > 0.99
    torch.testing.assert_close(found.logprobs_N[same], expected.logprobs_N[same], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.entropies_N, expected.entropies_N, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 300), (ALMOST_ONE, 700), (1.0, 700)])
def test_it_draws_no_token_without_weight(native: Native, uniform: float, token: int) -> None:
    """Seen to fail with: the last block taken where the target lies on the total and it has no weight."""
    logits = torch.full((1, 1200), -math.inf, dtype=torch.bfloat16)
    logits[0, [300, 301, 690, 700]] = torch.tensor([-14.0, 0.0, -14.0, -14.0]).bfloat16()
    uniforms = torch.tensor([uniform], dtype=torch.float64)
    found = native.choose(logits, uniforms, SamplingSettings(max_new_tokens=1))
    assert found.tokens_N.tolist() == [token]


@pytest.mark.parametrize(
    "bad", [[math.nan, 1.0, 2.0], [math.inf, 1.0, 2.0], [-math.inf] * 3, [math.nan] * 600]
)
def test_what_is_no_distribution_is_told_by_nan(native: Native, bad: list[float]) -> None:
    uniforms = torch.tensor([0.0, 0.5, ALMOST_ONE], dtype=torch.float64)
    logits = torch.tensor([bad] * 3).bfloat16()
    found = native.choose(logits, uniforms, SamplingSettings(max_new_tokens=1))
    assert found.logprobs_N.isnan().all()
    assert all(0 <= token < len(bad) for token in found.tokens_N.tolist())


@pytest.mark.usefixtures("two_threads", "own_cache")
def test_threads_draw_alike(policy: Policy, native: Native, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though one of them dawdles. Seen to fail with: one place for the sums of all threads."""
    logits = torch.randn(20, 5000, generator=torch.Generator().manual_seed(0)).mul(3).bfloat16()
    logits[:10] = 0.0  # of the thread that does not dawdle: sums unlike the others'
    uniforms = torch.rand(20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    settings = SamplingSettings(max_new_tokens=1)
    alone = native.choose(logits, uniforms, settings)
    monkeypatch.setattr(compiler, "COMPILED", (*compiler.COMPILED, "-DLATE_THREAD=1"))
    library.cache_clear()
    dawdling = FastSampler(policy, compiles=True)._decode
    assert isinstance(dawdling, Native)
    torch.set_num_threads(2)
    for _ in range(3):  # by the first call the other thread may not be there yet
        parted = dawdling.choose(logits, uniforms, settings)
        assert all(torch.equal(p, a) for p, a in zip(parted, alone, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"top_p": 0.5}, {"top_k": 2}, {}])
def test_greedy_and_cut_off_draws_are_torchs(
    native: Native, options: dict[str, Any], dtype: torch.dtype
) -> None:
    """And those from float32. Seen to fail with: any drawn from the whole distribution; float32 read as bfloat16."""
    if not options and dtype is torch.bfloat16:
        return  # that is the other tests'
    logits = torch.randn(50, 40, generator=torch.Generator().manual_seed(0)).to(dtype)
    uniforms = torch.linspace(0, ALMOST_ONE, 50, dtype=torch.float64)
    settings = SamplingSettings(max_new_tokens=1, **options)
    found, expected = (draw(logits, uniforms, settings) for draw in (native.choose, choose))
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    "error",
    [MemoryError("no 1 MB to lay the weights out in"), RuntimeError("odd"), AssertionError("no room")],
)
def test_where_it_fails_it_goes_on_without_and_says_so(
    error: Exception, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By torch's decode, not by the trusted sampler."""

    def fails(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(fast, "has_dots", lambda: True)
    monkeypatch.setattr(Native, "__call__", fails)
    said: list[str] = []
    sampler = make_sampler(policy, "auto", said.append)
    assert isinstance(sampler, FastSampler)
    assert not sampler.compiles
    assert said == [f"compiled decoding does not work here ({error}); torch's decode, slower"]


def test_gates_far_below_nothing_are_shut(policy: Policy) -> None:
    """Seen to fail with: exp cut off at 88, by which −3·10³⁸ would come out as −1.8."""
    base = policy.model.get_base_model().model
    base.embed_tokens.weight.data.abs_().mul_(50.0)  # so that a gate, which sums over them, is about −10³⁸
    base.layers[0].mlp.gate_proj.base_layer.weight.data.fill_(-1e36)
    sampler, torchs = FastSampler(policy, compiles=True), FastSampler(policy)
    torch.testing.assert_close(found_by(sampler, batch(4)), found_by(torchs, batch(4)), atol=0.05, rtol=0.05)


def otherwise(
    policy: Policy, tokens: TokenBatch, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> Tensor:
    """Logits by code that is built with other flags."""
    with monkeypatch.context() as patched:
        patched.setattr(compiler, "COMPILED", flags)
        library.cache_clear()
        found = found_by(FastSampler(policy, compiles=True), tokens)
    library.cache_clear()
    return found


@pytest.mark.usefixtures("own_cache")
def test_the_portable_code_agrees_with_the_processors_own(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a processor without these instructions would run, for instance the one that tests this."""
    tokens = batch(20)
    usual = found_by(FastSampler(policy, compiles=True), tokens)
    portable = otherwise(policy, tokens, ("-O1", "-fno-math-errno", "-fPIC", "-fopenmp", "-w"), monkeypatch)
    assert float((portable - usual).square().mean().sqrt()) < 0.01 * float(usual.std())


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("rank", [3, 16, 20, 40])
def test_what_lies_as_matrix_instructions_take_it_gives_the_same(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit where plain code reads it; by the instructions, where there are any, to their rounding.

    Seen to fail with: the second adapter's ranks begun within a chunk; ranks not made up with nothing; and where there are such
    instructions, half a chunk at the end left out.
    """
    monkeypatch.setattr(models, "WIDE", models.WIDE | {"head_dim": 64, "num_attention_heads": 12})
    policy, tokens = in_bf16(made("llama_biased_wide", rank)), batch(20)
    by_rows, by_chunks = (
        otherwise(policy, tokens, (*compiler.COMPILED, f"-DTILES={tiles}"), monkeypatch) for tiles in (0, 2)
    )
    assert torch.equal(by_chunks, by_rows)
    usual = found_by(FastSampler(policy, compiles=True), tokens)
    assert float((usual - by_rows).square().mean().sqrt()) < 0.01 * float(usual.std())
