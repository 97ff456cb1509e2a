"""Base and adapter folded into one model that needs no PEFT: safetensors and tokenizer. Imports torch when called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpo_tui.config.load import load_config
from grpo_tui.config.schema import RunConfig
from grpo_tui.export.adapter import WEIGHTS, find_checkpoint
from grpo_tui.export.errors import ExportError
from grpo_tui.export.files import refuse_existing, whole_folder
from grpo_tui.runs.schema import CONFIG

if TYPE_CHECKING:
    from grpo_tui.policy.policy import Policy


@dataclass(frozen=True, slots=True)
class Merged:
    """What was written."""

    step: int
    dtype: str
    deviation: float
    """Largest difference between the log-probs of the merged model, as written, and of base with adapter."""


def write_merged(
    run_dir: Path,
    out: Path,
    *,
    step: int | None = None,
    dtype: str | None = None,
    overwrite: bool = False,
    say: Callable[[str, str], None] = lambda _name, _detail: None,
) -> Merged:
    """Merge a step's adapter, or the newest, into the base model and write both as one.

    The sum is made in float32 and then rounded once, to ``dtype`` or what the base is stored in.

    Raises:
        ExportError: there is no such checkpoint, it does not fit the model, or the base cannot be loaded.
        RunFileError: the disk refuses.
    """
    step, checkpoint = find_checkpoint(run_dir, step)
    refuse_existing(out, replace=overwrite)
    config = load_config(file=run_dir / CONFIG)
    from grpo_tui.engine.libraries import libraries_to_notices

    with libraries_to_notices(lambda event: say("note:", getattr(event, "message", ""))):
        policy = _load_base(config, say)
        say("merging", f"step {step}")
        _load_adapter(policy.model, checkpoint)
        merged, stored, deviation = _merge(policy.model, dtype or config.model.dtype, config.model.source)
        say("writing", str(out))
        with whole_folder(out, replace=overwrite) as folder:
            merged.save_pretrained(str(folder), safe_serialization=True)
            policy.tokenizer.save_pretrained(str(folder))
    return Merged(step, str(stored).removeprefix("torch."), deviation)


def _load_base(config: RunConfig, say: Callable[[str, str], None]) -> Policy:
    from grpo_tui.policy.errors import PolicyError
    from grpo_tui.policy.loading import load_policy

    plain = replace(config.model, dtype="fp32", adapter_layers="peft", device="cpu")
    try:
        return load_policy(plain, seed=config.run.seed, say=say)
    except PolicyError as error:
        raise ExportError(str(error)) from error


def _merge(model: Any, dtype: str, source: str) -> tuple[Any, Any, float]:
    """The merged model, its dtype, and how far its log-probs are from those before."""
    import torch

    stored = {"fp32": torch.float32, "bf16": torch.bfloat16}.get(dtype) or _stored_dtype(source)
    ids = torch.arange(16).unsqueeze(0) % model.config.get_text_config().vocab_size
    with torch.no_grad():
        apart = model(ids).logits.log_softmax(-1)
        merged = model.merge_and_unload().to(stored)
        together = merged(ids).logits.float().log_softmax(-1)
    return merged, stored, float((apart - together).abs().max())


def _stored_dtype(source: str) -> Any:
    """The dtype that the base model's own files name; float32 where they name none."""
    import torch
    from transformers import AutoConfig

    from grpo_tui.policy.loading import locate

    folder, gguf_file = locate(source)
    if gguf_file is not None:
        return torch.float32
    return getattr(AutoConfig.from_pretrained(folder), "dtype", None) or torch.float32


def _load_adapter(model: Any, checkpoint: Path) -> None:
    from peft import set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        saved = load_file(checkpoint / WEIGHTS)
        result = set_peft_model_state_dict(model, saved)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ExportError(
            f"cannot read the adapter in {checkpoint}: {' '.join(str(error).split())[:200]}"
        ) from error
    if result.unexpected_keys:
        raise ExportError(
            f"the adapter in {checkpoint} does not fit the model that {CONFIG} names; "
            "put model.source and model.lora_targets back to what the run began with"
        )
