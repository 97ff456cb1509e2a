"""A worker process: JSON lines in, JSON lines out, within limits it sets on itself.

Started as ``python -m rewards.workers.worker MEMORY_MB DEADLINE_S`` by :mod:`rewards.workers.isolation`. A request is
``{"id", "gold", "completion", "prompt", "finish_reason", "lenient", "form"}``, a reply ``{"id", "result"}`` or ``{"id", "error"}``; the first line says that it is ready.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from typing import IO, Any

try:
    import resource
except ImportError:  # not on Windows: there the deadline alone protects
    resource = None  # type: ignore[assignment]

_LOG_BYTES = 1 << 20
_LOOK_FOR_PARENT_S = 1.0


def main(argv: list[str] | None = None) -> int:
    """Serve requests until stdin closes."""
    arguments = sys.argv[1:] if argv is None else argv
    memory_mb, deadline_s = int(arguments[0]), float(arguments[1])
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to the log, not between the replies
    _limit("RLIMIT_AS", memory_mb << 20)
    _limit("RLIMIT_FSIZE", _LOG_BYTES)
    _limit("RLIMIT_CORE", 0)

    # sympy is loaded before saying ready, never by the caller

    from rewards.base import Sample
    from rewards.codec import score_to_json
    from rewards.comparing.equivalence import decide
    from rewards.comparing.outcome import Outcome
    from rewards.judging import judge_sample
    from rewards.reading.values import Reading
    from rewards.symbolic import patience, sympy_oracle

    def decide_fully(gold: Reading, answer: Reading) -> Outcome:
        return decide(gold, answer, sympy_oracle.SympyOracle().same)

    def judge(request: dict[str, Any]) -> dict[str, Any]:
        sample = Sample(
            problem_id="",
            prompt=request["prompt"],
            completion=request["completion"],
            gold=request["gold"],
            finish_reason=request["finish_reason"],
        )
        score = judge_sample(
            sample, lenient=request["lenient"], form=request["form"], decide_fully=decide_fully
        )
        return score_to_json(score)

    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    patience.install()
    sympy_oracle.warm_up()
    _send(replies, {"ready": os.getpid()})
    for line in sys.stdin:
        request = json.loads(line)
        _limit_cpu(deadline_s)
        try:
            reply = {"id": request["id"], "result": judge(request)}
        except MemoryError:
            reply = {"id": request["id"], "error": "it ran out of memory"}
        except Exception as problem:  # reported as a verdict of its own by the parent
            reply = {"id": request["id"], "error": f"{type(problem).__name__}: {str(problem)[:200]}"}
        _send(replies, reply)
    return 0


def _end_with(parent: int) -> None:
    """End when the parent is gone, also while a forked child of it still holds the pipes open."""
    while os.getppid() == parent:
        time.sleep(_LOOK_FOR_PARENT_S)
    os._exit(1)


def _send(replies: IO[str], reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def _limit(name: str, value: int) -> None:
    """Lower one resource limit where the system has it."""
    if resource is None or not hasattr(resource, name):
        return
    kind = getattr(resource, name)
    hard = resource.getrlimit(kind)[1]
    try:
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    except (ValueError, OSError):  # macOS refuses some limits; the deadline still holds
        return


def _limit_cpu(deadline_s: float) -> None:
    """Let this request burn little more CPU than its deadline, so that an orphaned worker ends by itself."""
    _limit("RLIMIT_CPU", math.ceil(time.process_time() + deadline_s) + 2)


if __name__ == "__main__":
    sys.exit(main())
