"""A pool of two stub workers that are already started."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rewards.workers.isolation import WorkerPool

DEADLINE = 0.8


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    """Two workers of :mod:`tests.rewards.stub_worker`."""
    made = WorkerPool(workers=2, deadline_s=DEADLINE, module="tests.rewards.stub_worker")
    made.run([{"do": "echo", "echo": -1}] * 4)  # both are started
    yield made
    made.close()
