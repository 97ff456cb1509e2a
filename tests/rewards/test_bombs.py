"""Hostile responses: none is correct, each is judged at once, and time grows no faster than the text."""

import time
from collections.abc import Iterator

import pytest

from rewards import MathVerifier, Sample, Verdict
from rewards.finding.candidates import Kind, Wanted
from rewards.finding.extract import extract
from rewards.math_verifier import LenientMathVerifier
from tests.rewards.bombs import BOMBS

LIMIT_S = 2.5
"""For one response, a round trip to a worker included; a machine that other tests share is slow."""


@pytest.fixture(scope="module")
def verifier() -> Iterator[MathVerifier]:
    verifier = LenientMathVerifier()
    verifier.warm_up()
    warm = Sample(problem_id="warm", prompt="", completion=r"\boxed{\sin(2x)}", gold=r"2\sin x\cos x")
    verifier.score([warm])
    yield verifier
    verifier.close()


@pytest.mark.parametrize(("gold", "response"), [bomb[1:] for bomb in BOMBS], ids=[bomb[0] for bomb in BOMBS])
def test_a_bomb_is_refused_at_once(verifier: MathVerifier, gold: str, response: str) -> None:
    started = time.perf_counter()
    (score,) = verifier.score([Sample(problem_id="bomb", prompt="", completion=response, gold=gold)])
    taken = time.perf_counter() - started
    assert score.verdict not in (Verdict.CORRECT, Verdict.TIMEOUT, Verdict.CRASH)
    assert taken < LIMIT_S


UNITS = [" ", "\t", "\n", " \n", "answer is ", "The answer is 4", "\\boxed{", "<think>", "$", ",1", "7", "not ", "or ",
         "one ", "一", "答案是", "so ", "is ", "(", "- ", "= ", "apples ", "4 km ", "and ", ". "]  # fmt: skip
LEADS = ["", "The answer is 4", "答案是4", "#### 4", "<answer>4", "So she has 4"]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("lead", LEADS)
def test_time_grows_no_faster_than_the_text(lead: str, unit: str) -> None:
    small, large = (_seconds(lead + unit * (size // len(unit)) + "x") for size in (8_000, 64_000))
    assert large < 24 * small + 0.1  # eight times the text; a square would take 64 times as long


def _seconds(text: str) -> float:
    """The best of three times that the search in ``text`` takes."""
    times = []
    for _ in range(3):
        started = time.thread_time()
        extract(text, Wanted(Kind.NUMBER), lenient=True)
        times.append(time.thread_time() - started)
    return min(times)
