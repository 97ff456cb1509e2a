"""From a model's name to a :class:`~grpo_tui.policy.policy.Policy`: base weights, tokenizer, adapter, device."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from grpo_tui.config.schema import ModelConfig
from grpo_tui.data.bundled import bundled_path
from grpo_tui.policy import attention as lean_attention
from grpo_tui.policy.errors import UNFIT, PolicyError, one_line
from grpo_tui.policy.gguf_file import read_once, unpacked
from grpo_tui.policy.lean import LeanTwin
from grpo_tui.policy.policy import Policy
from grpo_tui.policy.straight import StraightStates

SMALL_MODEL_PARAMETERS = 50_000_000
"""Below this a CPU gains nothing from bf16, and fp32 keeps every log-prob exact."""

_LOG = logging.getLogger("policy")

Say = Callable[[str, str], None]
"""Called with a stage's name and a detail."""


def load_policy(
    config: ModelConfig,
    *,
    seed: int,
    say: Say = lambda _name, _detail: None,
    attention: str | None = None,
) -> Policy:
    """Load base model and tokenizer, and lay a fresh LoRA adapter over it.

    Args:
        config: which model, dtype, device and adapter.
        seed: of the adapter's initialisation.
        say: told each stage as it begins.
        attention: transformers' implementation to use (``eager`` can be differentiated twice); None: its choice.

    Raises:
        PolicyError: not found, not a causal LM, LoRA targets that match nothing, no such device.
    """
    device = pick_device(config.device)
    folder, gguf_file = locate(config.source)
    with read_once() if gguf_file else nullcontext():
        say("loading tokenizer", config.source)
        tokenizer = _load_tokenizer(folder, gguf_file, config.source)
        say("loading model", config.source)
        base = _load_base(folder, gguf_file, config, device, attention)
    say("adding adapter", f"LoRA rank {config.lora_rank}, alpha {config.lora_alpha:g}")
    model = _add_adapter(base, config, seed)
    policy = Policy(model=model, tokenizer=tokenizer, device=device, source=config.source)
    if (
        attention is None
    ):  # a lean layer cannot be differentiated twice, which is what another attention is for
        make_lean(policy, config.adapter_layers, say)
    return policy


LEAN_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.5}
"""Largest difference of log-probs between lean and PEFT layers that is taken for rounding."""


def make_lean(policy: Policy, kind: str, say: Say = lambda _name, _detail: None) -> None:
    """Score and update through lean layers, where they are asked for and agree with PEFT's.

    Args:
        policy: gets its lean twin.
        kind: ``peft``, ``lean`` or ``auto``.
        say: told why ``auto`` stays with PEFT's layers.

    Raises:
        PolicyError: ``lean`` was asked for and does not work with this model.
    """
    if kind == "peft":
        return
    try:
        try:
            _take_lean(policy, lean_attention.NAME)
        except UNFIT as error:
            _LOG.info(
                "scoring and updating use the model's own attention, slower on a CPU: %s", one_line(error)
            )
            _take_lean(policy, None)
    except UNFIT as error:
        policy.lean = None
        reason = one_line(error)
        if kind == "lean":
            raise PolicyError(
                f"model.adapter_layers: 'lean' does not work with {policy.source}: {reason}"
            ) from error
        say("keeping PEFT's layers", reason)
        _LOG.warning("scoring and updating go through PEFT's own layers, slower: %s", reason)


def _take_lean(policy: Policy, attention_name: str | None) -> None:
    """Give the policy its lean twin, or raise ValueError where it is not what it stands for."""
    policy.lean = LeanTwin(policy.model.get_base_model(), attention_name)
    _check_deviation(policy)
    try:
        policy.lean.straight = StraightStates(policy.lean.model)
        _check_deviation(policy)
    except UNFIT as error:
        policy.lean.straight = None
        _LOG.info(
            "scoring and updating go through the model's own modules, slower on a CPU: %s", one_line(error)
        )


def _check_deviation(policy: Policy) -> None:
    deviation, limit = policy.lean_deviation(), LEAN_TOLERANCE.get(policy.dtype, 0.5)
    if not deviation <= limit:
        raise ValueError(f"log-probs differ by up to {deviation:.2g}, more than {limit:g}")


def pick_device(name: str) -> torch.device:
    """The device by name; ``auto`` is CUDA where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise PolicyError(f"model.device: {name!r} is no device; use auto, cpu, cuda or cuda:0") from None
    if device.type not in ("cpu", "cuda"):
        raise PolicyError(f"model.device: {name!r} is not supported; use auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise PolicyError(
            f"model.device: {name!r} was asked for but this machine has {torch.cuda.device_count()} CUDA devices"
        )
    return device


def locate(source: str) -> tuple[str, str | None]:
    """A folder or hub id that transformers understands, and the file name when it is a GGUF."""
    if source == "tiny":
        return str(bundled_path("tiny_model")), None
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise PolicyError(f"model.source: no such file: {source}")
        return str(path.parent), path.name
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise PolicyError(
                f"model.source: {source} has no config.json; give the folder of a transformers model"
            )
        return str(path), None
    looks_like_path = source.startswith((".", "/", "~")) or source.count("/") > 1
    if path.exists() or looks_like_path:
        raise PolicyError(f"model.source: {source} is not a model folder or a .gguf file")
    _refuse_unreachable(source)
    return source, None


def _refuse_unreachable(source: str) -> None:
    """Say at once that a hub model cannot be had, instead of after a minute of the hub library's retries."""
    import socket
    from urllib.parse import urlsplit

    from huggingface_hub import constants, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(source, "config.json")
    except ValueError:
        raise PolicyError(
            f"model.source: {source!r} is neither a folder, a .gguf file nor a hub id"
        ) from None
    if isinstance(cached, str):
        return
    host = urlsplit(constants.ENDPOINT).hostname or ""
    try:
        if constants.HF_HUB_OFFLINE:
            raise OSError
        socket.getaddrinfo(host, 443)
    except OSError:
        raise _not_here(source) from None


def _load_tokenizer(folder: str, gguf_file: str | None, source: str) -> Any:
    from transformers import AutoTokenizer

    extra = {"gguf_file": gguf_file} if gguf_file else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **extra)
    except Exception as error:
        raise _load_error(source, error) from error
    if tokenizer.eos_token_id is None:
        raise PolicyError(
            f"model.source: the tokenizer of {source} has no end-of-sequence token; answers never end"
        )
    return tokenizer


def _load_base(
    folder: str, gguf_file: str | None, config: ModelConfig, device: torch.device, attention: str | None
) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    extra: dict[str, Any] = {"gguf_file": gguf_file} if gguf_file else {}
    try:
        model_config = AutoConfig.from_pretrained(folder, **extra)
    except Exception as error:
        raise _load_error(config.source, error) from error
    if not _is_causal(model_config):
        raise PolicyError(
            f"model.source: {config.source} is a {model_config.model_type} model, not a causal language model"
        )
    if gguf_file:
        extra |= unpacked(gguf_file)
    if attention:
        extra["attn_implementation"] = attention
    try:
        dtype = _pick_dtype(config.dtype, model_config, device)
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **extra)
    except Exception as error:
        raise _load_error(config.source, error) from error
    if device.type == "cuda":
        # cuDNN builds a plan for every new shape, tenths of a second each, and no two updates have the same. For the process.
        torch.backends.cuda.enable_cudnn_sdp(False)
    return base.to(device).requires_grad_(False)


def _is_causal(model_config: Any) -> bool:
    """Whether the model predicts the next token from those before it alone.

    transformers loads encoders and encoder-decoders as causal models too, then attends to what comes after.
    """
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    if type(model_config) not in AutoModelForCausalLM._model_mapping:
        return False
    if getattr(model_config, "is_encoder_decoder", False):
        return False
    is_encoder = type(model_config) in AutoModelForMaskedLM._model_mapping
    return not is_encoder or bool(getattr(model_config, "is_decoder", False))


def _pick_dtype(name: str, model_config: Any, device: torch.device) -> torch.dtype:
    """The dtype to load in: known beforehand, since weights loaded in bf16 have lost their digits for good."""
    if name != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16}[name]
    dtype = auto_dtype(device)
    if (
        device.type == "cpu"
        and dtype is not torch.float32
        and _num_parameters(model_config) < SMALL_MODEL_PARAMETERS
    ):
        return torch.float32
    return dtype


def _num_parameters(model_config: Any) -> int:
    """Size of a model that is not loaded yet, from its shapes."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return int(AutoModelForCausalLM.from_config(copy.deepcopy(model_config)).num_parameters())


def auto_dtype(device: torch.device) -> torch.dtype:
    """The dtype that is fast here: bf16 where the hardware multiplies it natively, else fp32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    has_bf16 = torch.backends.cpu.get_cpu_capability() == "AVX512" and _cpu_flag("avx512_bf16")
    return torch.bfloat16 if has_bf16 or _cpu_flag("amx_bf16") else torch.float32


def _cpu_flag(flag: str) -> bool:
    try:
        return f" {flag}" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _add_adapter(base: Any, config: ModelConfig, seed: int) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    targets: str | list[str] = list(config.lora_targets)
    if config.lora_targets == ("all-linear",):
        targets = "all-linear"
    lora = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,  # type: ignore[arg-type,unused-ignore]
        lora_dropout=config.lora_dropout,
        target_modules=targets,
        bias="none",
        fan_in_fan_out=any(_is_transposed(module) for module in base.modules()),
    )
    names = sorted({name.rsplit(".", 1)[-1] for name, module in base.named_modules() if _is_linear(module)})
    torch.manual_seed(seed)
    try:
        return get_peft_model(base, lora)
    except ValueError as error:
        if "not found in the base model" in str(error):
            raise PolicyError(
                f"model.lora_targets: {', '.join(config.lora_targets)} match no layer of {config.source}; "
                f"it has {', '.join(names)}"
            ) from error
        text = " ".join(str(error).split())
        raise PolicyError(
            f"model.lora_targets: no adapter can be laid over {config.source}: {text[:300]}"
        ) from error


def _is_linear(module: Any) -> bool:
    return isinstance(module, torch.nn.Linear) or _is_transposed(module)


def _is_transposed(module: Any) -> bool:
    """GPT-2's linear layers, which hold their weight the other way round."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)


def _not_here(source: str) -> PolicyError:
    return PolicyError(
        f"model.source: {source} is not on this machine and the model hub did not answer; "
        "check the name, or give a local folder or a .gguf file"
    )


def _load_error(source: str, error: Exception) -> PolicyError:
    """One line for the many ways transformers says that a model is not there or not readable."""
    text = " ".join(str(error).split())
    lowered = text.lower()
    if isinstance(error, ImportError) and "gguf" in lowered:
        return PolicyError(
            "model.source: reading a .gguf file needs the package gguf: pip install 'grpo-tui[gguf]'"
        )
    offline = (
        "couldn't connect",
        "offline",
        "connection",
        "is not a local folder",
        "name resolution",
        "resolve",
    )
    if any(phrase in lowered for phrase in offline):
        return _not_here(source)
    if "not a valid model identifier" in lowered or "404" in lowered:
        return PolicyError(f"model.source: no model named {source} on the hub")
    return PolicyError(f"model.source: {source} could not be loaded: {text[:300]}")
