"""Models that are on this machine already, found without importing any library: the hub's cache, folders, ``.gguf`` files.

Only small parts are read: ``config.json``, the headers of safetensors files (which hold every tensor's shape), the first
keys of a GGUF. So a model of 70 GB takes as long as one of 70 MB, and what is damaged is told in a line.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

HUB, FOLDER, GGUF = "hub cache", "folder", "gguf"
MAX_MODELS = 500
_MAX_ENTRIES = 2000
"""Entries of a folder that are looked at."""
_MAX_CONFIG = 4 << 20
_MAX_HEADER = 64 << 20
_MAX_GGUF_KEYS = 1 << 20
_TORCH_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_GGUF_BITS = {
    0: 32.0,
    1: 16.0,
    2: 4.5,
    3: 5.0,
    7: 8.5,
    8: 5.5,
    9: 6.0,
    10: 3.35,
    11: 3.5,
    12: 3.9,
    13: 4.3,
    14: 4.6,
    15: 4.85,
    16: 5.5,
    17: 5.7,
    18: 6.56,
    32: 16.0,
}
"""Bits a weight, over the whole file, by ``general.file_type`` (llama.cpp, ``llama_ftype``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """What decides how much memory a model takes; a 0 stands for what its files do not say."""

    num_parameters: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    intermediate_size: int
    vocab_size: int
    context_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """One model on disk."""

    source: str
    """What ``model.source`` must be to load it."""
    kind: str
    """:data:`HUB`, :data:`FOLDER` or :data:`GGUF`."""
    num_bytes: int = 0
    """Of its weight files."""
    shape: ModelShape | None = None
    problem: str = ""
    """Why it cannot be trained as it is here, one line; empty where nothing is known to be wrong."""


def find_models(folder: Path, environment: Mapping[str, str] = os.environ) -> list[LocalModel]:
    """Every model in the hub's cache, and in a folder and the folders in it; by name, hub models first.

    Nothing is raised: what cannot be read is left out, or listed with its ``problem``.
    """
    found: dict[str, LocalModel] = {}
    for model in (*_in_cache(hub_cache(environment)), *_in_folder(folder)):
        found.setdefault(model.source, model)
        if len(found) >= MAX_MODELS:
            break
    return sorted(found.values(), key=lambda m: (m.kind != HUB, bool(m.problem), m.source.lower()))


def inspect_model(source: str, environment: Mapping[str, str] = os.environ) -> LocalModel | None:
    """The model that a source names; None for a hub id that is not on this machine.

    Raises:
        ValueError: it looks like a path, and no model is there; one line.
    """
    try:
        path = Path(source).expanduser()
        if path.suffix == ".gguf":
            if not path.is_file():
                raise ValueError(f"no such file: {source}")
            return _gguf(source, path)
        if path.is_dir():
            if not (path / "config.json").is_file():
                raise ValueError(f"{source} has no config.json; give the folder of a transformers model")
            return _folder(source, path, FOLDER)
        exists = path.exists()
    except (OSError, RuntimeError) as error:  # RuntimeError: a home that is not known
        raise ValueError(f"cannot read {source}: {error}") from error
    if exists or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise ValueError(f"{source} is no model folder and no .gguf file")
    return next(
        (model for model in _in_cache(hub_cache(environment), only=source) if model.source == source), None
    )


def hub_cache(environment: Mapping[str, str]) -> Path:
    """Where the hub's library keeps what it downloaded."""
    if environment.get("HF_HUB_CACHE"):
        return Path(environment["HF_HUB_CACHE"]).expanduser()
    home = environment.get("HF_HOME")
    if not home:
        home = os.path.join(environment.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")  # noqa: PTH118
    return Path(home).expanduser() / "hub"


# --- places ----------------------------------------------------------------------------------------------


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry, _ in zip(entries, range(_MAX_ENTRIES), strict=False)]
    except (OSError, ValueError):  # ValueError: a zero in its name
        return []
    return [folder / name for name in sorted(names)]


def _in_cache(cache: Path, only: str = "") -> Iterator[LocalModel]:
    wanted = f"models--{only.replace('/', '--')}"
    for repo in [cache / wanted] if only else _entries(cache):
        if not repo.name.startswith("models--"):
            continue
        snapshot = _snapshot(repo)
        if snapshot is not None:
            model = _folder(repo.name.removeprefix("models--").replace("--", "/"), snapshot, HUB)
            if model is not None:
                yield model


def _snapshot(repo: Path) -> Path | None:
    """The revision that ``main`` names, or else the newest that has a config."""
    try:
        main = repo / "snapshots" / (repo / "refs" / "main").read_text(encoding="utf-8")[:80].strip()
        if (main / "config.json").is_file():
            return main
    except (OSError, ValueError):
        pass
    dated = []
    for snapshot in _entries(repo / "snapshots"):
        try:
            if (snapshot / "config.json").is_file():
                dated.append((snapshot.stat().st_mtime, snapshot))
        except OSError:
            continue
    return max(dated)[1] if dated else None


def _in_folder(folder: Path) -> Iterator[LocalModel]:
    """Models in a folder, and in those one level below it."""
    for path in (folder, *_entries(folder)):
        try:
            if path.suffix == ".gguf" and path.is_file():
                yield _gguf(_relative(path, folder), path)
            elif path.is_dir() and not path.name.startswith("."):
                inner = _entries(path) if path != folder else []
                for file in inner:
                    if file.suffix == ".gguf" and file.is_file():
                        yield _gguf(_relative(file, folder), file)
                if (path / "config.json").is_file():
                    model = _folder(_relative(path, folder), path, FOLDER)
                    # A folder with a config.json and no weights is usually something else altogether.
                    if model is not None and model.num_bytes:
                        yield model
        except OSError:
            continue


def _relative(path: Path, folder: Path) -> str:
    """As a person would type it: with ``./``, so that no hub id is meant."""
    return f"./{path.relative_to(folder)}" if path != folder else "."


# --- one model -------------------------------------------------------------------------------------------


def _folder(source: str, path: Path, kind: str) -> LocalModel | None:
    """A model in the layout of transformers; None where its config names no causal language model."""
    try:
        config = _read_json(path / "config.json")
    except (OSError, ValueError) as error:
        reason = "not JSON" if isinstance(error, ValueError) else str(error.strerror or error)
        return LocalModel(source=source, kind=kind, problem=f"config.json cannot be read: {reason}")
    architectures = config.get("architectures")
    names = [str(name) for name in architectures] if isinstance(architectures, list) else []
    if names and not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names):
        return None
    files = [file for file in _entries(path) if file.suffix in (".safetensors", ".bin")]
    tensors = [file for file in files if file.suffix == ".safetensors"]
    weights = tensors or [file for file in files if file.name.startswith("pytorch_model")]
    num_bytes = 0
    try:
        num_bytes = sum(file.stat().st_size for file in weights)
        num_parameters = sum(map(_count_parameters, tensors)) or num_bytes // _bytes_of(config)
    except (OSError, ValueError):
        problem = "its weight files are damaged or incomplete"
        return LocalModel(source=source, kind=kind, num_bytes=num_bytes, problem=problem)
    shape = _shape(config, num_parameters)
    problem = "" if weights else "only its config is here; the weights would be downloaded"
    return LocalModel(source=source, kind=kind, num_bytes=num_bytes, shape=shape, problem=problem)


def _read_json(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        data = json.loads(file.read(_MAX_CONFIG))
    if not isinstance(data, dict):
        raise ValueError("not an object")
    return data


def _bytes_of(config: Mapping[str, Any]) -> int:
    return _TORCH_BYTES.get(str(config.get("torch_dtype") or config.get("dtype")), 2)


def _count_parameters(path: Path) -> int:
    """Numbers in a safetensors file, from its header.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no safetensors file.
    """
    with path.open("rb") as file:
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("too short")
        (length,) = struct.unpack("<Q", head)
        if not 2 <= length <= _MAX_HEADER:
            raise ValueError("no header")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("no header")
    try:
        return sum(
            math.prod(map(int, tensor["shape"])) for name, tensor in header.items() if name != "__metadata__"
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("no header") from error


def _shape(config: Mapping[str, Any], num_parameters: int) -> ModelShape:
    inner = config.get("text_config")
    values = {**config, **inner} if isinstance(inner, dict) else config

    def number(*names: str) -> int:
        for name in names:
            value = values.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 40:
                return value
        return 0

    hidden, heads = number("hidden_size", "n_embd", "d_model"), number("num_attention_heads", "n_head") or 1
    return ModelShape(
        num_parameters=num_parameters,
        hidden_size=hidden,
        num_layers=number("num_hidden_layers", "n_layer"),
        num_heads=heads,
        num_kv_heads=number("num_key_value_heads") or heads,
        head_size=number("head_dim") or hidden // heads,
        intermediate_size=number("intermediate_size", "n_inner", "ffn_dim") or 4 * hidden,
        vocab_size=number("vocab_size"),
        context_length=number("max_position_embeddings", "n_positions"),
    )


# --- GGUF ------------------------------------------------------------------------------------------------

_GGUF_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_GGUF_TEXT = 8


def _gguf(source: str, path: Path) -> LocalModel:
    try:
        num_bytes = path.stat().st_size
        with path.open("rb") as file:
            keys = _gguf_keys(file)
    except (OSError, ValueError, struct.error):
        return LocalModel(source=source, kind=GGUF, problem="not a GGUF file that can be read")
    family = str(keys.get("general.architecture", ""))

    def number(name: str) -> int:
        value = keys.get(f"{family}.{name}", 0)
        return value if isinstance(value, int) and 0 < value < 1 << 40 else 0

    bits = _GGUF_BITS.get(int(keys.get("general.file_type", -1)), 0.0)
    hidden, heads = number("embedding_length"), number("attention.head_count") or 1
    shape = ModelShape(
        num_parameters=int(num_bytes * 8 / bits) if bits else 0,
        hidden_size=hidden,
        num_layers=number("block_count"),
        num_heads=heads,
        num_kv_heads=number("attention.head_count_kv") or heads,
        head_size=number("attention.key_length") or hidden // heads,
        intermediate_size=number("feed_forward_length") or 4 * hidden,
        vocab_size=number("vocab_size"),
        context_length=number("context_length"),
    )
    return LocalModel(source=source, kind=GGUF, num_bytes=num_bytes, shape=shape)


def _gguf_keys(file: BinaryIO) -> dict[str, Any]:
    """Numbers and texts at the head of a GGUF, up to its vocabulary, which is long and of no interest here.

    Raises:
        ValueError: it is no GGUF of version 2 or 3.
        struct.error: it ends too early.
    """
    magic, version, _, num_keys = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF" or version not in (2, 3):
        raise ValueError("no GGUF")
    keys: dict[str, Any] = {}
    for _ in range(num_keys):
        name = _gguf_text(file)
        (kind,) = struct.unpack("<I", file.read(4))
        if name.startswith("tokenizer.") or file.tell() > _MAX_GGUF_KEYS:
            break
        if kind == _GGUF_TEXT:
            keys[name] = _gguf_text(file)
        elif kind in _GGUF_NUMBERS:
            code = f"<{_GGUF_NUMBERS[kind]}"
            (keys[name],) = struct.unpack(code, file.read(struct.calcsize(code)))
        else:
            _skip_array(file)
    return keys


def _gguf_text(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > _MAX_GGUF_KEYS:
        raise ValueError("no GGUF")
    return file.read(length).decode("utf-8", "replace")


def _skip_array(file: BinaryIO) -> None:
    kind, count = struct.unpack("<IQ", file.read(12))
    if kind == _GGUF_TEXT and count <= 10_000:
        for _ in range(count):
            _gguf_text(file)
    elif kind in _GGUF_NUMBERS:
        file.seek(struct.calcsize(f"<{_GGUF_NUMBERS[kind]}") * count, os.SEEK_CUR)
    else:
        raise ValueError("no GGUF")
