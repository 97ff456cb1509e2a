"""Files and folders that appear whole or not at all, and never in the place of another unless told so."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grpo_tui.export.errors import ExportError
from grpo_tui.runs.schema import os_error


def refuse_existing(path: Path, *, replace: bool) -> None:
    """Do not write over what is there.

    Raises:
        ExportError: there is something already, and nobody said to replace it.
    """
    if not replace and (path.exists() or path.is_symlink()):
        raise ExportError(f"{path} exists; name another place with --out, or replace it with --force")


@contextmanager
def whole_file(path: Path, *, replace: bool) -> Iterator[Path]:
    """Give a temporary file to fill; on leaving it becomes ``path``. If the body raises, nothing of it remains.

    Raises:
        ExportError: ``path`` exists, and ``replace`` is False.
        RunFileError: the disk refuses.
    """
    refuse_existing(path, replace=replace)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}-", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise os_error("write", path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, *, replace: bool) -> Iterator[Path]:
    """The same for a folder.

    Raises:
        ExportError: ``path`` exists, and ``replace`` is False.
        RunFileError: the disk refuses.
    """
    refuse_existing(path, replace=replace)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}-", dir=path.parent))
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
        temporary.rename(path)
    except OSError as error:
        raise os_error("write", path, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str, *, replace: bool) -> Path:
    """Write a text file whole; return its path. A lone surrogate, which UTF-8 does not have, becomes a question mark."""
    with whole_file(path, replace=replace) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
