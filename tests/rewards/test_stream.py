"""JSON lines in and out: order, malformed lines, streaming."""

import gzip
import json
import os
import threading
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from rewards.base import Sample, Score
from rewards.math_verifier import MathVerifier
from rewards.stream import MAX_BATCH, MAX_BYTES, BadLine, judge_stream, parse_line


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


def test_a_byte_order_mark_and_a_prompt_of_null(verifier: MathVerifier) -> None:
    line = b'{"gold": "5", "response": "5", "prompt": null}'
    assert [record["correct"] for record in judged([b"\xef\xbb\xbf" + line, line], verifier)] == [True, True]
    assert judged([b"\xef\xbb\xbf", line], verifier)[0]["id"] == 2
    (bad,) = judged(["", b"\xef\xbb\xbf" + line], verifier)
    assert "not JSON" in bad["error"]


@pytest.mark.parametrize("number", ["3.10", "1e999", "-0.50E-3", "0", "-12", "9" * 5000])
def test_a_gold_written_as_a_number_keeps_its_digits(number: str) -> None:
    line_id, sample = parse_line(f'{{"id": 3.10, "gold": {number}, "response": {number}}}'.encode(), 1)
    assert (sample.gold, sample.completion) == (number, number)
    assert line_id == 3.1


@pytest.mark.parametrize(("given", "read"), [("7", 7), ("-7.50", -7.5), ("1e2", 100.0), ("true", True)])
def test_ids_stay_numbers(given: str, read: object) -> None:
    line_id, _ = parse_line(f'{{"id": {given}, "gold": "5", "response": "5"}}'.encode(), 1)
    assert (line_id, type(line_id)) == (read, type(read))


@pytest.mark.parametrize("given", ["1e999", "[1.5]", "9" * 5000])
def test_a_number_that_cannot_be_an_id(given: str) -> None:
    with pytest.raises(BadLine, match="'id'"):
        parse_line(f'{{"id": {given}, "gold": "5", "response": "5"}}'.encode(), 1)


def test_read_ahead_is_bounded_in_bytes_and_a_longer_line_is_still_judged(verifier: MathVerifier) -> None:
    taken: list[int] = []
    size = MAX_BYTES // 4

    class Lines:
        def __iter__(self) -> Iterator[bytes]:
            for number in range(40):
                taken.append(number)
                yield b'{"gold": "5", "response": "5"}' + b" " * size

    batches = judge_stream(Lines(), verifier)  # type: ignore[arg-type]
    first = next(batches)
    threading.Event().wait(0.2)
    assert len(taken) <= len(first) + 4 + 1
    assert sum(map(len, batches)) + len(first) == 40
    (alone,) = judged([b'{"gold": "5", "response": "5"}' + b" " * (MAX_BYTES + 1)], verifier)
    assert alone["correct"]


def test_lines_of_a_file_in_chunks_with_and_without_a_last_line_end(
    tmp_path: Path, verifier: MathVerifier
) -> None:
    line = json.dumps({"gold": "5", "response": "5", "note": "x" * 50_000}).encode()
    for data in (b"\n".join([line] * 7), b"\n".join([line, b"", line, b""])):
        (tmp_path / "pairs").write_bytes(data)
        (tmp_path / "packed").write_bytes(gzip.compress(data))
        with (tmp_path / "pairs").open("rb") as plain, gzip.open(tmp_path / "packed") as packed:
            from_disk = [record for batch in judge_stream(plain, verifier) for record in batch]
            unpacked = [record for batch in judge_stream(packed, verifier) for record in batch]  # type: ignore[arg-type]
        assert from_disk == judged(data.split(b"\n"), verifier) == unpacked
        assert all(record["correct"] for record in from_disk)


def test_a_descriptor_that_does_not_block_is_waited_for(verifier: MathVerifier) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb") as lines, os.fdopen(writing, "wb", buffering=0) as out:

        def write() -> None:
            out.write(b'{"gold": "5", "response": "5"}\n')
            out.close()

        timer = threading.Timer(0.2, write)
        timer.start()
        assert [len(batch) for batch in judge_stream(lines, verifier)] == [1]
        timer.join()


def test_the_reading_thread_ends_with_whoever_takes_its_lines(verifier: MathVerifier) -> None:
    data = b'{"gold": "5", "response": "5"}\n' * MAX_BATCH * 8
    batches = judge_stream(BytesIO(data), verifier)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread.name == "read-lines" and thread.is_alive():
            thread.join(5)
            assert not thread.is_alive()
