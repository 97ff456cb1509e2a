"""Dropped, postponed and restored problems: the order stays exact over resume, branches and replay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from grpo_tui.data.order import with_stand_ins
from grpo_tui.engine.ordering import plan_of
from grpo_tui.engine.replay import replay
from grpo_tui.engine.requests import obey
from grpo_tui.engine.rollout import begin_rollout, next_prompts
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.commands import (
    AnswersForPrompt,
    DropPrompt,
    PostponePrompt,
    Request,
    RestorePrompt,
    StepOnce,
    StepPhase,
    Undo,
)
from grpo_tui.events.fold import reduce
from grpo_tui.events.state import RunState
from grpo_tui.events.types import GroupSampled, OrderChanged, RequestFailed, StepFinished, WentTo
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.script import script_of
from tests.engine.support import (
    CONSTANT,
    Background,
    Events,
    history_hashes,
    run_small,
    small_config,
    take_steps,
    trainer_of,
)

SMALL_SET = ("data.limit=6", "run.steps=6")


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Trainer, Events]]:
    events = Events()
    with trainer_of(small_config(*SMALL_SET), events) as trainer:
        yield trainer, events


@pytest.fixture
def fresh(shared: tuple[Trainer, Events]) -> tuple[Trainer, Events]:
    trainer, events = shared
    trainer.order_changes.clear()
    events.clear()
    return trainer, events


def ids_of(trainer: Trainer, step: int) -> list[str]:
    return [prompt.problem.id for prompt in next_prompts(trainer, step)]


def ask(trainer: Trainer, events: Events, request: Request) -> str:
    """Carry out a request; what it complained of."""
    obey(trainer, request)
    failed = events.of(RequestFailed)
    return failed[-1].message if failed else ""


def test_stand_ins_leave_the_other_places_alone_and_come_once() -> None:
    assert with_stand_ins([4, 1, 3], {1}, [1, 4, 0, 2]) == [4, 0, 3]
    assert with_stand_ins([4, 1, 3], {1, 4}, [3, 1, 2, 0]) == [2, 0, 3]
    assert with_stand_ins([4, 1, 3], set(), [0, 2]) == [4, 1, 3]
    assert with_stand_ins([0, 1], {0}, [0, 1]) == [1, 1], "too few: some come twice"


def test_a_dropped_problem_comes_no_more_and_the_others_stay_in_their_places(
    fresh: tuple[Trainer, Events],
) -> None:
    trainer, events = fresh
    steps = range(trainer.finished_steps + 1, trainer.finished_steps + 13)
    before = {step: ids_of(trainer, step) for step in steps}
    doomed = before[steps[0]][0]
    assert ask(trainer, events, DropPrompt(doomed)) == ""
    after = {step: ids_of(trainer, step) for step in steps}
    for step in steps:
        assert doomed not in after[step]
        assert len(set(after[step])) == len(after[step])
        kept = [(old, new) for old, new in zip(before[step], after[step], strict=True) if old != doomed]
        assert all(old == new for old, new in kept)
    assert any(doomed in ids for ids in before.values())
    [event] = events.of(OrderChanged)
    assert (event.what, event.problem_id, event.step) == ("drop", doomed, trainer.finished_steps + 1)
    assert event.question


def test_a_postponed_problem_returns_by_itself(fresh: tuple[Trainer, Events]) -> None:
    trainer, events = fresh
    first = trainer.finished_steps + 1
    before = {step: ids_of(trainer, step) for step in range(first, first + 12)}
    id = before[first][0]
    ask(trainer, events, PostponePrompt(id, 4))
    after = {step: ids_of(trainer, step) for step in before}
    assert all(id not in after[step] for step in range(first, first + 4))
    assert {step: after[step] for step in range(first + 4, first + 12)} == {
        step: before[step] for step in range(first + 4, first + 12)
    }


def test_restoring_undoes_everything(fresh: tuple[Trainer, Events]) -> None:
    trainer, events = fresh
    first = trainer.finished_steps + 1
    before = [ids_of(trainer, step) for step in range(first, first + 8)]
    id = before[0][1]
    ask(trainer, events, DropPrompt(id))
    ask(trainer, events, AnswersForPrompt(id, 9))
    assert [ids_of(trainer, step) for step in range(first, first + 8)] != before
    assert ask(trainer, events, RestorePrompt(id)) == ""
    assert [ids_of(trainer, step) for step in range(first, first + 8)] == before
    assert not plan_of(trainer, first).group_sizes
    assert "as it was" in ask(trainer, events, RestorePrompt(id))


def test_more_answers_for_one_prompt_only(fresh: tuple[Trainer, Events]) -> None:
    trainer, events = fresh
    step = trainer.finished_steps + 1
    prompts = next_prompts(trainer, step)
    ask(trainer, events, AnswersForPrompt(prompts[1].problem.id, 7))
    assert [place.wanted for place in begin_rollout(trainer, prompts).places] == [4, 7]
    events.clear()
    take_steps(trainer, 1)
    sizes = [len(event.group.completions) for event in events.of(GroupSampled)]
    assert sizes == [4, 7]


@pytest.mark.parametrize(
    ("what", "line"),
    [
        (DropPrompt("no such"), "'no such' is not among those"),
        (PostponePrompt("known", 0), "at least 1 step, not 0"),
        (AnswersForPrompt("known", 1), "2 to 1024 answers, not 1"),
        (AnswersForPrompt("known", 5000), "not 5000"),
    ],
)
def test_what_cannot_be_done_is_one_line(what: Request, line: str, fresh: tuple[Trainer, Events]) -> None:
    trainer, events = fresh
    if getattr(what, "problem_id", "") == "known":
        what = replace(what, problem_id=trainer.prompts[0].problem.id)  # type: ignore[call-arg]
    assert line in ask(trainer, events, what)
    assert not trainer.order_changes
    assert not events.of(OrderChanged)


def test_a_step_never_lacks_problems(fresh: tuple[Trainer, Events]) -> None:
    trainer, events = fresh
    for prompt in trainer.prompts[:4]:
        assert ask(trainer, events, DropPrompt(prompt.problem.id)) == ""
    message = ask(trainer, events, DropPrompt(trainer.prompts[4].problem.id))
    assert "a step has 2 prompts and only 1 problems would be left" in message
    assert "dropped already" in ask(trainer, events, DropPrompt(trainer.prompts[0].problem.id))
    left = {prompt.problem.id for prompt in trainer.prompts[4:]}
    assert set(ids_of(trainer, trainer.finished_steps + 1)) == left


def test_dynamic_sampling_draws_no_dropped_problem() -> None:
    """Every group is dead, so all places are replaced, from everything but what was dropped."""
    events = Events()
    config = small_config(*SMALL_SET, "groups.resample_tries=2", reward=CONSTANT)
    with trainer_of(config, events) as trainer:
        kept = {prompt.problem.id for prompt in trainer.prompts[:3]}
        for prompt in trainer.prompts[3:]:
            obey(trainer, DropPrompt(prompt.problem.id))
        take_steps(trainer, 2)
    assert {event.group.problem.id for event in events.of(GroupSampled)} <= kept


def first_problems(run_dir: Path, step: int = 1) -> list[str]:
    with RunReader(run_dir) as reader:
        detail = reader.load_step(step)
    assert detail is not None
    return [group.problem.id for group in detail.groups]


def decided(run_dir: Path, steps: int, *, leave_after: int) -> dict[int, str]:
    """A run in which problems are dropped and put off after step 1, left after a step and resumed to its end."""
    config = small_config(*SMALL_SET)
    with Background(config, run_dir, paused=True) as session:
        session.wait_for_mode("paused before step 1")
        session.send(StepOnce())
        session.wait_for_mode("paused before step 2")
        ids = first_problems(run_dir)
        session.send(DropPrompt(ids[0]))
        session.send(PostponePrompt(ids[1], 4))
        session.send(AnswersForPrompt("", 3))  # refused, and changes nothing
        session.wait_for_number(RequestFailed, 1)
        for step in range(2, leave_after + 1):
            session.send(StepOnce())
            session.wait_for_mode(
                f"paused before step {step + 1}" if step < steps else "paused after the last step"
            )
    run_small(config, run_dir, resume=True)
    return history_hashes(run_dir)


def test_a_resumed_run_goes_on_in_the_same_order(tmp_path: Path) -> None:
    """Seen to fail with the changes not read back from the run file."""
    early = decided(tmp_path / "early", 6, leave_after=1)
    late = decided(tmp_path / "late", 6, leave_after=4)
    assert len(early) == 6
    assert early == late
    _, plain = run_small(small_config(*SMALL_SET), tmp_path / "plain")
    assert plain.hashes[1] == early[1]
    assert plain.hashes[6] != early[6]


def test_a_change_within_a_step_counts_from_the_next_one(tmp_path: Path) -> None:
    with Background(small_config(*SMALL_SET), tmp_path / "run", paused=True) as session:
        session.wait_for_mode("paused before step 1")
        session.send(StepPhase())
        session.wait_for_mode("paused before sample")
        session.send(DropPrompt("whatever"))
        session.wait_for_number(RequestFailed, 1)
        session.send(StepOnce())
        session.wait_for_mode("paused before step 2")
        doomed = first_problems(tmp_path / "run")[0]
        session.send(StepPhase())
        session.wait_for_mode("paused before sample", 2)
        session.send(DropPrompt(doomed))
        session.wait_for_number(OrderChanged, 1)
    [event] = session.events.of(OrderChanged)
    assert (event.step, event.finished_steps) == (3, 1)


def test_going_back_before_a_change_leaves_it_and_the_other_line_keeps_it(tmp_path: Path) -> None:
    """Seen to fail with changes of whatever line in force."""
    _, plain = run_small(small_config(*SMALL_SET), tmp_path / "plain")
    doomed = first_problems(tmp_path / "plain", step=3)[0]
    with Background(small_config(*SMALL_SET), tmp_path / "run", paused=True) as session:
        session.wait_for_mode("paused before step 1")
        session.send(StepOnce())
        session.wait_for_mode("paused before step 2")
        session.send(StepOnce())
        session.wait_for_mode("paused before step 3")
        session.send(DropPrompt(doomed))
        session.wait_for_number(OrderChanged, 1)
        session.send(StepOnce())
        session.wait_for_mode("paused before step 4")
        session.send(Undo(2))
        session.wait_for_number(WentTo, 1)
        state = RunState()
        for happened in list(session.events):
            state = reduce(state, happened)
        assert not state.plan.away
        session.send(StepOnce())
        session.wait_for_mode("paused before step 3", 2)
        session.send(StepOnce())
        session.wait_for_number(StepFinished, 5)
    hashes = [event.metrics.state_hash for event in session.events.of(StepFinished)]
    assert hashes[2] != plain.hashes[3], "another problem stood in the place of the dropped one"
    assert hashes[3] == hashes[1], "step 2 again"
    assert hashes[4] == plain.hashes[3], "and step 3 as if nothing had been dropped"


def test_a_script_repeats_the_decisions(tmp_path: Path) -> None:
    expected = decided(tmp_path / "run", 6, leave_after=6)
    result = replay(script_of(tmp_path / "run"), tmp_path / "again")
    assert result.difference == ""
    assert history_hashes(tmp_path / "again") == expected
