"""The compiled code is built once, kept where only its owner can write, and done without where it cannot be had."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from grpo_tui.generation import compiler
from grpo_tui.generation.compiler import CannotBuildError, library
from tests.support.compiled import needs_compiler


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv(compiler.OFF, raising=False)
    library.cache_clear()
    yield tmp_path / "grpo-tui"
    library.cache_clear()


def fake(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@needs_compiler
def test_it_is_built_once_and_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(library(), ctypes.CDLL)
    (kept,) = folder.iterdir()  # nothing that building needs is left
    monkeypatch.setattr(compiler, "_built", lambda *_arguments: pytest.fail("built again"))
    library.cache_clear()
    assert isinstance(library(), ctypes.CDLL)
    assert kept.suffix == ".so"


@needs_compiler
def test_another_processor_or_other_flags_make_another_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Homes are shared between machines. Seen to fail with: the processor left out."""
    library()
    monkeypatch.setattr(compiler, "_processor", lambda: "flags: of another")
    library.cache_clear()
    library()
    monkeypatch.setattr(compiler, "COMPILED", ("-O1", "-fPIC", "-fopenmp", "-w"))
    library.cache_clear()
    library()
    assert len(list(folder.iterdir())) == 3


@needs_compiler
def test_where_nothing_can_be_kept_it_is_built_for_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    assert isinstance(library(), ctypes.CDLL)


def place(folder: Path) -> Path:
    """Where the library will be kept. Planted there before anything is loaded: a loaded file must not be written over."""
    folder.mkdir(mode=0o700)
    found = next(path for name in ("cc", "gcc") if (path := shutil.which(name)))
    return folder / f"decode-{compiler._fingerprint(found, compiler.COMPILED)}.so"


def another_library() -> str:
    """One that loads, and is not ours."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return next(line.split()[-1] for line in lines if line.split()[-1].endswith((".so", ".so.6")))


@needs_compiler
def test_what_others_could_have_written_is_not_loaded(folder: Path) -> None:
    """Seen to fail with: the check left out."""
    kept = place(folder)
    shutil.copy(another_library(), kept)
    planted = kept.read_bytes()
    folder.chmod(0o777)
    assert library().decode is not None
    assert kept.read_bytes() == planted


@needs_compiler
def test_a_link_to_another_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    """Seen to fail with: the folder behind it asked."""
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    assert library().decode is not None
    assert list((tmp_path / "elsewhere").iterdir()) == []


@needs_compiler
def test_a_broken_file_is_replaced(folder: Path) -> None:
    """Seen to fail with: it left there; the error let through."""
    kept = place(folder)
    kept.write_bytes(b"cut")
    assert library().decode is not None
    assert len(kept.read_bytes()) > 1000


@pytest.mark.parametrize("allowed", [True, False])
def test_where_the_system_refuses_matrix_instructions_it_does_without(
    allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with: not asked; the refused library given all the same."""
    asked: list[tuple[str, ...]] = []

    def loaded(_compiler: str, flags: tuple[str, ...]) -> SimpleNamespace:
        asked.append(flags)
        return SimpleNamespace(flags=flags, is_allowed=lambda: int(allowed or flags[-1] == "-DTILES=0"))

    monkeypatch.setattr(compiler, "_loaded", loaded)
    without = (*compiler.COMPILED, "-DTILES=0")
    assert compiler._by("cc").flags == (compiler.COMPILED if allowed else without)
    assert asked == [compiler.COMPILED, *([] if allowed else [without])]


@needs_compiler
def test_where_the_first_compiler_fails_the_next_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", fake(tmp_path / "mine", "exit 1"))
    assert library().decode is not None


def test_without_its_source_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", fake(tmp_path / "mine", "exit 0"))
    monkeypatch.setattr(compiler, "SOURCE", tmp_path / "none.c")
    with pytest.raises(CannotBuildError, match=r"none\.c"):
        library()


@needs_compiler
def test_several_processes_may_build_at_once(folder: Path) -> None:
    code = "from grpo_tui.generation.compiler import library; print(library().decode is not None)"
    code = f"import torch; {code}"

    def run(_number: int) -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(run, range(3))) == ["True\n"] * 3
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'decode.c:3:1: error: no such flag' >&2; exit 1", "decode.c:3:1: error: no such flag"),
        ("exit 3", "exit code 3"),
    ],
)
def test_a_compiler_that_fails_is_told_in_a_line(
    script: str, says: str, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", fake(tmp_path / "mine", script))
    monkeypatch.setenv("PATH", "/nonexistent")  # no other
    with pytest.raises(CannotBuildError) as caught:
        library()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []


def test_a_compiler_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "TIMEOUT_S", 0.2)
    monkeypatch.setenv("CC", fake(tmp_path / "mine", "exec /bin/sleep 30"))
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(CannotBuildError, match="does not run"):
        library()


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(CannotBuildError, match="no C compiler"):
        library()


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiler.OFF, "1")
    with pytest.raises(CannotBuildError, match=compiler.OFF):
        library()
