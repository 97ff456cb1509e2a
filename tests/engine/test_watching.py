"""Watching a group being sampled: what is seen is what is drawn, and who does not look pays nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from grpo_tui.engine.rollout import begin_rollout, next_prompts, sample_groups
from grpo_tui.engine.trainer import Trainer
from grpo_tui.engine.watching import LOOK_SECONDS, TAIL_CHARACTERS, Following, Sampled, Watch
from grpo_tui.events.types import Preview
from grpo_tui.generation import drawing
from grpo_tui.generation.fast import FastSampler
from grpo_tui.generation.types import Glimpse, TokenTick
from tests.engine.support import free_gate, small_config, trainer_of


class Letters:
    """A tokenizer whose token n is the n-th letter; decodes whole texts only."""

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return "".join(chr(97 + i % 26) for i in ids)


@dataclass
class Scene:
    """Following with a clock and rows of the test's own."""

    groups: list[Sampled]
    watch: Watch = field(default_factory=Watch)
    time: float = 0.0
    asked: list[Sequence[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.following = Following(self.watch, Letters(), 7, self.groups, lambda: self.time)

    def look(
        self, rows: list[list[int]], *, ended: tuple[int, ...] = (), finished: int = 0
    ) -> Preview | None:
        def peek(wanted: Sequence[int]) -> list[Glimpse]:
            self.asked.append(wanted)
            return [Glimpse(rows[i], "stop" if i in ended else "") for i in wanted]

        self.following.look(
            TokenTick(
                num_tokens=sum(map(len, rows)), num_finished=finished, num_total=99, longest=9, peek=peek,
            )
        )  # fmt: skip
        return self.watch.latest


def two_groups() -> Scene:
    return Scene([Sampled(0, "first?", 0, 2, 0), Sampled(1, "second?", 2, 2, 0)])


ROWS = [[0], [1, 1], [2, 2, 2], [3]]


def test_the_watched_group_is_seen_and_no_other() -> None:
    scene = two_groups()
    scene.watch.group = 1
    seen = scene.look(ROWS, ended=(1, 3))
    assert seen is not None
    assert (seen.step, seen.group, seen.question) == (7, 1, "second?")
    assert [(a.index, a.text, a.num_tokens, a.finished) for a in seen.answers] == [
        (0, "ccc", 3, False), (1, "d", 1, True),
    ]  # fmt: skip
    assert scene.asked == [range(2, 4)]


def test_five_looks_a_second_and_no_more() -> None:
    scene = two_groups()
    scene.watch.group = 0
    for _ in range(100):
        scene.look(ROWS)
        scene.time += LOOK_SECONDS / 10
    assert len(scene.asked) == 10


def test_another_group_and_the_end_are_seen_at_once() -> None:
    scene = two_groups()
    scene.watch.group = 0
    scene.look(ROWS)
    scene.watch.group = 1
    seen = scene.look(ROWS)
    assert seen is not None
    assert seen.group == 1
    scene.look(ROWS, finished=99)
    assert len(scene.asked) == 3


def test_a_group_that_is_not_there_shows_nothing() -> None:
    scene = two_groups()
    scene.watch.group = 5
    assert scene.look(ROWS) is None
    assert not scene.asked


def test_those_that_wait_for_a_place_are_left_out() -> None:
    """Some of the group ended, some run, some have not begun. Seen to fail with: answers numbered as they come."""
    scene = Scene([Sampled(0, "?", 1, 4, 0)])
    scene.watch.group = 0
    seen = scene.look([[9], [0], [], [1, 1], []], ended=(1,))
    assert seen is not None
    assert scene.asked == [range(1, 5)]
    assert [(a.index, a.finished) for a in seen.answers] == [(0, True), (2, False)]


def test_a_group_that_grows_counts_on() -> None:
    scene = Scene([Sampled(3, "?", 0, 2, 8)])
    scene.watch.group = 3
    seen = scene.look([[0], [1]])
    assert seen is not None
    assert [a.index for a in seen.answers] == [8, 9]


def test_a_round_that_is_drawn_again_begins_again() -> None:
    scene = two_groups()
    scene.watch.group = 0
    scene.look([[0, 1, 2], [0, 0], [0], [0]])
    scene.time += 1
    seen = scene.look([[5], [6], [0], [0]])
    assert seen is not None
    assert [a.text for a in seen.answers] == ["f", "g"]


def test_the_text_is_bounded() -> None:
    scene = Scene([Sampled(0, "?", 0, 1, 0)])
    scene.watch.group = 0
    seen = scene.look([[0] * 3 * TAIL_CHARACTERS])
    assert seen is not None
    assert len(seen.answers[0].text) == TAIL_CHARACTERS


# --- with the model --------------------------------------------------------------------------------------


def sample(trainer: Trainer, watched: int | None) -> tuple[list[str], list[Preview]]:
    """Texts of the first step's groups, and all that was seen of them on the way."""
    seen: list[Preview] = []

    class Recorder(Watch):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "latest" and value is not None:
                seen.append(value)

    trainer.watch = Recorder()
    trainer.watch.group = watched
    rollout = begin_rollout(trainer, next_prompts(trainer, 1))
    sample_groups(trainer, 1, rollout, free_gate(trainer))
    return [c.text for group in rollout.groups for c in group.completions], seen


def test_a_group_is_watched_while_its_rows_take_places_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with: rows shown by their place in the batch."""
    monkeypatch.setattr("grpo_tui.engine.watching.LOOK_SECONDS", 0.0)
    with trainer_of(small_config("sampling.sampler=fast")) as trainer:
        blind, _ = sample(trainer, None)
        trainer.sampler = FastSampler(trainer.policy, max_rows=3)
        texts, seen = sample(trainer, 1)
    assert texts == blind
    own = texts[4:]
    for preview in seen:
        assert all(own[a.index].startswith(a.text) for a in preview.answers)
        assert all(a.text == own[a.index] for a in preview.answers if a.finished)
    assert len(seen[0].answers) < 4
    assert [a.text for a in seen[-1].answers] == own


@pytest.mark.parametrize("sampler", ["trusted", "fast"])
def test_what_is_seen_is_what_is_drawn(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpo_tui.engine.watching.LOOK_SECONDS", 0.0)
    with trainer_of(small_config(f"sampling.sampler={sampler}")) as trainer:
        blind, nothing = sample(trainer, None)
        texts, seen = sample(trainer, 1)
    assert texts == blind, "looking changes no token"
    assert not nothing
    assert len(seen) >= 3
    own = texts[4:]
    for preview in seen:
        assert len(preview.answers) == 4
        assert all(own[a.index].startswith(a.text) for a in preview.answers)
    lengths = [sum(a.num_tokens for a in preview.answers) for preview in seen]
    assert lengths == sorted(lengths)
    assert [a.text for a in seen[-1].answers] == own
    assert len({p.answers[0].text for p in seen}) > 1, "it grows"


def test_nobody_looking_costs_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[Sequence[int]] = []
    peek = drawing.Drawn.peek

    def counted(drawn: drawing.Drawn, rows: Sequence[int]) -> list[Glimpse]:
        copies.append(rows)
        return peek(drawn, rows)

    monkeypatch.setattr(drawing.Drawn, "peek", counted)
    with trainer_of(small_config()) as trainer:
        sample(trainer, None)
        assert not copies
        sample(trainer, 0)
        assert 1 <= len(copies) <= 8, "the first position, the last, and one every fifth of a second"
