"""Layers by hand give what the model's own modules give, value and gradient, for every family they take."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from grpo_tui.config.schema import ModelConfig
from grpo_tui.ops.head import MULTIPLE
from grpo_tui.policy import packed_attention
from grpo_tui.policy.checkpointing import checkpointed
from grpo_tui.policy.lean import LORA, LeanLora, Switch
from grpo_tui.policy.loading import _add_adapter, make_lean
from grpo_tui.policy.packing import SharedPrompts, packed
from grpo_tui.policy.policy import Policy, TokenBatch
from grpo_tui.policy.straight import FAMILIES, StraightStates, _Product
from tests.policy.models import PEFT_NOISE, StubTokenizer, base_model, config_of, on_cuda, tiny_policy

pytestmark = pytest.mark.filterwarnings(PEFT_NOISE)

LENGTHS = (6, 2, 3, 1, 6, 2, 11)


def batch(lengths: tuple[int, ...] = LENGTHS) -> TokenBatch:
    """Completions of two prompts, one of them padded, in no order."""
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(2, 40, (2, 5), generator=generator)
    prompt_mask = torch.ones_like(prompts, dtype=torch.bool)
    prompt_mask[1, :2] = False
    which = torch.tensor([0, 1, 1, 0, 1, 0, 1])[: len(lengths)]
    ids = torch.randint(2, 40, (len(lengths), max(lengths)), generator=generator)
    return TokenBatch(
        prompt_ids_B_P=prompts[which],
        prompt_mask_B_P=prompt_mask[which],
        completion_ids_B_T=ids,
        completion_mask_B_T=torch.arange(max(lengths)) < torch.tensor(lengths)[:, None],
        shared=SharedPrompts(ids_Q_P=prompts, mask_Q_P=prompt_mask, prompt_of_B=which),
    )


def numbers(policy: Policy, made: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
    logprobs, _ = policy.logprobs(made, 0.7)
    weights = torch.linspace(-1.0, 1.0, logprobs.numel()).view(logprobs.shape).to(logprobs)
    (logprobs * weights * made.completion_mask_B_T).sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    gradients = {}
    for name, parameter in policy.trainable_parameters().items():
        gradients[name] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        parameter.grad = None
    return logprobs.detach()[made.completion_mask_B_T], gradients


def by_modules(policy: Policy, made: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
    assert policy.lean is not None
    straight, policy.lean.straight = policy.lean.straight, None
    try:
        return numbers(policy, made)
    finally:
        policy.lean.straight = straight


def assert_alike(policy: Policy, made: TokenBatch) -> None:
    assert policy.lean is not None
    assert policy.lean.straight is not None
    logprobs, gradients = numbers(policy, made)
    expected, expected_gradients = by_modules(policy, made)
    torch.testing.assert_close(logprobs, expected, rtol=0, atol=3e-5)
    for name, gradient in gradients.items():
        norm = expected_gradients[name].norm()
        assert norm > 0, name
        assert (gradient - expected_gradients[name]).norm() < 5e-5 * norm, name


def lean_policy(architecture: str, *, cuda: bool = False) -> Policy:
    policy = on_cuda(tiny_policy(architecture)) if cuda else tiny_policy(architecture)
    torch.manual_seed(2)
    for name, parameter in policy.model.named_parameters():
        if "norm" in name:
            parameter.data.uniform_(0.5, 1.5)
    make_lean(policy, "lean")
    return policy


def moved(made: TokenBatch, device: str) -> TokenBatch:
    assert made.shared is not None
    return TokenBatch(
        prompt_ids_B_P=made.prompt_ids_B_P.to(device),
        prompt_mask_B_P=made.prompt_mask_B_P.to(device),
        completion_ids_B_T=made.completion_ids_B_T.to(device),
        completion_mask_B_T=made.completion_mask_B_T.to(device),
        shared=SharedPrompts(
            ids_Q_P=made.shared.ids_Q_P.to(device),
            mask_Q_P=made.shared.mask_Q_P.to(device),
            prompt_of_B=made.shared.prompt_of_B.to(device),
        ),
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "llama_biased", "qwen3"])
def test_on_cuda_it_gives_what_the_modules_give_on_the_cpu(architecture: str, recomputes: bool) -> None:
    expected, expected_gradients = by_modules(lean_policy(architecture), batch())
    policy = lean_policy(architecture, cuda=True)
    with checkpointed(policy, on=recomputes):
        logprobs, gradients = numbers(policy, moved(batch(), "cuda"))
    torch.testing.assert_close(logprobs.cpu(), expected, rtol=0, atol=1e-4)
    for name, gradient in gradients.items():
        norm = expected_gradients[name].norm()
        assert (gradient.cpu() - expected_gradients[name]).norm() < 2e-4 * norm, name


@pytest.mark.parametrize("architecture", ["llama", "llama_biased", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("lengths", [LENGTHS, (1, 1, 1), (9, 9)])
def test_it_gives_what_the_modules_give(architecture: str, lengths: tuple[int, ...]) -> None:
    """Seen to fail with: a gradient rotated on instead of back; a norm's second term, its weight or a residual left out; the
    scale of B, or of the queries; what completions send back to their prompt; the derivative of silu at the wrong place.
    """
    assert architecture.removesuffix("_biased") in FAMILIES
    assert_alike(lean_policy(architecture), batch(lengths))


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_long_rows_go_through_the_fused_kernel(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_attention, "SHORT", 0)
    monkeypatch.setattr(
        packed_attention._Short, "apply", lambda *_: pytest.fail("probabilities of a long row are held")
    )
    assert_alike(lean_policy(architecture), batch())


@pytest.mark.parametrize("targets", [("q_proj",), ("v_proj", "up_proj"), ("o_proj", "down_proj", "k_proj")])
def test_some_layers_without_an_adapter(targets: tuple[str, ...]) -> None:
    """Seen to fail with: the B of a layer beside one without an adapter in its neighbour's columns."""
    settings = ModelConfig(source="llama", lora_rank=4, lora_targets=targets)
    policy = Policy(
        model=_add_adapter(base_model("qwen2"), settings, 0),
        tokenizer=StubTokenizer(),
        device=torch.device("cpu"),
        source="qwen2",
    )
    torch.manual_seed(1)
    for parameter in policy.trainable_parameters().values():
        parameter.data.normal_(0, 0.1)
    make_lean(policy, "lean")
    assert_alike(policy, batch())


def test_norms_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: the last block left out."""
    policy = lean_policy("llama")
    whole = numbers(policy, batch())
    monkeypatch.setattr("grpo_tui.policy.norm.ELEMENTS", 7 * 32)
    parts = numbers(policy, batch())
    assert torch.equal(parts[0], whole[0])


def test_positions_that_are_nobodys_stay_harmless() -> None:
    """New memory is full of NaN here. Seen to fail with: their attention, or its gradient, not set to 0."""
    policy = lean_policy("llama")
    torch.use_deterministic_algorithms(True)
    try:
        logprobs, gradients = numbers(policy, batch())
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.isfinite(logprobs).all()
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


def test_the_graph_can_be_gone_through_twice() -> None:
    """What-ifs ask for several gradients of one pass. Seen to fail with: a saved tensor overwritten on the way back."""
    policy = lean_policy("llama")
    made = batch()
    logprobs, _ = policy.logprobs(made, 1.0)
    value = (logprobs * made.completion_mask_B_T).sum()
    parameters = list(policy.trainable_parameters().values())
    first = torch.autograd.grad(value, parameters, retain_graph=True)
    second = torch.autograd.grad(value, parameters)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_computing_layers_again_leaves_generators_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may be drawing beside. Seen to fail with: torch's default, which sets generators back for each layer."""
    policy = lean_policy("llama")
    monkeypatch.setattr(torch, "get_rng_state", lambda: pytest.fail("a generator was asked for its state"))
    with checkpointed(policy):
        numbers(policy, batch())


def test_the_reference_has_no_adapter() -> None:
    policy = lean_policy("llama")
    made = batch()
    with torch.no_grad(), policy.reference():
        found, _ = policy.logprobs(made, 1.0)
        assert policy.lean is not None
        straight, policy.lean.straight = policy.lean.straight, None
        expected, _ = policy.logprobs(made, 1.0)
        policy.lean.straight = straight
    mask = made.completion_mask_B_T
    torch.testing.assert_close(found[mask], expected[mask], rtol=0, atol=3e-5)


def test_the_frozen_weights_keep_their_values_and_are_not_held_twice() -> None:
    """Seen to fail with: the joined matrices beside the ones they were joined from."""
    policy = tiny_policy("llama")
    before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    make_lean(policy, "lean")
    attention = policy.model.get_base_model().model.layers[0].self_attn
    assert all(torch.equal(p, before[name]) for name, p in policy.model.named_parameters())
    addresses = {
        getattr(attention, name).base_layer.weight.untyped_storage().data_ptr()
        for name in ("q_proj", "k_proj", "v_proj")
    }
    assert len(addresses) == 1


@pytest.mark.parametrize(
    ("architecture", "change", "why"),
    [
        ("phi3", {}, "phi3 goes through its own modules"),
        ("mistral_window", {}, "window"),
        ("llama", {"hidden_act": "gelu"}, "activation gelu"),
    ],
)
def test_what_it_does_not_take(architecture: str, change: dict[str, object], why: str) -> None:
    from grpo_tui.policy.lean import LeanTwin

    policy = tiny_policy(architecture)
    twin = LeanTwin(policy.model.get_base_model())
    for name, value in change.items():
        setattr(twin.model.config, name, value)
    with pytest.raises(ValueError, match=why):
        StraightStates(twin.model)


def test_one_that_is_not_taken_goes_through_its_modules(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    policy = lean_policy("phi3")
    assert policy.lean is not None
    assert policy.lean.straight is None
    assert "phi3 goes through its own modules" in caplog.text


def test_positions_are_made_up_to_a_multiple() -> None:
    made = batch()
    assert made.shared is not None
    layout = packed(made.shared, made.completion_ids_B_T, made.completion_mask_B_T)
    assert len(layout.ids_N) % MULTIPLE == 0
    assert len(layout.ids_N) - layout.num_spare == layout.ids_Q_P.numel() + layout.ids_R_W.numel()
    assert len(layout.ids_N) == len(layout.positions_N)
    assert config_of("llama").vocab_size > int(layout.ids_N.max())


def test_a_young_adapter_is_not_rounded_away_beside_the_residual() -> None:
    """In bf16 numbers near 30 lie 1/8 apart: 1/100 more counts only if it is added to the product before.

    Seen to fail with: the residual added by the product.
    """
    torch.manual_seed(0)
    plain = torch.nn.Linear(64, 4096, bias=False).bfloat16().requires_grad_(False)
    a, b = torch.nn.Linear(64, 4, bias=False), torch.nn.Linear(4, 4096, bias=False)
    a.weight.data[:], b.weight.data[:] = 1.0, 0.01 / 256
    source = SimpleNamespace(base_layer=plain, lora_A={LORA: a}, lora_B={LORA: b}, scaling={LORA: 1.0})
    product = _Product([LeanLora(source, Switch())])
    x, residual = torch.ones(8, 64).bfloat16(), (30 + torch.rand(8, 4096)).bfloat16()
    with torch.no_grad():
        without, _ = product(x, None, residual)
        adapted, _ = product(x, product.branch(), residual)
    assert (adapted.float() - without.float()).mean().item() == pytest.approx(0.01, rel=0.2)
