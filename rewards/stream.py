"""JSON lines of gold and response in, JSON lines of verdicts out: in order, as they come, many at a time.

In: ``{"id", "gold", "response"}`` with an optional ``"prompt"``. Out: ``{"id", "correct", "verdict", "strict",
"lenient", "answer", "reason"}``. A line that cannot be judged gives ``{"id", "line", "error"}`` in its place.
"""

from __future__ import annotations

import json
import math
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

from rewards.base import Reward, Sample, Score, Verdict

MAX_BATCH = 256
"""Lines judged together at most: enough to keep all workers busy, few enough that output keeps flowing."""
Json = dict[str, Any]


class BadLine(ValueError):
    """A line that cannot be judged; ``id`` is what it calls itself, if that could be read."""

    def __init__(self, reason: str, line_id: Any = None) -> None:
        super().__init__(reason)
        self.line_id = line_id


def judge_stream(lines: IO[bytes], verifier: Reward) -> Iterator[list[Json]]:
    """Judge every line of ``lines`` and yield their records, in order, a batch at a time.

    Lines that have come are judged together; nothing waits for a batch to fill, so a program may write one line and
    read its verdict before it writes the next. Blank lines are passed over.
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
        data = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise BadLine("not UTF-8 text") from None
    except RecursionError:
        raise BadLine("JSON nested too deep") from None
    except ValueError as problem:
        raise BadLine(f"not JSON: {problem}") from None
    if not isinstance(data, dict):
        raise BadLine(f"a JSON object is wanted, not {_kind(data)}")
    line_id = data.get("id", number)
    if isinstance(line_id, (dict, list)) or (isinstance(line_id, float) and not math.isfinite(line_id)):
        raise BadLine("'id' must be a text or a number")
    return line_id, Sample(
        problem_id=str(line_id),
        prompt=_text(data, "prompt", line_id, default=""),
        completion=_text(data, "response", line_id),
        gold=_text(data, "gold", line_id),
    )


def _text(data: Json, name: str, line_id: Any, default: str | None = None) -> str:
    """A field as text. Data sets write some golds as JSON numbers."""
    value = data.get(name, default)
    if value is None:
        raise BadLine(f"{name!r} is missing", line_id)
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadLine(f"{name!r} must be text, not {_kind(value)}", line_id)
    return json.dumps(value)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _batches(lines: Iterable[bytes]) -> Iterator[list[tuple[int, bytes]]]:
    """Numbered lines, as many at a time as have come. A thread reads ahead, and not further than one batch."""
    waiting: queue.Queue[tuple[int, bytes] | BaseException | None] = queue.Queue(MAX_BATCH)

    def read_ahead() -> None:
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    waiting.put((number, line))
            waiting.put(None)
        except BaseException as problem:  # handed over to whoever consumes the lines
            waiting.put(problem)

    threading.Thread(target=read_ahead, name="read-lines", daemon=True).start()
    while True:
        batch, end = _take(waiting)
        if batch:
            yield batch
        if isinstance(end, BaseException):
            raise end
        if end is not False:
            return


def _take(
    waiting: queue.Queue[tuple[int, bytes] | BaseException | None],
) -> tuple[list[tuple[int, bytes]], BaseException | bool | None]:
    """Wait for one line and take what else is there; with it the end mark, or False where more may come."""
    batch: list[tuple[int, bytes]] = []
    while len(batch) < MAX_BATCH:
        try:
            item = waiting.get(block=not batch)
        except queue.Empty:
            return batch, False
        if item is None or isinstance(item, BaseException):
            return batch, item
        batch.append(item)
    return batch, False
