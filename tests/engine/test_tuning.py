"""Settings that change while a run runs: what they reach, from when, what is refused, and that nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from grpo_tui.config.changes import differences
from grpo_tui.config.load import load_config
from grpo_tui.config.schema import RunConfig
from grpo_tui.engine.control import Control, Gate
from grpo_tui.engine.requests import obey
from grpo_tui.engine.step import run_step
from grpo_tui.engine.trainer import Trainer
from grpo_tui.events.commands import ChangeSettings, Request, UndoSettings
from grpo_tui.events.records import Phase, StepMetrics
from grpo_tui.events.types import (
    CheckpointSaved,
    EvalFinished,
    Event,
    GroupSampled,
    Notice,
    PhaseStarted,
    RequestFailed,
    RunStarted,
    SettingsChanged,
    StepFinished,
    StepStarted,
)
from grpo_tui.runs.checkpoints import checkpoint_name
from grpo_tui.runs.reader import RunReader
from tests.engine.support import (
    FORM_ONLY,
    LETTERS,
    Background,
    Events,
    history_hashes,
    run_small,
    small_config,
    take_steps,
    trainer_of,
)


def change(*pairs: str) -> ChangeSettings:
    """``key=value`` pairs as a request."""
    return ChangeSettings(tuple((pair.split("=", 1)[0], pair.split("=", 1)[1]) for pair in pairs))


@pytest.fixture(scope="module")
def loaded() -> Iterator[tuple[Trainer, Events]]:
    events = Events()
    with trainer_of(small_config("run.steps=1000"), events) as trainer:
        yield trainer, events


@pytest.fixture
def trainer(loaded: tuple[Trainer, Events]) -> Iterator[Trainer]:
    """A trainer whose settings and weights are put back afterwards."""
    trainer, events = loaded
    config, snapshot = trainer.config, trainer.snapshot()
    events.clear()
    yield trainer
    trainer.tuning.waiting, trainer.tuning.changes = None, []
    trainer.tuning.begun = tuple
    trainer.reconfigure(config)
    trainer.restore(snapshot)
    trainer.finished_steps = 0


@pytest.fixture
def events(loaded: tuple[Trainer, Events]) -> Events:
    return loaded[1]


def groups_of(events: Events, step: int) -> list[GroupSampled]:
    return [event for event in events.of(GroupSampled) if event.step == step]


def step_asking(trainer: Trainer, phase: Phase, request: Request) -> StepMetrics:
    """One step, with a request served right before a phase."""
    gate = Gate(Control(start_paused=False), trainer.emit)
    trainer.tuning.begun = lambda: gate.seconds_by_phase.keys()
    gate.between_steps(trainer.finished_steps + 1)
    entered = gate.phase

    def phase_of(step: int, name: Phase):  # type: ignore[no-untyped-def]
        if name is phase:
            obey(trainer, request)
        return entered(step, name)

    gate.phase = phase_of  # type: ignore[method-assign, assignment]
    return run_step(trainer, gate)


# --- what they reach -------------------------------------------------------------------------------------


def test_a_rate_reaches_the_optimizer_through_the_schedule(trainer: Trainer, events: Events) -> None:
    obey(trainer, change("optim.lr=1e-4"))
    before = trainer.policy.adapter_state()
    [small] = take_steps(trainer, 1)
    moved_little = _distance(before, trainer.policy.adapter_state())
    assert small.learning_rate == 1e-4
    obey(trainer, change("optim.lr=4e-4", "optim.warmup_steps=4"))
    before = trainer.policy.adapter_state()
    [warm] = take_steps(trainer, 1)
    assert warm.learning_rate == 2e-4  # the second of four steps of warm-up
    assert trainer.optimizer.param_groups[0]["lr"] == 2e-4
    assert _distance(before, trainer.policy.adapter_state()) > 1.2 * moved_little > 0
    assert [event.step for event in events.of(SettingsChanged)] == [1, 2]


def _distance(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> float:
    return sum(float((new[name] - old[name]).norm()) for name in old)


def test_other_settings_of_adam_reach_it(trainer: Trainer) -> None:
    obey(trainer, change("optim.beta1=0.5", "optim.beta2=0.9", "optim.eps=1e-6", "optim.weight_decay=0.1"))
    group = trainer.optimizer.param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.5, 0.9), 1e-6, 0.1)


def test_the_next_step_has_the_new_shape(trainer: Trainer, events: Events) -> None:
    take_steps(trainer, 1)
    obey(trainer, change("sampling.group_size=3", "prompts_per_step=4", "max_completion_tokens=5"))
    [metrics] = take_steps(trainer, 1)
    assert metrics.num_completions == 12
    sampled = groups_of(events, 2)
    assert [len(event.group.completions) for event in sampled] == [3] * 4
    assert max(c.num_tokens for event in sampled for c in event.group.completions) == 5


def test_temperature_and_top_k_reach_the_sampler(trainer: Trainer, events: Events) -> None:
    obey(trainer, change("sampling.temperature=1.0", "sampling.top_k=1"))
    take_steps(trainer, 1)
    for event in groups_of(events, 1):
        assert len({c.text for c in event.group.completions}) == 1  # the likeliest token, always


def test_weights_of_rewards_reach_the_scores(trainer: Trainer, events: Events) -> None:
    [before] = take_steps(trainer, 1)
    assert before.reward_mean == pytest.approx(next(iter(before.component_means.values())))
    reward = trainer.reward
    obey(trainer, change(f"reward.weights={{'{LETTERS}' = 3.0}}"))
    [after] = take_steps(trainer, 1)
    assert after.reward_mean == pytest.approx(3 * next(iter(after.component_means.values())))
    assert trainer.reward.weights == dict.fromkeys(reward.weights, 3.0)


def test_a_component_can_be_added_and_dropped(trainer: Trainer) -> None:
    obey(trainer, change("reward.weights.length=0.5"))
    [metrics] = take_steps(trainer, 1)
    assert "length" in metrics.component_means
    obey(trainer, UndoSettings())
    [metrics] = take_steps(trainer, 1)
    assert "length" not in metrics.component_means


def test_beta_and_the_clip_of_the_norm_reach_the_loss(trainer: Trainer) -> None:
    take_steps(trainer, 1)  # away from the reference
    obey(trainer, change("algorithm.beta=0"))
    [without] = take_steps(trainer, 1)
    assert without.kl_loss == 0
    obey(trainer, change("algorithm.beta=10", "optim.max_grad_norm=0.001"))
    before = trainer.policy.adapter_state()
    [with_kl] = take_steps(trainer, 1)
    assert with_kl.kl_loss > 0
    assert with_kl.grad_norm > 0.001  # as measured, before it is clipped
    assert _distance(before, trainer.policy.adapter_state()) > 0


def test_clip_bounds_and_minibatches_reach_the_update(trainer: Trainer) -> None:
    obey(trainer, change("algorithm.num_epochs=3", "optim.lr=0.01", "clip_low=0", "clip_high=0"))
    [metrics] = take_steps(trainer, 1)
    assert metrics.num_optimizer_steps == 3
    assert metrics.clip_fraction > 0
    obey(trainer, change("clip_low=1", "clip_high=1e9"))
    [metrics] = take_steps(trainer, 1)
    assert metrics.clip_fraction == 0


def test_advantages_and_their_sum_follow(trainer: Trainer, events: Events) -> None:
    obey(trainer, change("algorithm.name=dr_grpo"))
    assert trainer.config.algorithm.advantage == "mean"
    assert trainer.config.algorithm.aggregation == "constant"
    changed = {c.key for c in events.of(SettingsChanged)[0].changes}
    assert {"algorithm.name", "algorithm.advantage", "algorithm.aggregation", "algorithm.beta"} <= changed
    take_steps(trainer, 1)
    obey(trainer, UndoSettings())
    assert trainer.config.algorithm.name == "grpo"


# --- from when -------------------------------------------------------------------------------------------


def test_before_the_update_a_rate_counts_in_this_step(trainer: Trainer, events: Events) -> None:
    metrics = step_asking(trainer, Phase.UPDATE, change("optim.lr=0.5"))
    assert metrics.learning_rate == 0.5
    assert events.of(SettingsChanged)[0].step == 1


def test_before_the_update_a_temperature_waits_for_the_next_step(trainer: Trainer, events: Events) -> None:
    step_asking(trainer, Phase.UPDATE, change("sampling.temperature=0.7"))
    assert events.of(SettingsChanged)[0].step == 2
    assert trainer.config.sampling.temperature == 1.5
    take_steps(trainer, 1)
    assert trainer.config.sampling.temperature == 0.7


def test_what_is_asked_for_together_counts_from_one_step(trainer: Trainer, events: Events) -> None:
    metrics = step_asking(trainer, Phase.UPDATE, change("optim.lr=0.5", "sampling.temperature=0.7"))
    assert metrics.learning_rate != 0.5
    assert events.of(SettingsChanged)[0].step == 2


def test_a_change_does_not_overtake_one_that_waits(trainer: Trainer, events: Events) -> None:
    gate = Gate(Control(start_paused=False), trainer.emit)
    trainer.tuning.begun = lambda: {Phase.PROBLEMS, Phase.SAMPLE}
    obey(trainer, change("sampling.temperature=0.7"))
    obey(trainer, change("optim.lr=0.5"))
    assert [event.step for event in events.of(SettingsChanged)] == [2, 2]
    assert trainer.config.optim.lr != 0.5
    trainer.tuning.begun = tuple
    run_step(trainer, gate)  # the step is taken again from its start, after an error: as it would have been
    assert trainer.config.sampling.temperature == 1.5
    run_step(trainer, gate)
    assert (trainer.config.sampling.temperature, trainer.config.optim.lr) == (0.7, 0.5)


def test_before_a_step_that_is_taken_again_everything_counts_at_once(
    trainer: Trainer, events: Events
) -> None:
    """As after running out of memory: the smaller length must reach the step that failed."""
    trainer.tuning.begun = lambda: {Phase.PROBLEMS, Phase.SAMPLE}
    obey(trainer, change("sampling.temperature=0.7"))
    trainer.tuning.begun = tuple
    obey(trainer, change("max_completion_tokens=4"))
    assert trainer.config.sampling.max_completion_tokens == 4
    assert trainer.config.sampling.temperature == 0.7
    assert [event.step for event in events.of(SettingsChanged)] == [2, 1]


# --- refused ---------------------------------------------------------------------------------------------

REFUSED = [
    ("model.source=other", "the model is in memory"),
    ("model.lora_rank=8", "belongs to the adapter"),
    ("model.dtype=bf16", "the model is in memory"),
    ("data.source=x.jsonl", "problems are read once"),
    ("run.seed=5", "everything drawn so far"),
    ("sampling.sampler=trusted", "was picked"),
    ("algorithm.update=trust_region", "loaded in different ways"),
    ("algorithm.advantage=gae", "needs a critic from the start"),
    ("algorithm.name=ppo", "needs a critic from the start"),
    ("critic.value_lr=1", "no critic"),
    ("trust_region.kl_limit=1", "no trust region"),
    ("eval.every=2", "no held-out problems were loaded"),
    ("max_completion_tokens=100000", "use at most"),
    ("optim.lr=fast", "optim.lr: must be a number"),
    ("optim.lr=-1", "must be at least 0"),
    ("optim.lrr=1", "did you mean 'optim.lr'"),
    ("sampling.group_size=1", "use at least 2"),
    ("reward.weights.nonsense=1", "nonsense"),
    ("optim.warmup_steps=1000", "never end"),
    ("sampling.temperature=1.5", "nothing changes"),
]


@pytest.mark.parametrize(("pair", "reason"), REFUSED)
def test_refused_with_one_line_and_nothing_changes(
    trainer: Trainer, events: Events, pair: str, reason: str
) -> None:
    before, reward = trainer.config, trainer.reward
    obey(trainer, change("optim.weight_decay=0.3", pair) if "nothing" not in reason else change(pair))
    [failed] = events.of(RequestFailed)
    assert reason in failed.message
    assert "\n" not in failed.message
    assert failed.detail == ""
    assert (trainer.config, trainer.reward, trainer.tuning.waiting) == (before, reward, None)
    assert not events.of(SettingsChanged)


def test_hostile_text_is_refused_in_one_line(trainer: Trainer, events: Events) -> None:
    obey(trainer, ChangeSettings((("optim.lr", "1e-4\n[red]\x1b[2J"), ("\x00[b]=", "x"))))
    [failed] = events.of(RequestFailed)
    assert "\n" not in failed.message


def test_nothing_to_undo(trainer: Trainer, events: Events) -> None:
    obey(trainer, UndoSettings())
    assert "no change" in events.of(RequestFailed)[0].message


def test_what_is_known_to_harm_is_told(trainer: Trainer, events: Events) -> None:
    obey(trainer, change("optim.lr=0.5"))
    [notice] = events.of(Notice)
    assert "outside the range usual for LoRA" in notice.message
    obey(trainer, change("optim.beta1=0.8"))
    assert len(events.of(Notice)) == 1  # told once


# --- undo ------------------------------------------------------------------------------------------------


def test_undo_takes_back_one_after_the_other(trainer: Trainer, events: Events) -> None:
    began = trainer.config
    for pair in ("optim.lr=1e-4", "algorithm.name=dapo", "sampling.group_size=6"):
        obey(trainer, change(pair))
    for _ in range(3):
        assert trainer.config != began
        obey(trainer, UndoSettings())
    assert trainer.config == began
    assert [event.undoes for event in events.of(SettingsChanged)] == [0, 0, 0, 3, 2, 1]
    obey(trainer, change("optim.lr=3e-4"))
    obey(trainer, UndoSettings())
    assert trainer.config == began
    obey(trainer, UndoSettings())
    assert len(events.of(RequestFailed)) == 1


def test_undone_before_it_counted(trainer: Trainer) -> None:
    began, reward = trainer.config, trainer.reward
    trainer.tuning.begun = lambda: {Phase.PROBLEMS, Phase.SAMPLE, Phase.SCORE}
    obey(trainer, change("reward.weights.length=0.5", "sampling.group_size=6"))
    assert trainer.config == began
    obey(trainer, UndoSettings())
    trainer.tuning.begun = tuple
    take_steps(trainer, 2)
    assert trainer.config == began
    assert trainer.reward.weights == reward.weights


# --- a whole run -----------------------------------------------------------------------------------------


class Asks:
    """Sends requests when something happens, once each."""

    def __init__(self, *when: tuple[type[Event], int, str, Request]) -> None:
        self.control = Control(start_paused=False)
        self._when = list(when)

    def __call__(self, event: Event) -> None:
        for row in list(self._when):
            kind, step, phase, request = row
            at = getattr(event, "step", None) or getattr(getattr(event, "metrics", None), "step", None)
            if isinstance(event, kind) and at == step and str(getattr(event, "phase", "")) == phase:
                self._when.remove(row)
                self.control.send(request)


CHANGES = (
    # Before step 1's update: the rate counts in step 1, the rest from step 2; then a component, then one taken back.
    (PhaseStarted, 1, "reference", change("optim.lr=3e-3")),
    (PhaseStarted, 1, "update", change("optim.beta1=0.5", "algorithm.num_epochs=2")),
    (PhaseStarted, 2, "score", change("sampling.group_size=3", "reward.weights.length=0.25", "beta=0.1")),
    (PhaseStarted, 3, "sample", change("sampling.temperature=0.5")),
    (StepFinished, 3, "", UndoSettings()),
    (PhaseStarted, 4, "problems", change("optim.schedule=linear", "run.steps=7", "optim.weight_decay=0.1")),
)


def run_changed(config: RunConfig, run_dir: Path, **keywords: object) -> Events:
    asks = Asks(*CHANGES)
    _, events = run_small(config, run_dir, control=asks.control, on_event=asks, **keywords)  # type: ignore[arg-type]
    return events


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Events]:
    """A run of six steps, then seven, whose settings changed all the way."""
    run_dir = tmp_path_factory.mktemp("tuned") / "run"
    config = small_config("run.steps=6", "run.checkpoint_every=1", "run.keep_checkpoints=99")
    return run_dir, run_changed(config, run_dir)


def began_with(run_dir: Path) -> RunConfig:
    return load_config(file=run_dir / "config.toml")


def test_every_change_is_told_with_its_step(whole: tuple[Path, Events]) -> None:
    _, events = whole
    assert not events.of(RequestFailed)
    told = [(e.step, e.finished_steps, len(e.changes), e.undoes) for e in events.of(SettingsChanged)]
    assert told == [(1, 0, 1, 0), (2, 1, 2, 0), (3, 1, 3, 0), (4, 2, 1, 0), (4, 3, 1, 4), (4, 3, 3, 0)]
    sizes = {e.metrics.step: e.metrics.num_completions for e in events.of(StepFinished)}
    assert sizes == {1: 8, 2: 8, 3: 6, 4: 6, 5: 6, 6: 6, 7: 6}
    rates = [e.metrics.learning_rate for e in events.of(StepFinished)]
    assert rates[:3] == [3e-3] * 3
    assert rates[3:] == sorted(rates[3:], reverse=True) != [3e-3] * 4


@pytest.mark.parametrize("last", [0, 1, 2, 3])
def test_resumed_anywhere_it_goes_on_as_if_never_left(
    whole: tuple[Path, Events], tmp_path: Path, last: int
) -> None:
    """Also between a change and the step it waits for: those made after the checkpoint are left with their steps."""
    source, events = whole
    run_dir = tmp_path / "run"
    shutil.copytree(source, run_dir)
    shutil.rmtree(run_dir / "history")
    for step in range(last + 1, 8):
        shutil.rmtree(run_dir / "checkpoints" / checkpoint_name(step))
    later = [row for row in CHANGES if not _made_by(row, last)]
    asks = Asks(*later)
    ended, again = run_small(began_with(source), run_dir, resume=True, control=asks.control, on_event=asks)
    assert (ended.reason, ended.finished_steps) == ("finished", 7)
    assert again.hashes == {step: value for step, value in events.hashes.items() if step > last}
    assert history_hashes(run_dir) == events.hashes


def _made_by(row: tuple[type[Event], int, str, Request], last: int) -> bool:
    """Whether a change was made while so many steps, or fewer, were finished."""
    kind, step, phase, _ = row
    # The next boundary after the update's beginning is the one after the step.
    return (step if kind is StepFinished or phase == "update" else step - 1) <= last


def test_the_file_says_what_was_in_force(whole: tuple[Path, Events], tmp_path: Path) -> None:
    source, events = whole
    began, now = began_with(source), load_config(file=source / "config-now.toml")
    assert {key for key, _, _ in differences(began, now)} == {
        "optim.lr",
        "optim.beta1",
        "algorithm.num_epochs",
        "sampling.group_size",
        "reward.weights",
        "algorithm.beta",
        "optim.schedule",
        "run.steps",
        "optim.weight_decay",
    }
    with RunReader(source) as reader:
        state = reader.load_state()
        assert reader.settings_changes() == state.settings_changes == tuple(events.of(SettingsChanged))
    assert load_config(file=_written(tmp_path, state.config_toml)) == now
    assert state.run is not None
    assert state.run.total_steps == 7


def _written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "state.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_resumed_run_tells_the_config_in_force(whole: tuple[Path, Events], tmp_path: Path) -> None:
    source, _ = whole
    shutil.copytree(source, tmp_path / "run")
    ended, events = run_small(began_with(source), tmp_path / "run", resume=True)
    assert ended.finished_steps == 7
    [started] = events.of(RunStarted)
    assert started.total_steps == 7
    assert load_config(file=_written(tmp_path, started.config_toml)).optim.lr == 3e-3


def test_the_state_is_saved_before_it_changes(tmp_path: Path) -> None:
    """Between the checkpoints that the run takes by itself, and in the middle of a step."""
    asks = Asks((PhaseStarted, 3, "sample", change("optim.lr=2e-3")))
    config = small_config("run.steps=3", "run.checkpoint_every=100")
    _, events = run_small(config, tmp_path / "run", control=asks.control, on_event=asks)
    names = events.names()
    assert names.index("CheckpointSaved") < names.index("SettingsChanged")
    assert events.of(CheckpointSaved)[0].step == 2


def test_a_state_that_cannot_be_saved_does_not_change(trainer: Trainer, events: Events) -> None:
    def refuse() -> None:
        raise ValueError("cannot write step-000000: the disk is full")

    before = trainer.config
    trainer.tuning.save = refuse
    try:
        obey(trainer, change("optim.lr=2e-3", "reward.weights.length=1"))
    finally:
        trainer.tuning.save = lambda: None
    assert events.of(RequestFailed)[0].message == "cannot write step-000000: the disk is full"
    assert (trainer.config, trainer.tuning.waiting, events.of(SettingsChanged)) == (before, None, [])


def test_going_back_before_a_change_leaves_it(whole: tuple[Path, Events], tmp_path: Path) -> None:
    source, _ = whole
    shutil.copytree(source, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    shutil.rmtree(tmp_path / "run" / "history")
    shutil.copytree(
        source / "checkpoints" / checkpoint_name(1), tmp_path / "run/checkpoints" / checkpoint_name(1)
    )
    _, again = run_small(began_with(source), tmp_path / "run", resume=True)
    with RunReader(tmp_path / "run") as reader:
        assert [c.number for c in reader.load_state().settings_changes] == [1, 2, 3]
        assert len(reader.history()) == 6  # run.steps was changed later
    assert {e.metrics.num_completions for e in again.of(StepFinished)} == {8, 6}


def test_checkpoints_and_evaluations_follow_at_once(tmp_path: Path) -> None:
    asks = Asks(
        (StepFinished, 1, "", change("run.checkpoint_every=1", "eval.every=1", "eval.temperature=0")),
    )
    config = small_config("run.steps=4", "run.checkpoint_every=100", "data.eval_fraction=0.3")
    config = replace(config, eval=replace(config.eval, every=3, num_problems=2))
    _, events = run_small(config, tmp_path / "run", control=asks.control, on_event=asks)
    assert [e.step for e in events.of(CheckpointSaved)] == [1, 2, 3, 4]
    assert [e.result.step for e in events.of(EvalFinished)] == [0, 2, 3, 4]


def test_asked_while_paused_it_is_answered_while_paused(tmp_path: Path) -> None:
    with Background(small_config("run.steps=2"), tmp_path / "run") as background:
        background.wait_for_mode("paused before step 1")
        background.send(change("optim.lr=2e-3"))
        background.wait_for_number(SettingsChanged, 1)
        assert not background.events.of(StepStarted)
        background.send(change("nothing.like_it=1"))
        background.wait_for_number(RequestFailed, 1)


def test_a_run_resumes_from_elsewhere_with_a_reward_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path in a change is anchored like those of the config."""
    file, name = FORM_ONLY.rsplit(":", 1)
    shutil.copy(file, tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    asks = Asks((StepFinished, 1, "", change(f"reward.weights={{'mine.py:{name}' = 1.0}}")))
    config = small_config("run.steps=2", "run.checkpoint_every=1")
    _, events = run_small(config, tmp_path / "run", control=asks.control, on_event=asks)
    assert not events.of(RequestFailed)
    assert str(tmp_path / "mine.py") in events.of(SettingsChanged)[0].changes[0].new
