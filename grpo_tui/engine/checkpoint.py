"""A trainer's state on disk: written whole or not at all, and read back bitwise.

A checkpoint directory holds the adapter as ``peft`` writes it (so ``peft`` and inference servers load it as it
is), ``optimizer.safetensors``, ``rng.safetensors`` and ``state.json``. Nothing in it is pickled.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from grpo_tui.engine.trainer import Trainer
from grpo_tui.runs.checkpoints import atomic_directory, checkpoint_name, prune
from grpo_tui.runs.schema import RunFileError

VERSION = 1
STATE = "state.json"
OPTIMIZER = "optimizer.safetensors"
RNG = "rng.safetensors"
ADAPTER = "adapter_model.safetensors"


def save_checkpoint(trainer: Trainer, checkpoints_dir: Path) -> tuple[Path, int]:
    """Write the trainer's state, thin out older checkpoints; give the path and the bytes written.

    Raises:
        RunFileError: the disk does not take it; what was there before is untouched.
    """
    final = checkpoints_dir / checkpoint_name(trainer.finished_steps)
    with atomic_directory(final) as directory:
        _save_adapter(trainer, directory)
        save_file(_optimizer_tensors(trainer), directory / OPTIMIZER)
        save_file({"torch": torch.get_rng_state()}, directory / RNG)
        state = {
            "version": VERSION,
            "finished_steps": trainer.finished_steps,
            "state_hash": trainer.state_hash(),
        }
        (directory / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
    prune(checkpoints_dir, trainer.config.run.keep_checkpoints)
    return final, sum(file.stat().st_size for file in final.rglob("*") if file.is_file())


def _save_adapter(trainer: Trainer, directory: Path) -> None:
    """The files that ``PeftModel.save_pretrained`` writes, without its model card, which takes longer than they."""
    from peft import get_peft_model_state_dict

    model = trainer.policy.model
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        directory / ADAPTER,
        metadata={"format": "pt"},
    )
    config = copy.copy(model.peft_config[model.active_adapter])
    config.inference_mode = True
    config.save_pretrained(str(directory))


def load_checkpoint(trainer: Trainer, directory: Path) -> None:
    """Put the trainer in the state that was saved.

    Raises:
        RunFileError: the checkpoint is damaged, newer than this program, or of another model or adapter.
    """
    state = _read_state(directory)
    try:
        _load_adapter(trainer, directory)
        _load_optimizer(trainer, load_file(directory / OPTIMIZER))
        torch.set_rng_state(load_file(directory / RNG)["torch"])
    except RunFileError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise RunFileError(
            f"cannot read checkpoint {directory}: {' '.join(str(error).split())[:200]}; "
            "delete it to go on from the one before"
        ) from error
    trainer.finished_steps = state["finished_steps"]
    if trainer.state_hash() != state["state_hash"]:
        raise RunFileError(
            f"checkpoint {directory} does not give the state it was saved from (its hash differs); "
            "delete it to go on from the one before"
        )


def _read_state(directory: Path) -> dict[str, Any]:
    try:
        state = json.loads((directory / STATE).read_text(encoding="utf-8"))
        version = int(state["version"])
        if version > VERSION:
            raise RunFileError(
                f"checkpoint {directory} was written by a newer grpo-tui (format {version}); upgrade"
            )
        return {"finished_steps": int(state["finished_steps"]), "state_hash": str(state["state_hash"])}
    except RunFileError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFileError(
            f"cannot read checkpoint {directory}: {STATE} is missing or damaged; "
            "delete the checkpoint to go on from the one before"
        ) from error


def _load_adapter(trainer: Trainer, directory: Path) -> None:
    from peft import set_peft_model_state_dict

    saved = load_file(directory / ADAPTER)
    parameters = trainer.policy.trainable_parameters()
    if len(saved) != len(parameters) or sum(t.numel() for t in saved.values()) != sum(
        p.numel() for p in parameters.values()
    ):
        raise RunFileError(
            f"cannot use checkpoint {directory}: its adapter has another shape than the config asks for; "
            "put model.source, lora_rank and lora_targets back to what the run began with"
        )
    set_peft_model_state_dict(trainer.policy.model, saved)


def _optimizer_tensors(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Adam's state flat: ``<parameter>/<key>``."""
    return {
        f"{name}/{key}": torch.as_tensor(value).detach().cpu().contiguous()
        for name, parameter in trainer.policy.trainable_parameters().items()
        for key, value in trainer.optimizer.state.get(parameter, {}).items()
    }


def _load_optimizer(trainer: Trainer, tensors: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for index, name in enumerate(trainer.policy.trainable_parameters()):
        prefix = f"{name}/"
        entries = {
            key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
        }
        if entries:
            state[index] = entries
    current = trainer.optimizer.state_dict()
    trainer.optimizer.load_state_dict({"state": state, "param_groups": current["param_groups"]})
