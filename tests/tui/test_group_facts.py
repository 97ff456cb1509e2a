"""What can be said of a group: values, clusters, shares. No screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from grpo_tui.events.records import GroupRecord, ProblemRecord
from grpo_tui.runs.lines import Visit
from grpo_tui.tui.group_facts import (
    component_names,
    final_answers,
    loss_share,
    num_correct,
    pushes,
)
from grpo_tui.tui.panels.group import group_sentences
from rewards.base import Explanation, Score, Verdict
from tests.tui.test_tokens import made

Said = tuple[str, str, Verdict]
"""Answer text, what the verifier read, verdict."""
RIGHT, WRONG, NOTHING = Verdict.CORRECT, Verdict.WRONG, Verdict.NO_ANSWER


def group_of(answers: Sequence[Said], index: int = 0) -> GroupRecord:
    completions = []
    for place, (text, parsed, verdict) in enumerate(answers):
        explanation = Explanation(sentence="", answer_text=text, normalized_text=text, parsed_answer=parsed)
        value = float(verdict is RIGHT)
        score = Score(value=value, verdict=verdict, explanation=explanation)
        completions.append(replace(made(f"x{place}", [0], index=place), reward=value, scores={"math": score}))
    problem = ProblemRecord(id="p", question="q", prompt="q", answer="1")
    return GroupRecord(index=index, problem=problem, completions=tuple(completions))


def counted(*answers: Said) -> list[tuple[str, tuple[int, ...]]]:
    return [(answer.label, answer.members) for answer in final_answers(group_of(answers))]


def test_answers_are_counted_by_value_most_frequent_first() -> None:
    assert counted(
        ("7/12", "fraction 7/12", WRONG),
        ("1", "integer 1", RIGHT),
        ("7/12", "fraction 7/12", WRONG),
        ("", "", NOTHING),
    ) == [("7/12", (0, 2)), ("1", (1,)), ("", (3,))]


def test_wrong_answers_of_equal_value_are_one_however_written() -> None:
    assert counted(
        ("0.5", "decimal 0.5", WRONG),
        ("\\frac{1}{2}", "fraction 1/2", WRONG),
        ("2/4", "fraction 2/4", WRONG),
        ("−3", "integer −3", WRONG),
        ("-3", "integer -3", WRONG),
        ("x = -3", "equation x = -3", WRONG),
        ("-3%", "percent -3", WRONG),
    ) == [("0.5", (0, 1, 2)), ("−3", (3, 4, 5)), ("-3%", (6,))]


def test_right_answers_are_one_value() -> None:
    assert counted(("2(x+1)", "expression 2(x + 1)", RIGHT), ("2x+2", "expression 2x + 2", RIGHT)) == [
        ("2(x+1)", (0, 1))
    ]


def test_a_right_and_a_wrong_answer_are_never_one() -> None:
    assert len(counted(("50%", "percent 50", RIGHT), ("50", "integer 50", WRONG))) == 2


def test_what_was_not_read_is_told_apart_by_text_and_failure() -> None:
    assert counted(
        ("\\frac{8", "", Verdict.UNPARSED),
        ("\\frac{8", "", Verdict.UNPARSED),
        ("9^9^9", "", Verdict.TIMEOUT),
        ("", "", NOTHING),
        ("", "", NOTHING),
    ) == [("\\frac{8", (0, 1)), ("", (3, 4)), ("9^9^9", (2,))]


def test_lists_are_no_numbers_and_a_division_by_nothing_is_text() -> None:
    assert len(counted(("1, 2", "list 1, 2", WRONG), ("2", "integer 2", WRONG))) == 2
    assert counted(("1/0", "fraction 1/0", WRONG)) == [("1/0", (0,))]


def test_answers_that_are_not_scored_are_left_out() -> None:
    group = group_of([("1", "integer 1", RIGHT)])
    unscored = replace(group, completions=(*group.completions, made("y", [0], index=1)))
    assert [answer.members for answer in final_answers(unscored)] == [(0,)]


def weighed(group: GroupRecord, *weights: float) -> GroupRecord:
    return replace(
        group,
        completions=tuple(
            replace(c, weight_T=np.array([w, -w], dtype=np.float32), advantage=w)
            for c, w in zip(group.completions, weights, strict=True)
        ),
    )


def test_loss_share_is_of_all_that_was_pushed_either_way() -> None:
    two = [("1", "integer 1", RIGHT), ("2", "integer 2", WRONG)]
    one, other = weighed(group_of(two, 0), 1.0, -2.0), weighed(group_of(two, 1), 1.0, 0.0)
    assert loss_share(one, [one, other]) == pytest.approx(0.75)
    assert loss_share(other, [one, other]) == pytest.approx(0.25)
    assert loss_share(group_of(two), [group_of(two)]) is None, "before the update"
    still = weighed(group_of(two), 0.0, 0.0)
    assert loss_share(still, [still]) is None, "nothing was pushed"
    assert pushes(one) == (1, 1)
    assert pushes(other) == (1, 0)
    assert num_correct(one) == 1


def said(group: GroupRecord, past: Sequence[Visit] | None = None, step: int = 9) -> str:
    return "\n".join(text for text, _ in group_sentences(group, [group], past, step))


def test_sentences_of_a_live_group() -> None:
    group = weighed(
        group_of([("1", "integer 1", RIGHT), *[("2", "integer 2", WRONG)] * 3]), 1.5, -0.5, -0.5, -0.5
    )
    text = said(group)
    assert "loss share 100% of the step" in text
    assert "1 of 4 pushed up, 3 down" in text
    assert "wrong answers: 2 ×3" in text
    assert "p = 0.250 (n = 4): 32% (G = 2 gives 62%)" in text


def test_the_odds_are_of_the_prompts_history_up_to_here() -> None:
    group = group_of([("1", "integer 1", RIGHT), ("2", "integer 2", WRONG)])
    past = [
        Visit(step=step, group_index=0, num_completions=4, num_correct=right, num_judged=4, reward_mean=0.5)
        for step, right in ((3, 4), (5, 3), (9, 1), (12, 0))
    ]
    assert "p = 0.800 (n = 10, 3 groups): 68%" in said(group, past, step=9), (
        "not itself twice, nothing of later"
    )


def test_a_dead_group_says_why() -> None:
    assert "dead: too hard" in said(group_of([("2", "integer 2", WRONG)] * 3))
    assert "dead: too easy" in said(group_of([("1", "integer 1", RIGHT)] * 3))


def test_components_in_the_order_they_come() -> None:
    group = group_of([("1", "integer 1", RIGHT)])
    more = replace(
        group,
        completions=(
            replace(
                group.completions[0],
                scores={
                    **group.completions[0].scores,
                    "format": Score(
                        value=0.1, verdict=Verdict.NOT_JUDGED, explanation=Explanation(sentence="")
                    ),
                },
            ),
        ),
    )
    assert component_names([group, more]) == ("math", "format")
