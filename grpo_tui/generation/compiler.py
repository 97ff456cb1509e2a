"""``decode.c`` as a library: built once by the system's C compiler, kept in the user's cache, and loaded.

There need not be a compiler, for nothing but speed depends on it. The build takes about a second; another source, compiler or
processor makes another file, so that a home that several machines share serves all of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("decode.c")
COMPILED = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-fopenmp")
"""Not ``-ffast-math``: what is not a number must stay so, for the sampler to say that a model has diverged."""
WITHOUT_TILES = "-DTILES=0"
TIMEOUT_S = 60.0
OFF = "GRPO_TUI_NO_CC"
"""Set in the environment, nothing is compiled."""


class CannotBuildError(RuntimeError):
    """There is no library, for a reason in one line."""


@cache
def library() -> Any:
    """The library, of the first compiler whose work can be loaded: that of ``CC``, ``cc``, ``gcc``.

    Raises:
        CannotBuildError: there is no compiler, or what it made does not work.
    """
    if os.environ.get(OFF):
        raise CannotBuildError(f"{OFF} is set")
    if sys.platform != "linux":
        raise CannotBuildError(f"it is not built on {sys.platform}")
    wanted = (os.environ.get("CC", ""), "cc", "gcc")
    found = dict.fromkeys(path for name in wanted if name and (path := shutil.which(name)))
    reason = "no C compiler was found; gcc would do"
    for compiler in found:
        try:
            return _by(compiler)
        except (CannotBuildError, OSError) as error:
            reason = str(error).splitlines()[0]
    raise CannotBuildError(reason)


def _by(compiler: str) -> Any:
    """The library of this compiler; without matrix instructions where the system does not let this process have them.

    Raises:
        CannotBuildError: it does not compile.
        OSError: what it made cannot be loaded.
    """
    loaded = _loaded(compiler, COMPILED)
    return loaded if loaded.is_allowed() else _loaded(compiler, (*COMPILED, WITHOUT_TILES))


def _loaded(compiler: str, flags: tuple[str, ...]) -> Any:
    """Out of the cache, or where nothing can be kept there, built for this process alone.

    Raises:
        CannotBuildError: it does not compile.
        OSError: what it made cannot be loaded.
    """
    name = f"decode-{_fingerprint(compiler, flags)}.so"
    folder = _cache_folder()
    if folder is not None:
        # A folder may not be writable, or not ours alone, and a file in it not fit to be loaded.
        with contextlib.suppress(OSError):
            return _kept(compiler, flags, folder / name)
    with tempfile.TemporaryDirectory(prefix="grpo-tui-") as own:
        return ctypes.CDLL(str(_built(compiler, flags, Path(own) / name)))


def _kept(compiler: str, flags: tuple[str, ...], path: Path) -> Any:
    """The library in the cache, built where it is not there or is broken."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_owner(path.parent)
    if path.exists():
        with contextlib.suppress(OSError):
            return ctypes.CDLL(str(path))
    return ctypes.CDLL(str(_built(compiler, flags, path)))


def _check_owner(folder: Path) -> None:
    """Nobody else may have put there what is loaded into this process.

    Raises:
        PermissionError: somebody could have.
    """
    found = folder.lstat()  # a link could be turned elsewhere after this
    if (
        not stat.S_ISDIR(found.st_mode)
        or found.st_uid != os.getuid()
        or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        raise PermissionError(f"{folder} can be written by others")


def _built(compiler: str, flags: tuple[str, ...], path: Path) -> Path:
    """Compile to ``path``; whoever looks meanwhile sees nothing or all of it.

    Raises:
        CannotBuildError: it does not compile.
    """
    with tempfile.TemporaryDirectory(prefix=".building-", dir=path.parent) as folder:
        parts = Path(folder) / "decode.o", Path(folder) / "decode.so"
        # Linked without -fopenmp: the threads are those of the OpenMP that torch has loaded. A second one would get in its way.
        _run([compiler, *flags, "-c", str(SOURCE), "-o", str(parts[0])])
        _run([compiler, "-shared", str(parts[0]), "-o", str(parts[1]), "-lm"])
        parts[1].replace(path)
    return path


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise CannotBuildError(f"{command[0]} does not run: {error}") from error
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        told = next((line for line in lines if "error" in line), lines[0])
        raise CannotBuildError(f"{command[0]} does not compile it: {told}")


def _fingerprint(compiler: str, flags: tuple[str, ...]) -> str:
    """Of all that the library depends on."""
    found = Path(compiler).stat()
    parts = [
        SOURCE.read_bytes(),
        " ".join(flags).encode(),
        f"{os.path.realpath(compiler)} {found.st_size} {found.st_mtime_ns}".encode(),
        _processor().encode(),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:20]


def _processor() -> str:
    """What ``-march=native`` goes by."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    wanted = ("vendor_id", "cpu family", "model", "flags")
    return "\n".join(sorted({line for line in lines if line.partition(":")[0].strip() in wanted}))


def _cache_folder() -> Path | None:
    """Where the library is kept; None: nowhere, for there is no home."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "grpo-tui"
    except RuntimeError:
        return None
