from __future__ import annotations

from pathlib import Path

import pytest

from grpo_tui.reward_model.pairs import MAX_PER_SIDE, Answers, bounded, collect, from_groups, split
from rewards.base import Verdict
from tests.reward_model.support import RIGHT, WRONG, group_of, record_run, sums


def problem(name: str, num_right: int = 1, num_wrong: int = 1) -> Answers:
    return Answers(
        question=name,
        right=tuple(f"right {i}" for i in range(num_right)),
        wrong=tuple(f"wrong {i}" for i in range(num_wrong)),
    )


def test_equal_texts_count_once_and_what_is_not_known_not_at_all() -> None:
    group = group_of(
        "2 + 2",
        [
            ("4", RIGHT),
            ("4", RIGHT),
            ("5", WRONG),
            ("hm", Verdict.NO_ANSWER),
            ("\\frac{", Verdict.UNPARSED),
            ("slow", Verdict.TIMEOUT),
            ("crash", Verdict.CRASH),
        ],
    )
    assert from_groups([group]) == (Answers(question="2 + 2", right=("4",), wrong=("5", "hm", "\\frac{")),)


def test_answers_of_one_question_come_together_whatever_the_step_or_id() -> None:
    first = group_of("2 + 2", [("4", RIGHT), ("four", RIGHT)], index=1)
    second = group_of(" 2 + 2\n", [("5", WRONG), ("4", RIGHT)], index=2)
    assert from_groups([first, second]) == (Answers(question="2 + 2", right=("4", "four"), wrong=("5",)),)


def test_a_text_that_was_right_once_and_wrong_once_is_left_out() -> None:
    groups = [group_of("?", [("4", RIGHT), ("5", WRONG)]), group_of("?", [("4", WRONG), ("6", RIGHT)])]
    assert from_groups([*groups, groups[0]]) == (Answers(question="?", right=("6",), wrong=("5",)),)


def test_problems_without_both_kinds_compare_nothing() -> None:
    assert from_groups([group_of("a", [("1", RIGHT)]), group_of("b", [("1", WRONG)])]) == ()


def test_runs_are_read_together(tmp_path: Path) -> None:
    one = record_run(tmp_path / "one", [sums(3), sums(4)])
    two = record_run(tmp_path / "two", [[group_of("0 + 0 = ?", [("Nought.", RIGHT)])]])
    found = collect([one, two])
    assert (found.num_steps, found.num_problems, found.num_completions) == (3, 4, 15)
    assert found.answers[0] == Answers(
        question="0 + 0 = ?", right=("It is 0.", "Nought."), wrong=("It is 1.",)
    )
    assert [a.num_pairs for a in found.answers] == [2, 1, 1, 1]


@pytest.mark.parametrize(("fraction", "held"), [(0.0, 0), (0.01, 1), (0.2, 2), (0.5, 5), (0.94, 9)])
def test_no_problem_stands_on_both_sides(fraction: float, held: int) -> None:
    answers = [problem(str(n), 2, 3) for n in range(10)]
    train, held_out = split(answers, fraction, 0)
    assert len(held_out) == held
    assert not {a.question for a in train} & {a.question for a in held_out}
    assert {*train, *held_out} == {*answers}


def test_the_split_is_by_the_seed_and_not_by_the_order() -> None:
    answers = [problem(str(n)) for n in range(20)]
    assert split(answers, 0.3, 1) == split(answers[::-1], 0.3, 1)
    assert split(answers, 0.3, 1) != split(answers, 0.3, 2)


@pytest.mark.parametrize(("count", "fraction"), [(1, 0.2), (2, 0.9), (0, 0.0)])
def test_too_few_problems(count: int, fraction: float) -> None:
    with pytest.raises(ValueError, match="too few"):
        split([problem(str(n)) for n in range(count)], fraction, 0)


def test_pairs_are_bounded_by_answers_first_and_then_by_problems() -> None:
    many = [problem(str(n), 20, 3) for n in range(5)]
    whole = bounded(many, 10_000, 0)
    assert [(len(a.right), len(a.wrong)) for a in whole] == [(MAX_PER_SIDE, 3)] * 5
    assert {len(set(a.right)) for a in whole} == {MAX_PER_SIDE}
    assert bounded(many, 10_000, 0) == whole
    assert [a.num_pairs for a in bounded(many, 59, 0)] == [9] * 5
    assert [a.num_pairs for a in bounded(many, 5, 0)] == [1] * 5
    assert [a.question for a in bounded(many, 2, 0)] == ["0", "1"]
