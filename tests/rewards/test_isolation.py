"""Workers: order, deadlines, crashes, threads, and nothing left behind."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rewards.base import Sample, Score, Verdict
from rewards.math_verifier import MathVerifier
from rewards.workers.isolation import Failure, Reply, WorkerPool

STUB = "tests.rewards.stub_worker"
FOR_A_WORKER = (r"\sin 2x", r"2\sin x\cos x")
"""A pair that neither exact arithmetic nor floating point decides."""


def sample(gold: str, answer: str) -> Sample:
    return Sample(problem_id="p", prompt="", completion=f"\\boxed{{{answer}}}", gold=gold)


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    """Workers that sleep, die or echo as they are told."""
    with contextlib.closing(WorkerPool(workers=2, deadline_s=0.6, module=STUB)) as pool:
        yield pool


@pytest.fixture(scope="module")
def verifier() -> Iterator[MathVerifier]:
    with contextlib.closing(MathVerifier()) as verifier:
        yield verifier


def verdicts(scores: list[Score]) -> list[Verdict]:
    return [score.verdict for score in scores]


def test_order_is_kept_between_here_and_the_workers(verifier: MathVerifier) -> None:
    pairs = [
        ("5", "5"),
        (r"\sin 2x", r"2\sin x\cos x"),
        ("5", "6"),
        ("n!", "n(n-1)!"),
        (r"\sin 2x", r"3\sin x\cos x"),
        ("3.14", r"\pi"),
        ("", "1"),
        ("n!", "n(n-1)!"),
    ]
    expected = [
        Verdict.CORRECT,
        Verdict.CORRECT,
        Verdict.WRONG,
        Verdict.CORRECT,
        Verdict.WRONG,
        Verdict.CORRECT,
    ]
    expected += [Verdict.BAD_GOLD, Verdict.CORRECT]
    assert verdicts(verifier.score([sample(*pair) for pair in pairs])) == expected


def test_many_pairs_through_the_workers_keep_their_order(verifier: MathVerifier) -> None:
    samples = [
        sample(f"\\sin({2 * n}x)", f"2\\sin({n}x)\\cos({n if n % 3 else n + 1}x)") for n in range(1, 41)
    ]
    expected = [Verdict.CORRECT if n % 3 else Verdict.WRONG for n in range(1, 41)]
    assert verdicts(verifier.score(samples)) == expected


def test_a_batch_from_many_threads_at_once(verifier: MathVerifier) -> None:
    samples = [sample(*FOR_A_WORKER), sample("5", "6"), sample("x+1", "1+x")]
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: verdicts(verifier.score(samples)), range(24)))
    assert results == [[Verdict.CORRECT, Verdict.WRONG, Verdict.CORRECT]] * 24


def test_replies_come_in_order_whatever_order_they_finish_in(pool: WorkerPool) -> None:
    naps = [0.2, 0.0, 0.1, 0.0, 0.0]
    replies = pool.run([{"do": "sleep", "for": nap, "echo": n} for n, nap in enumerate(naps)])
    assert [reply.result for reply in replies] == [{"echo": n} for n in range(5)]


def test_a_hang_is_killed_at_its_deadline_and_the_rest_goes_on(pool: WorkerPool) -> None:
    pool.run([{"do": "echo", "echo": 0}] * 2)
    before = pool.pids()
    started = time.perf_counter()
    replies = pool.run([{"do": "hang"}, {"do": "echo", "echo": 1}, {"do": "hang"}, {"do": "echo", "echo": 2}])
    assert time.perf_counter() - started < 4
    assert [reply.failure for reply in replies] == [Failure.TIMEOUT, None, Failure.TIMEOUT, None]
    assert "0.6 s" in replies[0].detail
    assert not set(before) & set(pool.pids())
    assert not any(exists(pid) for pid in before)


@pytest.mark.parametrize("deed", ["exit", "segfault", "memory", "garbage", "half a line"])
def test_a_worker_that_dies_gives_a_verdict_of_its_own(pool: WorkerPool, deed: str) -> None:
    replies = pool.run([{"do": deed}, {"do": "echo", "echo": 1}])
    assert replies[0].failure is Failure.CRASH
    assert replies[0].detail
    assert replies[1].result == {"echo": 1}


def test_a_worker_killed_from_outside_in_the_middle(pool: WorkerPool) -> None:
    pool.run([{"do": "echo", "echo": 0}] * 2)
    victim = pool.pids()[0]
    killer = threading.Timer(0.15, os.kill, (victim, signal.SIGKILL))
    killer.start()
    replies = pool.run([{"do": "sleep", "for": 0.4, "echo": n} for n in range(2)])
    killer.join()
    assert [reply.result for reply in replies] == [{"echo": 0}, {"echo": 1}], "it was not the request's fault"
    assert victim not in pool.pids()


def test_a_worker_killed_while_idle_is_replaced(pool: WorkerPool) -> None:
    pool.run([{"do": "echo", "echo": 0}] * 2)
    before = pool.pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert pool.run([{"do": "echo", "echo": 5}] * 3)[2].result == {"echo": 5}
    assert not set(before) & set(pool.pids())


def test_what_a_worker_prints_is_neither_a_reply_nor_on_the_terminal(
    pool: WorkerPool, capfd: pytest.CaptureFixture[str]
) -> None:
    assert pool.run([{"do": "print", "echo": 3}])[0].result == {"echo": 3}
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_worker_that_cannot_start_says_why_and_does_not_hang() -> None:
    with contextlib.closing(WorkerPool(module="rewards.no_such_module")) as pool:
        started = time.perf_counter()
        replies = pool.run([{"do": "echo"}] * 5)
        assert time.perf_counter() - started < 20
    assert [reply.failure for reply in replies] == [Failure.CRASH] * 5
    assert "cannot start" in replies[0].detail
    assert "no_such_module" in replies[0].detail


def test_equal_pairs_are_asked_once(verifier: MathVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    run = verifier._pool.run

    def counted(requests: Sequence[Mapping[str, Any]]) -> list[Reply]:
        asked.append(len(requests))
        return run(requests)

    monkeypatch.setattr(verifier._pool, "run", counted)
    scores = verifier.score([sample(*FOR_A_WORKER)] * 16 + [sample("5", "5")])
    assert asked == [1]
    assert verdicts(scores) == [Verdict.CORRECT] * 17


def test_bombs_in_a_group_cost_seconds_and_only_themselves() -> None:
    bombs = [r"\sqrt{2}" + r"^{\sqrt{2}}" * 1 + "+ 10^{10^{10}}", "(x+1)^{(x+2)^{(x+3)^{999}}}", "((9!)!)!"]
    with contextlib.closing(MathVerifier(deadline_s=1.0)) as verifier:
        started = time.perf_counter()
        scores = verifier.score([sample(r"\sqrt{2}x", bomb) for bomb in bombs] + [sample(*FOR_A_WORKER)])
        assert time.perf_counter() - started < 6
    assert [score.value for score in scores] == [0.0, 0.0, 0.0, 1.0]


def test_closing_twice_leaves_no_process_and_a_closed_verifier_can_start_again() -> None:
    verifier = MathVerifier()
    verifier.warm_up()
    pids = verifier._pool.pids()
    assert len(pids) == 2
    verifier.close()
    verifier.close()
    assert not any(exists(pid) for pid in pids)
    assert verifier.score([sample(*FOR_A_WORKER)])[0].value == 1.0
    verifier.close()


def test_a_forgotten_verifier_takes_its_workers_along() -> None:
    verifier = MathVerifier()
    verifier.warm_up()
    pids = verifier._pool.pids()
    del verifier
    gc.collect()
    assert not any(exists(pid) for pid in pids)


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    program = """
import sys
from rewards import MathVerifier, Sample
verifier = MathVerifier()
print(verifier.score([Sample(problem_id="p", prompt="", completion="\\\\boxed{2 \\\\sin x \\\\cos x}", gold="\\\\sin 2x")])[0].value)
print(*verifier._pool.pids())
"""
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    value, pids = run.stdout.splitlines()
    assert value == "1.0"
    assert run.stderr == ""
    assert pids
    assert not any(exists(int(pid)) for pid in pids.split())


def exists(pid: int) -> bool:
    """Whether a process, or its zombie, is still there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
