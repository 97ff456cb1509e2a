"""Models found on disk by their small parts, and the memory they would take."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from grpo_tui.config import machine
from grpo_tui.config.estimate import PROMPT_TOKENS, estimate_fit
from grpo_tui.config.local_models import (
    FOLDER,
    GGUF,
    HUB,
    find_models,
    hub_cache,
    inspect_model,
)
from grpo_tui.config.presets import PRESETS
from grpo_tui.data.bundled import TINY_MODEL, bundled_path
from grpo_tui.tui.welcoming import _parts
from tests.support.model_shapes import SMOLLM2

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
}


def safetensors(path: Path, **shapes: list[int]) -> None:
    """A safetensors file whose tensors are not there: only the header is read."""
    header = {
        name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()
    }
    data = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data)


def model_folder(path: Path, config: dict[str, Any] | None = None) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config or LLAMA))
    safetensors(path / "model-00001-of-00002.safetensors", a=[100, 20], b=[7])
    safetensors(path / "model-00002-of-00002.safetensors", c=[1000])
    return path


def in_hub(root: Path, id: str, revision: str = "abc", *, main: bool = True) -> Path:
    repo = root / "hub" / f"models--{id.replace('/', '--')}"
    snapshot = model_folder(repo / "snapshots" / revision)
    if main:
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / "main").write_text(revision)
    return snapshot


def gguf(path: Path, *pairs: tuple[str, int | str], version: int = 3, size: int = 0) -> Path:
    """A GGUF with some keys before its vocabulary, and nothing after it."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    body = b"".join(
        text(name)
        + (struct.pack("<I", 8) + text(value) if isinstance(value, str) else struct.pack("<II", 4, value))
        for name, value in pairs
    )
    ends = text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 1 << 40)  # would take forever to read
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", version, 0, len(pairs) + 1) + body + ends + b"\0" * size)
    return path


# --- the hub's cache -------------------------------------------------------------------------------------


def test_a_hub_model_is_found_with_its_parameters_counted_from_the_headers(tmp_path: Path) -> None:
    in_hub(tmp_path, "Org/Some-Model")
    [model] = find_models(tmp_path / "elsewhere", {"HF_HOME": str(tmp_path)})
    assert (model.source, model.kind, model.problem) == ("Org/Some-Model", HUB, "")
    assert model.shape is not None
    assert model.shape.num_parameters == 3007
    assert (model.shape.num_layers, model.shape.head_size, model.shape.context_length) == (30, 64, 8192)


def test_of_several_revisions_main_counts_and_without_it_the_newest(tmp_path: Path) -> None:
    """Seen to fail with: the first revision taken."""
    in_hub(tmp_path, "o/m", "aaa", main=False)
    late = in_hub(tmp_path, "o/m", "bbb", main=False)
    (late / "config.json").write_text(json.dumps({**LLAMA, "num_hidden_layers": 2}))
    os.utime(late, (2e9, 2e9))
    environment = {"HF_HOME": str(tmp_path)}
    [model] = find_models(tmp_path / "none", environment)
    assert model.shape is not None
    assert model.shape.num_layers == 2
    (tmp_path / "hub" / "models--o--m" / "refs").mkdir()
    (tmp_path / "hub" / "models--o--m" / "refs" / "main").write_text("aaa\n")
    [model] = find_models(tmp_path / "none", environment)
    assert model.shape is not None
    assert model.shape.num_layers == 30


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HF_HUB_CACHE": "/a/b"}, "/a/b"),
        ({"HF_HOME": "/h"}, "/h/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({}, str(Path("~/.cache/huggingface/hub").expanduser())),
    ],
)
def test_the_cache_is_where_the_hub_s_library_keeps_it(environment: dict[str, str], expected: str) -> None:
    assert str(hub_cache(environment)) == expected


def test_what_is_no_causal_model_is_left_out_and_what_is_incomplete_says_so(tmp_path: Path) -> None:
    bert = in_hub(tmp_path, "o/bert")
    (bert / "config.json").write_text(json.dumps({"architectures": ["BertForMaskedLM"]}))
    bare = in_hub(tmp_path, "o/bare")
    for file in bare.glob("*.safetensors"):
        file.unlink()
    cut = in_hub(tmp_path, "o/cut")
    (cut / "model-00001-of-00002.safetensors").write_bytes(b"\xff" * 20)
    broken = in_hub(tmp_path, "o/broken")
    (broken / "config.json").write_text("{")
    found = {model.source: model.problem for model in find_models(tmp_path, {"HF_HOME": str(tmp_path)})}
    assert found == {
        "o/bare": "only its config is here; the weights would be downloaded",
        "o/cut": "its weight files are damaged or incomplete",
        "o/broken": "config.json cannot be read: not JSON",
    }


@pytest.mark.parametrize("header", [b"[]", b'{"a": 3}', b'{"a": {"shape": "x"}}', b"null", b'{"a": {}}'])
def test_any_damage_of_a_header_is_damage(header: bytes, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "model-00001-of-00002.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    [model] = find_models(tmp_path, {"HF_HOME": str(tmp_path)})
    assert model.problem == "its weight files are damaged or incomplete"


# --- folders and GGUF ------------------------------------------------------------------------------------


def test_folders_and_gguf_files_here_are_found_as_a_person_would_type_them(tmp_path: Path) -> None:
    model_folder(tmp_path / "my model")
    gguf(tmp_path / "a.gguf", ("general.architecture", "llama"))
    (tmp_path / "sub").mkdir()
    gguf(tmp_path / "sub" / "b.gguf", ("general.architecture", "llama"))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "config.json").write_text("{}")
    found = find_models(tmp_path, {"HF_HOME": str(tmp_path / "nothing")})
    assert [(m.source, m.kind) for m in found] == [
        ("./a.gguf", GGUF),
        ("./my model", FOLDER),
        ("./sub/b.gguf", GGUF),
    ]


def test_a_gguf_s_size_in_parameters_follows_from_its_quantisation(tmp_path: Path) -> None:
    path = gguf(
        tmp_path / "m.gguf",
        ("general.architecture", "llama"),
        ("general.file_type", 7),
        ("llama.block_count", 30),
        ("llama.embedding_length", 576),
        ("llama.attention.head_count", 9),
        ("llama.attention.head_count_kv", 3),
        size=85_000,
    )
    model = inspect_model(str(path))
    assert model is not None
    assert model.shape is not None
    assert model.shape.num_parameters == pytest.approx(80_000, rel=0.01)
    assert (model.shape.num_layers, model.shape.num_kv_heads, model.shape.head_size) == (30, 3, 64)


@pytest.mark.parametrize(
    "data", [b"", b"GGUF", b"GGML" + b"\0" * 40, struct.pack("<4sIQQ", b"GGUF", 3, 0, 9)]
)
def test_a_damaged_gguf_is_a_line(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(data)
    model = inspect_model(str(tmp_path / "m.gguf"))
    assert model is not None
    assert model.problem == "not a GGUF file that can be read"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("./nothing", "is no model folder and no .gguf file"),
        ("/nowhere/at/all", "is no model folder"),
        ("{tmp}", "has no config.json"),
        ("{tmp}/x.gguf", "no such file"),
        ("{tmp}/file", "is no model folder"),
        ("~nobody-of-that-name/x", "cannot read"),
    ],
)
def test_a_path_without_a_model_is_one_line(source: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=line) as raised:
        inspect_model(source.replace("{tmp}", str(tmp_path)))
    assert "\n" not in str(raised.value)


def test_a_hub_id_is_here_or_not(tmp_path: Path) -> None:
    in_hub(tmp_path, "o/m")
    environment = {"HF_HOME": str(tmp_path)}
    assert inspect_model("o/other", environment) is None
    assert inspect_model("a\0b/c", environment) is None
    model = inspect_model("o/m", environment)
    assert model is not None
    assert model.kind == HUB


# --- the estimate ----------------------------------------------------------------------------------------


def test_parts_of_the_estimate_by_hand() -> None:
    config = PRESETS["gsm8k"]()
    config = replace(config, model=replace(config.model, dtype="bf16"))
    guess = estimate_fit(config, SMOLLM2, on_gpu=True, available_bytes=24 << 30)
    assert guess is not None
    length = PROMPT_TOKENS + 320
    assert guess.weights == 2 * 134_515_008
    assert guess.twin == 2 * (134_515_008 - 49152 * 576), "of the layers, while sampling"
    assert guess.cache == 64 * length * 30 * 2 * 192 * 2
    assert guess.activations == 8192 * 30 * (8 * 576 + 2 * 192 + 4 * 1536) * 2
    widths = 2 * (576 + 576) + 2 * (576 + 192) + 3 * (576 + 1536)
    assert guess.adapter == 20 * 16 * 30 * widths
    assert guess.total == guess.weights + guess.adapter + max(guess.twin + guess.cache, guess.activations)
    assert guess.fits


def test_what_the_estimate_takes_from_modules_that_need_torch() -> None:
    from grpo_tui.config import estimate
    from grpo_tui.generation import drawing, folded, native
    from grpo_tui.policy import attention, loading

    assert estimate.COPIED_PARAMETERS == folded.COPIED_PARAMETERS
    assert estimate.STAYING_BYTES == native.KEPT_BYTES
    assert estimate.ROWS_AT_ONCE == drawing.MAX_ROWS
    assert estimate.SHORT_ROWS == attention.SHORT
    assert estimate.SMALL_PARAMETERS == loading.SMALL_MODEL_PARAMETERS


def test_a_large_model_is_not_copied() -> None:
    large = replace(SMOLLM2, num_parameters=1_500_000_000)
    for on_gpu in (True, False):
        guess = estimate_fit(PRESETS["gsm8k"](), large, on_gpu=on_gpu, available_bytes=0)
        assert guess is not None
        assert guess.twin == 0


@pytest.mark.parametrize("quick", [True, False])
def test_a_small_models_copy_for_compiled_decoding_stays(
    quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the activations too. Seen to fail with: it counted while sampling only."""
    monkeypatch.setattr("grpo_tui.config.estimate._cpu_has_bf16", lambda: quick)
    config = PRESETS["gsm8k"]()
    config = replace(config, model=replace(config.model, dtype="bf16"))
    guess = estimate_fit(config, SMOLLM2, on_gpu=False, available_bytes=0)
    assert guess is not None
    assert guess.activations > guess.sampling
    if quick:
        assert guess.twin == guess.weights
        assert guess.total == 2 * guess.weights + guess.adapter + guess.activations
        assert [name for name in ("sampler's copy", "activations") if name in _parts(guess)[0][0]] == [
            "sampler's copy",
            "activations",
        ]
    else:
        assert guess.total == guess.weights + guess.adapter + guess.activations
    large = replace(SMOLLM2, num_parameters=500_000_000)
    guess = estimate_fit(config, large, on_gpu=False, available_bytes=0)
    assert guess is not None
    assert not guess.twin_stays


def test_the_estimate_is_near_what_was_measured_of_a_real_model_on_a_cpu() -> None:
    """SmolLM2-135M in float32, 4 rows of 146 tokens: 668 MB beyond the model, by ``doctor --fit``."""
    config = PRESETS["tiny"]()
    config = replace(
        config,
        model=replace(config.model, dtype="fp32"),
        sampling=replace(config.sampling, prompts_per_step=1, group_size=4, max_completion_tokens=100),
    )
    guess = estimate_fit(config, SMOLLM2, on_gpu=False, available_bytes=0)
    assert guess is not None
    tokens = 4 * (PROMPT_TOKENS + 100)
    assert 0.5 < guess.activations / tokens / (668e6 / 584) < 2
    assert guess.fits is None


def test_checkpointing_dtype_and_memory_change_the_answer() -> None:
    config = PRESETS["workstation"]()
    plain = estimate_fit(config, SMOLLM2, on_gpu=True, available_bytes=10**9)
    saving = estimate_fit(
        replace(config, optim=replace(config.optim, gradient_checkpointing=True)),
        SMOLLM2,
        on_gpu=True,
        available_bytes=10**9,
    )
    assert plain is not None
    assert saving is not None
    assert saving.activations < plain.activations / 5
    assert plain.fits is False
    assert plain.dtype == "bf16"


def test_the_bundled_model_is_estimated_and_an_unknown_shape_is_not() -> None:
    model = inspect_model(str(bundled_path(TINY_MODEL)))
    assert model is not None
    assert model.shape is not None
    guess = estimate_fit(PRESETS["tiny"](), model.shape, on_gpu=False, available_bytes=8 << 30)
    assert guess is not None
    assert guess.dtype == "fp32"
    assert 1e8 < guess.total < 2e9
    unknown = replace(model.shape, num_parameters=0)
    assert estimate_fit(PRESETS["tiny"](), unknown, on_gpu=False, available_bytes=1) is None


# --- GPUs without torch ----------------------------------------------------------------------------------


def test_gpus_are_what_the_driver_says() -> None:
    told = "NVIDIA H200, 143771, 143000\\nOdd, name, 8192, 100\\n[N/A], x, y\\n"
    found = machine.gpus(("printf", told))
    assert [(gpu.name, gpu.total_bytes >> 20, gpu.free_bytes >> 20) for gpu in found] == [
        ("NVIDIA H200", 143771, 143000),
        ("Odd, name", 8192, 100),
    ]


@pytest.mark.parametrize("command", [("no-such-program-here",), ("false",), ("sleep", "5")])
def test_without_a_driver_there_are_none(command: tuple[str, ...]) -> None:
    assert machine.gpus(command, patience=0.2) == []
