"""The language of breakpoints: what it reads, what it refuses, and what it finds in a step."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
import pytest

from grpo_tui.events.breakpoints import Breakpoint, check_breakpoint, find_hit, find_matches
from grpo_tui.events.conditions import ConditionError, parse_condition
from grpo_tui.events.measures import NAMES
from grpo_tui.events.records import CompletionRecord, GroupRecord, Phase, ProblemRecord
from rewards.base import Explanation, Score, Verdict
from tests.events.builders import metrics


def answer(
    index: int,
    reward: float,
    length: int = 4,
    verdict: Verdict = Verdict.WRONG,
    kl: float = 0.01,
    cut: bool = False,
) -> CompletionRecord:
    ones = np.ones(length, dtype=np.float32)
    return CompletionRecord(
        index=index,
        text=f"answer {index}",
        finish_reason="length" if cut else "stop",
        token_ids_T=np.arange(length, dtype=np.int32),
        token_offsets_T=np.zeros(length, dtype=np.int32),
        logprobs_T=-ones,
        entropies_T=ones * 2,
        kl_ref_T=ones * kl,
        reward=reward,
        scores={"math": Score(value=reward, verdict=verdict, explanation=Explanation(sentence=""))},
    )


def group(index: int, *answers: CompletionRecord) -> GroupRecord:
    return GroupRecord(
        index=index, problem=ProblemRecord(id="p", question="q", prompt="q", answer="1"), completions=answers
    )


RIGHT, NONE = Verdict.CORRECT, Verdict.UNPARSED
GROUPS = (
    group(
        0, answer(0, 1.0, 10, RIGHT), answer(1, 0.0, 20), answer(2, 0.0, 30), answer(3, 0.0, 40, NONE, kl=7.0)
    ),
    group(1, answer(0, 0.0, 200), answer(1, 0.0, 100, cut=True)),
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("any group: sd == 0 and mean_length > 149", ["g2: sd = 0, mean_length = 150"]),
        ("any group: sd == 0 and mean_length > 150", []),
        ("any group: dead & truncated >= 50%", ["g2: dead = 1, truncated = 0.5"]),
        ("group has exactly 1 correct", ["g1: count(correct) = 1"]),
        ("group has at least 1 correct", ["g1: count(correct) = 1"]),
        ("group has at most 0 correct", ["g2: count(correct) = 0"]),
        ("group has 2 correct", []),
        ("all group: worst = 0", ["g1: worst = 0", "g2: worst = 0"]),
        ("all group: best = 0", []),
        ("no group: best > 1", ["no group of 2"]),
        ("no group: best >= 1", []),
        ("any response: worst_token.kl_ref > 5", ["g1·r4: worst_token.kl_ref = 7"]),
        ("any response: verdict(unparsed) and length = 40", ["g1·r4: verdict(unparsed) = 1, length = 40"]),
        ("verdict(unparsed) > 16%", ["verdict(unparsed) = 0.1667"]),
        ("verdict(unparsed) > 20%", []),
        ("worst_token.kl_ref > 5", ["worst_token.kl_ref = 7"]),
        ("count(correct) = 1", ["count(correct) = 1"]),
        ("dead = .5", ["dead = 0.5"]),
        ("not (dead > .5 or accuracy > .5)", ["dead = 0.5, accuracy = 0.1667"]),
        ("!(dead >= .5) | mean_length / 2 > 30 + 3", ["dead = 0.5, mean_length = 66.67"]),
        ("reward jumped > -0.2", ["change of reward = -0.08433"]),
        ("reward fell > 8%", ["change of reward = -0.08433"]),
        ("reward jumped > .2", []),
        ("entropy - 1 == 1", ["entropy = 2"]),
        ("2 > 1 and -1 < 0", [""]),
        ("any group: size", ["g1: size = 4", "g2: size = 2"]),
        ("not not (dead > .9)", []),
        ("- - 1 > 0 and - - -1 < 0", [""]),
        (" or ".join(["(1 > 2)"] * 45), []),
    ],
)
def test_what_it_finds(text: str, found: list[str]) -> None:
    """The step before had a mean reward of 0.251. Seen to fail with: and binding looser than or; % left out."""
    matches = find_matches(parse_condition(text), GROUPS, metrics(1))
    assert [match.sentence for match in matches] == found


def test_and_binds_closer_than_or() -> None:
    assert find_matches(parse_condition("1 < 2 or 1 < 2 and 1 > 2"), GROUPS, None)
    assert not find_matches(parse_condition("(1 < 2 or 1 < 2) and 1 > 2"), GROUPS, None)


def test_what_is_not_known_stops_nothing() -> None:
    """Seen to fail with: an unknown comparison taken for false, whose opposite is true, and of which there is none."""
    bare = tuple(
        replace(
            g, completions=tuple(replace(c, reward=None, scores={}, kl_ref_T=None) for c in g.completions)
        )
        for g in GROUPS
    )
    for text in (
        "kl_ref >= 0",
        "reward < 9",
        "count(correct) = 0",
        "any group: sd < 9",
        "dead < 2",
        "reward jumped > -9",
        "not kl_ref > 5",
        "!(kl_ref > 5 and truncated >= 0)",
        "kl_ref > 5 or truncated > 1",
        "(kl_ref > 5) < 2",
        "no group: kl_ref > 5",
        "no response: not reward > 5",
        "all response: not reward > 5",
    ):
        assert find_matches(parse_condition(text), bare, metrics(1)) == ()
    # What is known decides alone where it can.
    for text in (
        "kl_ref > 5 or truncated >= 0",
        "not (kl_ref > 5 and truncated > 1)",
        "no group: size < 0 and sd > 1",
    ):
        assert find_matches(parse_condition(text), bare, metrics(1))
    assert find_matches(parse_condition("not reward jumped > 9"), GROUPS, None) == ()
    assert find_matches(parse_condition("1 / 0 != 1"), GROUPS, None) == ()
    assert find_matches(parse_condition("reward jumped > -9"), GROUPS, None) == ()
    assert find_matches(parse_condition("mean_length > 1 / 0"), GROUPS, None) == ()


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("", 1, "expected a number or a name, found the end"),
        ("rewrad > 1", 1, "no measure 'rewrad' of a step; did you mean reward?"),
        ("sd > 1", 1, "it is a measure of a group: begin with 'any group:'"),
        ("any group: entropy > 1", 12, "it is a measure of a step"),
        ("any groups: sd > 1", 5, "expected group or response after any"),
        ("any group sd > 1", 11, "expected ':'"),
        ("reward > ", 10, "found the end"),
        ("reward > 1 1", 12, "expected the end"),
        ("1 < reward < 2", 12, "compare twice with and"),
        ("(reward > 1", 12, "expected ')'"),
        ("verdict > 1", 9, "expected '('"),
        ("verdict(corect) > 1", 9, "expected a verdict"),
        ("reward + 1", 1, "a comparison is missing"),
        ("3", 1, "a comparison is missing"),
        ("any group: sd jumped > 1", 15, "only a step's own measure"),
        ("dead jumped > 1", 6, "only a step's own measure"),
        ("reward jumped 1", 15, "expected > after jumped"),
        ("group has many correct", 11, "expected a number"),
        ("group has at 3 correct", 14, "expected least or most"),
        ("reward > 1; import os", 11, "';' has no meaning here"),
        ("__import__(os)", 1, "no measure"),
        ("reward > '1'", 10, "has no meaning here"),
        ("(" * 60 + "1 > 0" + ")" * 60, 41, "nested too deeply"),
        ("reward > " + "1" * 600, 501, "at most 500 characters"),
    ],
)
def test_what_cannot_be_read_says_where_and_what(text: str, column: int, says: str) -> None:
    with pytest.raises(ConditionError) as caught:
        parse_condition(text)
    assert f"column {column}: " in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hostile_text_is_refused_or_read_and_never_runs() -> None:
    generator = np.random.default_rng(0)
    signs = [
        *list("abc()<>=!&|+-*/%:. 019_\x1b\u202e'\"[]{}$`;\n"),
        "reward",
        "any group:",
        "verdict(",
        "not",
        "sd",
    ]
    for _ in range(3000):
        text = "".join(generator.choice(signs, size=int(generator.integers(1, 12))))
        try:
            condition = parse_condition(text)
        except ConditionError:
            continue
        find_matches(condition, GROUPS, metrics(1))


def test_a_condition_hits_once_a_step_and_only_where_the_update_is_still_ahead() -> None:
    breakpoints = [
        Breakpoint(id=1, condition="dead > 0"),
        Breakpoint(id=2, condition="reward < 9", enabled=False),
    ]
    already: set[int] = set()
    assert find_hit(breakpoints, 3, Phase.SCORE, GROUPS, None, already) is None
    hit = find_hit(breakpoints, 3, Phase.ADVANTAGES, GROUPS, None, already)
    assert hit is not None
    assert (hit.breakpoint.id, hit.step, hit.phase) == (1, 3, Phase.ADVANTAGES)
    assert find_hit(breakpoints, 3, Phase.UPDATE, GROUPS, None, already) is None
    assert find_hit(breakpoints, 4, Phase.UPDATE, GROUPS, None, set()) is not None


def test_a_plain_one_stops_before_its_phase() -> None:
    breakpoints = [Breakpoint(id=1, phase=Phase.SCORE), Breakpoint(id=2, phase=Phase.UPDATE, after=True)]
    assert find_hit(breakpoints, 1, Phase.SAMPLE, (), None, set()) is None
    assert find_hit(breakpoints, 1, Phase.UPDATE, (), None, set()) is None
    assert find_hit(breakpoints, 1, Phase.SCORE, (), None, set()) is not None


def test_one_needs_a_condition_or_a_phase() -> None:
    with pytest.raises(ValueError, match="needs a condition or a phase"):
        check_breakpoint(Breakpoint(id=1))
    with pytest.raises(ConditionError):
        check_breakpoint(Breakpoint(id=1, condition="nonsense"))
    check_breakpoint(Breakpoint(id=1, phase=Phase.UPDATE))


def test_no_more_matches_are_told_than_can_be_read() -> None:
    many = tuple(group(i, answer(0, 0.0), answer(1, 0.0)) for i in range(100))
    assert len(find_matches(parse_condition("any group: dead"), many, None)) == 20
    assert len(find_matches(parse_condition("all group: dead"), many, None)) == 20


def test_shares_are_of_what_is_judged_and_deviations_are_bessel_corrected() -> None:
    """Seen to fail with: responses without a verdict counted in the share; N in the denominator."""
    *rest, last = GROUPS[0].completions
    waits = replace(GROUPS[0], completions=(*rest, replace(last, scores={})))
    judged = [c for c in waits.completions if c.verdict is not None]
    share = sum(c.verdict is Verdict.CORRECT for c in judged) / len(judged)
    assert share > 0
    assert NAMES["group"]["accuracy"].read(waits) == pytest.approx(share)
    rewards = [c.reward for c in GROUPS[0].completions]
    assert NAMES["step"]["reward_std"].read(GROUPS[:1]) == pytest.approx(statistics.stdev(rewards))  # type: ignore[type-var]


def test_unique_counts_texts() -> None:
    """Seen to fail with: responses counted."""
    first, second, *rest = GROUPS[0].completions
    twice = replace(GROUPS[0], completions=(first, replace(second, text=first.text), *rest))
    assert NAMES["group"]["unique"].read(twice) == len(GROUPS[0].completions) - 1
