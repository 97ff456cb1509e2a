"""States that a run can go back to, as files: which there are, whether they are whole, and which to give up first.

``history/b0-s000012.safetensors`` is what training carries over the end of step 12 of branch 0: adapter, moments of the
optimiser, critic, random numbers. Its header says the rest: the state's hash, the running mean of rewards, tokens
sampled so far. (Settings are in the run file: what the run began with, and its changes.) It is written beside and renamed, so a file with its name is whole unless the power
went; then its length or its hash tells. No torch here: the header is JSON.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from grpo_tui.events.lines import ancestry
from grpo_tui.runs.checkpoints import complete
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import CHECKPOINTS, HISTORY

KEEP_LAST = 20
"""Newest steps of the present line that thinning touches last."""
_NAME = re.compile(r"b(\d+)-s(\d{6,})\.safetensors")
_MAX_HEADER = 1 << 24


class Position(NamedTuple):
    """The end of a step, by the branch the step was taken on; before step 1 is step 0 of branch 0."""

    branch: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFile:
    """A whole state on disk."""

    path: Path
    num_bytes: int
    facts: Mapping[str, Any]
    """What its header says beside the tensors."""


def state_name(position: Position) -> str:
    """File name of a state."""
    return f"b{position.branch}-s{position.step:06d}.safetensors"


def state_files(history_dir: Path) -> dict[Position, Path]:
    """Every state by its name, whether whole or not."""
    found = {}
    try:
        names = sorted(history_dir.iterdir())
    except OSError:
        return {}
    for path in names:
        match = _NAME.fullmatch(path.name)
        if match:
            found[Position(int(match[1]), int(match[2]))] = path
    return found


def read_state(path: Path) -> StateFile | None:
    """A state's header; None if the file is damaged, cut short, or not there."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size, _MAX_HEADER):
                return None
            header = json.loads(file.read(length))
        facts = json.loads(header.pop("__metadata__")["state"])
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None
    if size != 8 + length + end or not isinstance(facts, dict):
        return None
    return StateFile(path=path, num_bytes=size, facts=facts)


class Newest(NamedTuple):
    """Where a run can go on, and from what: a checkpoint's directory, a state's file, or nothing before step 1."""

    step: int
    path: Path | None

    @property
    def is_checkpoint(self) -> bool:
        """Whether it is a checkpoint."""
        return self.path is not None and self.path.is_dir()


def newest_state(run_dir: Path) -> Newest:
    """The latest state on the line where the run stands: a checkpoint, or a kept state of a step that finished.

    A state counts only if its hash is the one that the run file tells of its step: a process that died between writing
    one and the other leaves the other behind.

    Raises:
        RunFileError: the run or its folder cannot be read.
    """
    checkpoints = complete(run_dir / CHECKPOINTS)
    with RunReader(run_dir) as reader:
        head, hashes = reader.head(), reader.states()
        tree = {branch.record.branch: branch.record for branch in reader.branches()}
    newest = Newest(0, None)
    for step, path in checkpoints.items():
        if step <= head.step:
            newest = Newest(step, path)
    files = state_files(run_dir / HISTORY)
    for branch, last in ancestry(tree, head.branch):
        limit = head.step if last is None else min(last, head.step)
        for step in range(limit, newest.step, -1):
            position = Position(branch, step)
            if position in files and position in hashes:
                state = read_state(files[position])
                if state is not None and state.facts.get("state_hash") == hashes[position]:
                    newest = Newest(step, state.path)
                    break
    return newest


def to_give_up(
    sizes: Mapping[Position, int],
    budget: int,
    *,
    line: Collection[Position],
    always: Collection[Position],
) -> list[Position]:
    """Which states to delete so that the rest fits the budget, the first to go first.

    Everything stays while it fits. Then states beyond the newest :data:`KEEP_LAST` of the line thin out, the oldest most:
    first the one goes whose age is greatest for how round its step's number is (the power of 2 that divides it). So all
    stay for a while, then every 2nd, every 4th and so on. Should that not be enough, the newest steps go the same way.
    States of ``always`` are never given up.

    Args:
        sizes: bytes of every state.
        budget: bytes that may stay.
        line: states of the present line.
        always: branch points, bookmarks, and where the run stands.
    """
    total = sum(sizes.values())
    newest = max((position.step for position in line), default=0)
    last = set(sorted(line, key=lambda position: -position.step)[:KEEP_LAST])

    def rank(position: Position) -> tuple[bool, float]:
        age = max(0, newest - position.step) + 1
        return position not in last, age / _roundness(position.step)

    given_up = []
    for position in sorted((p for p in sizes if p not in always), key=rank, reverse=True):
        if total <= budget:
            break
        total -= sizes[position]
        given_up.append(position)
    return given_up


def _roundness(step: int) -> int:
    """The largest power of 2 that divides a step."""
    return step & -step if step else 1 << 62
