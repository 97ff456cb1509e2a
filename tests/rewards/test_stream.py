"""JSON lines in and out: order, malformed lines, streaming."""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

import pytest

from rewards.base import Sample, Score
from rewards.math_verifier import MathVerifier
from rewards.stream import MAX_BATCH, BadLine, judge_stream, parse_line


@pytest.fixture(scope="module")
def verifier() -> Iterator[MathVerifier]:
    made = MathVerifier(lenient=True)
    yield made
    made.close()


def judged(lines: Sequence[str | bytes], verifier: MathVerifier) -> list[dict[str, Any]]:
    data = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
    return [record for batch in judge_stream(BytesIO(data), verifier) for record in batch]


def test_records_come_in_order_with_every_field(verifier: MathVerifier) -> None:
    right, wrong, algebra = judged(
        [
            '{"id": "a", "gold": "72", "response": "The answer is 72."}',
            '{"id": 7, "gold": "72", "response": "\\\\boxed{71}"}',
            '{"id": null, "gold": "\\\\sin(2x)", "response": "So it is $2\\\\sin x\\\\cos x$"}',
        ],
        verifier,
    )
    assert list(right) == ["id", "correct", "verdict", "strict", "lenient", "answer", "reason"]
    assert (right["id"], right["correct"], right["verdict"], right["answer"]) == ("a", True, "correct", "72")
    assert (right["strict"], right["lenient"]) == (True, True)
    assert (wrong["id"], wrong["correct"], wrong["verdict"]) == (7, False, "wrong")
    assert wrong["reason"]
    assert (algebra["id"], algebra["strict"], algebra["lenient"]) == (None, False, True)


def test_a_missing_id_is_the_line_number_and_blank_lines_are_passed_over(verifier: MathVerifier) -> None:
    records = judged(["", '{"gold": 5, "response": "5"}', "  ", '{"gold": 0.5, "response": "1/2"}'], verifier)
    assert [(record["id"], record["correct"]) for record in records] == [(2, True), (4, True)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "a JSON object is wanted, not a list"),
        ('{"id": 3, "gold": "5"}', "'response' is missing"),
        ('{"id": 3, "response": "5"}', "'gold' is missing"),
        ('{"id": 3, "gold": null, "response": "5"}', "'gold' is missing"),
        ('{"id": 3, "gold": ["5"], "response": "5"}', "'gold' must be text, not a list"),
        ('{"id": 3, "gold": true, "response": "5"}', "'gold' must be text, not true or false"),
        ('{"id": [1], "gold": "5", "response": "5"}', "'id' must be"),
        ('{"id": 3, "gold": NaN, "response": "5"}', "NaN is not JSON"),
        (b'{"id": 3, "gold": "\xff", "response": "5"}', "not UTF-8"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_a_malformed_line_says_so_in_its_place(
    line: str | bytes, reason: str, verifier: MathVerifier
) -> None:
    good = '{"id": "g", "gold": "5", "response": "5"}'
    first, bad, last = judged([good, line, good], verifier)
    assert first["correct"]
    assert last["correct"]
    assert bad["line"] == 2
    assert reason in bad["error"]
    assert "correct" not in bad


def test_the_id_of_a_malformed_line_is_kept() -> None:
    with pytest.raises(BadLine) as caught:
        parse_line(b'{"id": "x9", "gold": "5"}', 1)
    assert caught.value.line_id == "x9"


def test_one_line_is_answered_before_the_next_is_written(verifier: MathVerifier) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as lines, os.fdopen(writing, "wb", buffering=0) as out:
        batches = judge_stream(lines, verifier)
        for number in range(3):
            out.write(json.dumps({"id": number, "gold": "5", "response": "5"}).encode() + b"\n")
            assert [record["id"] for record in next(batches)] == [number]
        out.close()
        assert list(batches) == []


def test_no_more_than_a_batch_is_read_ahead() -> None:
    taken: list[int] = []
    judging = threading.Event()

    class Slow(MathVerifier):
        def score(self, samples: Sequence[Sample]) -> list[Score]:
            judging.set()
            return super().score(samples)

    class Lines:
        def __iter__(self) -> Iterator[bytes]:
            for number in range(MAX_BATCH * 20):
                taken.append(number)
                yield b'{"gold": "5", "response": "5"}\n'

    batches = judge_stream(Lines(), Slow())  # type: ignore[arg-type]
    first = next(batches)
    assert judging.is_set()
    assert 1 <= len(first) <= MAX_BATCH
    threading.Event().wait(0.2)
    assert len(taken) <= len(first) + MAX_BATCH + 1


def test_an_error_of_the_input_reaches_the_caller(verifier: MathVerifier) -> None:
    def lines() -> Iterator[bytes]:
        yield b'{"gold": "5", "response": "5"}\n'
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(judge_stream(lines(), verifier))  # type: ignore[arg-type]
