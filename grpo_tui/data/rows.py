"""Rows from wherever they are: JSON lines, JSON, Parquet, a local folder or a data set of the hub.

A row is a dictionary with the place it came from, so that whatever is found wrong later can be pointed at.
``datasets`` and ``pyarrow`` are imported only by the sources that need them.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from grpo_tui.config.errors import nearest, one_line
from grpo_tui.data.problem import DataError

_JSON_LINES = (".jsonl", ".ndjson")
_FILE_SUFFIXES = (*_JSON_LINES, ".json", ".parquet")
_OTHER_FILES = (".csv", ".tsv", ".txt", ".xlsx", ".arrow", ".gz", ".zst", ".zip", ".yaml", ".yml", ".toml")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its values, where it stands (``train.jsonl:12``) and an id made from that (``train:12``)."""

    values: Mapping[str, Any]
    where: str
    default_id: str


class Place(StrEnum):
    """What a source is, as its name and the disk tell."""

    FILE = "file"
    FOLDER = "folder"
    HUB = "hub"


def place_of(source: str) -> Place:
    """Return whether a source is a file, a folder or a name on the hub.

    Raises:
        DataError: it is none of them.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return Place.FOLDER
    suffix = path.suffix.casefold()
    if path.is_file():
        if suffix not in _FILE_SUFFIXES:
            raise DataError(f"{source}: '{suffix}' files cannot be read; use {', '.join(_FILE_SUFFIXES)}")
        return Place.FILE
    looks_like_path = (
        source.startswith(("/", "./", "../", "~", "\\")) or suffix in _FILE_SUFFIXES + _OTHER_FILES
    )
    if looks_like_path:
        raise DataError(f"{source}: there is no such file or folder{_neighbour(path)}")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source):
        raise DataError(
            f"{source}: neither a file or folder that exists nor a data set name such as 'openai/gsm8k'"
        )
    return Place.HUB


def _neighbour(path: Path) -> str:
    try:
        close = nearest(path.name, (other.name for other in path.parent.iterdir()))
    except OSError:
        return ""
    return f"; did you mean '{path.parent / close}'?" if close else ""


def read_file(source: str) -> Iterator[Row]:
    """Read the rows of a .jsonl, .json or .parquet file.

    Raises:
        DataError: the file cannot be read, or a row in it.
    """
    path = Path(source).expanduser()
    try:
        if path.suffix.casefold() == ".parquet":
            yield from _read_parquet(path)
        elif path.suffix.casefold() in _JSON_LINES:
            yield from _read_json_lines(path)
        else:
            yield from _read_json(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


# --- JSON ------------------------------------------------------------------------------------------------


def _read_json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            text = _decode(raw, f"{path}:{number}", first=number == 1)
            if text.strip():
                values = _parse(text, f"{path}:{number}")
                yield Row(_as_object(values, f"{path}:{number}"), f"{path}:{number}", f"{path.stem}:{number}")


def _read_json(path: Path) -> Iterator[Row]:
    """Read a JSON file: an array of objects, or JSON lines under the wrong name."""
    text = _decode(path.read_bytes(), f"{path}", first=True)
    if not text.lstrip().startswith("["):
        yield from _read_json_lines(path)
        return
    for number, values in enumerate(_parse(text, f"{path}"), start=1):
        where = f"{path}: item {number}"
        yield Row(_as_object(values, where), where, f"{path.stem}:{number}")


def _decode(raw: bytes, where: str, *, first: bool) -> str:
    if first and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{where}: this is UTF-16 text; save the file as UTF-8")
    try:
        return raw.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        bad = raw[error.start]
        raise DataError(
            f"{where}: byte 0x{bad:02x} (the {error.start + 1}. of the line) is not UTF-8 text; "
            "save the file as UTF-8"
        ) from error


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        column = f"line {error.lineno} column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise DataError(f"{where}: not valid JSON: {error.msg} ({column})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not usable JSON: {error}") from error


def _as_object(values: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(values, dict):
        raise DataError(f'{where}: a row must be an object such as {{"prompt": …, "answer": …}}')
    return values


# --- Parquet ---------------------------------------------------------------------------------------------


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(values, f"{path}: row {number}", f"{path.stem}:{number}")
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from error


# --- datasets --------------------------------------------------------------------------------------------


class SplitNotFoundError(DataError):
    """A data set without the split asked for."""


def has_splits(source: str) -> bool:
    """Return whether a source may have several splits: not a file, nor the one data set of ``save_to_disk``.

    Raises:
        DataError: there is no such source.
    """
    return place_of(source) is not Place.FILE and not (Path(source).expanduser() / "state.json").is_file()


def read_dataset(source: str, *, subset: str, split: str) -> Iterator[Row]:
    """Open one split of a local folder or of a data set of the hub, and return its rows.

    Raises:
        SplitNotFoundError: it has no such split.
        DataError: there is no such data set or subset, or it cannot be reached.
    """
    path = Path(source).expanduser()
    dataset = _from_disk(path, split) if path.is_dir() else None
    if dataset is None:
        dataset = _load_dataset(str(path) if path.is_dir() else source, subset, split)
    return _dataset_rows(dataset, source, split)


def _dataset_rows(dataset: Iterable[Mapping[str, Any]], source: str, split: str) -> Iterator[Row]:
    for number, values in enumerate(dataset, start=1):
        yield Row(values, f"{source} ({split}): row {number}", f"{split}:{number}")


def _from_disk(path: Path, split: str) -> Any | None:
    """Open a folder that ``save_to_disk`` wrote, None for any other folder."""
    in_splits = (path / "dataset_dict.json").is_file()
    if not in_splits and not (path / "state.json").is_file():
        return None
    import datasets

    with _one_line_errors(f"{path}", "", split):
        loaded = datasets.load_from_disk(str(path))
        if not in_splits:
            return loaded
        if split not in loaded:
            raise ValueError(f'Unknown split "{split}". Should be one of {list(loaded)}.')
        return loaded[split]


def _load_dataset(source: str, subset: str, split: str) -> Any:
    import datasets

    had_bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with _one_line_errors(source, subset, split):
            return datasets.load_dataset(source, subset or None, split=split)
    finally:
        if not had_bars:
            datasets.enable_progress_bars()


@contextlib.contextmanager
def _one_line_errors(source: str, subset: str, split: str) -> Iterator[None]:
    """Turn whatever ``datasets`` raises into one line that says what to do."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        kind, message = _explain(error, subset, split)
        raise kind(f"{source}: {message}") from error


def _explain(error: Exception, subset: str, split: str) -> tuple[type[DataError], str]:
    text = one_line(str(error))
    known = re.findall(r"'([^']+)'", text.partition("[")[2])
    if "Unknown split" in text or "Bad split" in text:
        return SplitNotFoundError, f"there is no split '{split}'; {_choose('split', split, known)}"
    if "Config name is missing" in text:
        return DataError, f"has several subsets; {_choose('data.subset', '', known)}"
    if "BuilderConfig" in text and "not found" in text:
        return DataError, f"there is no subset '{subset}'; {_choose('data.subset', subset, known)}"
    return DataError, _explain_kind({kind.__name__ for kind in type(error).__mro__}) or (
        f"cannot be loaded: {text[:300] or type(error).__name__}"
    )


def _explain_kind(kinds: set[str]) -> str:
    """Return what an error of one of these class names means, empty where they say nothing."""
    unreachable = {"ConnectionError", "OfflineModeIsEnabled", "LocalEntryNotFoundError", "TransportError"}
    if kinds & unreachable:
        return (
            "the Hugging Face hub cannot be reached and no copy is cached; connect, or download the data set "
            "and set data.source to the file or folder"
        )
    if kinds & {"DatasetNotFoundError", "RepositoryNotFoundError"}:
        return "there is no such data set on the hub, or it is private: check the name, or log in"
    if kinds & {"EmptyDatasetError", "DataFilesNotFoundError"}:
        return "holds no data files that can be read (JSON lines, Parquet, CSV)"
    return ""


def _choose(key: str, wanted: str, known: list[str]) -> str:
    close = nearest(wanted, known) if wanted else None
    if close:
        return f"did you mean {key}={close}?"
    return f"set {key} to one of {', '.join(known)}" if known else f"set {key}"
