"""The preferences' file: where it is, read, and changed in one place without touching the rest of it."""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$")
_ENTRY = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[\w-]+))*)\s*=""")
_COMMENT = re.compile(r"""=\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^#"']*?)\s*(#.*)?$""")


class BrokenFileError(ValueError):
    """The file cannot be read or changed, in one line: file, line, what is wrong."""


def config_path(environment: Mapping[str, str]) -> Path:
    """``$XDG_CONFIG_HOME/grpo-tui/config.toml``; ``~/.config`` where that is not set, or not absolute."""
    home = environment.get("XDG_CONFIG_HOME", "")
    base = Path(home) if home.startswith("/") else Path("~/.config").expanduser()
    return base / "grpo-tui" / "config.toml"


def read_document(path: Path) -> tuple[str, dict[str, Any]]:
    """The file's text, and what it says; both empty where there is no file.

    Raises:
        BrokenFileError: it cannot be read, or is not TOML.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return text, tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return "", {}
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at line (\d+), column (\d+)\)", str(error))
        line = int(found[1]) if found else max(1, text.count("\n"))
        what = str(error)[: found.start()] if found else str(error).removesuffix(" (at end of document)")
        key = _key_on(text, line)
        raise BrokenFileError(
            f"{path}:{line}: {f'{key}: ' if key else ''}not valid TOML: {what}; text needs quotes"
        ) from error
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"{path}: is not UTF-8 text; save it as UTF-8") from error
    except (OSError, RecursionError, ValueError) as error:
        raise BrokenFileError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error


def remember(path: Path, changes: Mapping[str, str]) -> None:
    """Write values into the file, by dotted key, atomically; comments and everything else stay as they are.

    Raises:
        BrokenFileError: the file is broken, is written in a way that cannot be changed here, or the disk refuses.
    """
    text, document = read_document(path)
    changed = text
    for key, value in changes.items():
        changed = with_value(changed, key, value)
    if changed == text:
        return
    expected = document
    for key, value in changes.items():
        expected = _document_with(expected, key, value)
    try:
        honest = tomllib.loads(changed) == expected
    except tomllib.TOMLDecodeError:
        honest = False
    if not honest:
        said = ", ".join(f"{key} = {json.dumps(value)}" for key, value in changes.items())
        raise BrokenFileError(f"{path}: cannot be changed by the program as it is written; set there: {said}")
    replace_text(path, changed)


def with_value(text: str, key: str, value: str) -> str:
    """The text with one value set: on its line where it has one, else at the end of its table, else in a new table."""
    table, name = _table_and_name(key)
    entry = f"{_quoted(name)} = {json.dumps(value, ensure_ascii=False)}"
    lines = text.split("\n")
    current, last, headers = "", None, False
    for number, line in enumerate(lines):
        header = _HEADER.match(line)
        if header:
            current, headers = _plain(header[1]), True
            last = number if current == table else last
            continue
        found = _ENTRY.match(line)
        if found and _joined(current, _plain(found[1])) == key:
            comment = _COMMENT.search(line)
            tail = f"  {comment[1]}" if comment and comment[1] else ""
            lines[number] = f"{line[: found.end()]} {json.dumps(value, ensure_ascii=False)}{tail}"
            return "\n".join(lines)
        if current == table and (headers or not table) and line.strip():
            last = number if found or last is None or table else last
    if last is not None and (table or not _HEADER.match(lines[last])):
        return "\n".join([*lines[: last + 1], entry, *lines[last + 1 :]])
    if not table:
        return "\n".join([entry, *([""] if text and not text.startswith("\n") else []), *lines])
    head = text.rstrip("\n")
    return f"{head}{chr(10) * 2 if head else ''}[{_header(table)}]\n{entry}\n"


def line_of(text: str, key: str) -> int | None:
    """The line, from 1, that sets a dotted key; None where it cannot be told."""
    current = ""
    for number, line in enumerate(text.split("\n"), start=1):
        header = _HEADER.match(line)
        if header:
            current = _plain(header[1])
            continue
        found = _ENTRY.match(line)
        written = _joined(current, _plain(found[1])) if found else ""
        if written and (key == written or key.startswith(f"{written}.")):
            return number
    return None


def replace_text(path: Path, text: str) -> None:
    """Put a text in the place of the file's, whole; a link stays a link.

    Raises:
        BrokenFileError: the disk refuses.
    """
    temporary: Path | None = None
    try:
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".config-", dir=target.parent)
        temporary = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o644)
        temporary.replace(target)
    except OSError as error:
        raise BrokenFileError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _table_and_name(key: str) -> tuple[str, str]:
    """Where a key stands in the file: ids of keys hold dots and stay whole."""
    if key.startswith("keys."):
        return "keys", key.removeprefix("keys.")
    table, _, name = key.rpartition(".")
    return table, name


def _document_with(document: Mapping[str, Any], key: str, value: str) -> dict[str, Any]:
    table, name = _table_and_name(key)
    copy = dict(document)
    place = copy
    for part in table.split(".") if table else ():
        place[part] = dict(place.get(part, {}))
        place = place[part]
    place[name] = value
    return copy


def _key_on(text: str, line: int) -> str:
    lines = text.split("\n")
    found = _ENTRY.match(lines[line - 1]) if line <= len(lines) else None
    return _plain(found[1]) if found else ""


def _plain(name: str) -> str:
    """A name or dotted name without quotes and blanks."""
    parts = re.findall(r'"[^"]*"|\'[^\']*\'|[\w-]+', name)
    return ".".join(part.strip("\"'") for part in parts)


def _joined(table: str, name: str) -> str:
    return f"{table}.{name}" if table else name


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _header(table: str) -> str:
    return ".".join(_quoted(part) for part in table.split("."))
