"""Kept states: what training carries from one step to the next, copied to the host, in memory and on disk.

The newest stay in memory; each is also written to the run's folder, by a thread of its own, so that a step waits for a
copy and not for the disk. What is on disk stays under a budget (:func:`grpo_tui.runs.states.to_give_up`).
"""

from __future__ import annotations

import json
import queue
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from grpo_tui.engine.moments import load_moments, moments
from grpo_tui.policy.many import copied_by_name
from grpo_tui.runs.schema import RunFileError, os_error
from grpo_tui.runs.states import Position, read_state, state_files, state_name, to_give_up

if TYPE_CHECKING:
    from grpo_tui.engine.trainer import Trainer

MEMORY_BYTES = 256 << 20
"""States held in memory beside those on disk, newest first."""
WAITING = 4
"""States that may wait for the disk; then a step waits with them."""
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptState:
    """A trainer's state at the end of a step, apart from the trainer. Nothing changes its tensors."""

    step: int
    state_hash: str
    num_sampled_tokens: int
    baseline: float | None
    tensors: Mapping[str, Tensor] = field(repr=False)
    """``adapter/…``, ``optimizer/…``, ``critic/…``, ``critic_optimizer/…`` and ``rng``, on the host."""

    @property
    def num_bytes(self) -> int:
        """Bytes of its tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())


def capture(trainer: Trainer, state_hash: str) -> KeptState:
    """Copy the trainer's state; ``state_hash`` is what it hashes to."""
    policy = trainer.policy.trainable_parameters()
    tensors = _named("adapter", policy) | _named("optimizer", moments(policy, trainer.optimizer))
    if trainer.critic is not None and trainer.critic_optimizer is not None:
        critic = trainer.critic.parameters()
        tensors |= _named("critic", critic)
        tensors |= _named("critic_optimizer", moments(critic, trainer.critic_optimizer))
    return KeptState(
        step=trainer.finished_steps,
        state_hash=state_hash,
        num_sampled_tokens=trainer.num_sampled_tokens,
        baseline=trainer.baseline,
        tensors=tensors | {"rng": torch.get_rng_state()},
    )


def restore(trainer: Trainer, state: KeptState) -> None:
    """Put the trainer in a kept state, bitwise.

    Raises:
        ValueError: it is of another adapter or critic, or does not hash to what it did; the trainer may hold part of it.
    """
    policy = trainer.policy.trainable_parameters()
    _check_shapes("adapter", policy, state)
    trainer.policy.load_adapter_state(_of("adapter", state))
    load_moments(policy, trainer.optimizer, _of("optimizer", state))
    trainer.optimizer.zero_grad(set_to_none=True)
    if trainer.critic is not None and trainer.critic_optimizer is not None:
        critic = trainer.critic.parameters()
        _check_shapes("critic", critic, state)
        trainer.critic.load_state(_of("critic", state))
        load_moments(critic, trainer.critic_optimizer, _of("critic_optimizer", state))
        trainer.critic_optimizer.zero_grad(set_to_none=True)
    torch.set_rng_state(state.tensors["rng"])
    trainer.finished_steps = state.step
    trainer.num_sampled_tokens = state.num_sampled_tokens
    trainer.baseline = state.baseline
    if trainer.state_hash() != state.state_hash:
        raise ValueError(f"the state kept of step {state.step} is damaged: its hash differs")


def _named(group: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Always a copy: the originals go on changing in place.
    return {f"{group}/{name}": tensor for name, tensor in copied_by_name(tensors, "cpu").items()}


def _of(group: str, state: KeptState) -> dict[str, Tensor]:
    start = f"{group}/"
    return {key.removeprefix(start): tensor for key, tensor in state.tensors.items() if key.startswith(start)}


def _check_shapes(group: str, parameters: Mapping[str, Tensor], state: KeptState) -> None:
    found = {name: tensor.shape for name, tensor in _of(group, state).items()}
    if found != {name: parameter.shape for name, parameter in parameters.items()}:
        raise ValueError(f"the state kept of step {state.step} is of another {group} than the run has now")


def write_state(state: KeptState, path: Path) -> None:
    """Write a state beside its place and rename it. Not synced: it is lost with the power, but not with the process."""
    facts: dict[str, Any] = {
        "version": VERSION,
        "step": state.step,
        "state_hash": state.state_hash,
        "num_sampled_tokens": state.num_sampled_tokens,
        "baseline": state.baseline,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{path.name}")
    save_file(dict(state.tensors), temporary, metadata={"state": json.dumps(facts)})
    temporary.replace(path)


def load_state(path: Path) -> KeptState:
    """Read a state.

    Raises:
        RunFileError: it is damaged, or of a newer program.
    """
    found = read_state(path)
    try:
        if found is None:
            raise ValueError("it is damaged")
        facts = found.facts
        if int(facts["version"]) > VERSION:
            raise RunFileError(f"state {path} was written by a newer grpo-tui; upgrade")
        baseline = facts["baseline"]
        return KeptState(
            step=int(facts["step"]),
            state_hash=str(facts["state_hash"]),
            num_sampled_tokens=int(facts["num_sampled_tokens"]),
            baseline=None if baseline is None else float(baseline),
            tensors=load_file(path),
        )
    except RunFileError:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RunFileError(f"cannot read state {path}: {' '.join(str(error).split())[:200]}") from error


class SnapshotStore:
    """Every kept state, by where it stands. Used from the engine's thread; one more thread writes files."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self.num_thinned = 0
        self._directory: Path | None = None
        self._sizes: dict[Position, int] = {}
        self._recent: OrderedDict[Position, KeptState] = OrderedDict()
        self._on_disk: set[Position] = set()
        self._guard = threading.Lock()
        self._waiting: queue.Queue[Position | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._failure: OSError | None = None

    def __contains__(self, position: object) -> bool:
        return position in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def budget_bytes(self) -> int:
        """What may be kept: on disk, or where there is no folder, in memory."""
        return self._budget_bytes if self._directory else min(self._budget_bytes, MEMORY_BYTES)

    @property
    def positions(self) -> list[Position]:
        """Where states are kept, in order."""
        return sorted(self._sizes)

    @property
    def num_bytes(self) -> int:
        """Bytes of all of them."""
        return sum(self._sizes.values())

    def keep_in(self, directory: Path) -> None:
        """From now on states are also files in a directory; those that are there already are taken in."""
        self._directory = directory
        for stale in directory.glob(".tmp-*"):
            stale.unlink(missing_ok=True)
        for position, path in state_files(directory).items():
            self._sizes[position] = path.stat().st_size
            self._on_disk.add(position)
        for position in list(self._recent):
            self._write_soon(position)

    def add(self, position: Position, state: KeptState) -> None:
        """Keep a state, in the place of an older one of the same step."""
        with self._guard:
            self._sizes[position] = state.num_bytes
            self._recent[position] = state
            self._recent.move_to_end(position)
            self._on_disk.discard(position)
        self._write_soon(position)
        self._bound_memory()

    def get(self, position: Position) -> KeptState:
        """A kept state.

        Raises:
            KeyError: none is kept there.
            RunFileError: its file cannot be read.
        """
        with self._guard:
            state = self._recent.get(position)
            if state is not None:
                self._recent.move_to_end(position)
                return state
            if position not in self._sizes:
                raise KeyError(position)
        assert self._directory is not None, "without a folder all states are in memory"
        return load_state(self._directory / state_name(position))

    def thin(self, *, line: Collection[Position], always: Collection[Position]) -> int:
        """Delete states until the rest is under the budget; return how many."""
        if self.num_bytes <= self.budget_bytes:
            return 0
        doomed = to_give_up(self._sizes, self.budget_bytes, line=line, always=always)
        for position in doomed:
            self.drop(position)
        self.num_thinned += len(doomed)
        return len(doomed)

    def drop(self, position: Position) -> None:
        """Give a state up."""
        with self._guard:
            self._sizes.pop(position, None)
            self._recent.pop(position, None)
            self._on_disk.discard(position)
            if self._directory is not None:
                (self._directory / state_name(position)).unlink(missing_ok=True)

    def settle(self) -> None:
        """Wait until every state is on disk."""
        if self._thread is not None:
            self._waiting.join()

    def close(self) -> None:
        """Write what waits, and end the thread. Safe to call twice."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def take_failure(self) -> RunFileError | None:
        """Why a state could not be written, told once; it is kept in memory."""
        failure, self._failure = self._failure, None
        if failure is None or self._directory is None:
            return None
        return os_error("write", self._directory, failure)

    def _write_soon(self, position: Position) -> None:
        if self._directory is None:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="states", daemon=True)
            self._thread.start()
        self._waiting.put(position)

    def _write_all(self) -> None:
        while (position := self._waiting.get()) is not None:
            try:
                self._write(position)
            except (OSError, SafetensorError) as error:
                self._failure = error if isinstance(error, OSError) else OSError(0, str(error))
            finally:
                self._waiting.task_done()
        self._waiting.task_done()

    def _write(self, position: Position) -> None:
        with self._guard:
            state = self._recent.get(position)
        if state is None or self._directory is None:
            return
        path = self._directory / state_name(position)
        write_state(state, path)
        with self._guard:
            if self._recent.get(position) is state:
                self._on_disk.add(position)
                self._sizes[position] = path.stat().st_size
            elif position not in self._sizes:  # given up in the meantime
                path.unlink(missing_ok=True)

    def _bound_memory(self) -> None:
        """Let go of what is on disk too, the longest unused first."""
        with self._guard:
            total = sum(state.num_bytes for state in self._recent.values())
            for position in list(self._recent)[:-1]:
                if total <= MEMORY_BYTES:
                    break
                if position in self._on_disk:
                    total -= self._recent.pop(position).num_bytes
