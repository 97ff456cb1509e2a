"""Triton's kernels give what the model gives. Here they go through Triton's interpreter; ``test_captured`` has them on a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from grpo_tui.generation.fast import FastSampler, make_sampler
from grpo_tui.generation.fused import Fused, can_fuse, columns, tiles
from tests.policy.models import PEFT_NOISE, tiny_policy

pytestmark = pytest.mark.filterwarnings(PEFT_NOISE)
has_triton = pytest.mark.skipif(not can_fuse(), reason="no Triton")


def in_the_interpreter(architecture: str, *options: str) -> str:
    """What a process says in which Triton's kernels are interpreted."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.generation.interpreted", architecture, *options],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@has_triton
@pytest.mark.parametrize("folds", ["folded", "beside"])
@pytest.mark.parametrize("architecture", ["llama_wide", "llama_biased_wide", "qwen3_wide"])
def test_kernels_give_what_the_model_gives(architecture: str, folds: str) -> None:
    """Prompts of different length, so that not every row sees every column.

    Seen to fail with: a row's unseen columns looked at; a sine's sign; one adapter's A for another's; the residual left out;
    keys written a place beside; the norm of heads left out; a bias left out.
    """
    said = in_the_interpreter(architecture, folds)
    assert float(said) < 1e-4


@has_triton
@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("up_proj", "o_proj")])
def test_some_layers_may_have_no_adapter(targets: tuple[str, ...]) -> None:
    """Beside one that has, and all of one input. Seen to fail with: one adapter's A for another's."""
    assert float(in_the_interpreter("llama_wide", "beside", *targets)) < 1e-4


@has_triton
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_shapes_and_families_they_do_not_take(architecture: str) -> None:
    sampler = FastSampler(tiny_policy(architecture), captures=True, fuses=True)
    assert not sampler.fuses


@has_triton
def test_where_they_do_not_run_it_goes_on_without_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: the error let through."""

    def fails(*_arguments: object) -> None:
        raise OSError("no C compiler")

    real = FastSampler.__init__

    def fusing(self: FastSampler, policy: object, *, fuses: bool | None = None, **_kwargs: object) -> None:
        real(self, policy, captures=True, fuses=fuses is None)  # type: ignore[arg-type]

    monkeypatch.setattr(FastSampler, "__init__", fusing)
    monkeypatch.setattr(Fused, "__call__", fails)
    said: list[str] = []
    sampler = make_sampler(tiny_policy("llama_wide"), "auto", said.append)
    assert isinstance(sampler, FastSampler)
    assert not sampler.fuses
    assert sampler.captures
    assert said == ["decoding by Triton's kernels does not work here (no C compiler); torch's decode, slower"]


@has_triton
def test_adapters_of_several_ranks_are_left_to_others() -> None:
    policy = tiny_policy("llama_wide")
    up = policy.model.get_base_model().model.layers[1].mlp.up_proj
    up.lora_A["default"].weight = torch.nn.Parameter(up.lora_A["default"].weight[:2].clone())
    up.lora_B["default"].weight = torch.nn.Parameter(up.lora_B["default"].weight[:, :2].clone())
    assert FastSampler(policy, captures=True, fuses=True).fuses  # folded, for these are float32
    sampler = FastSampler(policy, captures=True)
    sampler._twin.joined["model.layers.1.mlp.gate_proj"]._folds = False
    with pytest.raises(ValueError, match="several ranks on gate_proj, up_proj"):
        Fused(sampler._twin)


@pytest.mark.parametrize(
    ("num_rows", "num_blocks", "num_inputs", "beside", "shared_bytes", "expected"),
    [
        (64, 18, 576, 48, 232_448, (16, 128, 4)),  # a small model on an H200
        (64, 18, 1536, 48, 232_448, (16, 256, 3)),
        (64, 15, 576, 80, 101_376, (16, 128, 3)),  # the same on a workstation's GPU
        # A larger one: programs enough, so that rows can go together.
        (64, 192, 2048, 96, 232_448, (64, 128, 4)),
        (33, 192, 2048, 96, 232_448, (64, 128, 4)),
        (64, 192, 2048, 500, 101_376, (32, 32, 3)),  # the largest that fit
    ],
)
def test_tiles_fit(
    num_rows: int,
    num_blocks: int,
    num_inputs: int,
    beside: int,
    shared_bytes: int,
    expected: tuple[int, int, int],
) -> None:
    assert tiles(num_rows, num_blocks, num_inputs, beside, 2, 132, shared_bytes) == expected


def test_where_no_tiles_fit_others_decode() -> None:
    with pytest.raises(ValueError, match="do not fit in 101376 bytes"):
        tiles(16, 8, 960, 2 * (32 + 128), 4, 132, 101_376)
    assert columns(2 * 64 * 2, 101_376) == (64, 3)
    assert columns(2 * 128 * 4, 101_376) == (64, 2)
    assert columns(2 * 256 * 4, 101_376) == (32, 2)
    with pytest.raises(ValueError, match="attention's tiles"):
        columns(2 * 256 * 4, 20_000)


@has_triton
def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FastSampler(tiny_policy("llama_wide"), captures=True, fuses=True).fuses
    monkeypatch.setenv("GRPO_TUI_NO_TRITON", "1")
    assert not FastSampler(tiny_policy("llama_wide"), captures=True, fuses=True).fuses
