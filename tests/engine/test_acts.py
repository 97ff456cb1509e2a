"""Stopping at a breakpoint, and what a person can change of a step before its update."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grpo_tui.config.schema import RewardConfig
from grpo_tui.engine.control import Control, Gate, Withdrawn
from grpo_tui.engine.replay import replay
from grpo_tui.engine.requests import obey
from grpo_tui.engine.step import run_step
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.commands import (
    DrawMore,
    Exclude,
    ForkResponse,
    OverrideReward,
    OverrideVerdict,
    RemoveBreakpoint,
    Request,
    Reroll,
    Resume,
    SetBreakpoint,
    UndoAct,
)
from grpo_tui.events.fold import reduce
from grpo_tui.events.records import Mode, Phase, StepMetrics
from grpo_tui.events.state import RunState
from grpo_tui.events.types import (
    ActTaken,
    AdvantagesComputed,
    BreakpointHit,
    BreakpointsChanged,
    Event,
    ModeChanged,
    RequestFailed,
    ResponseForked,
    StepFinished,
)
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.script import script_of
from rewards.base import Verdict
from tests.engine.support import Background, Events, small_config, take_steps, trainer_of


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def trainer(events: Events) -> Iterator[Trainer]:
    with trainer_of(small_config(), events) as trainer:
        yield trainer


def step_with(
    trainer: Trainer,
    *requests: Request,
    before: Phase = Phase.UPDATE,
    look: Callable[[], None] = lambda: None,
    breaks: bool = False,
) -> StepMetrics:
    """One step in which these requests are obeyed before a phase."""

    class Held(Gate):
        def _hold(self, where: str, *, serving: bool = False) -> None:
            if where == f"before {before}":
                for request in requests:
                    obey(trainer, request, self.place)
                look()

    gate = Held(Control(start_paused=False), trainer.emit)
    if breaks:
        gate.breaks = lambda step, phase, after: bool(
            trainer.breaker.meets(trainer, step, phase, after=after)
        )
    return run_step(trainer, gate)


def fold(events: Events) -> RunState:
    state = RunState()
    for event in events:
        state = reduce(state, event)
    return state


# --- breakpoints -------------------------------------------------------------------------------------------


def drive(trainer: Trainer, steps: int) -> list[tuple[int, str]]:
    """Run some steps as the runner does; where it stood still, it goes on. Gives every place where it stopped."""
    control = Control(start_paused=False)
    stops: list[tuple[int, str]] = []
    collected = trainer.emit

    def emit(event: Event) -> None:
        collected(event)
        if isinstance(event, ModeChanged) and event.mode is Mode.PAUSED:
            stops.append((trainer.finished_steps + 1, event.detail))
            control.send(Resume())

    gate = Gate(control, emit)
    gate.breaks = lambda step, phase, after: bool(trainer.breaker.meets(trainer, step, phase, after=after))
    for _ in range(steps):
        gate.between_steps(trainer.finished_steps + 1)
        run_step(trainer, gate)
        gate.after_step()
    return stops


def test_a_condition_stops_before_the_update_and_says_what_matched(trainer: Trainer, events: Events) -> None:
    """Seen to fail with: the condition asked after the update; asked again after going on."""
    before = trainer.state_hash()
    hashes: list[str] = []
    obey(trainer, SetBreakpoint(condition="any group: size = 4 and mean_length > 1"))
    inner = trainer.emit

    def watch(event: Event) -> None:
        inner(event)
        if isinstance(event, BreakpointHit):
            hashes.append(trainer.state_hash())

    trainer.emit = watch
    assert drive(trainer, 2) == [(1, "before advantages"), (2, "before advantages")]
    assert hashes[0] == before
    hit = events.of(BreakpointHit)[0].hit
    assert hit.matches[0].group == 0
    assert hit.matches[0].sentence.startswith("g1: size = 4, mean_length = ")


def test_kl_ref_is_asked_before_the_update(trainer: Trainer) -> None:
    obey(trainer, SetBreakpoint(condition="any group: kl_ref >= 0"))
    assert drive(trainer, 1) == [(1, "before update")]


def test_a_step_taken_again_stops_again(trainer: Trainer) -> None:
    """Seen to fail with: what a step had met remembered beyond it."""
    obey(trainer, SetBreakpoint(condition="any group: size = 4"))
    with pytest.raises(RuntimeError, match="left"):
        step_with(trainer, look=raise_left, breaks=True)
    assert drive(trainer, 1) == [(1, "before advantages")]


def test_an_act_sent_together_with_going_on_is_of_this_step(trainer: Trainer, events: Events) -> None:
    """Seen to fail with: going on first, so that the act came when the update was done."""
    control = Control(start_paused=False)
    collected = trainer.emit

    def emit(event: Event) -> None:
        collected(event)
        if isinstance(event, ModeChanged) and event.mode is Mode.PAUSED:
            control.send(OverrideReward(1, 0, 2, 9.0))
            control.send(Resume())

    gate = Gate(control, emit)
    gate.obey = lambda request: obey(trainer, request, gate.place)
    gate.breaks = lambda _step, phase, after: phase is Phase.UPDATE and not after
    run_step(trainer, gate)
    assert [act.act for act in events.of(ActTaken)] == ["reward"]


def raise_left() -> None:
    raise RuntimeError("left")


@pytest.mark.parametrize(
    ("phase", "after", "where"),
    [
        (Phase.SCORE, False, "before score"),
        (Phase.SCORE, True, "before advantages"),
        (Phase.UPDATE, False, "before update"),
        (Phase.PROBLEMS, False, "before problems"),
    ],
)
def test_every_phase_can_be_stopped_at(trainer: Trainer, phase: Phase, after: bool, where: str) -> None:
    obey(trainer, SetBreakpoint(phase=phase.value, after=after))
    assert drive(trainer, 1) == [(1, where)]


def test_after_the_last_phase_it_stops_before_the_next_step(trainer: Trainer) -> None:
    obey(trainer, SetBreakpoint(phase="emit", after=True))
    assert drive(trainer, 2) == [(2, "before step 2")]


def test_disabled_removed_and_used_up(trainer: Trainer, events: Events) -> None:
    obey(trainer, SetBreakpoint(phase="score", enabled=False))
    obey(trainer, SetBreakpoint(phase="score"))
    obey(trainer, RemoveBreakpoint(2))
    obey(trainer, SetBreakpoint(phase="update", once=True))
    assert drive(trainer, 2) == [(1, "before update")]
    assert [b.id for b in trainer.breaker.breakpoints] == [1]
    assert [b.id for b in events.of(BreakpointsChanged)[-1].breakpoints] == [1]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (SetBreakpoint(condition="rewrad > 1"), "did you mean reward?"),
        (SetBreakpoint(phase="lunch"), "no phase 'lunch'"),
        (SetBreakpoint(), "needs a condition or a phase"),
        (RemoveBreakpoint(7), "no breakpoint 7"),
    ],
)
def test_bad_breakpoints_are_told_in_a_line(
    trainer: Trainer, events: Events, request_: Request, says: str
) -> None:
    obey(trainer, request_)
    [failed] = events.of(RequestFailed)
    assert says in failed.message
    assert trainer.breaker.breakpoints == []


# --- acts --------------------------------------------------------------------------------------------------


def advantages(events: Events) -> list[list[float]]:
    return [list(row) for row in events.of(AdvantagesComputed)[-1].advantages_P_G]


def test_a_reward_given_by_hand_changes_advantages_and_the_update(trainer: Trainer, events: Events) -> None:
    """Seen to fail with: advantages left as they were; rows made of the old rewards."""
    with trainer_of(small_config()) as other:
        [plain] = take_steps(other, 1)
    metrics = step_with(trainer, OverrideReward(1, 0, 2, 9.0))
    assert metrics.state_hash != plain.state_hash
    first, last = events.of(AdvantagesComputed)[0], events.of(AdvantagesComputed)[-1]
    assert last.advantages_P_G[0][2] == max(last.advantages_P_G[0]) > first.advantages_P_G[0][2]
    assert last.advantages_P_G[1] == first.advantages_P_G[1]
    state = fold(events)
    assert state.recent[-1].groups[0].completions[2].reward == 9.0
    assert state.acts[0].sentence.endswith("→ 9.00")


def test_an_act_and_its_undoing_leave_the_step_as_it_was(trainer: Trainer, events: Events) -> None:
    """Bitwise: the same state as a step without acts. Seen to fail with: reference log-probs computed twice apart."""
    with trainer_of(small_config()) as other:
        [plain] = take_steps(other, 1)
    metrics = step_with(
        trainer, OverrideReward(1, 0, 2, 9.0), Exclude(1, 1, 0), UndoAct(1), UndoAct(1), UndoAct(1)
    )
    assert metrics.state_hash == plain.state_hash
    assert [event.act for event in events.of(ActTaken)] == ["reward", "exclude", "undo", "undo"]
    assert "no act on this step" in events.of(RequestFailed)[0].message


def test_a_verdict_is_overridden_with_its_value() -> None:
    events = Events()
    config = replace(
        small_config(), reward=RewardConfig(weights={"math": 1.0, "format": 0.5}, canaries=False)
    )
    with trainer_of(config, events) as trainer:
        step_with(trainer, OverrideVerdict(1, 0, 1, "correct", note="the key is wrong"))
        completion = fold(events).recent[-1].groups[0].completions[1]
    assert completion.verdict is Verdict.CORRECT
    assert completion.scores["math"].value == 1.0
    format_part = completion.scores["format"].value or 0.0
    assert completion.reward == pytest.approx(1.0 + 0.5 * format_part)
    assert "the key is wrong" in completion.scores["math"].explanation.sentence


def test_an_excluded_response_is_neither_compared_nor_pushed(trainer: Trainer, events: Events) -> None:
    """Seen to fail with: it stays in its group's mean; its tokens keep a weight."""
    step_with(trainer, Exclude(1, 0, 3))
    group = fold(events).recent[-1].groups[0]
    rewards = [c.reward for c in group.completions[:3]]
    assert group.completions[3].excluded
    assert group.completions[3].advantage == 0.0
    assert group.completions[3].weight_T is None or not group.completions[3].weight_T.any()
    mean, sd = np.mean(rewards), np.std(rewards, ddof=1)  # type: ignore[arg-type]
    expected = [(reward - mean) / (sd + 1e-4) for reward in rewards]  # type: ignore[operator]
    assert [c.advantage for c in group.completions[:3]] == pytest.approx(expected, abs=1e-6)


def test_a_whole_group_is_excluded_and_taken_in_again(trainer: Trainer, events: Events) -> None:
    with trainer_of(small_config()) as other:
        [plain] = take_steps(other, 1)
    metrics = step_with(trainer, Exclude(1, 0), Exclude(1, 0), Exclude(1, 0, None, False))
    assert metrics.state_hash == plain.state_hash
    assert "excluded already" in events.of(RequestFailed)[0].message
    assert advantages(events)[0] != [0.0] * 4


def test_a_group_drawn_anew_has_other_responses(trainer: Trainer, events: Events) -> None:
    def drawn(trainer: Trainer) -> list[list[int]]:
        now = trainer.in_progress
        assert now is not None
        return [
            [t for c in place.filled.completions for t in c.token_ids_T.tolist()]
            for place in now.rollout.places
        ]

    seen: list[list[list[int]]] = []
    with trainer_of(small_config()) as other:
        step_with(other, look=lambda: seen.append(drawn(other)))
    step_with(trainer, Reroll(1, 1), look=lambda: seen.append(drawn(trainer)))
    before, after = seen
    assert after[0] == before[0]
    assert after[1] != before[1]
    state = fold(events)
    assert all(
        c.reward is not None and c.advantage is not None for c in state.recent[-1].groups[1].completions
    )


def test_more_responses_to_one_prompt(trainer: Trainer, events: Events) -> None:
    metrics = step_with(trainer, DrawMore(1, 0, 3), DrawMore(1, 0, 0))
    groups = fold(events).recent[-1].groups
    assert [len(group.completions) for group in groups] == [7, 4]
    assert metrics.num_completions == 11
    assert all(c.advantage is not None for c in groups[0].completions)
    assert "1 to 64" in events.of(RequestFailed)[0].message


def test_acts_before_the_advantages_count_too(trainer: Trainer, events: Events) -> None:
    step_with(trainer, OverrideReward(1, 0, 2, 9.0), before=Phase.ADVANTAGES)
    assert len(events.of(AdvantagesComputed)) == 1
    assert advantages(events)[0][2] == max(advantages(events)[0])


@pytest.mark.parametrize(
    ("request_", "before", "says"),
    [
        (OverrideReward(1, 0, 2, 9.0), Phase.SCORE, "not all drawn and judged"),
        (OverrideReward(2, 0, 2, 9.0), Phase.UPDATE, "step 2 is not in progress"),
        (OverrideReward(1, 5, 2, 9.0), Phase.UPDATE, "no group 6"),
        (OverrideReward(1, 0, 9, 9.0), Phase.UPDATE, "no response 10"),
        (OverrideReward(1, 0, 0, float("nan")), Phase.UPDATE, "finite"),
        (OverrideVerdict(1, 0, 0, "splendid"), Phase.UPDATE, "no verdict 'splendid'"),
        (OverrideVerdict(1, 0, 0, "correct"), Phase.UPDATE, "no component of the reward judges truth"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(
    trainer: Trainer, events: Events, request_: Request, before: Phase, says: str
) -> None:
    with trainer_of(small_config()) as other:
        [plain] = take_steps(other, 1)
    metrics = step_with(trainer, request_, before=before)
    assert says in events.of(RequestFailed)[0].message
    assert metrics.state_hash == plain.state_hash
    assert events.of(ActTaken) == []


def test_between_steps_there_is_nothing_to_act_on(trainer: Trainer, events: Events) -> None:
    take_steps(trainer, 1)
    obey(trainer, Reroll(1, 0))
    assert "not in progress" in events.of(RequestFailed)[0].message


def test_a_fork_goes_on_from_inside_a_response_and_changes_nothing(trainer: Trainer, events: Events) -> None:
    """Seen to fail with: the token left out after; the prompt without the tokens; streams of the training used."""
    with trainer_of(small_config()) as other:
        [plain] = take_steps(other, 1)
    metrics = step_with(trainer, ForkResponse(1, 0, 0, token=2, num_samples=3, instead=5))
    [forked] = events.of(ResponseForked)
    taken = fold(events).recent[-1].groups[0].completions[0].token_ids_T.tolist()
    assert forked.instead is not None
    for side, begins in (
        (forked.before, taken[:2]),
        (forked.after, taken[:3]),
        (forked.instead, [*taken[:2], 5]),
    ):
        for completion in side.completions:
            assert completion.token_ids_T.tolist()[: len(begins)] == begins
            assert completion.num_tokens <= 8
            assert completion.reward is not None
            assert len(completion.logprobs_T) == completion.num_tokens
    assert metrics.state_hash == plain.state_hash


def test_a_fork_of_what_is_not_there(trainer: Trainer, events: Events) -> None:
    step_with(trainer, ForkResponse(1, 0, 0, token=99), ForkResponse(1, 0, 0, 0, num_samples=0))
    assert "no such response or token" in events.of(RequestFailed)[0].message
    assert "1 to 64" in events.of(RequestFailed)[1].message


def test_without_breakpoints_asking_costs_nothing(trainer: Trainer) -> None:
    assert trainer.breaker.meets(trainer, 1, Phase.UPDATE, after=False) is None


def test_a_session_stops_keeps_its_breakpoints_over_a_resume_and_records_acts(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    with Background(small_config("run.steps=2"), run_dir) as background:
        background.send(SetBreakpoint(condition="any group: size = 4"))
        background.wait_for_number(BreakpointsChanged, 1)
        background.send(Resume())
        background.wait_for_mode("paused before advantages")
        background.send(OverrideReward(1, 0, 2, 9.0))
        background.wait_for_number(ActTaken, 1)
        background.send(Resume())
        background.wait_for_mode("paused before advantages", 2)
    with Background(small_config("run.steps=2"), run_dir, paused=False, resume=True) as background:
        background.wait_for_number(BreakpointHit, 1)
    with RunReader(run_dir) as reader:
        state = reader.load_state()
        detail = reader.load_step(1)
    assert [str(b) for b in state.breakpoints] == ["any group: size = 4"]
    assert [(act.step, act.act) for act in state.acts] == [(1, "reward")]
    assert detail is not None
    assert detail.groups[0].completions[2].reward == 9.0


# --- odd moments -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_", [Reroll(1, 1), DrawMore(1, 1, 2), Exclude(1, 1, 0), OverrideReward(1, 1, 0, 9.0), UndoAct(1)]
)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_act_withdrawn_half_way_never_was(
    trainer: Trainer, events: Events, request_: Request, at: int
) -> None:
    """Seen to fail with: an act without a record that counts all the same; a group shown that is not the engine's."""
    first = OverrideReward(1, 0, 2, 9.0)
    with trainer_of(small_config()) as other:
        kept = step_with(other, first)
    heeded = 0

    def heed() -> None:
        nonlocal heeded
        heeded += 1
        if heeded == at:
            raise Withdrawn

    def withdrawn() -> None:
        trainer.heed = heed
        obey(trainer, request_)
        trainer.heed = lambda: None
        shown, now = fold(events).current, trainer.in_progress
        assert shown is not None
        assert now is not None
        if heeded < at:  # it was done before that
            obey(trainer, UndoAct(1))
        else:
            assert [len(g.completions) for g in shown.groups] == [4, 4]
            assert [c.reward for g in shown.groups for c in g.completions] == [
                c.reward for p in now.rollout.places for c in p.filled.completions
            ]

    metrics = step_with(trainer, first, look=withdrawn)
    if heeded < at:
        return
    assert metrics.state_hash == kept.state_hash
    assert [act.act for act in events.of(ActTaken)] == ["reward"]
    assert all(c.advantage is not None for g in fold(events).recent[-1].groups for c in g.completions)


def test_an_excluded_response_is_not_in_the_baseline() -> None:
    """Seen to fail with: the running mean taken over all rewards."""
    events = Events()
    with trainer_of(small_config("algorithm.advantage=ema"), events) as trainer:
        step_with(trainer, Exclude(1, 0, 3), OverrideReward(1, 0, 3, 1000.0))
        completions = [c for g in fold(events).recent[-1].groups for c in g.completions]
        rewards = [c.reward for c in completions if not c.excluded]
        assert trainer.baseline == pytest.approx(np.mean(rewards))  # type: ignore[arg-type]
    assert completions[0].advantage == pytest.approx(completions[0].reward - np.mean(rewards))  # type: ignore[operator,arg-type]


@pytest.mark.parametrize("advantage", ["zscore", "batch", "leave_one_out", "ema", "gae"])
def test_with_everything_excluded_nothing_moves(advantage: str) -> None:
    events = Events()
    config = small_config(f"algorithm.advantage={advantage}", "critic.value_warmup_steps=0")
    with trainer_of(config, events) as trainer:
        before = trainer.policy.adapter_state()
        metrics = step_with(trainer, Exclude(1, 0), Exclude(1, 1))
        after = trainer.policy.adapter_state()
        completions = [c for g in fold(events).recent[-1].groups for c in g.completions]
    assert [c.advantage for c in completions] == [0.0] * 8
    assert "excluded by you" in metrics.update_skipped
    assert all(tensor.equal(before[name]) for name, tensor in after.items())


def test_a_group_drawn_anew_and_taken_back_goes_on_with_its_rounds(trainer: Trainer, events: Events) -> None:
    """Seen to fail with: rounds counted from the group that was taken back."""
    step_with(trainer, DrawMore(1, 0, 1), Reroll(1, 0), UndoAct(1), DrawMore(1, 0, 1))
    group = fold(events).recent[-1].groups[0]
    assert [c.round for c in group.completions] == [0, 0, 0, 0, 1, 2]


def test_a_fork_knows_how_it_ended_and_which_tokens_there_are(trainer: Trainer, events: Events) -> None:
    """Seen to fail with: the end of the response that was forked taken for the fork's."""
    end = trainer.policy.eos_ids[0]
    step_with(
        trainer,
        ForkResponse(1, 0, 0, 1, num_samples=1, instead=end),
        ForkResponse(1, 0, 0, 1, instead=1 << 30),
    )
    forked = events.of(ResponseForked)[0].instead
    assert forked is not None
    assert [(c.finish_reason, c.num_tokens) for c in forked.completions] == [("stop", 2)]
    assert "there is no token" in events.of(RequestFailed)[0].message


def test_a_session_with_acts_is_replayed_to_the_same_states(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    acts = [
        OverrideReward(1, 0, 2, 9.0),
        Reroll(1, 1),
        UndoAct(1),
        Reroll(1, 1),
        DrawMore(1, 0, 2),
        Exclude(1, 0, 1),
        Reroll(9, 0),
    ]
    with Background(small_config("run.steps=2", "algorithm.beta=0.1"), run_dir) as background:
        background.send(SetBreakpoint(phase="update"))
        background.wait_for_number(BreakpointsChanged, 1)
        background.send(Resume())
        background.wait_for_mode("paused before update")
        for act in acts:
            background.send(act)
        background.wait_for_number(RequestFailed, 1)
        background.send(Resume())
        background.wait_for_mode("paused before update", 2)
        background.send(Exclude(2, 1))
        background.send(Resume())
        background.wait_for(
            lambda: background.ended is not None or len(background.events.of(StepFinished)) == 2
        )
    repeated = replay(script_of(run_dir), tmp_path / "again")
    assert repeated.difference == ""
    assert (repeated.num_steps, repeated.num_compared) == (2, 2)
    assert repeated.num_commands >= 7
