"""Bookmarks of steps: a small JSON file beside ``run.db``, never in it, so that looking cannot disturb a running run.

The file is read before every change and replaced as a whole, so two programs that look at one run lose at most the
one bookmark that both set in the same instant. A file that cannot be read is never overwritten.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from grpo_tui.runs.schema import RunFileError, os_error

FILE = "bookmarks.json"
MAX_NOTE = 200
_VERSION = 1


class Bookmarks:
    """Notes by step. With no folder they live in memory only."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / FILE if folder is not None else None
        self._notes: dict[int, str] = {}

    @property
    def notes(self) -> Mapping[int, str]:
        """The note of each bookmarked step, as last read or written; an empty one where there is none."""
        return self._notes

    def load(self) -> Mapping[int, str]:
        """Read the file.

        Raises:
            RunFileError: it cannot be read, or is not a file of bookmarks.
        """
        if self._path is not None:
            self._notes = _read(self._path)
        return self._notes

    def toggle(self, step: int) -> bool:
        """Set or take away a bookmark; return whether it is set now.

        Raises:
            RunFileError: the disk does not take it; nothing changed.
        """
        notes = dict(self.load())
        is_set = notes.pop(step, None) is None
        if is_set:
            notes[step] = ""
        self._write(notes)
        return is_set

    def note(self, step: int, text: str) -> None:
        """Set a bookmark with a note, in the place of the one before.

        Raises:
            RunFileError: the disk does not take it; nothing changed.
        """
        self._write({**self.load(), step: " ".join(text.split())[:MAX_NOTE]})

    def _write(self, notes: dict[int, str]) -> None:
        notes = dict(sorted(notes.items()))
        if self._path is not None:
            marks = [{"step": step, **({"note": text} if text else {})} for step, text in notes.items()]
            text = json.dumps({"version": _VERSION, "bookmarks": marks}, ensure_ascii=True, indent=1)
            temporary = self._path.with_name(f".{FILE}-{os.getpid()}")
            try:
                temporary.write_text(text + "\n", encoding="utf-8")
                temporary.replace(self._path)
            except OSError as error:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
                raise os_error("write", self._path, error) from error
        self._notes = notes


def _read(path: Path) -> dict[int, str]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["version"] > _VERSION:
            raise RunFileError(f"cannot read {path}: a newer grpo-tui wrote it; upgrade grpo-tui")
        return {int(mark["step"]): str(mark.get("note", ""))[:MAX_NOTE] for mark in data["bookmarks"]}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise os_error("read", path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, RunFileError):
            raise
        raise RunFileError(f"cannot read {path}: it is damaged; correct it or move it away") from error
