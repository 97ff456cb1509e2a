"""A trainer's state on disk: written whole or not at all, and read back bitwise.

A checkpoint directory holds the adapter as ``peft`` writes it (so ``peft`` and inference servers load it as it
is), ``optimizer.safetensors``, ``rng.safetensors``, ``state.json``, and the critic's two files where there is one. Nothing in it is pickled.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from grpo_tui.engine.moments import load_moments, moments
from grpo_tui.engine.trainer import Trainer
from grpo_tui.policy.policy import POLICY_ADAPTER, Policy
from grpo_tui.runs.checkpoints import atomic_directory, checkpoint_name, prune
from grpo_tui.runs.schema import RunFileError

VERSION = 1
STATE = "state.json"
OPTIMIZER = "optimizer.safetensors"
RNG = "rng.safetensors"
ADAPTER = "adapter_model.safetensors"
CRITIC = "critic.safetensors"
CRITIC_OPTIMIZER = "critic_optimizer.safetensors"


def save_checkpoint(trainer: Trainer, checkpoints_dir: Path) -> tuple[Path, int]:
    """Write the trainer's state, thin out older checkpoints; give the path and the bytes written.

    Raises:
        RunFileError: the disk does not take it; what was there before is untouched.
    """
    final = checkpoints_dir / checkpoint_name(trainer.finished_steps)
    with atomic_directory(final) as directory:
        _save_adapter(trainer, directory)
        save_file(
            _optimizer_tensors(trainer.policy.trainable_parameters(), trainer.optimizer),
            directory / OPTIMIZER,
        )
        _save_critic(trainer, directory)
        save_file({"torch": torch.get_rng_state()}, directory / RNG)
        state = {
            "version": VERSION,
            "finished_steps": trainer.finished_steps,
            "state_hash": trainer.state_hash(),
            "num_sampled_tokens": trainer.num_sampled_tokens,
            "baseline": trainer.baseline,
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
        trainer.policy.load_adapter_state(read_adapter(trainer.policy, directory))
        parameters = trainer.policy.trainable_parameters()
        load_moments(parameters, trainer.optimizer, load_file(directory / OPTIMIZER))
        _load_critic(trainer, directory)
        torch.set_rng_state(load_file(directory / RNG)["torch"])
    except RunFileError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise RunFileError(
            f"cannot read checkpoint {directory}: {' '.join(str(error).split())[:200]}; "
            "delete it to go on from the one before"
        ) from error
    trainer.finished_steps = state.finished_steps
    trainer.num_sampled_tokens = state.num_sampled_tokens
    trainer.baseline = state.baseline
    if trainer.state_hash() != state.state_hash:
        raise RunFileError(
            f"checkpoint {directory} does not give the state it was saved from (its hash differs); "
            "delete it to go on from the one before"
        )


@dataclass(frozen=True, slots=True)
class _State:
    finished_steps: int
    state_hash: str
    num_sampled_tokens: int
    baseline: float | None


def _read_state(directory: Path) -> _State:
    try:
        state = json.loads((directory / STATE).read_text(encoding="utf-8"))
        version = int(state["version"])
        if version > VERSION:
            raise RunFileError(
                f"checkpoint {directory} was written by a newer grpo-tui (format {version}); upgrade"
            )
        baseline = state.get("baseline")
        return _State(
            finished_steps=int(state["finished_steps"]),
            state_hash=str(state["state_hash"]),
            num_sampled_tokens=int(state.get("num_sampled_tokens", 0)),
            baseline=None if baseline is None else float(baseline),
        )
    except RunFileError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFileError(
            f"cannot read checkpoint {directory}: {STATE} is missing or damaged; "
            "delete the checkpoint to go on from the one before"
        ) from error


def read_adapter(policy: Policy, directory: Path) -> dict[str, torch.Tensor]:
    """The adapter of a checkpoint, by the names and on the device of the policy's parameters.

    Raises:
        RunFileError: it is of another model, or of an adapter of another shape.
        OSError, SafetensorError: it cannot be read.
    """
    saved = load_file(directory / ADAPTER)
    parameters = policy.trainable_parameters()
    # PEFT leaves the adapter's name out of its files.
    names = {name: name.replace(f".{POLICY_ADAPTER}.", ".") for name in parameters}
    if {name: t.shape for name, t in saved.items()} != {names[n]: p.shape for n, p in parameters.items()}:
        raise RunFileError(
            f"cannot use checkpoint {directory}: its adapter has another shape than the config asks for; "
            "put model.source, lora_rank and lora_targets back to what the run began with"
        )
    return {name: saved[names[name]].to(p.device) for name, p in parameters.items()}


def _save_critic(trainer: Trainer, directory: Path) -> None:
    if trainer.critic is None or trainer.critic_optimizer is None:
        return
    parameters = trainer.critic.parameters()
    save_file({name: p.detach().cpu().contiguous() for name, p in parameters.items()}, directory / CRITIC)
    save_file(_optimizer_tensors(parameters, trainer.critic_optimizer), directory / CRITIC_OPTIMIZER)


def _load_critic(trainer: Trainer, directory: Path) -> None:
    if trainer.critic is None or trainer.critic_optimizer is None:
        if (directory / CRITIC).is_file():
            raise RunFileError(
                f"cannot use checkpoint {directory}: it holds a critic, which only advantage 'gae' has; "
                "put algorithm.advantage back to what the run began with"
            )
        return
    if not (directory / CRITIC).is_file():
        raise RunFileError(
            f"cannot use checkpoint {directory}: it holds no critic, which advantage 'gae' needs; "
            "put algorithm.advantage back to what the run began with"
        )
    parameters = trainer.critic.parameters()
    saved = load_file(directory / CRITIC)
    if {name: t.shape for name, t in saved.items()} != {name: p.shape for name, p in parameters.items()}:
        raise RunFileError(
            f"cannot use checkpoint {directory}: its critic has another shape than the config asks for; "
            "put model.source, lora_rank and lora_targets back to what the run began with"
        )
    trainer.critic.load_state({name: t.to(parameters[name].device) for name, t in saved.items()})
    load_moments(parameters, trainer.critic_optimizer, load_file(directory / CRITIC_OPTIMIZER))


def _optimizer_tensors(
    parameters: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.AdamW
) -> dict[str, torch.Tensor]:
    return {name: tensor.cpu().contiguous() for name, tensor in moments(parameters, optimizer).items()}
