"""The worker's oracle: numbers refute, sympy proves. Only workers import this, and with it sympy.

Where numbers agree and sympy finds a proof, the rule says how; where it finds none, the agreement decides and the
sentence says that. Where the gold holds an integral, limit, derivative or infinite sum, sympy works out both sides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import mpmath  # type: ignore[import-untyped]
from sympy.core.cache import clear_cache

from rewards.comparing.algebra import AGREES, AGREES_SO_FAR, same_by_values
from rewards.comparing.outcome import Outcome, right, undecided, wrong
from rewards.comparing.readings import through_readings
from rewards.reading.expression import ExpressionParser
from rewards.reading.tokens import tokenize
from rewards.symbolic.patience import OutOfPatience, limited
from rewards.symbolic.proof import prove
from rewards.symbolic.working_out import name_of, standing, work_out
from rewards.trees.tree import Node

_ONE_PROOF_S, _ALL_PROOFS_S = 0.1, 0.4
_WORKING_OUT_S = 0.8
_SHORTEST_S = 0.001
_Result = TypeVar("_Result")


class SympyOracle:
    """Decides whether two trees have one value. One object for one comparison, whose time it budgets.

    For the main thread of a worker, where :mod:`rewards.symbolic.patience` can interrupt sympy: a matrix of entries without a
    proof, or an integral without an end, must not use up the deadline within which numbers would decide.
    """

    def __init__(self) -> None:
        self._proofs_s = _ALL_PROOFS_S
        self._working_out_s = _WORKING_OUT_S

    def same(self, gold: Node, answer: Node) -> Outcome:
        """The oracle, under every reading of an ambiguous notation."""
        return through_readings(gold, answer, self._decide)

    def _decide(self, gold: Node, answer: Node) -> Outcome:
        outcome = self._by_values_and_proof(gold, answer)
        wanted, given = standing(gold), standing(answer)
        if outcome.correct or not (wanted or given):
            return outcome
        if given - wanted:
            return wrong("not worked out", f"it leaves {name_of(min(given - wanted))} standing")
        limit = self._working_out_s
        started = time.process_time()
        worked = _within(limit, lambda: (work_out(gold), work_out(answer)))
        self._working_out_s -= time.process_time() - started
        if worked is None or standing(worked[0]) or standing(worked[1]):
            what = name_of(min(wanted | given))
            return undecided(
                "not worked out", f"sympy did not work out {what} of the gold, so this is not decided"
            )
        outcome = self._by_values_and_proof(*worked)
        if not outcome.correct:
            return outcome
        return right("same after working it out", f"with the gold worked out, {outcome.because}")

    def _by_values_and_proof(self, gold: Node, answer: Node) -> Outcome:
        """The outcome by values; where they only agree, with the proof if there is one."""
        outcome = same_by_values(gold, answer)
        if outcome.rule not in (AGREES, AGREES_SO_FAR):
            return outcome
        limit = min(_ONE_PROOF_S, self._proofs_s)
        started = time.process_time()
        proof = _within(limit, lambda: prove(gold, answer))
        self._proofs_s -= time.process_time() - started
        if proof is not None:
            return right(proof.rule, proof.because)
        if not outcome.correct:
            return outcome
        return right(AGREES, f"{outcome.because} (sympy found no proof)")


def _within(limit_s: float, work: Callable[[], _Result]) -> _Result | None:
    """What ``work`` returns, or None if it fails or takes too long: without sympy the numbers decide."""
    if limit_s < _SHORTEST_S:
        return None
    precision = mpmath.mp.prec
    try:
        with limited(limit_s):
            return work()
    except OutOfPatience:  # what was interrupted may have left facts half known
        mpmath.mp.prec = precision
        clear_cache()
        return None
    except Exception:  # no defect of sympy's may become a verdict
        return None


def warm_up() -> None:
    """Let sympy do once what it loads and caches on first use."""
    for left, other in _WARM_UP:
        prove(*(ExpressionParser(tokenize(text)).whole() for text in (left, other)))


_WARM_UP = (
    ("sin 2x", "2 sin x cos x"),
    ("tan (x/2)", "sin x/(1 + cos x)"),
    ("sinh x", "(e^x - e^(-x))/2"),
    ("2^(x+1)", "2*2^x"),
    ("n!", "n*(n-1)!"),
    ("log_2(8x)", "3 + log_2 x"),
)
