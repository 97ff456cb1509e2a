"""A GGUF file is read once, however often transformers asks."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from grpo_tui.config.schema import ModelConfig
from grpo_tui.policy import loading
from grpo_tui.policy.errors import PolicyError
from grpo_tui.policy.gguf_file import read_once
from grpo_tui.policy.loading import load_policy


def test_readers_and_tables_are_shared_within_and_not_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: what was there before not put back after an error."""
    gguf: Any = pytest.importorskip("gguf")
    opened: list[str] = []

    def reader(path: str) -> object:
        opened.append(path)
        return object()

    def within() -> None:
        with read_once():
            assert gguf.GGUFReader("a") is gguf.GGUFReader("a")
            assert gguf.GGUFReader("b") is not gguf.GGUFReader("a")
            llama = gguf.MODEL_ARCH.LLAMA
            assert gguf.get_tensor_name_map(llama, 2) is gguf.get_tensor_name_map(llama, 2)
            raise KeyError

    monkeypatch.setattr(gguf, "GGUFReader", reader)
    with pytest.raises(KeyError):
        within()
    assert opened == ["a", "b"]
    assert gguf.GGUFReader("a") is not gguf.GGUFReader("a")


def test_loading_reads_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokenizer and model in one go. Seen to fail with: loading left as it was."""
    gguf: Any = pytest.importorskip("gguf")
    path = tmp_path / "m.gguf"
    path.touch()
    seen: list[object] = []
    monkeypatch.setattr(gguf, "GGUFReader", lambda path: object())

    def looks(*_arguments: object) -> None:
        seen.append(gguf.GGUFReader(str(path)))
        if len(seen) == 2:
            raise PolicyError("enough")

    monkeypatch.setattr(loading, "_load_tokenizer", looks)
    monkeypatch.setattr(loading, "_load_base", looks)
    with pytest.raises(PolicyError, match="enough"):
        load_policy(ModelConfig(source=str(path)), seed=0)
    assert seen[0] is seen[1]


def test_without_the_package_transformers_may_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "gguf":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with read_once():
        pass
