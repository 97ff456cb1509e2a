"""How often a component orders answers as the verifier does, worked by hand."""

from __future__ import annotations

from dataclasses import replace

from grpo_tui.engine.agreement import agreement
from rewards.base import Verdict
from tests.reward_model.support import RIGHT, WRONG, group_of, measured


def test_pairs_within_groups_are_counted_ties_as_halves() -> None:
    # right 3, 1; wrong 1, 2: 3 wins twice, 1 ties with 1 and loses to 2: 2.5 of 4
    first = group_of("a", [("", RIGHT), ("", WRONG), ("", RIGHT), ("", WRONG)], learned=[3.0, 1.0, 1.0, 2.0])
    # right −5, wrong −6: 1 of 1; against the scores of the first group both would lose
    second = group_of("b", [("", WRONG), ("", RIGHT)], learned=[-6.0, -5.0])
    shares, num_pairs = agreement([first, second])
    assert (shares, num_pairs) == ({"learned": 3.5 / 5}, 5)


def test_groups_with_one_kind_only_hold_no_pair() -> None:
    group = group_of("a", [("", RIGHT), ("", RIGHT)], learned=[1.0, 2.0])
    assert agreement([group]) == ({}, 0)
    assert agreement([]) == ({}, 0)


def test_an_answer_of_unknown_truth_stands_in_no_pair() -> None:
    answers = [("", RIGHT), ("", Verdict.TIMEOUT), ("", Verdict.BAD_GOLD), ("", Verdict.NO_ANSWER)]
    group = group_of("a", answers, learned=[1.0, 9.0, 9.0, 0.0])
    assert agreement([group]) == ({"learned": 1.0}, 1)


def test_a_missing_value_leaves_its_pairs_out_of_the_share() -> None:
    group = group_of("a", [("", RIGHT), ("", WRONG), ("", WRONG)], learned=[1.0, None, 2.0])
    assert agreement([group]) == ({"learned": 0.0}, 2)
    nothing = group_of("a", [("", RIGHT), ("", WRONG)], learned=[None, None])
    assert agreement([nothing]) == ({}, 1)


def test_every_measuring_component_is_told_and_no_judging_one() -> None:
    group = group_of("a", [("long", RIGHT), ("x", WRONG)], learned=[1.0, 2.0])
    with_length = replace(
        group,
        completions=tuple(
            replace(c, scores={**c.scores, "length": measured(float(len(c.text)))}) for c in group.completions
        ),
    )
    assert agreement([with_length]) == ({"learned": 0.0, "length": 1.0}, 1)
    assert agreement([group_of("a", [("", RIGHT), ("", WRONG)])]) == ({}, 1)


def test_without_a_verifier_there_is_nothing_to_agree_with() -> None:
    group = group_of("a", [("", RIGHT), ("", WRONG)], learned=[1.0, 2.0])
    alone = replace(
        group,
        completions=tuple(replace(c, scores={"learned": c.scores["learned"]}) for c in group.completions),
    )
    assert agreement([alone]) == ({}, 0)
