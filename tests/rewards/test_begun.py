"""Requests begun early: their results wait, failures do not count, and nothing is left behind when they are dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from rewards.base import Sample, Score, Verdict
from rewards.compose import ComposedScore, WeightedReward
from rewards.functions import FunctionReward
from rewards.math_verifier import MathVerifier
from rewards.workers.begun import Begun
from rewards.workers.isolation import Failure, Reply, WorkerPool


@pytest.fixture
def begun(pool: WorkerPool) -> Iterator[Begun[Any]]:
    made: Begun[Any] = Begun(pool)
    yield made
    made.drop()


def echoes(*numbers: int) -> dict[int, dict[str, Any]]:
    return {number: {"do": "echo", "echo": number} for number in numbers}


def values(replies: Mapping[Any, Reply]) -> dict[Any, Any]:
    return {key: reply.result and reply.result["echo"] for key, reply in replies.items()}


def test_results_wait_until_they_are_taken(begun: Begun[Any]) -> None:
    begun.begin(echoes(*range(50)))
    begun.begin(echoes(*range(40, 60)))
    assert values(begun.take(range(30, 70))) == {n: n for n in range(30, 60)}
    assert begun.take(range(30, 70)) == {}, "they are kept no longer"
    assert values(begun.take([3])) == {3: 3}


def test_who_takes_waits_for_its_own(begun: Begun[Any]) -> None:
    """Seen to fail with: what is there now given; everything waited for."""
    begun.begin({"slow": {"do": "sleep", "for": 0.3, "echo": 1}})
    begun.begin({"slower": {"do": "sleep", "for": 0.7, "echo": 2}})
    started = time.monotonic()
    assert values(begun.take(["slow"])) == {"slow": 1}
    assert 0.1 < time.monotonic() - started < 0.9


def test_what_was_begun_is_not_run_twice(
    begun: Begun[Any], pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = pool.run
    ran: list[int] = []

    def counted(requests: Sequence[Mapping[str, Any]], **options: Any) -> list[Reply]:
        ran.extend(request["echo"] for request in requests)
        return run(requests, **options)

    monkeypatch.setattr(pool, "run", counted)
    begun.begin(echoes(1, 2))
    begun.begin(echoes(2, 3))
    assert len(begun.take([1, 2, 3])) == 3
    assert sorted(ran) == [1, 2, 3]


def test_failures_are_not_kept(begun: Begun[Any]) -> None:
    """Seen to fail with: a early timeout taken for the verdict."""
    begun.begin({**echoes(1, 2), "hangs": {"do": "hang", "echo": 3}, "dies": {"do": "exit", "echo": 4}})
    assert values(begun.take([1, 2, "hangs", "dies"])) == {1: 1, 2: 2}


def test_what_is_dropped_blocks_nobody() -> None:
    """Seen to fail with: the queue kept; what runs kept running to its end."""
    patient = WorkerPool(workers=2, deadline_s=60, module="tests.rewards.stub_worker")
    patient.run([{"do": "echo", "echo": -1}] * 4)
    begun: Begun[Any] = Begun(patient)
    for batch in range(5):
        begun.begin({(batch, n): {"do": "hang", "echo": n} for n in range(4)})
    time.sleep(0.1)
    begun.drop()
    started = time.monotonic()
    assert begun.take([(0, 0), (4, 0)]) == {}
    assert [reply.result for reply in patient.run([{"do": "echo", "echo": 7}])] == [{"echo": 7}]
    assert time.monotonic() - started < 10
    begun.begin(echoes(8))
    assert values(begun.take([8])) == {8: 8}
    patient.close()


def test_after_closing_no_worker_comes_back(pool: WorkerPool, begun: Begun[Any]) -> None:
    for batch in range(5):
        begun.begin({(batch, n): {"do": "sleep", "for": 0.2, "echo": n} for n in range(8)})
    begun.drop()
    pool.close()
    time.sleep(0.5)
    assert pool.pids() == []
    assert not [thread for thread in threading.enumerate() if thread.name == "judging early"]


# --- the verifier ----------------------------------------------------------------------------------------

ANSWERS = [
    r"\boxed{\frac{1}{2}}",
    r"\boxed{0.5}",
    "#### 12",
    r"\boxed{\sqrt{2}/2}",
    r"\boxed{x}",
    "nothing at all",
]
SAMPLES = [Sample(problem_id="p", prompt="?", completion=text, gold=r"\frac{1}{2}") for text in ANSWERS]


def plain(scores: Sequence[Score]) -> list[Score]:
    """Without how long it took."""
    return [
        replace(score, explanation=replace(score.explanation, elapsed_ms=0.0, stage_ms={}))
        for score in scores
    ]


@pytest.fixture
def verifier() -> Iterator[MathVerifier]:
    made = MathVerifier(workers=2)
    yield made
    made.close()


def requests_of_scoring(verifier: MathVerifier, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests each scoring sends itself."""
    run, sent, me = verifier._pool.run, [], threading.current_thread()

    def counted(requests: Sequence[Mapping[str, Any]], **options: Any) -> list[Reply]:
        if threading.current_thread() is me:
            sent.append(len(requests))
        return run(requests, **options)

    monkeypatch.setattr(verifier._pool, "run", counted)
    return sent


def test_scores_are_the_same_and_no_request_is_sent_again(
    verifier: MathVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = plain(verifier.score(SAMPLES))
    sent = requests_of_scoring(verifier, monkeypatch)
    verifier.begin(SAMPLES)
    assert plain(verifier.score(SAMPLES)) == expected
    assert plain(verifier.score(SAMPLES)) == expected
    assert sent[0] == 0
    assert sent[1] > 0
    assert {score.verdict for score in expected} > {Verdict.CORRECT, Verdict.WRONG}


def test_what_failed_early_is_judged_again(verifier: MathVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: a failure kept for the scoring."""
    expected = plain(verifier.score(SAMPLES))
    sent = requests_of_scoring(verifier, monkeypatch)
    counted, me, early = verifier._pool.run, threading.current_thread(), []

    def fails_early(requests: Sequence[Mapping[str, Any]], **options: Any) -> list[Reply]:
        if threading.current_thread() is me:
            return counted(requests, **options)
        early.append(len(requests))
        return [Reply(failure=Failure.TIMEOUT, detail="no decision within 0 s") for _ in requests]

    monkeypatch.setattr(verifier._pool, "run", fails_early)
    verifier.begin(SAMPLES)
    while verifier._early._begun:
        time.sleep(0.01)
    assert plain(verifier.score(SAMPLES)) == expected
    assert sent[0] == early[0] > 0


def asks(reward: MathVerifier | WeightedReward) -> bool:
    return reward.asks_workers


def test_it_asks_workers_only_where_answers_lately_needed_one(verifier: MathVerifier) -> None:
    """Seen to fail with: said before anything was judged; said for ever."""
    assert not asks(verifier)
    verifier.score(SAMPLES)
    assert asks(verifier)
    evident = [Sample(problem_id="p", prompt="?", completion="6 + 6 = 12\n#### 12", gold="12")]
    verifier.score(evident)
    assert asks(verifier)
    verifier.score(evident * 1000)
    assert not asks(verifier)


# --- composed --------------------------------------------------------------------------------------------


def test_only_components_with_workers_are_asked_early(verifier: MathVerifier) -> None:
    """A reward of the user's own is called when it is scored, and by nobody else."""
    called: list[int] = []

    def mine(completion: str, gold: str) -> float:
        called.append(threading.get_ident())
        return 1.0

    reward = WeightedReward([(verifier, 1.0), (FunctionReward("mine", mine), 0.5)])
    assert not asks(reward)
    expected = _totals(reward.score(SAMPLES))
    assert asks(reward)
    called.clear()
    reward.begin(SAMPLES)
    time.sleep(0.1)
    assert not called
    assert _totals(reward.score(SAMPLES)) == expected
    assert set(called) == {threading.get_ident()}
    reward.begin(SAMPLES)
    reward.drop_begun()
    assert not verifier._early._begun
    assert not verifier._early._results


def _totals(scores: Sequence[ComposedScore]) -> list[float]:
    return [score.total for score in scores]


def test_a_component_that_cannot_begin_is_scored_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = MathVerifier()
    reward = WeightedReward([(verifier, 1.0)])
    expected = _totals(reward.score(SAMPLES))

    def breaks(_samples: object) -> None:
        raise RuntimeError("no thread")

    monkeypatch.setattr(verifier, "begin", breaks)
    reward.begin(SAMPLES)
    assert _totals(reward.score(SAMPLES)) == expected
    reward.close()
