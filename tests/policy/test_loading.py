from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from grpo_tui.config.schema import ModelConfig
from grpo_tui.data.bundled import bundled_path
from grpo_tui.policy import loading
from grpo_tui.policy.errors import PolicyError
from grpo_tui.policy.loading import auto_dtype, load_policy, locate, pick_device
from tests.policy.models import PEFT_NOISE, base_model, config_of

pytestmark = pytest.mark.filterwarnings(PEFT_NOISE)


def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(bundled_path("tiny_model")))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random model in fp32 and the bundled tokenizer."""
    folder = tmp_path_factory.mktemp("llama")
    base_model("llama").save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2")
    base_model("gpt2").save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def _config(source: Path | str, **settings: Any) -> ModelConfig:
    return ModelConfig(**{"source": str(source), "lora_rank": 4, "device": "cpu", **settings})


def _refusal(config: ModelConfig) -> str:
    with pytest.raises(PolicyError) as caught:
        load_policy(config, seed=0)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("model."), "the message names the setting"
    return message


def test_loads_the_bundled_model() -> None:
    stages: list[str] = []
    policy = load_policy(ModelConfig(device="cpu"), seed=0, say=lambda name, _detail: stages.append(name))
    assert stages == ["loading tokenizer", "loading model", "adding adapter"]
    record = policy.record()
    assert record.source == "tiny"
    assert record.num_trainable > 0
    assert policy.tokenizer.eos_token_id in policy.eos_ids
    assert not policy.model.training


def test_weights_are_those_of_the_folder(llama: Path) -> None:
    policy = load_policy(_config(llama, dtype="fp32"), seed=0)
    saved = dict(base_model("llama").named_parameters())
    loaded = {n.replace(".base_layer", ""): p for n, p in policy.model.get_base_model().named_parameters()}
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)


def test_the_seed_decides_the_adapter(llama: Path) -> None:
    first, again, other = (load_policy(_config(llama), seed=seed).adapter_state() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_adapter_is_as_configured(llama: Path) -> None:
    config = _config(
        llama, lora_rank=3, lora_alpha=12.0, lora_dropout=0.25, lora_targets=("q_proj", "v_proj")
    )
    policy = load_policy(config, seed=0)
    names = policy.trainable_parameters()
    assert len(names) == 2 * 2 * 2
    assert all("q_proj" in name or "v_proj" in name for name in names)
    adapted = policy.model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    assert adapted.scaling == {"default": 4.0}
    assert adapted.lora_dropout["default"].p == 0.25


def test_gpt2_is_adapted_without_a_warning(gpt2: Path) -> None:
    policy = load_policy(_config(gpt2), seed=0)
    assert any("c_attn" in name for name in policy.trainable_parameters())


# dtype


@pytest.mark.parametrize("fast", [torch.float32, torch.bfloat16])
def test_a_small_model_on_the_cpu_keeps_every_digit(
    llama: Path, fast: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where bf16 is fast: loaded in bf16 and raised afterwards, the weights would have lost 16 bits."""
    monkeypatch.setattr(loading, "auto_dtype", lambda _device: fast)
    policy = load_policy(_config(llama), seed=0)
    assert policy.dtype is torch.float32
    expected = base_model("llama").get_input_embeddings().weight
    assert torch.equal(policy.model.get_input_embeddings().weight, expected)


def test_a_large_model_on_the_cpu_takes_the_fast_dtype(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "auto_dtype", lambda _device: torch.bfloat16)
    monkeypatch.setattr(loading, "SMALL_MODEL_PARAMETERS", 10)
    policy = load_policy(_config(llama), seed=0)
    assert policy.dtype is torch.bfloat16
    assert all(p.dtype is torch.float32 for p in policy.trainable_parameters().values())


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_dtype_as_asked(llama: Path, name: str, dtype: torch.dtype) -> None:
    policy = load_policy(_config(llama, dtype=name), seed=0)
    assert policy.dtype is dtype
    assert policy.record().dtype == str(dtype).removeprefix("torch.")


def test_size_is_known_without_loading(llama: Path) -> None:
    config = config_of("llama")
    state = torch.get_rng_state()
    assert loading._num_parameters(config) == base_model("llama").num_parameters()
    torch.set_rng_state(state)
    loading._num_parameters(config)
    assert torch.equal(torch.get_rng_state(), state), "counting draws no random numbers"


def test_auto_dtype_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cpu")
    monkeypatch.setattr(loading, "_cpu_flag", lambda _flag: False)
    assert auto_dtype(device) is torch.float32
    monkeypatch.setattr(loading, "_cpu_flag", lambda flag: flag == "amx_bf16")
    assert auto_dtype(device) is torch.bfloat16
    monkeypatch.setattr(loading, "_cpu_flag", lambda flag: flag == "avx512_bf16")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert auto_dtype(device) is torch.bfloat16
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert auto_dtype(device) is torch.float32


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_dtype_on_cuda(native: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: native)
    assert auto_dtype(torch.device("cuda")) is dtype


# device


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(PolicyError, match="'cuda:2' was asked for but this machine has 2 CUDA devices"):
        pick_device("cuda:2")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
def test_cuda_on_a_machine_without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    message = _refusal(_config("tiny", device=name))
    assert repr(name) in message
    assert "0 CUDA devices" in message


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cpu0", "mps", "meta"])
def test_no_such_device(name: str) -> None:
    message = _refusal(_config("tiny", device=name))
    assert repr(name) in message
    assert "auto, cpu" in message


# where the model is


def test_locate(tmp_path: Path, llama: Path) -> None:
    assert locate(str(llama)) == (str(llama), None)
    gguf = tmp_path / "model.gguf"
    gguf.touch()
    assert locate(str(gguf)) == (str(tmp_path), "model.gguf")
    assert locate("tiny") == (str(bundled_path("tiny_model")), None)


def test_home_is_understood(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(llama.parent))
    assert locate(f"~/{llama.name}") == (str(llama), None)


def test_missing_gguf(tmp_path: Path) -> None:
    assert _refusal(_config(tmp_path / "no.gguf")) == f"model.source: no such file: {tmp_path / 'no.gguf'}"


def test_a_gguf_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"this is not a model")
    assert "bad.gguf could not be loaded" in _refusal(_config(path))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    assert "has no config.json" in _refusal(_config(tmp_path))


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    assert "is not a model folder or a .gguf file" in _refusal(_config(path))


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c"])
def test_a_path_that_is_not_there(source: str) -> None:
    message = _refusal(_config(source))
    assert source in message
    assert "is not a model folder or a .gguf file" in message


def test_a_hub_model_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name(*_args: object, **_kwargs: object) -> Any:
        raise socket.gaierror("Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    began = time.monotonic()
    message = _refusal(_config("someone/some-model"))
    assert time.monotonic() - began < 5, "no minute of retries"
    assert "someone/some-model is not on this machine and the model hub did not answer" in message


def test_a_hub_model_when_offline_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "is not on this machine" in _refusal(_config("someone/some-model"))


@pytest.mark.parametrize("source", ["some model", "someone/-x", "x" * 120, "a--b/c.."])
def test_a_name_that_cannot_be_a_hub_id(source: str) -> None:
    message = _refusal(_config(source))
    assert source in message
    assert "neither a folder, a .gguf file nor a hub id" in message


# what the model is


def _folder_of(folder: Path, config: Any) -> Path:
    config.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    """transformers would load it, and let each token see the ones after it."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=61, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48
    )
    BertModel(config).save_pretrained(tmp_path)
    _tokenizer().save_pretrained(tmp_path)
    message = _refusal(_config(tmp_path))
    assert message == f"model.source: {tmp_path} is a bert model, not a causal language model"


@pytest.mark.parametrize(
    "name", ["RobertaConfig", "T5Config", "BartConfig", "ViTConfig", "DistilBertConfig", "PegasusConfig"]
)
def test_other_models_are_refused(tmp_path: Path, name: str) -> None:
    import transformers

    message = _refusal(_config(_folder_of(tmp_path, getattr(transformers, name)())))
    assert "not a causal language model" in message


def test_a_decoder_of_an_encoder_family_is_causal() -> None:
    from transformers import BertConfig

    assert loading._is_causal(BertConfig(is_decoder=True))
    assert not loading._is_causal(BertConfig())


def test_an_unknown_model_type(tmp_path: Path) -> None:
    _tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "of_next_year"}))
    assert "of_next_year" in _refusal(_config(tmp_path))


def test_a_broken_config(tmp_path: Path) -> None:
    _tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert str(tmp_path) in _refusal(_config(tmp_path))


def test_a_model_without_weights(tmp_path: Path) -> None:
    assert "could not be loaded" in _refusal(_config(_folder_of(tmp_path, config_of("llama"))))


def test_a_model_without_a_tokenizer(tmp_path: Path) -> None:
    base_model("llama").save_pretrained(tmp_path)
    assert str(tmp_path) in _refusal(_config(tmp_path))


def test_a_tokenizer_without_an_end(tmp_path: Path) -> None:
    base_model("llama").save_pretrained(tmp_path)
    tokenizer = _tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    assert "has no end-of-sequence token" in _refusal(_config(tmp_path))


# targets


def test_targets_that_match_nothing_are_answered_with_those_there_are(llama: Path) -> None:
    message = _refusal(_config(llama, lora_targets=("query", "value")))
    assert "model.lora_targets: query, value match no layer of" in message
    assert message.endswith("it has down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj")


def test_target_names_of_gpt2(gpt2: Path) -> None:
    assert _refusal(_config(gpt2, lora_targets=("q_proj",))).endswith("it has c_attn, c_fc, c_proj, lm_head")


def test_targets_that_cannot_be_adapted_say_so(llama: Path) -> None:
    message = _refusal(_config(llama, lora_targets=("norm",)))
    assert "match no layer" not in message
    assert "not supported" in message


def test_a_gguf_without_its_package() -> None:
    error = loading._load_error("m.gguf", ImportError("Please install gguf>=0.10.0"))
    assert "pip install 'grpo-tui[gguf]'" in str(error)


def test_a_long_library_message_becomes_one_line() -> None:
    message = str(loading._load_error("m", ValueError("line one\n\n  line two " + "x" * 1000)))
    assert "\n" not in message
    assert len(message) < 400
