"""Changes of settings in the folded state: which are undone, which count in a step, and what going back leaves."""

from __future__ import annotations

from grpo_tui.events.codec import decode, encode, to_json
from grpo_tui.events.fold import reduce
from grpo_tui.events.records import SettingChange
from grpo_tui.events.settings import in_force, last_undoable
from grpo_tui.events.state import RunState
from grpo_tui.events.types import RunStarted, SettingsChanged, StepStarted
from tests.events.builders import fold, opening, step_events


def changed(
    number: int, step: int, finished_steps: int, *pairs: tuple[str, str, str], undoes: int = 0
) -> SettingsChanged:
    return SettingsChanged(
        time=1100.0 + number,
        number=number,
        step=step,
        finished_steps=finished_steps,
        changes=tuple(SettingChange(key=k, old=old, new=new) for k, old, new in pairs),
        config_toml=f"# {number}\n",
        undoes=undoes,
    )


LR = ("optim.lr", "5e-6", "1e-5")


def test_an_event_survives_the_file() -> None:
    event = changed(3, 7, 5, LR, ("reward.weights", "{math = 1}", "{math = 2, 'a.b' = 1}"), undoes=2)
    data, arrays = encode(event)
    assert to_json(data)
    assert decode(data, arrays) == event


def test_the_newest_config_and_the_log_follow() -> None:
    state = fold(opening())
    assert state.config_toml == "[run]\nsteps = 10\n"
    state = reduce(state, changed(1, 1, 0, LR))
    assert state.config_toml == "# 1\n"
    assert state.log[-1].message == "optim.lr 5e-6 → 1e-5 from step 1 (by you)"
    state = reduce(state, changed(2, 1, 0, ("optim.lr", "1e-5", "5e-6"), undoes=1))
    assert state.log[-1].message.startswith("taken back: optim.lr 1e-5 → 5e-6")


def test_the_number_of_steps_is_the_new_one() -> None:
    state = reduce(fold(opening(total_steps=10)), changed(1, 1, 0, ("run.steps", "10", "25")))
    assert state.run is not None
    assert state.run.total_steps == 25
    assert reduce(RunState(), changed(1, 1, 0, ("run.steps", "10", "25"))).run is None


def test_undo_goes_back_one_by_one() -> None:
    one, two = changed(1, 1, 0, LR), changed(2, 2, 1, LR)
    assert last_undoable([]) is None
    assert last_undoable([one, two]) is two
    back = changed(3, 3, 2, LR, undoes=2)
    assert last_undoable([one, two, back]) is one
    again = changed(4, 3, 2, LR)
    assert last_undoable([one, two, back, again]) is again
    assert (
        last_undoable([one, two, back, again, changed(5, 4, 3, undoes=4), changed(6, 4, 3, undoes=1)]) is None
    )


def test_a_later_change_takes_an_earlier_one_with_it() -> None:
    waits, now = changed(1, 8, 6, LR), changed(2, 7, 6, LR)
    assert in_force([waits], 7) == ()
    assert in_force([waits], 8) == (waits,)
    assert in_force([waits, now], 7) == (waits, now)
    assert in_force([waits, now], 6) == ()


def test_going_back_leaves_changes_made_later() -> None:
    state = fold([*opening(), *step_events(1), changed(1, 2, 1, LR), *step_events(2), changed(2, 3, 2, LR)])
    resumed = [e for e in opening(finished_steps=1) if isinstance(e, RunStarted)]
    assert [c.number for c in fold(resumed, state).settings_changes] == [1]
    assert [c.number for c in reduce(state, StepStarted(time=1.0, step=2)).settings_changes] == [1]
    assert [c.number for c in reduce(state, StepStarted(time=1.0, step=3)).settings_changes] == [1, 2]
