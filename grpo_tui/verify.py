"""``grpo-tui verify``: the verifier on JSON lines, on one pair for a person, and against the canaries."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Iterable
from typing import IO, Any

from rewards.base import Sample
from rewards.explanation import explain
from rewards.math_verifier import MathVerifier
from rewards.stream import judge_stream, record_of


def run(arguments: argparse.Namespace) -> int:
    """Run the command.

    The exit code is 1 when a line was malformed, a canary was paid, or what is read or written failed or was closed;
    2 for a wrong call.
    """
    if sys.stdout is None:
        return _complain("stdout is closed: there is nowhere to write to", 1)
    try:
        _configure(sys.stdout, errors="backslashreplace")  # the locale may lack what stands in an answer
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has seen enough
        _abandon(sys.stdout)
        return 1
    except OSError as problem:
        _abandon(sys.stdout)
        return _complain(str(problem), 1)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.canaries:
        return _canaries(arguments)
    if arguments.reward:
        return _wrong_call("--reward goes with --canaries")
    if arguments.cases is not None:
        return _cases(arguments)
    if (arguments.response is None) != (arguments.gold is None):
        return _wrong_call("give both --gold and a response, or neither and JSON lines on stdin")
    if arguments.response is None and sys.stdin is None:
        return _wrong_call("stdin is closed: pipe JSON lines in, or give --gold ANSWER RESPONSE; see --help")
    if arguments.response is None and sys.stdin.isatty():
        return _wrong_call(
            "waiting for nothing: pipe JSON lines in, or give --gold ANSWER RESPONSE; see --help"
        )
    verifier = MathVerifier(
        lenient=arguments.reading == "lenient",
        form=arguments.form,
        workers=arguments.jobs,
        deadline_s=arguments.timeout,
    )
    try:
        if arguments.response is not None:
            return _one_pair(arguments, verifier)
        return _print_records(judge_stream(sys.stdin.buffer, verifier), sys.stdout)
    finally:
        verifier.close()


def _one_pair(arguments: argparse.Namespace, verifier: MathVerifier) -> int:
    sample = Sample(
        problem_id="1", prompt=arguments.prompt, completion=arguments.response, gold=arguments.gold
    )
    score = verifier.score([sample])[0]
    if arguments.json:
        return _print_records([[record_of(1, score)]], sys.stdout)
    sys.stdout.write(explain(sample, score))
    return 0


def _print_records(batches: Iterable[list[dict[str, Any]]], out: IO[str]) -> int:
    """Write one JSON line a record; the exit code. A lone surrogate leaves as the escape it came in as."""
    _configure(out, encoding="utf-8", errors="backslashreplace")
    malformed = 0
    for records in batches:
        malformed += sum("error" in record for record in records)
        out.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        out.flush()
    return 1 if malformed else 0


def _configure(out: IO[str], **options: str) -> None:
    reconfigure = getattr(out, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(**options)


def _abandon(out: IO[str]) -> None:
    """Let what is still buffered go nowhere, so that Python does not stumble over it when it exits."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, out.fileno())
        os.close(null)


def _cases(arguments: argparse.Namespace) -> int:
    """Regression cases against both readings; the exit code is 1 where one does not come out as it must."""
    from rewards.cases import BadCase, complaint, read_cases

    if arguments.response is not None or arguments.gold is not None:
        return _wrong_call("--cases brings its own answers; leave --gold and the response away")
    try:
        with open(arguments.cases, encoding="utf-8") as file:  # noqa: PTH123 - a plain path from a person
            cases = read_cases(file)
    except (BadCase, UnicodeDecodeError) as problem:
        return _complain(f"{arguments.cases}: {problem}", 1)
    verifier = MathVerifier(
        lenient=True, form=arguments.form, workers=arguments.jobs, deadline_s=arguments.timeout
    )
    try:
        scores = verifier.score([case.sample for case in cases])
    finally:
        verifier.close()
    failed = 0
    for case, score in zip(cases, scores, strict=True):
        fault = complaint(case, score)
        failed += bool(fault)
        if arguments.json:
            record = {**record_of(case.id, score), "passes": not fault, "fault": fault}
            sys.stdout.write(json.dumps(record) + "\n")
        elif fault:
            sys.stdout.write(f"{case.id}: {fault}\n    {score.explanation.sentence}\n")
    if not arguments.json:
        sys.stdout.write(f"{len(cases) - failed} of {len(cases)} cases come out as they must\n")
    return 1 if failed else 0


def _canaries(arguments: argparse.Namespace) -> int:
    from rewards.canaries import report, run_canaries
    from rewards.compose import WeightedReward
    from rewards.registry import get_reward

    if arguments.response is not None or arguments.gold is not None:
        return _wrong_call("--canaries brings its own answers; leave --gold and the response away")
    try:
        reward = WeightedReward(
            [(get_reward(name), weight) for name, weight in map(_weighted, arguments.reward or ["math"])]
        )
    except ValueError as problem:
        return _wrong_call(str(problem))
    try:
        findings = run_canaries(reward, limit_s=math.inf)
    finally:
        reward.close()
    sys.stdout.write(report(findings))
    return 1 if findings.paid or findings.blind else 0


def _weighted(text: str) -> tuple[str, float]:
    """``name=0.5`` as name and weight; the weight of a bare name is 1."""
    name, equals, weight = text.rpartition("=")
    if not equals:
        return text, 1.0
    try:
        return name, float(weight)
    except ValueError:
        raise ValueError(f"--reward {text}: the weight {weight!r} is not a number") from None


def _wrong_call(message: str) -> int:
    return _complain(message, 2)


def _complain(message: str, code: int) -> int:
    if sys.stderr is not None:
        sys.stderr.write(f"grpo-tui verify: error: {message}\n")
    return code
