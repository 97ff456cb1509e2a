from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from grpo_tui.algorithms import LossInputs, policy_gradient_loss
from grpo_tui.config.schema import AlgorithmConfig
from grpo_tui.engine.rows import Row, padded, split_by_tokens, token_batch
from grpo_tui.ops.aggregate import BatchSize, kl_token_weights, token_weights
from grpo_tui.ops.kl import k3
from grpo_tui.policy.many import copied, on_host, raw
from grpo_tui.policy.policy import Policy, positions
from tests.algorithms.batches import AGGREGATIONS
from tests.policy.models import EOS, PEFT_NOISE, VOCAB, StubTokenizer, base_model, batch_of, tiny_policy

pytestmark = pytest.mark.filterwarnings(PEFT_NOISE)

PROMPTS = [(5, 6, 7), (9, 8, 7, 6, 5, 4, 3, 2), (20,)]
COMPLETIONS = [[3, 4, 5, 6], [12, EOS], [13, 14, 15, EOS, 2]]


@pytest.fixture
def policy() -> Policy:
    return tiny_policy()


@pytest.fixture
def fresh() -> Policy:
    return tiny_policy(adapter_noise=0.0)


def _logprobs(policy: Policy, **padding: Any) -> Tensor:
    with torch.no_grad():
        return policy.logprobs(batch_of(PROMPTS, COMPLETIONS, **padding), 1.0)[0]


def _steps(policy: Policy, count: int) -> None:
    optimizer = torch.optim.AdamW(policy.trainable_parameters().values(), lr=1e-2)
    for _ in range(count):
        optimizer.zero_grad()
        policy.logprobs(batch_of(PROMPTS, COMPLETIONS), 1.0)[0].sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
        optimizer.step()


def test_logprobs_are_of_the_token_after_the_position() -> None:
    """Against the plain model, one row and no padding: an error of one place would show."""
    policy, temperature = tiny_policy(adapter_noise=0.0), 0.7
    base = base_model()
    logprobs, entropies = policy.logprobs(batch_of(PROMPTS, COMPLETIONS), temperature)
    for row, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        logits = base(input_ids=torch.tensor([[*prompt, *completion]])).logits[0] / temperature
        for place, token in enumerate(completion):
            distribution = torch.log_softmax(logits[len(prompt) + place - 1], -1)
            assert logprobs[row, place].item() == pytest.approx(distribution[token].item(), abs=1e-4)
            entropy = -(distribution.exp() * distribution).sum().item()
            assert entropies[row, place].item() == pytest.approx(entropy, abs=1e-4)
    assert logprobs.requires_grad
    assert not entropies.requires_grad


def test_a_pad_id_equal_to_the_end_of_sequence_is_safe(policy: Policy) -> None:
    usual, as_eos = _logprobs(policy), _logprobs(policy, pad_id=EOS)
    for row, completion in enumerate(COMPLETIONS):
        torch.testing.assert_close(
            as_eos[row, : len(completion)], usual[row, : len(completion)], rtol=0, atol=1e-5
        )


def test_a_fresh_adapter_has_kl_ref_exactly_zero(fresh: Policy) -> None:
    on = _logprobs(fresh)
    with fresh.reference():
        off = _logprobs(fresh)
    assert torch.equal(on, off)
    assert (k3(on - off) == 0).all()


def test_the_reference_is_the_base_bitwise_after_training(fresh: Policy) -> None:
    before = _logprobs(fresh)
    bare = base_model()
    untouched = Policy(model=bare, tokenizer=StubTokenizer(), device=torch.device("cpu"), source="bare")
    _steps(fresh, 3)
    assert not torch.equal(_logprobs(fresh), before)
    with fresh.reference():
        assert torch.equal(_logprobs(fresh), before)
        assert torch.equal(_logprobs(fresh), _logprobs(untouched))
    assert not torch.equal(_logprobs(fresh), before), "the adapter is back on after reference()"


def test_the_adapter_is_back_on_after_an_error_in_reference(policy: Policy) -> None:
    before = _logprobs(policy)
    with pytest.raises(KeyError), policy.reference():
        raise KeyError
    assert torch.equal(_logprobs(policy), before)


def test_base_hash_does_not_change_and_would_notice(policy: Policy) -> None:
    before = policy.base_hash()
    state = policy.adapter_state()
    _steps(policy, 3)
    assert policy.base_hash() == before
    assert any(not torch.equal(p, state[name]) for name, p in policy.adapter_state().items())
    frozen = next(p for p in policy.model.parameters() if not p.requires_grad)
    with torch.no_grad():
        frozen.view(-1)[-1] += 1e-6
    assert policy.base_hash() != before


def test_only_the_adapter_learns(policy: Policy) -> None:
    policy.logprobs(batch_of(PROMPTS, COMPLETIONS), 1.0)[0].sum().backward()  # type: ignore[no-untyped-call,unused-ignore]
    for name, parameter in policy.model.named_parameters():
        assert parameter.requires_grad == ("lora_" in name)
        assert (parameter.grad is not None) == ("lora_" in name)
    assert policy.trainable_parameters()
    assert all(p.dtype is torch.float32 for p in policy.trainable_parameters().values())


def test_adapter_state_is_a_copy_and_comes_back_bitwise(policy: Policy) -> None:
    state = policy.adapter_state()
    before = _logprobs(policy)
    kept = {name: tensor.clone() for name, tensor in state.items()}
    places = {name: p.data_ptr() for name, p in policy.trainable_parameters().items()}
    _steps(policy, 2)
    assert all(torch.equal(state[name], kept[name]) for name in kept), "the copy moved with the parameters"
    assert not torch.equal(_logprobs(policy), before)
    policy.load_adapter_state(state)
    assert all(torch.equal(p, kept[name]) for name, p in policy.trainable_parameters().items())
    assert torch.equal(_logprobs(policy), before)
    # In place: an optimiser goes on holding the same parameters.
    assert {name: p.data_ptr() for name, p in policy.trainable_parameters().items()} == places
    assert all(p.requires_grad for p in policy.trainable_parameters().values())


def test_state_of_another_adapter_is_refused(policy: Policy) -> None:
    with pytest.raises(AssertionError, match="another adapter"):
        policy.load_adapter_state({"other": torch.zeros(1)})


def test_training_mode_is_left_even_after_an_error() -> None:
    policy = tiny_policy(dropout=0.5)
    assert not policy.model.training
    still = _logprobs(policy)
    assert torch.equal(_logprobs(policy), still), "no dropout outside training_mode"
    with policy.training_mode():
        assert policy.model.training
        assert not torch.equal(_logprobs(policy), still)
    assert torch.equal(_logprobs(policy), still)
    with pytest.raises(KeyError), policy.training_mode():
        raise KeyError
    assert not policy.model.training


def test_record(policy: Policy) -> None:
    record = policy.record()
    base = base_model()
    assert record.num_parameters == sum(p.numel() for p in base.parameters())
    # rank 4 on every linear layer of 2 blocks of width 32, 2 of 4 key-value heads of width 8, middle 48:
    # q, o: 4·(32+32) each; k, v: 4·(32+16) each; gate, up, down: 4·(32+48) each
    assert record.num_trainable == 2 * 4 * (2 * 64 + 2 * 48 + 3 * 80)
    assert record.architecture == "LlamaForCausalLM"
    assert (record.dtype, record.device, record.context_length) == ("float32", "cpu", 128)
    assert record.vocab_size == VOCAB


@pytest.mark.parametrize(("tokenizer_pad", "expected"), [(7, 7), (0, 0), (None, EOS)])
def test_pad_id(tokenizer_pad: int | None, expected: int) -> None:
    tokenizer = StubTokenizer(pad_token_id=tokenizer_pad)
    policy = Policy(model=base_model(), tokenizer=tokenizer, device=torch.device("cpu"), source="x")
    assert policy.pad_id == expected


@pytest.mark.parametrize(
    ("generation", "expected"), [(None, (5,)), (5, (5,)), (9, (5, 9)), ([9, 5, 11], (5, 9, 11))]
)
def test_every_end_of_sequence_id_counts(
    generation: int | list[int] | None, expected: tuple[int, ...]
) -> None:
    model = base_model()
    model.generation_config.eos_token_id = generation
    policy = Policy(
        model=model, tokenizer=StubTokenizer(eos_token_id=5), device=torch.device("cpu"), source="x"
    )
    assert policy.eos_ids == expected


def test_positions_count_real_tokens() -> None:
    mask = torch.tensor([[False, False, True, True, True, False], [True, True, True, False, False, False]])
    assert positions(mask)[0, 2:5].tolist() == [0, 1, 2]
    assert positions(mask)[1, :3].tolist() == [0, 1, 2]
    assert (positions(mask) >= 0).all()


def test_raw_bytes() -> None:
    tensor = torch.arange(6, dtype=torch.float32).view(2, 3)
    assert raw(tensor).tobytes() == tensor.numpy().tobytes()
    assert raw(tensor.t()).tobytes() == tensor.numpy().T.copy().tobytes()
    assert len(raw(tensor.bfloat16())) == 12
    assert len(raw(torch.tensor(1.0))) == 4


@pytest.mark.parametrize("at_once", [1 << 20, 20])
def test_many_tensors_are_copied_in_their_order(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: copies in the order of their dtypes; views of the originals."""
    monkeypatch.setattr("grpo_tui.policy.many.AT_ONCE", at_once)
    originals = [torch.ones(2, 3), torch.arange(3), torch.tensor(2.0), torch.zeros(0), torch.eye(2).t()[1]]
    copies = copied(originals)
    for original, copy in zip(originals, copies, strict=True):
        assert (original.dtype, original.shape) == (copy.dtype, copy.shape)
        assert torch.equal(original, copy)
        original += 1
        assert original.numel() == 0 or not torch.equal(original, copy)
    assert copied([]) == []
    assert on_host(originals)[0].data_ptr() == originals[0].data_ptr(), (
        "what is on the host already is not copied"
    )


def _rows() -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for i, (prompt, length) in enumerate(
        [((5, 6, 7), 4), ((5, 6, 7), 1), ((9,) * 8, 9), ((20,), 2), ((3, 4), 6)]
    ):
        rows.append(
            Row(
                group=i,
                index=0,
                reward=0.0,
                prompt_ids=prompt,
                completion_ids_T=torch.randint(2, VOCAB, (length,), generator=generator),
                sampled_logprobs_T=torch.zeros(length),
                advantage=(1.0, -0.5, 2.0, -1.0, 0.5)[i],
                ref_logprobs_T=-4 * torch.rand(length, generator=generator),
                old_logprobs_T=-4 * torch.rand(length, generator=generator),
            )
        )
    return rows


def _gradient(policy: Policy, microbatches: list[list[Row]], aggregation: str) -> tuple[float, list[Tensor]]:
    config = AlgorithmConfig(beta=0.2, clip_low=0.9, clip_high=5.0, aggregation=aggregation)
    size = BatchSize(num_sequences=5, num_tokens=22.0, max_length=12, num_minibatch_tokens=22.0)
    total = 0.0
    for parameter in policy.trainable_parameters().values():
        parameter.grad = None
    for rows in microbatches:
        batch = token_batch(rows, policy)
        logprobs, _ = policy.logprobs(batch, 1.0)
        outputs = policy_gradient_loss(
            LossInputs(
                config=config,
                logprobs_B_T=logprobs,
                old_logprobs_B_T=padded([r.old_logprobs_T for r in rows if r.old_logprobs_T is not None]),
                ref_logprobs_B_T=padded([r.ref_logprobs_T for r in rows if r.ref_logprobs_T is not None]),
                advantages=torch.tensor([[r.advantage] for r in rows]),
                mask_B_T=batch.completion_mask_B_T,
                weights_B_T=token_weights(aggregation, batch.completion_mask_B_T, size),
                kl_weights_B_T=kl_token_weights(aggregation, batch.completion_mask_B_T, size),
            )
        )
        outputs.loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
        total += outputs.loss.item()
    return total, [p.grad.clone() for p in policy.trainable_parameters().values() if p.grad is not None]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_loss_and_gradient_through_the_model_ignore_order_and_split(policy: Policy, aggregation: str) -> None:
    rows = _rows()
    loss, gradient = _gradient(policy, [rows], aggregation)
    norm = torch.stack([g.norm() for g in gradient]).norm().item()
    assert norm > 0.01
    for microbatches in (
        [rows[::-1]],
        [[row] for row in rows],
        [rows[3:], rows[:3]],
        split_by_tokens(rows, 20),
        split_by_tokens(rows, 40),
    ):
        other_loss, other = _gradient(policy, microbatches, aggregation)
        assert other_loss == pytest.approx(loss, rel=1e-5)
        for theirs, ours in zip(other, gradient, strict=True):
            torch.testing.assert_close(theirs, ours, rtol=0, atol=2e-5 * norm)
