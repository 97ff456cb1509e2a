"""Exact time travel: undo ∘ step is the identity, redo reproduces, nothing is lost, and the run file tells the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from grpo_tui.config.schema import ALGORITHM_NAMES, RunConfig
from grpo_tui.engine.control import Control
from grpo_tui.engine.history import WentElsewhere, fork, go_to, redo, undo
from grpo_tui.engine.replay import replay
from grpo_tui.engine.snapshots import load_state, restore
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.commands import (
    ChangeSettings,
    Fork,
    GoTo,
    Pause,
    Redo,
    Request,
    Resume,
    StepOnce,
    Stop,
    Undo,
)
from grpo_tui.events.records import Phase
from grpo_tui.events.types import (
    BranchStarted,
    CommandObeyed,
    EvalFinished,
    Event,
    GroupSampled,
    PhaseStarted,
    RequestFailed,
    SettingsChanged,
    StepFinished,
    WentTo,
)
from grpo_tui.runs.branches import compare_branches
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.script import ScriptedStep, read_script, script_of, to_text
from grpo_tui.runs.states import Position, state_files
from tests.engine.support import Background, Events, run_small, small_config, take_steps, trainer_of
from tests.events.builders import fingerprint, fold

SPECIAL = {
    "ppo": ("critic.value_warmup_steps=1",),
    "trpo": ("trust_region.cg_iterations=2", "trust_region.line_search_steps=3"),
}
ASK = {Undo: undo, Redo: redo, GoTo: go_to, Fork: fork}


def config_of(name: str) -> RunConfig:
    return small_config(
        f"algorithm.name={name}",
        "run.steps=4",
        "optim.lr=1e-3",
        "optim.schedule=linear",
        "sampling.group_size=3",
        "sampling.max_completion_tokens=5",
        *SPECIAL.get(name, ()),
    )


def ask(trainer: Trainer, request: Request) -> str:
    """Between two steps; give the hash of where it led."""
    with pytest.raises(WentElsewhere):
        ASK[type(request)](trainer, request)  # type: ignore[operator]
    return trainer.state_hash()


def carried(trainer: Trainer) -> tuple[int, int, float | None]:
    return trainer.finished_steps, trainer.num_sampled_tokens, trainer.baseline


@pytest.mark.parametrize("name", ALGORITHM_NAMES)
def test_undo_is_the_inverse_of_a_step_and_redo_of_undo(tmp_path: Path, name: str) -> None:
    """And a step taken again is the same step; also by a new process, from the file."""
    # Seen to fail: without the moments, the critic, its moments, the baseline or the generator in the state.
    config = config_of(name)
    with trainer_of(config) as trainer:
        trainer.history.keep_in(tmp_path)
        at = [(trainer.state_hash(), carried(trainer))]
        for _ in range(2):
            take_steps(trainer, 1)
            at.append((trainer.state_hash(), carried(trainer)))
        assert len({state_hash for state_hash, _ in at}) == 3
        assert (ask(trainer, Undo()), carried(trainer)) == at[1]
        assert (ask(trainer, Redo()), carried(trainer)) == at[2]
        assert (ask(trainer, Undo(steps=2)), carried(trainer)) == at[0]
        assert (ask(trainer, GoTo(step=1)), carried(trainer)) == at[1]
        take_steps(trainer, 1)
        assert (trainer.state_hash(), carried(trainer)) == at[2]
        assert trainer.history.branch == 1
        assert trainer.policy.model.active_adapter == "default"
    with trainer_of(config) as other:
        restore(other, load_state(state_files(tmp_path)[Position(0, 1)]))
        assert (other.state_hash(), carried(other)) == at[1]
        take_steps(other, 1)
        assert (other.state_hash(), carried(other)) == at[2]


SMALL = small_config("run.steps=5", "run.checkpoint_every=2", "optim.lr=1e-3", "optim.schedule=linear")


@pytest.fixture
def small() -> RunConfig:
    return SMALL


@pytest.fixture(scope="module")
def whole() -> dict[int, str]:
    """State hash by step of the run that never went anywhere."""
    with trainer_of(SMALL) as trainer:
        return {metrics.step: metrics.state_hash for metrics in take_steps(trainer, 5)}


Moment = tuple[int, Phase | Literal["went"] | None, Request]
"""What is asked for at the end of a step, at the beginning of a phase of it, or once its end was gone to."""


class Scripted:
    """Asks for things at moments of a run, on the engine's thread."""

    def __init__(self, *script: Moment) -> None:
        self.control = Control(start_paused=False)
        self.script = list(script)
        self.events = Events()

    def __call__(self, event: Event) -> None:
        if not self.script:
            return
        step, phase, request = self.script[0]
        if phase == "went":
            reached = isinstance(event, WentTo) and event.step == step
        elif phase is None:
            reached = isinstance(event, StepFinished) and event.metrics.step == step
        else:
            reached = isinstance(event, PhaseStarted) and (event.step, event.phase) == (step, phase)
        if reached:
            self.script.pop(0)
            self.control.send(request)


def run_scripted(config: RunConfig, run_dir: Path, *script: Moment, resume: bool = False) -> Events:
    scripted = Scripted(*script)
    ended, events = run_small(config, run_dir, control=scripted.control, on_event=scripted, resume=resume)
    assert not scripted.script, "not all was asked"
    assert ended.reason == "finished", ended
    return events


def expect_replay(events: Events, run_dir: Path) -> None:
    """The screen's fold, the fold of the file and the file's own short cut are one."""
    live = fold(events)
    with RunReader(run_dir) as reader:
        assert fingerprint(live) == fingerprint(fold(event for _, event in reader.events()))
        assert fingerprint(live) == fingerprint(reader.load_state())
        assert reader.history() == live.history
        assert reader.evals() == live.evals
        assert reader.head() == (live.branch, live.last_step, live.state_hash)


def test_going_back_and_on_opens_a_branch_and_deletes_nothing(
    tmp_path: Path, small: RunConfig, whole: dict[int, str]
) -> None:
    run_dir = tmp_path / "run"
    events = run_scripted(small, run_dir, (4, None, Undo(steps=2)))
    [went], [started] = events.of(WentTo), events.of(BranchStarted)
    assert (went.step, went.branch, went.from_step, went.state_hash) == (2, 0, 4, whole[2])
    assert (started.branch, started.parent, started.fork_step) == (1, 0, 2)
    assert events.hashes == whole
    expect_replay(events, run_dir)
    with RunReader(run_dir) as reader:
        main, branch = reader.branches()
        assert (main.last_step, main.num_steps) == (4, 4)
        assert (branch.last_step, branch.num_steps) == (5, 3)
        assert reader.load_step(4, branch=0) is not None
        compared = compare_branches(reader, 0, 1)
        assert compared.fork_step == 2
        assert [pair.step for pair in compared.shared] == [1, 2]
        assert [(p.step, *(m and m.state_hash for m in p.metrics)) for p in compared.apart] == [
            (3, whole[3], whole[3]),
            (4, whole[4], whole[4]),
            (5, None, whole[5]),
        ]
    assert len(events.of(CommandObeyed)) == 1


def test_redo_across_branches_and_go_to_another(
    tmp_path: Path, small: RunConfig, whole: dict[int, str]
) -> None:
    """Back over a fork, forward the way that was left, and over to the other line."""
    run_dir = tmp_path / "run"
    events = run_scripted(
        small,
        run_dir,
        (3, None, Undo(steps=2)),
        (2, None, GoTo(step=3, branch=0)),
        (4, None, GoTo(step=2, branch=1)),
    )
    assert [(e.how, e.step, e.branch) for e in events.of(WentTo)] == [
        ("undo", 1, 0),
        ("go to", 3, 0),
        ("go to", 2, 1),
    ]
    assert [e.branch for e in events.of(BranchStarted)] == [1]
    assert events.hashes == whole
    expect_replay(events, run_dir)


def test_undo_in_the_middle_of_a_step_starts_it_over_with_the_same_tokens(
    tmp_path: Path, small: RunConfig, whole: dict[int, str]
) -> None:
    run_dir = tmp_path / "run"
    events = run_scripted(small, run_dir, (2, Phase.SCORE, Undo()), (4, Phase.ADVANTAGES, Undo(steps=2)))
    first, second = events.of(WentTo)
    assert (first.step, first.from_step, first.left_step) == (1, 1, 2)
    assert (second.step, second.from_step, second.left_step) == (2, 3, 4)
    sampled = [e.group for e in events.of(GroupSampled) if e.step == 2 and e.group.index == 0]
    assert len(sampled) == 2
    assert sampled[0].completions[0].text == sampled[1].completions[0].text
    assert events.hashes == whole
    assert [e.branch for e in events.of(BranchStarted)] == [1]  # nothing finished was left by the first
    expect_replay(events, run_dir)


def test_held_at_a_token_of_sampling_or_inside_the_update_undo_leaves_at_once(
    tmp_path: Path, small: RunConfig, whole: dict[int, str]
) -> None:
    # Seen to fail: with requests obeyed between phases only, it waits for ever.
    with Background(small, tmp_path / "run", paused=False) as session:
        pause_at = [(1, Phase.SAMPLE), (3, Phase.UPDATE)]

        def pause(event: Event) -> None:
            if pause_at and isinstance(event, PhaseStarted) and (event.step, event.phase) == pause_at[0]:
                pause_at.pop(0)
                session.send(Pause())

        session.on_event = pause
        session.wait_for(lambda: any("in sample" in mode for mode in session.modes()))
        session.send(Undo())
        session.wait_for_number(WentTo, 1)
        session.send(Resume())
        session.wait_for(lambda: any("in update" in mode for mode in session.modes()))
        session.send(Undo(steps=2))
        session.wait_for_number(WentTo, 2)
        session.send(Resume())
        assert session.join().reason == "finished"
    assert [(e.step, e.left_step) for e in session.events.of(WentTo)] == [(0, 1), (1, 3)]
    assert session.events.hashes == whole
    expect_replay(session.events, tmp_path / "run")
    script = script_of(tmp_path / "run")
    assert [(c.place.step, c.place.phase) for c in script.commands] == [(1, "sample"), (3, "update")]
    replayed = replay(script, tmp_path / "again")
    assert replayed.difference == ""
    assert (replayed.num_steps, replayed.num_commands, replayed.state_hash) == (6, 2, whole[5])


def test_a_replay_repeats_a_session_of_several_processes_and_tells_the_first_difference(
    tmp_path: Path, small: RunConfig
) -> None:
    # Seen to fail: without StartAgain, the rate is the changed one; with visits left out, a command comes too early.
    run_dir = tmp_path / "run"
    control = Control(start_paused=False)

    def act(event: Event) -> None:
        if isinstance(event, PhaseStarted) and (event.step, event.phase) == (3, Phase.SCORE):
            control.send(ChangeSettings((("optim.lr", "0.01"), ("sampling.temperature", "1.4"))))
        elif isinstance(event, StepFinished) and event.metrics.step == 4:
            control.send(Stop())

    run_small(small, run_dir, control=control, on_event=act)
    longer = replace(small, run=replace(small.run, steps=6))
    events = run_scripted(
        longer,
        run_dir,
        (5, None, Undo(steps=3)),
        (2, "went", ChangeSettings((("optim.lr", "0.002"),))),
        (5, Phase.ADVANTAGES, Fork(name="last")),
        resume=True,
    )
    script = script_of(run_dir)
    assert [type(c.request).__name__ for c in script.commands] == [
        "ChangeSettings", "StartAgain", "Undo", "ChangeSettings", "Fork"
    ]  # fmt: skip
    path = tmp_path / "session.jsonl"
    path.write_text(to_text(script))
    assert read_script(path) == script
    result = replay(read_script(path), tmp_path / "again")
    assert result.difference == ""
    assert result.state_hash == fold(events).state_hash == script.final_hash
    assert result.num_compared == script.steps == 4 + 1 + 4
    with RunReader(run_dir) as one, RunReader(tmp_path / "again") as other:
        assert one.states() == other.states()
        assert [b.record for b in one.branches()] == [b.record for b in other.branches()]
    wrong = [
        replace(line, state_hash="0" * 64) if isinstance(line, ScriptedStep) and line.step == 2 else line
        for line in script.lines
    ]
    result = replay(replace(script, lines=tuple(wrong)), tmp_path / "wrong")
    assert result.difference.startswith("step 2 came to state ")
    assert (result.num_steps, result.num_compared) == (2, 1)


def test_a_fork_keeps_the_line_and_its_name(tmp_path: Path, small: RunConfig) -> None:
    run_dir = tmp_path / "run"
    events = run_scripted(small, run_dir, (2, None, Fork(name="other loss")))
    expect_replay(events, run_dir)
    with RunReader(run_dir) as reader:
        main, other = reader.branches()
        assert (main.num_steps, other.num_steps, other.record.label) == (2, 3, "other loss")
        assert (other.record.parent, other.record.fork_step) == (0, 2)


def test_after_a_restart_the_run_stands_where_it_went_and_can_redo(
    tmp_path: Path, small: RunConfig, whole: dict[int, str]
) -> None:
    run_dir = tmp_path / "run"
    with Background(small, run_dir) as session:
        for number in (1, 2, 3):
            session.wait_for_mode(f"paused before step {number}")
            session.send(StepOnce())
        session.wait_for_mode("paused before step 4")
        session.send(Undo(steps=2))
        session.wait_for_mode("paused before step 2", 2)
    first = session.events
    expect_replay(first, run_dir)
    with Background(small, run_dir, resume=True) as session:
        session.wait_for_mode("paused before step 2")
        session.send(Redo(steps=2))
        session.wait_for_number(WentTo, 1)
        session.send(Undo(steps=4))
        session.wait_for_number(RequestFailed, 1)
    assert session.events.of(WentTo)[0].state_hash == whole[3]
    assert "3 steps to undo" in session.events.of(RequestFailed)[0].message
    expect_replay(Events([*first, *session.events]), run_dir)
    ended, last = run_small(small, run_dir, resume=True)
    assert ended.reason == "finished"
    assert last.hashes == {4: whole[4], 5: whole[5]}
    with RunReader(run_dir) as reader:
        assert len(reader.branches()) == 1


def test_evaluations_come_back_with_their_line(tmp_path: Path) -> None:
    config = small_config("run.steps=3", "eval.every=1", "eval.num_problems=2", "run.checkpoint_every=1")
    events = run_scripted(config, tmp_path / "run", (2, None, Undo()), (2, None, GoTo(step=2, branch=0)))
    expect_replay(events, tmp_path / "run")
    measured = [event.result.step for event in events.of(EvalFinished)]
    assert measured.count(1) == 1, "what was measured is not measured again"
    assert [result.step for result in fold(events).evals] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Undo(steps=2), "there are 1 steps to undo, not 2"),
        (Redo(), "nothing to redo"),
        (GoTo(step=9), "main has steps 0 to 1, not 9"),
        (GoTo(step=1, branch=7), "there is no branch 7"),
    ],
)
def test_what_cannot_be_done_is_a_line_and_changes_nothing(request_: Request, message: str) -> None:
    with trainer_of(small_config()) as trainer:
        take_steps(trainer, 1)
        before = trainer.state_hash()
        with pytest.raises(ValueError, match=message):
            ASK[type(request_)](trainer, request_)  # type: ignore[operator]
        assert trainer.state_hash() == before


def test_without_history_nothing_is_kept_and_undo_says_so(tmp_path: Path) -> None:
    with trainer_of(small_config("run.history_mb=0")) as trainer:
        trainer.history.keep_in(tmp_path)
        take_steps(trainer, 1)
        assert not list(tmp_path.iterdir())
        with pytest.raises(ValueError, match=r"run\.history_mb is 0"):
            undo(trainer, Undo())


def test_a_thinned_state_is_refused_with_its_neighbours() -> None:
    with trainer_of(small_config()) as trainer:
        take_steps(trainer, 3)
        trainer.history.store.drop(Position(0, 2))
        before = trainer.state_hash()
        with pytest.raises(ValueError, match="kept nearest are 1 and 3; go to 1 and run 1"):
            undo(trainer, Undo())
        assert trainer.state_hash() == before


def test_a_damaged_state_is_refused_and_the_present_one_stays(tmp_path: Path) -> None:
    # Seen to fail: without the hash being compared.
    with trainer_of(small_config()) as trainer:
        take_steps(trainer, 2)
        store, here = trainer.history.store, Position(0, 1)
        state = store.get(here)
        name = next(name for name in state.tensors if name.startswith("adapter/"))
        store.add(here, replace(state, tensors={**state.tensors, name: torch.ones_like(state.tensors[name])}))
        before = trainer.state_hash()
        with pytest.raises(ValueError, match="damaged: its hash differs"):
            undo(trainer, Undo())
        assert (trainer.state_hash(), trainer.finished_steps) == (before, 2)


def test_settings_go_back_and_forth_with_their_steps(tmp_path: Path) -> None:
    """A change is in force on the lines that go through where it was made, and after a restart too."""

    def change(lr: str) -> ChangeSettings:
        return ChangeSettings((("optim.lr", lr),))

    run_dir = tmp_path / "run"
    config = small_config("run.steps=4", "optim.lr=0.001")
    events = run_scripted(
        config,
        run_dir,
        (1, None, change("0.002")),
        (3, None, Undo(steps=2)),  # at 1, where the change was made already: it stays
        (1, "went", change("0.003")),  # on a branch of its own, for the later steps are not under it
        (3, None, GoTo(step=3, branch=0)),
    )
    expect_replay(events, run_dir)
    rates = [(m.step, round(m.learning_rate, 6)) for m in (e.metrics for e in events.of(StepFinished))]
    assert rates == [(1, 0.001), (2, 0.002), (3, 0.002), (2, 0.003), (3, 0.003), (4, 0.002)]
    assert [e.branch for e in events.of(SettingsChanged)] == [0, 1]
    [started] = events.of(BranchStarted)
    assert events.index(started) < events.index(events.of(SettingsChanged)[1])
    with RunReader(run_dir) as reader:
        assert [c.changes[0].new for c in reader.settings_changes()] == ["0.002"]


def test_stopped_right_after_going_back(tmp_path: Path, small: RunConfig, whole: dict[int, str]) -> None:
    """It is saved where it stands, and goes on there."""
    control = Control(start_paused=False)

    def act(event: Event) -> None:
        if isinstance(event, StepFinished) and event.metrics.step == 3:
            control.send(Undo())
        elif isinstance(event, WentTo):
            control.send(Stop())

    ended, _ = run_small(small, tmp_path / "run", control=control, on_event=act)
    assert (ended.reason, ended.finished_steps) == ("stopped", 2)
    ended, events = run_small(small, tmp_path / "run", resume=True)
    assert events.hashes == {step: whole[step] for step in (3, 4, 5)}
