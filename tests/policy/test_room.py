"""What a forward pass keeps lies in memory that the next pass uses again, and in nobody else's."""

from __future__ import annotations

import gc
import mmap
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from grpo_tui.config import machine
from grpo_tui.generation.fast import FastSampler
from grpo_tui.generation.trusted import TrustedSampler
from grpo_tui.generation.types import SampleRequest, SamplingSettings
from grpo_tui.heap import give_back_freed_memory, give_back_where_scarce
from grpo_tui.policy.checkpointing import checkpointed
from grpo_tui.policy.loading import make_lean
from grpo_tui.policy.policy import Policy
from grpo_tui.policy.room import Lease, Room, room_for
from tests.policy.models import PEFT_NOISE, tiny_policy
from tests.policy.test_straight import batch, lean_policy, numbers

pytestmark = [
    pytest.mark.filterwarnings(PEFT_NOISE),
    pytest.mark.skipif(sys.platform != "linux", reason="mappings of the largest pages are Linux's"),
]

LIKE = torch.zeros(1, dtype=torch.bfloat16)
WIDE = torch.zeros(1, dtype=torch.float64)


def lent(room: Room) -> Lease:
    lease = room.lend()
    assert lease is not None
    return lease


def of(policy: Policy) -> Room:
    assert policy.lean is not None
    assert policy.lean.straight is not None
    room = policy.lean.straight._room
    assert room is not None
    return room


def without(policy: Policy) -> Policy:
    assert policy.lean is not None
    assert policy.lean.straight is not None
    policy.lean.straight._room = None
    return policy


def extent(tensor: Tensor) -> tuple[int, int]:
    return tensor.data_ptr(), tensor.data_ptr() + tensor.numel() * tensor.element_size()


def test_what_is_taken_lies_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the end of the room too. Seen to fail with: the next one's beginning not moved on, or not to a line; an end too far."""
    monkeypatch.setattr(machine, "total_memory", lambda: 16_384)
    room = Room()
    lease = lent(room)
    shapes = [(3, 5), (0, 7), (1,), (40, 9), (2, 3, 4), (1000, 3), (17,), (30, 30), (30, 30), ()]
    taken = [lease.take(shape, like) for shape in shapes for like in (LIKE, WIDE)]
    for number, tensor in enumerate(taken):
        assert tensor.shape == shapes[number // 2]
        assert tensor.is_contiguous()
        assert tensor.data_ptr() % 64 == 0 or not tensor.numel()
        tensor.fill_(number)
    assert all((tensor == number).all() for number, tensor in enumerate(taken))
    ends = sorted(extent(tensor) for tensor in taken if tensor.numel())
    assert all(before[1] <= after[0] for before, after in pairwise(ends))
    assert 8_000 < room.num_bytes <= 16_384


def test_it_holds_what_the_largest_pass_took_until_it_is_given_back() -> None:
    """Seen to fail with: memory for each size anew; nothing given back; given back under a pass that has it."""
    room = Room()
    for size in (3_000_000, 1_000_000, 2_000_000, 3_000_001):
        lent(room).take((size,), WIDE).fill_(1.0)
    assert 24_000_008 <= room.num_bytes < 24_000_008 + 64
    lease = lent(room)
    kept = lease.take((3_000_000,), WIDE).fill_(2.0)
    give_back_freed_memory()
    assert kept.sum() == 6_000_000
    held = machine.held_memory()
    del lease
    give_back_freed_memory()
    assert machine.held_memory() < held - 20_000_000
    assert room.num_bytes == 0
    assert lent(room).take((5,), WIDE).fill_(3.0).sum() == 15


@pytest.mark.parametrize(("free", "stays"), [(100_000_000, True), (70_000_000, False), (0, False)])
def test_where_memory_is_scarce_a_sampling_does_not_wait_for_it(free: int, stays: bool) -> None:
    room = Room()
    lent(room).take((1_000_000,), WIDE).fill_(1.0)
    give_back_where_scarce(free)
    assert (room.num_bytes > 0) is stays


@pytest.mark.parametrize("kind", [TrustedSampler, FastSampler])
def test_a_sampler_asks_for_it(
    kind: type[TrustedSampler] | type[FastSampler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with: either that does not."""
    policy = lean_policy("llama")
    numbers(policy, batch())
    assert of(policy).num_bytes > 0
    monkeypatch.setattr(machine, "free_memory", lambda: 0)
    request = SampleRequest(prompt_ids=(5, 6), stream_key="a")
    kind(policy).sample([request], SamplingSettings(max_new_tokens=2), lambda _tick: None)
    assert of(policy).num_bytes == 0


def test_threads_cannot_both_have_it() -> None:
    """Seen to fail with: asked and lent without a lock."""
    room, interval = Room(), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(600):
                leases = [lease for lease in pool.map(lambda _: room.lend(), range(4)) if lease is not None]
                assert len(leases) == 1
                del leases
    finally:
        sys.setswitchinterval(interval)


def test_the_next_pass_begins_at_the_first_again() -> None:
    """Seen to fail with: a lease that goes on where the last one ended."""
    room = Room()
    lease = lent(room)
    first = lease.take((9, 9), LIKE).data_ptr()
    del lease
    assert lent(room).take((4,), LIKE).data_ptr() == first


def test_it_is_lent_to_one_at_a_time() -> None:
    room = Room()
    lease = lent(room)
    assert room.lend() is None
    del lease
    assert room.lend() is not None


def test_one_tensor_written_to_is_no_change_of_another() -> None:
    """For autograd counts changes to know whether what it kept is still so. Seen to fail with: views of a mapping."""
    lease = lent(Room())
    kept, other = lease.take((8,), WIDE).fill_(2.0), lease.take((8,), WIDE)
    x = torch.ones(8, dtype=torch.float64, requires_grad=True)
    product = (x * kept).sum()
    other.fill_(1.0)
    product.backward()  # type: ignore[no-untyped-call,unused-ignore]
    assert x.grad is not None
    assert (x.grad == 2.0).all()


def test_without_a_lease_memory_is_taken_as_usual() -> None:
    assert room_for(None, torch.Size((2, 3)), LIKE).shape == (2, 3)


def test_where_there_are_no_addresses_it_is_not_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", full)
    assert Room().lend() is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", ["llama", "llama_biased", "qwen3"])
def test_numbers_are_the_same_to_the_last_bit(architecture: str, dtype: torch.dtype) -> None:
    """Batches of several sizes one after the other. Seen to fail with: two of a layer's tensors in one place."""

    def policy() -> Policy:
        made = tiny_policy(architecture)
        made.model.get_base_model().to(dtype)
        for parameter in made.trainable_parameters().values():
            parameter.data = parameter.data.float()
        make_lean(made, "lean")
        return made

    usual, roomy = without(policy()), policy()
    for lengths in ((9, 9), (6, 2, 3, 1, 6, 2, 11), (1, 1, 1), (6, 2, 3)):
        (expected, expected_gradients), (found, gradients) = (
            numbers(policy, batch(lengths)) for policy in (usual, roomy)
        )
        assert torch.equal(found, expected)
        assert all(torch.equal(gradients[name], expected_gradients[name]) for name in gradients)
    assert of(roomy).num_bytes > 0


def test_two_graphs_at_once_do_not_share_it() -> None:
    """And one may go back twice. Seen to fail with: a room lent again while a graph lives that was made in it."""
    policy = lean_policy("llama")
    parameters = list(policy.trainable_parameters().values())

    def gradient(value: Tensor, *, again: bool = False) -> Any:
        return torch.autograd.grad(value, parameters, retain_graph=again)

    def value(lengths: tuple[int, ...]) -> Tensor:
        return policy.logprobs(batch(lengths), 0.7)[0].sum()

    one, two = (9, 9), (6, 2, 3)
    expected = [gradient(value(lengths)) for lengths in (one, two)]
    first, second = value(one), value(two)
    for found in (gradient(first, again=True), gradient(first)):
        assert all(torch.equal(f, e) for f, e in zip(found, expected[0], strict=True))
    assert all(torch.equal(f, e) for f, e in zip(gradient(second), expected[1], strict=True))


def test_it_comes_back_with_the_graph_and_without_the_garbage_collector() -> None:
    """After the way back, and where there is none. Seen to fail with: a lease that is held by what it lends."""
    policy = lean_policy("llama")
    room = of(policy)
    gc.disable()
    try:
        numbers(policy, batch())
        assert room.lend() is not None
        logprobs, _ = policy.logprobs(batch(), 0.7)
        assert room.lend() is None
        del logprobs
        assert room.lend() is not None
    finally:
        gc.enable()


def test_a_pass_that_keeps_nothing_does_not_take_it() -> None:
    """Without gradients, and where layers are computed again on the way back."""
    policy = lean_policy("llama")
    with torch.no_grad():
        policy.logprobs(batch(), 0.7)
    with checkpointed(policy, on=True):
        numbers(policy, batch())
    assert of(policy).num_bytes == 0
