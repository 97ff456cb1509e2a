"""Kept states as files: whole or not, which to give up, and which a run goes on from."""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path

import pytest

from grpo_tui.runs.states import KEEP_LAST, Position, read_state, state_files, state_name, to_give_up


def kept_after(num_steps: int, room: int, *always: Position) -> list[int]:
    """Steps still kept when each of a line's states has taken one unit of room, thinned after every step."""
    sizes: dict[Position, int] = {}
    for step in range(num_steps + 1):
        here = Position(0, step)
        sizes[here] = 1
        for position in to_give_up(sizes, room, line=list(sizes), always={here, Position(0, 0), *always}):
            del sizes[position]
    assert len(sizes) <= room
    return sorted(position.step for position in sizes)


def test_everything_stays_while_it_fits() -> None:
    assert kept_after(39, 40) == list(range(40))


def test_older_states_thin_out_and_the_last_twenty_stay() -> None:
    # Seen to fail: the oldest given up first.
    kept = kept_after(400, 40)
    assert kept[0] == 0
    assert kept[-KEEP_LAST:] == list(range(400 - KEEP_LAST + 1, 401))
    older = kept[: -KEEP_LAST + 1]
    gaps = [b - a for a, b in pairwise(older[1:])]
    assert gaps == sorted(gaps, reverse=True), "the older, the sparser"
    assert max(gaps) >= 8
    assert min(gaps) <= 2


def test_branch_points_stay_whatever_their_age() -> None:
    assert {37, 101} <= set(kept_after(400, 40, Position(0, 37), Position(0, 101)))


def test_with_room_for_few_the_newest_of_the_line_stay() -> None:
    kept = kept_after(60, 6)
    assert {0, 60} <= set(kept)
    assert len(kept) == 6


def write(path: Path, facts: dict[str, object], num_bytes: int = 8) -> None:
    header = {
        "__metadata__": {"state": json.dumps(facts)},
        "rng": {"dtype": "U8", "shape": [num_bytes], "data_offsets": [0, num_bytes]},
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(num_bytes))


def test_names_come_back(tmp_path: Path) -> None:
    for position in (Position(0, 0), Position(3, 12), Position(11, 1234567)):
        write(tmp_path / state_name(position), {})
    (tmp_path / ".tmp-b0-s000009.safetensors").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("mine")
    assert set(state_files(tmp_path)) == {Position(0, 0), Position(3, 12), Position(11, 1234567)}
    assert state_files(tmp_path / "missing") == {}


def test_a_whole_state_is_read(tmp_path: Path) -> None:
    path = tmp_path / state_name(Position(0, 1))
    write(path, {"state_hash": "abc"})
    found = read_state(path)
    assert found is not None
    assert (found.facts["state_hash"], found.num_bytes) == ("abc", path.stat().st_size)


@pytest.mark.parametrize("damage", [-1, -9, 4, 0])
def test_a_state_cut_short_is_none(tmp_path: Path, damage: int) -> None:
    path = tmp_path / state_name(Position(0, 1))
    write(path, {"state_hash": "abc"})
    path.write_bytes(path.read_bytes()[:damage])
    assert read_state(path) is None


@pytest.mark.parametrize("content", [b"\xff" * 64, b"", struct.pack("<Q", 2) + b"{}"])
def test_what_is_no_state_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / state_name(Position(0, 1))
    path.write_bytes(content)
    assert read_state(path) is None
    assert read_state(tmp_path / "missing") is None
