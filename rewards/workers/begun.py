"""Requests begun before their replies are asked for: a thread of its own hands them to the pool, and results wait here."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Hashable, Mapping
from typing import Any, Generic, TypeVar

from rewards.workers.isolation import Reply, WorkerPool

_LOOK_UP_S = 0.5
"""How often one who waits looks whether the thread is still there."""

K = TypeVar("K", bound=Hashable)


class Begun(Generic[K]):
    """Runs requests, each under a key of its own, in the background; batch after batch, in the order they were begun in.

    Only results are kept. A request that ran out of time, or whose worker died, while something else kept the processor busy
    is for the one who asks to run again: what becomes of it must not depend on when it was begun.
    """

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._changed = threading.Condition()
        self._queue: deque[Mapping[K, Mapping[str, Any]]] = deque()
        self._begun: set[K] = set()
        """In the queue, or running."""
        self._results: dict[K, Reply] = {}
        self._round = 0
        """Counts how often all was dropped."""
        self._thread: threading.Thread | None = None

    def begin(self, requests: Mapping[K, Mapping[str, Any]]) -> None:
        """Run what was not begun before."""
        with self._changed:
            known = self._begun | self._results.keys()
            fresh = {key: request for key, request in requests.items() if key not in known}
            if not fresh:
                return
            self._begun |= fresh.keys()
            self._queue.append(fresh)
            if not self._is_running:
                self._thread = threading.Thread(target=self._work, name="judging early", daemon=True)
                self._thread.start()

    def take(self, keys: Collection[K]) -> dict[K, Reply]:
        """Results of those keys that were begun and have one; waits for them, and keeps them no longer."""
        with self._changed:
            while self._is_running and not self._begun.isdisjoint(keys):
                self._changed.wait(_LOOK_UP_S)
            return {key: self._results.pop(key) for key in keys if key in self._results}

    def drop(self) -> None:
        """Nothing of what was begun is wanted any more. What runs ends within a fraction of a second."""
        with self._changed:
            self._round += 1
            self._queue.clear()
            self._begun.clear()
            self._results.clear()
            self._changed.notify_all()

    @property
    def _is_running(self) -> bool:
        # A forked child has its parent's attributes and none of its threads.
        return self._thread is not None and self._thread.is_alive()

    def _work(self) -> None:
        """Run batches until there are no more."""
        while True:
            with self._changed:
                if not self._queue:
                    self._thread = None
                    return
                batch, round_ = self._queue.popleft(), self._round
            replies = self._replies(batch, round_)
            with self._changed:
                if self._round == round_:
                    self._begun -= batch.keys()
                    self._results.update(replies)
                    self._changed.notify_all()

    def _replies(self, batch: Mapping[K, Mapping[str, Any]], round_: int) -> dict[K, Reply]:
        try:
            replies = self._pool.run(list(batch.values()), wanted=lambda: self._round == round_)
        except Exception:  # a defect of ours: who asks runs the request again, and meets it
            return {}
        return {key: reply for key, reply in zip(batch, replies, strict=True) if reply.result is not None}
