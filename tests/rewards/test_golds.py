"""Every gold of the case files against itself, and symmetry of equality over their values."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import MathVerifier, Sample, Verdict
from rewards.comparing.equivalence import equal_values
from rewards.comparing.oracle import NeedsAlgebra
from rewards.judging import check_gold
from rewards.reading.parse import read
from rewards.reading.values import Value
from rewards.trees.exact import TooLarge
from tests.rewards.case_files import load, stems

_GOLDS = tuple(sorted({case.gold for stem in stems() for case in load(stem)}))
_READABLE = tuple(gold for gold in _GOLDS if len(gold) < 300 and check_gold(gold) is None)


def test_every_readable_gold_verifies_against_itself() -> None:
    samples = [
        Sample(problem_id=str(index), prompt="", completion=f"\\boxed{{{gold}}}", gold=gold)
        for index, gold in enumerate(_READABLE)
    ]
    verifier = MathVerifier(lenient=True)
    try:
        scores = verifier.score(samples)
    finally:
        verifier.close()
    failed = [
        (gold, score.explanation.sentence)
        for gold, score in zip(_READABLE, scores, strict=True)
        if score.verdict is not Verdict.CORRECT
    ]
    assert failed == []


def _equal(left: Value, right: Value) -> bool | None:
    """Whether both are equal; None where that takes algebra or too large numbers."""
    try:
        return equal_values(left, right)
    except (NeedsAlgebra, TooLarge):
        return None


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_READABLE), st.sampled_from(_READABLE))
def test_equality_is_symmetric_over_the_golds(left: str, right: str) -> None:
    one, other = read(left).value, read(right).value
    forward, backward = _equal(one, other), _equal(other, one)
    if None in (forward, backward):
        return
    assert forward == backward
