"""Requests sent ahead: order, fairness, and that one that hangs does not hold up the others."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import pytest

from rewards.workers.isolation import Failure, Reply, WorkerPool
from tests.rewards.conftest import DEADLINE


def echoes(replies: list[Reply]) -> list[Any]:
    return [reply.result["echo"] if reply.result else reply.failure for reply in replies]


def timed(pool: WorkerPool, requests: list[dict[str, Any]]) -> tuple[list[Any], float]:
    started = time.monotonic()
    replies = pool.run(requests)
    return echoes(replies), time.monotonic() - started


def echo(number: int, **more: Any) -> dict[str, Any]:
    return {"do": "echo", "echo": number, **more}


def test_many_requests_come_back_in_order(pool: WorkerPool) -> None:
    assert echoes(pool.run([echo(number) for number in range(1000)])) == list(range(1000))


def test_both_workers_share_the_work(pool: WorkerPool) -> None:
    _, seconds = timed(pool, [{"do": "sleep", "for": 0.05, "echo": number} for number in range(16)])
    assert seconds < 0.05 * 16 * 0.75


@pytest.mark.parametrize("places", [(0,), (5,), (0, 1), (0, 2), (4, 5, 6, 7)])
def test_hanging_requests_time_out_and_the_others_do_not_wait_for_them(
    pool: WorkerPool, places: tuple[int, ...]
) -> None:
    requests = [{"do": "hang", "echo": n} if n in places else echo(n) for n in range(40)]
    answers, seconds = timed(pool, requests)
    assert answers == [Failure.TIMEOUT if n in places else n for n in range(40)]
    rounds = (len(places) + 1) // 2
    assert seconds < DEADLINE * rounds + 3.0  # a killed worker is replaced in between


def test_a_request_behind_a_slow_one_is_taken_over(pool: WorkerPool) -> None:
    requests = [{"do": "sleep", "for": 0.6, "echo": 0}, *(echo(n) for n in range(1, 12))]
    answers, seconds = timed(pool, requests)
    assert answers == list(range(12))
    assert seconds < 0.8


def test_a_dying_worker_takes_only_its_own_request_with_it(pool: WorkerPool) -> None:
    requests = [{"do": "exit", "echo": n} if n in (3, 9) else echo(n) for n in range(20)]
    assert echoes(pool.run(requests)) == [Failure.CRASH if n in (3, 9) else n for n in range(20)]
    assert echoes(pool.run([echo(5)])) == [5]


def test_large_requests_are_never_sent_ahead_of_what_the_pipe_holds(pool: WorkerPool) -> None:
    big = "x" * 300_000
    requests = [echo(n, padding=big) for n in range(12)]
    requests[2] = {"do": "hang", "echo": 2, "padding": big}
    answers, seconds = timed(pool, requests)
    assert answers == [Failure.TIMEOUT if n == 2 else n for n in range(12)]
    assert seconds < DEADLINE + 3.0


def test_what_was_answered_twice_does_not_disturb_the_next_batch(pool: WorkerPool) -> None:
    for round_ in range(3):
        requests = [
            {"do": "sleep", "for": 0.2, "echo": 100 * round_},
            *(echo(100 * round_ + n) for n in range(1, 9)),
        ]
        assert echoes(pool.run(requests)) == [100 * round_ + n for n in range(9)]


def test_a_stopped_worker_cannot_hold_up_a_large_request(pool: WorkerPool) -> None:
    for pid in pool.pids():
        os.kill(pid, signal.SIGSTOP)
    answers, seconds = timed(pool, [echo(n, padding="x" * 300_000) for n in range(3)])
    assert seconds < 3 * DEADLINE + 3.0
    assert Failure.TIMEOUT in answers
    assert echoes(pool.run([echo(7)])) == [7]


def test_closing_ends_a_batch_that_runs(pool: WorkerPool) -> None:
    patient = WorkerPool(workers=1, deadline_s=60, module="tests.rewards.stub_worker")
    replies: list[list[Reply]] = []
    thread = threading.Thread(target=lambda: replies.append(patient.run([{"do": "hang", "echo": 0}] * 3)))
    thread.start()
    time.sleep(0.8)
    started = time.monotonic()
    patient.close()
    thread.join(10)
    assert time.monotonic() - started < 2
    assert [reply.failure for reply in replies[0]] == [Failure.CRASH] * 3
    assert "closed" in replies[0][0].detail
    assert echoes(patient.run([echo(1)])) == [1]
    patient.close()


def test_a_forked_child_leaves_its_parents_workers_alone_and_gets_its_own(pool: WorkerPool) -> None:
    pids = pool.pids()
    child = os.fork()
    if child == 0:
        answered = echoes(pool.run([echo(5)])) == [5] and not set(pool.pids()) & set(pids)
        pool.close()
        os._exit(0 if answered else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pool.pids() == pids
    assert echoes(pool.run([echo(6)])) == [6]


def test_more_workers_than_cores_make_no_more_processes_than_help() -> None:
    many = WorkerPool(workers=64, deadline_s=5, module="tests.rewards.stub_worker")
    assert echoes(many.run([echo(n) for n in range(200)])) == list(range(200))
    assert len(many.pids()) <= 2 * (os.cpu_count() or 1)
    many.close()


def test_workers_that_cannot_start_do_not_take_healthy_ones_with_them(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.kill(pool.pids()[0], signal.SIGKILL)

    def refuse(_command: Sequence[str]) -> NoReturn:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("rewards.workers.isolation.start_worker", refuse)
    assert echoes(pool.run([echo(n) for n in range(50)])) == list(range(50))
    for pid in pool.pids():
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.1)
    assert [reply.failure for reply in pool.run([echo(1)])] == [Failure.CRASH]


def test_too_little_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 64 MB"):
        WorkerPool(memory_mb=20)
