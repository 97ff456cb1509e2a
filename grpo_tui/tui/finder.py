"""Questions to a run file that may take long, answered off the app's thread; of several only the last is answered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import RunFileError


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The answer to one question. ``number`` is what :meth:`Finder.ask` gave."""

    number: int
    answer: object = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Question:
    number: int
    ask: Callable[[RunReader], object]
    branch: int | None


class Finder:
    """One thread with a connection of its own, made at the first question.

    ``deliver`` is called on that thread. A question that is asked while another is being answered interrupts it; an
    answer may still be on its way then, so whoever asks compares its number with the last one.
    """

    def __init__(self, run_dir: Path, deliver: Callable[[Found], object]) -> None:
        self._run_dir, self._deliver = run_dir, deliver
        self._changed = threading.Condition()
        self._number = 0
        self._next: _Question | None = None
        self._answering: RunReader | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def ask(self, question: Callable[[RunReader], object], branch: int | None = None) -> int:
        """Ask, in the place of whatever was asked before; return the question's number."""
        with self._changed:
            self._number += 1
            self._next = _Question(self._number, question, branch)
            if self._answering is not None:
                self._answering.interrupt()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="finder", daemon=True)
                self._thread.start()
            self._changed.notify()
            return self._number

    def close(self) -> None:
        """Give up. Safe to call twice, and before any question."""
        with self._changed:
            self._closed, self._next = True, None
            if self._answering is not None:
                self._answering.interrupt()
            self._changed.notify()

    def _run(self) -> None:
        reader: RunReader | None = None
        while (question := self._wait()) is not None:
            try:
                if reader is None:
                    reader = RunReader(self._run_dir)
                found = Found(number=question.number, answer=self._answer(reader, question))
            except RunFileError as error:
                found = Found(number=question.number, error=str(error))
            with self._changed:
                self._answering = None
                stale = self._closed or self._next is not None
            if not stale:
                self._deliver(found)
        if reader is not None:
            reader.close()

    def _wait(self) -> _Question | None:
        with self._changed:
            while self._next is None and not self._closed:
                self._changed.wait()
            question, self._next = self._next, None
            return question

    def _answer(self, reader: RunReader, question: _Question) -> object:
        reader.show_branch(question.branch)
        with self._changed:
            if self._next is not None or self._closed:
                return None
            self._answering = reader
        return question.ask(reader)
