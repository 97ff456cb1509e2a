"""A pool of worker processes for work that may hang, crash or eat memory.

Requests and replies are JSON lines. Each request has a wall-clock deadline from the moment it is handed to a worker;
at the deadline the worker's process group is killed and another takes its place. A request whose worker dies is given
to a second one before that counts as its own doing. Nothing here knows mathematics.
POSIX only (pipes in a selector, process groups).
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rewards.workers.process import Json, WorkerProcess, start_worker

_START_FAILURES = 2
_CORES = os.cpu_count() or 1
_LEAST_MEMORY_MB = 64
_LOOK_UP_S = 0.2
"""How often a batch looks whether the pool is being closed."""
_SLOW_S = 0.03
"""A request that runs longer holds up those behind it: an idle worker takes them over."""


class Failure(StrEnum):
    """Why a request has no result."""

    TIMEOUT = "timeout"
    CRASH = "crash"


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of one request, or the failure in its place."""

    result: Json | None = None
    failure: Failure | None = None
    detail: str = ""


class WorkerPool:
    """Runs batches of requests on worker processes. Safe to use from any thread; batches take turns.

    Args:
        workers: how many processes at most.
        deadline_s: wall-clock limit of one request.
        memory_mb: address-space limit of one process.
        module: what ``python -m`` runs.
    """

    def __init__(
        self,
        *,
        workers: int = 2,
        deadline_s: float = 2.0,
        memory_mb: int = 1024,
        module: str = "rewards.workers.worker",
    ) -> None:
        if workers < 1 or deadline_s <= 0:
            raise ValueError("a pool needs at least one worker and a positive deadline")
        if memory_mb < _LEAST_MEMORY_MB:
            raise ValueError(f"a worker needs at least {_LEAST_MEMORY_MB} MB")
        self.deadline_s = deadline_s
        self._size = min(workers, 2 * _CORES)
        self._closing = False
        self._command = [sys.executable, "-P", "-m", module, str(memory_mb), str(deadline_s)]
        self._lock = threading.Lock()
        self._workers: list[WorkerProcess] = []
        self._finalizer = weakref.finalize(self, _kill_all, self._workers, os.getpid())
        _POOLS.add(self)

    def start(self) -> None:
        """Start the workers without waiting until they are ready."""
        with (
            self._lock,
            contextlib.suppress(OSError),
        ):  # a failure to start is reported by the batch that needs them
            self._fill(self._size)

    def run(
        self, requests: Sequence[Mapping[str, Any]], *, wanted: Callable[[], bool] = lambda: True
    ) -> list[Reply]:
        """Run every request and return the replies in order. Never raises for what a request does.

        Args:
            requests: what the workers are to do.
            wanted: asked a few times a second; once it says no, what is not done yet fails, and nobody works on it any more.
        """
        if not requests:
            return []
        with self._lock:
            try:
                self._drop_dead()
                return _Batch(self, requests, wanted).run()
            except BaseException:
                self._kill_workers()  # interrupted in the middle: what the workers now hold is stale
                raise

    def close(self) -> None:
        """Kill the workers and reap them; a batch that runs ends at once. Safe to call twice; a later batch starts anew."""
        self._closing = True
        with self._lock:
            self._kill_workers()
            self._closing = False

    def pids(self) -> list[int]:
        """Process ids of the living workers."""
        return [worker.process.pid for worker in list(self._workers) if worker.process.poll() is None]

    def _kill_workers(self) -> None:
        _kill_all(self._workers, os.getpid())

    def _fill(self, wanted: int) -> list[WorkerProcess]:
        """Bring the pool up to ``wanted`` workers, but start no more at once than there are cores."""
        starting = sum(worker.is_starting for worker in self._workers)
        while len(self._workers) < min(wanted, self._size) and starting < _CORES:
            self._workers.append(start_worker(self._command))
            starting += 1
        return self._workers

    def _forget_parents_workers(self) -> None:
        """In a forked child: the workers are the parent's, and its lock may be held for ever."""
        self._lock = threading.Lock()
        while self._workers:
            self._workers.pop().abandon()

    def _drop_dead(self) -> None:
        """Forget workers that died while idle. Only between batches: within one, the batch sees them die."""
        for worker in [w for w in self._workers if w.process.poll() is not None and not w.is_starting]:
            self._workers.remove(worker)
            worker.kill()


_POOLS: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for pool in list(_POOLS):
        pool._forget_parents_workers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _kill_all(workers: list[WorkerProcess], owner: int) -> None:
    if os.getpid() != owner:
        return  # a forked child must not kill its parent's workers
    while workers:
        workers.pop().kill()


class _Batch:
    """One call of :meth:`WorkerPool.run`: hands out requests, collects replies, enforces deadlines.

    Requests are sent ahead, so that a worker never waits for the next one. Those that wait behind a slow one are given
    to an idle worker too, and the first reply counts; so one request that hangs does not hold up others.
    """

    def __init__(
        self, pool: WorkerPool, requests: Sequence[Mapping[str, Any]], wanted: Callable[[], bool]
    ) -> None:
        self.pool = pool
        self.requests = requests
        self.wanted = wanted
        self.replies: list[Reply | None] = [None] * len(requests)
        self.queue = deque(range(len(requests)))
        self.left = len(requests)
        self.start_failures = 0
        self.tried: set[int] = set()
        self.selector = selectors.DefaultSelector()
        self.known: set[WorkerProcess] = set()

    def run(self) -> list[Reply]:
        with self.selector:
            while self.left:
                if not self.wanted():
                    self.give_up("its result is not wanted any more")
                    break
                self.hand_out()
                if self.left:
                    self.wait()
                if self.left and self.pool._closing:
                    self.give_up("the verifier was closed")
            self.drop_stale()
        return [reply for reply in self.replies if reply is not None]

    def hand_out(self) -> None:
        """Keep as many workers as there is work for, and share the requests out evenly among them."""
        self.start_workers()
        ready = [worker for worker in self.known if not worker.is_starting]
        while self.queue:
            line = self.line(self.queue[0])
            open_workers = [worker for worker in ready if worker.has_room(len(line))]
            if not open_workers:
                return
            self.give(min(open_workers, key=lambda worker: len(worker.jobs)), self.queue.popleft(), line)
        for worker in ready:
            if not worker.jobs:
                self.take_over(worker)

    def start_workers(self) -> None:
        """Start what the queue justifies; once starting has failed twice, go on with those that run, if any."""
        if self.start_failures < _START_FAILURES:
            busy = sum(bool(worker.jobs) for worker in self.known)
            try:
                self.pool._fill(busy + len(self.queue))
            except OSError as problem:
                self.start_failed(str(problem))
        for worker in self.pool._workers:
            if worker not in self.known:
                self.selector.register(worker.output, selectors.EVENT_READ, worker)
                self.known.add(worker)

    def start_failed(self, reason: str) -> None:
        self.start_failures += 1
        if self.start_failures >= _START_FAILURES and not self.pool._workers:
            self.give_up(f"the verifier worker cannot start: {reason}")

    def line(self, job: int) -> bytes:
        return json.dumps({**self.requests[job], "id": job}).encode() + b"\n"

    def give(self, worker: WorkerProcess, job: int, line: bytes) -> None:
        if not worker.jobs:
            self.begin_head(worker)
        worker.jobs.append((job, len(line)))
        worker.send(line)
        self.watch_input(worker)

    def watch_input(self, worker: WorkerProcess) -> None:
        """Be told when the pipe has room, as long as something is unsent."""
        is_watched = worker.input in self.selector.get_map()
        if worker.unsent and not is_watched:
            self.selector.register(worker.input, selectors.EVENT_WRITE, worker)
        elif is_watched and not worker.unsent:
            self.selector.unregister(worker.input)

    def begin_head(self, worker: WorkerProcess) -> None:
        worker.head_since = time.monotonic()
        worker.deadline = worker.head_since + self.pool.deadline_s

    def take_over(self, idle: WorkerProcess) -> None:
        """Give an idle worker a request that waits behind a slow one."""
        now = time.monotonic()
        for worker in self.known:
            if worker is idle or not worker.jobs or now - worker.head_since < _SLOW_S:
                continue
            held = {job for other in self.known if other is not worker for job, _ in other.jobs}
            for job, _ in reversed(list(worker.jobs)[1:]):
                if self.replies[job] is None and job not in held:
                    self.give(idle, job, self.line(job))
                    return

    def wait(self) -> None:
        """Wait for the next message, deadline, or moment to look for slow requests."""
        waiting = [worker for worker in self.known if worker.is_starting or worker.jobs]
        timeout = min((worker.deadline for worker in waiting), default=0.0) - time.monotonic()
        if any(len(worker.jobs) > 1 for worker in waiting) and len(waiting) < len(self.known):
            timeout = min(timeout, _SLOW_S)
        for key, events in self.selector.select(max(0.0, min(timeout, _LOOK_UP_S))):
            worker = key.data
            if worker not in self.known:
                continue
            if events & selectors.EVENT_WRITE:
                worker.send_rest()
                self.watch_input(worker)
            else:
                self.receive(worker)
        now = time.monotonic()
        for worker in waiting:
            if worker in self.known and worker.deadline <= now and (worker.is_starting or worker.jobs):
                self.lose(worker, Failure.TIMEOUT)

    def receive(self, worker: WorkerProcess) -> None:
        try:
            messages = worker.read_messages()
        except (EOFError, OSError, ValueError):
            self.lose(worker, Failure.CRASH)
            return
        for message in messages:
            if worker.is_starting and "ready" in message:
                worker.is_starting = False
                self.start_failures = 0
            elif worker.jobs and message.get("id") == worker.jobs[0][0]:
                self.take_reply(worker, message)

    def take_reply(self, worker: WorkerProcess, message: Mapping[str, Any]) -> None:
        job, _ = worker.jobs.popleft()
        if worker.jobs:
            self.begin_head(worker)
        result = message.get("result")
        if isinstance(result, dict):
            self.settle(job, Reply(result))
        else:
            self.settle(
                job, Reply(failure=Failure.CRASH, detail=f"the worker failed: {message.get('error')}")
            )

    def lose(self, worker: WorkerProcess, failure: Failure) -> None:
        """A worker hung or died: kill it, give its request a verdict; the next hand-out starts another."""
        status = worker.process.poll()
        self.forget(worker)
        words = worker.last_words()
        worker.kill()
        if worker.is_starting:
            self.start_failed(words or f"exit status {status}")
            return
        jobs = [job for job, _ in worker.jobs if self.replies[job] is None]
        if jobs and jobs[0] == worker.jobs[0][0]:
            head = jobs.pop(0)
            if failure is Failure.TIMEOUT:
                self.settle(
                    head, Reply(failure=failure, detail=f"no decision within {self.pool.deadline_s:g} s")
                )
            elif head not in self.tried:
                self.tried.add(
                    head
                )  # it may have died for another reason, so the request gets a second worker
                jobs.append(head)
            else:
                reason = words or f"exit status {worker.process.returncode}"
                self.settle(head, Reply(failure=failure, detail=f"the worker died ({reason})"))
        held = {job for other in self.known for job, _ in other.jobs}
        self.queue.extend(job for job in jobs if job not in held)

    def forget(self, worker: WorkerProcess) -> None:
        worker.unsent.clear()
        self.watch_input(worker)
        self.selector.unregister(worker.output)
        self.known.discard(worker)
        self.pool._workers.remove(worker)

    def drop_stale(self) -> None:
        """Kill workers that still hold requests which others have answered: the next batch must not wait for them."""
        for worker in [worker for worker in self.known if worker.jobs]:
            self.forget(worker)
            worker.kill()

    def give_up(self, reason: str) -> None:
        """Nobody is there to judge: every open request gets that as its verdict."""
        for job, reply in enumerate(self.replies):
            if reply is None:
                self.settle(job, Reply(failure=Failure.CRASH, detail=reason))

    def settle(self, job: int, reply: Reply) -> None:
        if self.replies[job] is None:
            self.replies[job] = reply
            self.left -= 1
