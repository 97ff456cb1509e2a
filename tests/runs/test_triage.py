"""Dead groups: their odds against simulation, their causes against the record, their cost against the sum."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grpo_tui.events.records import CompletionRecord, GroupRecord
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.triage import (
    EQUAL,
    FORM_ONLY,
    SAME_TEXT,
    TOO_EASY,
    TOO_HARD,
    PromptHistory,
    PromptVisit,
    cause_of,
    dead_odds,
    expected_dead_odds,
    outlook,
    triage,
)
from grpo_tui.runs.writer import RunWriter
from rewards.base import Explanation, Score, Verdict
from tests.support.builders import ScriptedRun, make_completion, make_group
from tests.support.problems import TOYS


def visit(step: int, correct: int, cause: str = "", size: int = 4, tokens: int = 100) -> PromptVisit:
    return PromptVisit(
        step=step,
        group=0,
        num_completions=size,
        num_correct=correct,
        num_judged=size,
        num_tokens=tokens,
        cause=cause,
    )


def history(*visits: PromptVisit, id: str = "p") -> PromptHistory:
    return PromptHistory(problem_id=id, question=f"question {id}", answer="1", visits=visits)


@pytest.mark.parametrize(
    ("p", "size", "expected"),
    [(0.5, 2, 0.5), (0.25, 8, 0.100128), (0.25, 4, 0.3203125), (0.0, 8, 1.0), (1.0, 3, 1.0)],
)
def test_odds_of_a_known_pass_rate(p: float, size: int, expected: float) -> None:
    assert dead_odds(p, size) == pytest.approx(expected, abs=1e-5)


def test_odds_of_a_dead_group() -> None:
    assert dead_odds(0.25, 8) == pytest.approx(0.25**8 + 0.75**8)
    assert dead_odds(0.0, 4) == dead_odds(1.0, 4) == 1.0


def test_odds_of_a_known_pass_rate_are_those_of_the_mock_up() -> None:
    assert dead_odds(0.25, 8) == pytest.approx(0.10, abs=0.005)
    assert dead_odds(0.25, 4) == pytest.approx(0.32, abs=0.005)
    assert dead_odds(0.0, 8) == dead_odds(1.0, 3) == 1.0


@pytest.mark.parametrize(("correct", "judged", "size"), [(0, 0, 4), (0, 8, 8), (3, 16, 8), (16, 16, 2)])
def test_expected_odds_are_the_mean_over_the_posterior(correct: int, judged: int, size: int) -> None:
    """Against draws from Beta(k + ½, n − k + ½)."""
    rng = np.random.default_rng(3)
    p = rng.beta(correct + 0.5, judged - correct + 0.5, 400_000)
    assert expected_dead_odds(correct, judged, size) == pytest.approx(
        float((p**size + (1 - p) ** size).mean()), abs=3e-3
    )


def test_expected_odds_approach_the_plain_ones_with_data_and_fall_with_the_group_size() -> None:
    assert expected_dead_odds(2500, 10_000, 8) == pytest.approx(dead_odds(0.25, 8), rel=0.01)
    falling = [expected_dead_odds(1, 8, size) for size in (2, 4, 8, 16, 32)]
    assert falling == sorted(falling, reverse=True)


def scored(verdicts: list[Verdict], rewards: list[float], texts: list[str]) -> GroupRecord:
    made: list[CompletionRecord] = []
    for i, (verdict, reward, text) in enumerate(zip(verdicts, rewards, texts, strict=True)):
        score = Score(value=reward, verdict=verdict, explanation=Explanation(sentence="so"))
        made.append(replace(make_completion(i, text), reward=reward, scores={"math": score}))

    group, _ = make_group(TOYS[0], 0, [TOYS[0].right], random.Random(1))
    return replace(group, completions=tuple(made))


RIGHT, WRONG, UNJUDGED = Verdict.CORRECT, Verdict.WRONG, Verdict.NOT_JUDGED


@pytest.mark.parametrize(
    ("verdicts", "rewards", "texts", "cause"),
    [
        ([RIGHT, RIGHT], [1.0, 1.0], ["a", "b"], TOO_EASY),
        ([RIGHT, RIGHT], [1.0, 1.0], ["a", "a"], TOO_EASY),
        ([WRONG, WRONG], [0.0, 0.0], ["a", "b"], TOO_HARD),
        ([WRONG, WRONG], [0.0, 0.0], ["a", "a"], SAME_TEXT),
        ([RIGHT, WRONG], [0.5, 0.5], ["a", "b"], EQUAL),
        ([UNJUDGED, UNJUDGED], [0.5, 0.5], ["a", "b"], EQUAL),
        ([UNJUDGED, UNJUDGED], [0.5, 0.6], ["a", "b"], ""),
        ([WRONG, WRONG], [0.0, 0.1], ["a", "b"], FORM_ONLY),
        ([RIGHT, WRONG], [1.0, 0.0], ["a", "b"], ""),
    ],
)
def test_causes_agree_with_the_record(
    verdicts: list[Verdict], rewards: list[float], texts: list[str], cause: str
) -> None:
    group = scored(verdicts, rewards, texts)
    assert (group.dead_cause or (FORM_ONLY if group.form_only else "")) == cause
    assert (
        cause_of(
            equal=len(set(rewards)) == 1,
            num_completions=len(verdicts),
            num_correct=verdicts.count(RIGHT),
            num_judged=sum(v is not UNJUDGED for v in verdicts),
            num_texts=len(set(texts)),
        )
        == cause
    )


def test_one_answer_alone_is_not_dead() -> None:
    assert cause_of(equal=True, num_completions=1, num_correct=1, num_judged=1, num_texts=1) == ""


def test_the_pass_rate_is_that_of_the_recent_visits() -> None:
    visits = [visit(step, 0, TOO_HARD) for step in range(1, 9)] + [
        visit(step, 4, TOO_EASY) for step in (9, 10)
    ]
    found = outlook(history(*visits), 4)
    assert (found.num_seen, found.num_correct, found.num_judged) == (10, 8, 16)
    assert found.pass_rate == 0.5
    assert 0.25 < found.low < 0.5 < found.high < 0.75
    assert list(found.odds) == [4, 8, 16]
    assert found.causes == {TOO_HARD: 8, TOO_EASY: 2}


def test_a_prompt_that_was_never_judged_has_no_pass_rate() -> None:
    unjudged = replace(visit(1, 0), num_judged=0)
    found = outlook(history(unjudged), 4)
    assert found.pass_rate is None
    assert (found.low, found.high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("visits", "words"),
    [
        ([visit(1, 2)], ""),
        ([visit(1, 4, TOO_EASY), visit(2, 2)], ""),
        ([visit(1, 0, SAME_TEXT)], "raise the temperature"),
        ([visit(1, 0, FORM_ONLY)], "only form is taught"),
        ([visit(1, 2, EQUAL)], "look at the reward"),
        ([visit(i, 4, TOO_EASY) for i in range(1, 9)], "it is learnt"),
        ([visit(1, 4, TOO_EASY)], "it is learnt"),
        ([visit(1, 3), visit(2, 4, TOO_EASY)], "more answers: 16 instead of 4"),
        ([visit(i, 0, TOO_HARD) for i in range(1, 9)], "until the policy is better"),
        ([visit(1, 1), visit(2, 0, TOO_HARD)], "more answers: 16 instead of 4"),
    ],
)
def test_remedies_follow_the_cause(visits: list[PromptVisit], words: str) -> None:
    remedy = outlook(history(*visits), 4).remedy
    assert words in remedy
    assert bool(remedy) == bool(words)


def test_waste_is_summed_and_sorted() -> None:
    found = triage(
        [
            history(visit(1, 2, tokens=500), id="alive"),
            history(visit(1, 0, TOO_HARD, tokens=300), visit(2, 2, tokens=50), id="hard"),
            history(visit(1, 4, TOO_EASY, tokens=100), visit(2, 0, FORM_ONLY, tokens=50), id="easy"),
        ],
        4,
    )
    assert [one.history.problem_id for one in found.outlooks] == ["hard", "easy", "alive"]
    assert (found.tokens, found.tokens_wasted) == (1000, 400)
    assert found.share_wasted == 0.4
    assert (found.num_groups, found.num_dead) == (5, 2)
    assert found.by_cause == {TOO_HARD: 1, TOO_EASY: 1, FORM_ONLY: 1}
    assert triage([], 4).share_wasted == 0.0


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[tuple[RunReader, ScriptedRun]]:
    script = ScriptedRun()
    with RunWriter.create(tmp_path / "run", "[run]\n") as writer:
        for event in script.whole(12):
            writer.write(event)
    with RunReader(tmp_path / "run") as reader:
        yield reader, script


def test_the_run_file_s_counts_are_those_of_its_groups(recorded: tuple[RunReader, ScriptedRun]) -> None:
    reader, _ = recorded
    expected: dict[tuple[str, int], tuple[int, int, int, str]] = {}
    for step in range(1, 13):
        detail = reader.load_step(step)
        assert detail is not None
        for group in detail.groups:
            expected[group.problem.id, step] = (
                len(group.completions),
                sum(c.verdict is RIGHT for c in group.completions),
                sum(c.num_tokens for c in group.completions),
                group.dead_cause or (FORM_ONLY if group.form_only else ""),
            )
    found = {
        (one.problem_id, v.step): (v.num_completions, v.num_correct, v.num_tokens, v.cause)
        for one in reader.prompt_histories()
        for v in one.visits
    }
    assert found == expected
    assert any(cause for *_, cause in found.values()), "some groups are dead"
    assert all(one.question and one.answer for one in reader.prompt_histories())
