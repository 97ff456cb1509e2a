"""A training process killed at any instant leaves a whole file behind, and so does one that is being read."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

import pytest

from grpo_tui.events.types import Event
from grpo_tui.runs.checkpoints import checkpoint_name, complete, latest
from grpo_tui.runs.lock import is_locked
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.writer import RunWriter
from tests.events.builders import fingerprint, fold, step_events
from tests.runs import training


def expect_whole(run_dir: Path) -> int:
    """Every finished step is there, complete and exact; return the last."""
    with RunReader(run_dir) as reader:
        history = reader.history()
        assert [entry.step for entry in history] == list(range(1, len(history) + 1))
        for step in {1, len(history) // 2, len(history)} & {entry.step for entry in history}:
            expected = fold(step_events(step)).recent[-1]
            assert fingerprint(reader.load_step(step)) == fingerprint(expected)
        assert fingerprint(reader.load_state()) == fingerprint(fold(event for _, event in reader.events()))
    database = sqlite3.connect(run_dir / "run.db")
    try:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        database.close()
    return len(history)


def kill_after(run_dir: Path, seconds: float) -> None:
    process = training.start(run_dir)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(seconds)
    finally:
        process.kill()
        process.communicate()


def test_killed_again_and_again(run_dir: Path) -> None:
    rng = random.Random(0)
    last = 0
    for _ in range(5):
        kill_after(run_dir, rng.uniform(0.0, 0.12))
        now = expect_whole(run_dir)
        assert now >= last
        for path in complete(run_dir / "checkpoints").values():
            contents = [(path / name).read_bytes() for name in ("a.bin", "b.bin")]
            assert contents[0] == contents[1]
            assert len(contents[0]) == training.CHECKPOINT_BYTES
        last = now
    assert last > 0
    with RunWriter.open(run_dir) as writer:
        assert writer.last_step == last
    assert expect_whole(run_dir) == last


def test_killed_while_it_starts(run_dir: Path) -> None:
    for delay in (0.15, 0.25, 0.35):
        process = training.start(run_dir)
        time.sleep(delay)
        process.kill()
        process.communicate()
        if (run_dir / "run.db").exists():
            expect_whole(run_dir)


def test_read_while_it_is_written(run_dir: Path) -> None:
    process = training.start(run_dir, steps=40)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        seen, seq = 0, 0
        tail: list[Event] = []
        with RunReader(run_dir) as reader:
            assert is_locked(run_dir)
            while process.poll() is None or seq < reader.last_seq():
                history = reader.history()
                assert len(history) >= seen
                seen = len(history)
                if seen:
                    detail = reader.load_step(seen)
                    assert detail is not None
                    assert all(c.advantage is not None for group in detail.groups for c in group.completions)
                page = reader.events(after_seq=seq, limit=50)
                tail.extend(event for _, event in page)
                seq = page[-1][0] if page else seq
            assert fingerprint(fold(tail)) == fingerprint(reader.load_state())
            assert not is_locked(run_dir)
        assert process.returncode == 0
        assert seen == 40
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("moment", ["before the swap", "in the swap", "after the swap"])
def test_checkpoint_replacement_cut_short(tmp_path: Path, moment: str) -> None:
    """The three states that a kill can leave when a step is saved again."""
    name = checkpoint_name(3)
    states = {
        "before the swap": {name: "old", f".tmp-{name}-1-0": "half"},
        "in the swap": {f".old-{name}": "old", f".tmp-{name}-1-0": "new"},
        "after the swap": {f".old-{name}": "old", name: "new"},
    }
    for directory, text in states[moment].items():
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "file").write_text(text)
    found = latest(tmp_path)
    assert found is not None
    assert (found / "file").read_text() == ("new" if moment == "after the swap" else "old")
