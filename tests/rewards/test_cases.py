"""Every labelled case gets its label, by both readings; what does not is listed here, and no adversarial answer pays."""

from __future__ import annotations

import pytest

from rewards import Score, Verdict
from rewards.cases import LabelledCase, complaint
from tests.rewards.case_files import load, load_all, stems
from tests.rewards.run_cases import judge_cases

KNOWN: dict[str, str] = {
    "structures-065": "the last sentence says that there is no solution; only the strict phrases are read so",
    "independent-1183": "a chain in Chinese words: 6的平方，也就是36",
    "independent-1540": "14 point 5 is read as a number, but not looked for in a sentence",
}
"""Cases that are judged otherwise, by id, with the reason. One that comes right must leave this list."""

Judged = list[tuple[LabelledCase, Score]]


@pytest.fixture(scope="module")
def judged() -> Judged:
    cases = load_all()
    return list(zip(cases, judge_cases(cases), strict=True))


@pytest.mark.parametrize("stem", stems())
def test_every_case_gets_its_label(stem: str, judged: Judged) -> None:
    ids = {case.id for case in load(stem)}
    assert ids
    wrong = {
        case.id: f"{fault}: gold {case.gold!r}, response {case.response!r}: {score.explanation.sentence}"
        for case, score in judged
        if case.id in ids and (fault := complaint(case, score))
    }
    assert {case_id: text for case_id, text in wrong.items() if case_id not in KNOWN} == {}


def test_what_is_listed_as_known_is_still_so(judged: Judged) -> None:
    wrong = {case.id for case, score in judged if complaint(case, score)}
    assert set(KNOWN) - wrong == set()


def test_no_adversarial_answer_is_paid(judged: Judged) -> None:
    paid = [
        case.id
        for case, score in judged
        if case.adversarial and not case.correct and score.verdict is Verdict.CORRECT
    ]
    assert paid == []


def test_there_are_enough_of_them_and_nearly_all_are_right(judged: Judged) -> None:
    right = sum(not complaint(case, score) for case, score in judged)
    assert len(judged) >= 1500
    assert sum(case.adversarial for case, _ in judged) >= 300
    assert right / len(judged) >= 0.995
    assert all(case.why or not case.adversarial or not case.correct for case, _ in judged)


def test_strict_implies_lenient(judged: Judged) -> None:
    for case, score in judged:
        assert score.explanation.lenient or not score.explanation.strict, case.id
        assert case.correct or not case.strict, case.id


def test_spans_point_at_the_answer(judged: Judged) -> None:
    for case, score in judged:
        why = score.explanation
        if why.span is None:
            continue
        assert 0 <= why.span.start <= why.span.end <= len(case.response), case.id
        assert not why.answer_text.strip() or why.span.start < why.span.end, case.id
