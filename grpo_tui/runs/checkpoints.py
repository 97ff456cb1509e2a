"""Directories that are either whole or not there: how checkpoints reach the disk.

A checkpoint ``step-000012`` is written as ``.tmp-…`` beside its place, every file and directory is fsynced, and
only then is it renamed: **a checkpoint is complete if and only if it has its name**. Saving a step again moves
the older one to ``.old-step-000012`` for the instant between two renames; :func:`latest` accepts that name when
the other is missing, so at every instant a whole checkpoint is found. Leftovers of a killed process are swept
by the next :func:`atomic_directory` or :func:`prune`, which only the process that holds the run may call.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from grpo_tui.runs.schema import os_error

_NAME = re.compile(r"step-(\d{6,})")
_ASIDE = re.compile(r"branch-(\d+)-step-(\d{6,})")
_TEMPORARY, _OLD = ".tmp-", ".old-"
_counter = itertools.count()
_in_progress: set[Path] = set()


def checkpoint_name(step: int) -> str:
    """Directory name of a step's checkpoint, ``step-000012``."""
    return f"step-{step:06d}"


def checkpoint_step(path: Path) -> int | None:
    """The step a directory is a checkpoint of, None if it is none."""
    match = _NAME.fullmatch(path.name.removeprefix(_OLD))
    return int(match[1]) if match else None


@contextmanager
def atomic_directory(final_path: Path) -> Iterator[Path]:
    """Give an empty directory to fill; on leaving, make it ``final_path``, durably and at once.

    If the body raises, nothing of it remains and an older directory at ``final_path`` stays as it was.

    Args:
        final_path: where it shall stand; replaced if it exists.

    Raises:
        RunFileError: the disk does not take it, in whatever way the body's libraries say so.
    """
    parent = final_path.parent
    temporary = parent / f"{_TEMPORARY}{final_path.name}-{os.getpid()}-{next(_counter)}"
    _in_progress.add(temporary)
    try:
        with _clear_errors(final_path):
            parent.mkdir(parents=True, exist_ok=True)
            _sweep(parent)
            temporary.mkdir()
        try:
            yield temporary
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
                raise os_error("write", final_path, error) from error
            if not isinstance(error, OSError) and _is_full(
                parent
            ):  # torch and safetensors have their own errors
                raise os_error("write", final_path, OSError(errno.ENOSPC, "")) from error
            raise
        with _clear_errors(final_path):
            _fsync_tree(temporary)
            _put_in_place(temporary, final_path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        _in_progress.discard(temporary)


_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise os_error("write", path, error) from error


def _is_full(directory: Path) -> bool:
    try:
        return shutil.disk_usage(directory).free < 1 << 20
    except OSError:
        return False


def latest(checkpoints_dir: Path, at_most: int | None = None) -> Path | None:
    """The complete checkpoint of the highest step (not above ``at_most``), None if there is none."""
    found = complete(checkpoints_dir)
    steps = [step for step in found if at_most is None or step <= at_most]
    return found[max(steps)] if steps else None


def complete(checkpoints_dir: Path) -> dict[int, Path]:
    """Every complete checkpoint by step, ascending."""
    found: dict[int, Path] = {}
    try:
        entries = sorted(checkpoints_dir.iterdir(), reverse=True)  # "step-…" before ".old-step-…"
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise os_error("read", checkpoints_dir, error) from error
    for path in entries:
        step = checkpoint_step(path)
        if step is not None and path.is_dir():
            found.setdefault(step, path)
    return dict(sorted(found.items()))


def prune(checkpoints_dir: Path, keep: int) -> tuple[Path, ...]:
    """Delete all but the ``keep`` newest checkpoints, and leftovers; return the checkpoints deleted.

    Those that :func:`set_aside` put away belong to another branch and are left alone.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}, at least one checkpoint must stay")
    _sweep(checkpoints_dir)
    doomed = tuple(complete(checkpoints_dir).values())[:-keep]
    for path in doomed:
        _delete(path)
    return doomed


def set_aside(checkpoints_dir: Path, after: int, branch: int) -> tuple[Path, ...]:
    """Rename checkpoints beyond a step to ``branch-B-step-…``: the run went back and they are its past future.

    Returns:
        Their new paths.
    """
    moved = []
    for step, path in complete(checkpoints_dir).items():
        if step > after:
            target = checkpoints_dir / f"branch-{branch}-{checkpoint_name(step)}"
            try:
                if target.exists():
                    _delete(target)
                path.rename(target)
                fsync(checkpoints_dir)
            except OSError as error:
                raise os_error("rename", path, error) from error
            moved.append(target)
    return tuple(moved)


def bring_back(checkpoints_dir: Path, line: Mapping[int, int]) -> tuple[Path, ...]:
    """Rename checkpoints that were set aside back to ``step-…``: the run returned to the line they belong to.

    Args:
        checkpoints_dir: where checkpoints are.
        line: the branches of the present line, each with its last step that counts.

    Returns:
        Their new paths.
    """
    moved = []
    for path in sorted(checkpoints_dir.glob("branch-*")):
        match = _ASIDE.fullmatch(path.name)
        if match is None or int(match[2]) > line.get(int(match[1]), -1):
            continue
        target = checkpoints_dir / checkpoint_name(int(match[2]))
        if target.exists():
            continue
        try:
            path.rename(target)
            fsync(checkpoints_dir)
        except OSError as error:
            raise os_error("rename", path, error) from error
        moved.append(target)
    return tuple(moved)


def _put_in_place(temporary: Path, final_path: Path) -> None:
    old = final_path.with_name(_OLD + final_path.name)
    replaced = final_path.exists()
    if replaced:
        if old.exists():
            _delete(old)
        final_path.rename(old)
    temporary.rename(final_path)
    fsync(final_path.parent)
    if replaced:
        _delete(old)


def _sweep(directory: Path) -> None:
    """Finish what a killed process left: delete half-written directories, settle half-done replacements."""
    if not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        if path.name.startswith(_TEMPORARY) and path not in _in_progress:
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.startswith(_OLD):
            final_path = path.with_name(path.name.removeprefix(_OLD))
            if final_path in (_final_of(busy) for busy in _in_progress if busy.exists()):
                continue
            if final_path.exists():
                _delete(path)
            else:
                path.rename(final_path)


def _final_of(temporary: Path) -> Path:
    return temporary.with_name(temporary.name.removeprefix(_TEMPORARY).rsplit("-", 2)[0])


def _delete(path: Path) -> None:
    """Take the name away first, so that a half-deleted checkpoint never looks complete."""
    doomed = path.with_name(f"{_TEMPORARY}{path.name}-{os.getpid()}-{next(_counter)}")
    try:
        path.rename(doomed)
    except OSError as error:
        raise os_error("delete", path, error) from error
    shutil.rmtree(doomed, ignore_errors=True)


def _fsync_tree(root: Path) -> None:
    for directory, _, files in os.walk(root, topdown=False):
        for name in files:
            fsync(Path(directory, name))
        fsync(Path(directory))


def fsync(path: Path) -> None:
    """Make a file's or a directory's present content survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
