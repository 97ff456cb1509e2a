from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from grpo_tui.runs import checkpoints
from grpo_tui.runs.checkpoints import (
    atomic_directory,
    checkpoint_name,
    checkpoint_step,
    complete,
    latest,
    prune,
    set_aside,
)
from grpo_tui.runs.schema import RunFileError


def save(directory: Path, step: int, text: str = "x") -> Path:
    path = directory / checkpoint_name(step)
    with atomic_directory(path) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "file").write_text(text)
    return path


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_names() -> None:
    assert checkpoint_name(12) == "step-000012"
    assert checkpoint_name(12345678) == "step-12345678"
    assert checkpoint_step(Path("a/step-000012")) == 12
    assert checkpoint_step(Path("a/step-12")) is None
    assert checkpoint_step(Path("a/.tmp-step-000012-1-0")) is None
    assert checkpoint_step(Path("a/branch-0-step-000012")) is None


def test_a_checkpoint_is_there_only_when_whole(tmp_path: Path) -> None:
    final = tmp_path / "checkpoints" / checkpoint_name(1)
    with atomic_directory(final) as temporary:
        (temporary / "file").write_text("x")
        assert temporary.parent == final.parent
        assert not final.exists()
        assert latest(final.parent) is None
    assert (final / "file").read_text() == "x"
    assert names(final.parent) == [checkpoint_name(1)]


def test_everything_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []
    final = tmp_path / checkpoint_name(1)

    def fsync(path: Path) -> None:
        synced.append((path.name, final.exists()))

    monkeypatch.setattr(checkpoints, "fsync", fsync)
    save(tmp_path, 1)
    before = [name for name, there in synced if not there]
    assert before[:2] == ["file", "sub"]
    assert before[2].startswith(".tmp-")
    assert synced[-1] == (tmp_path.name, True)


def test_a_failed_save_leaves_the_older_one(tmp_path: Path) -> None:
    save(tmp_path, 1, "old")

    def fail() -> None:
        with atomic_directory(tmp_path / checkpoint_name(1)) as temporary:
            (temporary / "half").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(tmp_path) == [checkpoint_name(1)]
    assert (tmp_path / checkpoint_name(1) / "sub" / "file").read_text() == "old"


def test_saving_again_replaces_whole(tmp_path: Path) -> None:
    save(tmp_path, 1, "old")
    (tmp_path / checkpoint_name(1) / "stale").write_text("x")
    save(tmp_path, 1, "new")
    assert names(tmp_path) == [checkpoint_name(1)]
    assert names(tmp_path / checkpoint_name(1)) == ["sub"]
    assert (tmp_path / checkpoint_name(1) / "sub" / "file").read_text() == "new"


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    with (
        pytest.raises(
            RunFileError, match=r"cannot write .*step-000001: No space left on device; free space, then"
        ),
        atomic_directory(tmp_path / checkpoint_name(1)),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


def test_a_full_disk_told_in_other_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch and safetensors raise their own errors."""
    monkeypatch.setattr(checkpoints, "_is_full", lambda directory: True)
    with pytest.raises(RunFileError, match="No space left"), atomic_directory(tmp_path / checkpoint_name(1)):
        raise RuntimeError("unexpected pos 64 vs 0")


def test_an_error_of_the_body_stays_itself(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_directory(tmp_path / checkpoint_name(1)):
        (tmp_path / "missing").read_text()


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunFileError, match="cannot write"),
        atomic_directory(tmp_path / "file" / "step-000001"),
    ):
        pass


def test_latest(tmp_path: Path) -> None:
    assert latest(tmp_path / "missing") is None
    assert latest(tmp_path) is None
    for step in (2, 12, 7):
        save(tmp_path, step)
    (tmp_path / ".tmp-step-000099-1-0").mkdir()
    (tmp_path / "step-000098").write_text("a file")
    (tmp_path / "notes").mkdir()
    assert latest(tmp_path) == tmp_path / checkpoint_name(12)
    assert latest(tmp_path, at_most=11) == tmp_path / checkpoint_name(7)
    assert latest(tmp_path, at_most=1) is None
    assert list(complete(tmp_path)) == [2, 7, 12]


def test_prune(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, step)
    (tmp_path / ".tmp-step-000005-1-0").mkdir()
    deleted = prune(tmp_path, keep=2)
    assert [path.name for path in deleted] == [checkpoint_name(1), checkpoint_name(2)]
    assert names(tmp_path) == [checkpoint_name(3), checkpoint_name(4)]
    assert prune(tmp_path, keep=2) == ()
    assert prune(tmp_path / "missing", keep=1) == ()
    with pytest.raises(ValueError, match="at least one"):
        prune(tmp_path, keep=0)


def test_leftovers_are_settled_by_the_next_save(tmp_path: Path) -> None:
    for directory, text in (
        (".old-step-000001", "swap"),
        ("step-000002", "new"),
        (".old-step-000002", "old"),
    ):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "file").write_text(text)
    (tmp_path / ".tmp-step-000003-1-0").mkdir()
    save(tmp_path, 4)
    assert names(tmp_path) == [checkpoint_name(1), checkpoint_name(2), checkpoint_name(4)]
    assert (tmp_path / checkpoint_name(1) / "file").read_text() == "swap"
    assert (tmp_path / checkpoint_name(2) / "file").read_text() == "new"


def test_a_save_in_progress_is_no_leftover(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / checkpoint_name(1)) as temporary:
        (temporary / "file").write_text("x")
        save(tmp_path, 2)
        prune(tmp_path, keep=1)
    assert list(complete(tmp_path)) == [1, 2]


def test_set_aside(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step, "first")
    set_aside(tmp_path, after=1, branch=0)
    expected = [f"branch-0-{checkpoint_name(2)}", f"branch-0-{checkpoint_name(3)}", checkpoint_name(1)]
    assert names(tmp_path) == expected
    assert prune(tmp_path, keep=1) == ()
    assert names(tmp_path) == expected
    save(tmp_path, 2, "second")
    set_aside(tmp_path, after=1, branch=0)
    assert (tmp_path / f"branch-0-{checkpoint_name(2)}" / "sub" / "file").read_text() == "second"
    assert set_aside(tmp_path / "missing", after=0, branch=0) == ()
