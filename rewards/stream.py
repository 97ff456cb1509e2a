"""JSON lines of gold and response in, JSON lines of verdicts out: in order, as they come, many at a time.

In: ``{"id", "gold", "response"}`` with an optional ``"prompt"``. Out: ``{"id", "correct", "verdict", "strict",
"lenient", "answer", "reason"}``. A line that cannot be judged gives ``{"id", "line", "error"}`` in its place.
"""

from __future__ import annotations

import io
import json
import math
import os
import select
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from rewards.base import Reward, Sample, Score, Verdict

MAX_BATCH = 256
"""Lines judged together at most: enough to keep all workers busy, few enough that output keeps flowing."""
MAX_BYTES = 8 << 20
"""Bytes read ahead at most; a longer line is read alone."""
_CHUNK = 1 << 16
_BOM = b"\xef\xbb\xbf"
Json = dict[str, Any]


class BadLine(ValueError):
    """A line that cannot be judged; ``id`` is what it calls itself, if that could be read."""

    def __init__(self, reason: str, line_id: Any = None) -> None:
        super().__init__(reason)
        self.line_id = line_id


@dataclass(frozen=True, slots=True)
class _Number:
    """A JSON number with the digits it was written with: 3.10 says more than 3.1, and 1e999 is no infinity."""

    written: str

    @property
    def value(self) -> int | float:
        """The number itself; ValueError for an integer of too many digits."""
        is_integer = self.written.removeprefix("-").isdigit()
        return int(self.written) if is_integer else float(self.written)


def judge_stream(lines: IO[bytes], verifier: Reward) -> Iterator[list[Json]]:
    """Judge every line of ``lines`` and yield their records, in order, a batch at a time.

    Lines that have come are judged together; nothing waits for a batch to fill, so a program may write one line and
    read its verdict before it writes the next. Blank lines are passed over. A file must not have been read from yet.
    """
    for batch in _batches(lines):
        yield judge_batch(batch, verifier)


def judge_batch(batch: Sequence[tuple[int, bytes]], verifier: Reward) -> list[Json]:
    """One record for each numbered line."""
    records: list[Json | None] = [None] * len(batch)
    ids, samples, places = [], [], []
    for place, (number, line) in enumerate(batch):
        try:
            line_id, sample = parse_line(line, number)
        except BadLine as problem:
            named = {} if problem.line_id is None else {"id": problem.line_id}
            records[place] = {**named, "line": number, "error": f"line {number}: {problem}"}
            continue
        ids.append(line_id)
        samples.append(sample)
        places.append(place)
    for place, line_id, score in zip(places, ids, verifier.score(samples), strict=True):
        records[place] = record_of(line_id, score)
    return [record for record in records if record is not None]


def record_of(line_id: Any, score: Score) -> Json:
    """What is told of one verdict."""
    why = score.explanation
    return {
        "id": line_id,
        "correct": score.verdict is Verdict.CORRECT,
        "verdict": score.verdict.value,
        "strict": why.strict,
        "lenient": why.lenient,
        "answer": why.answer_text,
        "reason": why.sentence,
    }


def parse_line(line: bytes, number: int) -> tuple[Any, Sample]:
    """The id and the sample of one line; a missing id is the line's number.

    Raises:
        BadLine: it is not a JSON object with a gold and a response.
    """
    try:
        data = json.loads(
            line.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_Number, parse_int=_Number
        )
    except UnicodeDecodeError:
        raise BadLine("not UTF-8 text") from None
    except RecursionError:
        raise BadLine("JSON nested too deep") from None
    except ValueError as problem:
        raise BadLine(f"not JSON: {problem}") from None
    if not isinstance(data, dict):
        raise BadLine(f"a JSON object is wanted, not {_kind(data)}")
    line_id = _line_id(data.get("id", number))
    return line_id, Sample(
        problem_id=str(line_id),
        prompt=_text(data, "prompt", line_id, default=""),
        completion=_text(data, "response", line_id),
        gold=_text(data, "gold", line_id),
    )


def _line_id(given: Any) -> Any:
    try:
        line_id = given.value if isinstance(given, _Number) else given
    except ValueError:
        raise BadLine("'id' has too many digits") from None
    if isinstance(line_id, (dict, list)) or (isinstance(line_id, float) and not math.isfinite(line_id)):
        raise BadLine("'id' must be a text or a number")
    return line_id


def _text(data: Json, name: str, line_id: Any, default: str | None = None) -> str:
    """A field as text. Data sets write some golds as JSON numbers."""
    value = data.get(name)
    value = default if value is None else value
    if value is None:
        raise BadLine(f"{name!r} is missing", line_id)
    if isinstance(value, str):
        return value
    if not isinstance(value, _Number):
        raise BadLine(f"{name!r} must be text, not {_kind(value)}", line_id)
    return value.written


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _batches(lines: IO[bytes]) -> Iterator[list[tuple[int, bytes]]]:
    """Numbered lines, as many at a time as have come. A thread reads ahead, and not further than one batch."""
    ahead = _ReadAhead(lines)
    try:
        while batch := ahead.take():
            yield batch
    finally:
        ahead.stop()


class _ReadAhead:
    """Lines that a thread reads while others are judged: at most MAX_BATCH of them, and about MAX_BYTES."""

    def __init__(self, lines: IO[bytes]) -> None:
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._ended = False
        self._problem: BaseException | None = None
        self._changed = threading.Condition()
        threading.Thread(target=self._read, args=(lines,), name="read-lines", daemon=True).start()

    def take(self) -> list[tuple[int, bytes]]:
        """Wait for a line and take what else is there; nothing at the end. Raises what reading raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            batch = list(self._waiting)
            self._waiting.clear()
            self._bytes = 0
            self._changed.notify_all()
            if not batch and self._problem is not None:
                raise self._problem
            return batch

    def stop(self) -> None:
        """Nobody takes lines any more: the thread ends with the line it is reading."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _read(self, lines: IO[bytes]) -> None:
        problem: BaseException | None = None
        try:
            with _unbuffered(lines) as unbuffered:
                for number, line in enumerate(unbuffered, start=1):
                    text = line.removeprefix(_BOM) if number == 1 else line
                    if text.strip() and not self._put(number, text):
                        return
        except BaseException as raised:  # handed over to whoever consumes the lines
            problem = raised
        with self._changed:
            self._problem = problem
            self._ended = True
            self._changed.notify_all()

    def _put(self, number: int, line: bytes) -> bool:
        """Wait for room; False when nobody takes lines any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._has_room(line))
            if self._ended:
                return False
            self._waiting.append((number, line))
            self._bytes += len(line)
            self._changed.notify_all()
            return True

    def _has_room(self, line: bytes) -> bool:
        return not self._waiting or (len(self._waiting) < MAX_BATCH and self._bytes + len(line) <= MAX_BYTES)


@contextmanager
def _unbuffered(lines: IO[bytes]) -> Iterator[Iterable[bytes]]:
    """The lines of a real file through a descriptor of our own, those of anything else as it gives them.

    A thread that waits inside a buffered reader holds its lock, and Python aborts when it exits meanwhile.
    """
    raw = lines.raw if isinstance(lines, io.BufferedReader) else lines
    if not isinstance(raw, io.FileIO):
        yield lines
        return
    with open(os.dup(raw.fileno()), "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
        yield _split(file)


def _split(file: io.FileIO) -> Iterator[bytes]:
    """The lines of ``file`` as their ends arrive."""
    begun: list[bytes] = []
    while (chunk := file.read(_CHUNK)) != b"":
        if chunk is None:  # somebody made the descriptor non-blocking
            select.select([file], [], [])
            continue
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield b"".join([*begun, line])
            begun = []
        if rest:
            begun.append(rest)
    if begun:
        yield b"".join(begun)
