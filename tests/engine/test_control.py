"""The mailbox and the gate alone, with no model behind them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import pytest

from grpo_tui.engine.control import Control, Gate, StopRequested, Target
from grpo_tui.events.commands import Command, Pause, Request, Resume, Retry, StepOnce, StepPhase, Stop
from grpo_tui.events.records import Mode, Phase
from grpo_tui.events.types import ModeChanged, PhaseFinished, PhaseStarted
from tests.engine.support import PATIENCE, Events


def later(control: Control, *commands: Command, seconds: float = 0.05) -> threading.Thread:
    """Send commands from another thread, after a while."""

    def send() -> None:
        for command in commands:
            time.sleep(seconds)
            control.send(command)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("paused", [True, False])
def test_starts_as_told(paused: bool) -> None:
    assert Control(start_paused=paused).target is (Target.HERE if paused else Target.FREE)


@pytest.mark.parametrize(
    ("command", "target"),
    [
        (Resume(), Target.FREE),
        (Pause(), Target.HERE),
        (StepOnce(), Target.STEP_END),
        (StepPhase(), Target.PHASE_END),
    ],
)
@pytest.mark.parametrize("before", [Resume(), Pause(), StepOnce(), StepPhase()])
def test_the_last_command_to_run_counts(before: Command, command: Command, target: Target) -> None:
    control = Control()
    control.send(before)
    control.send(command)
    assert control.target is target


@pytest.mark.parametrize(
    ("command", "boundary", "after"),
    [
        (Resume(), Target.PHASE_END, Target.FREE),
        (Resume(), Target.STEP_END, Target.FREE),
        (StepPhase(), Target.PHASE_END, Target.HERE),
        (StepPhase(), Target.STEP_END, Target.PHASE_END),
        (StepOnce(), Target.PHASE_END, Target.STEP_END),
        (StepOnce(), Target.STEP_END, Target.HERE),
    ],
)
def test_what_a_boundary_ends(command: Command, boundary: Target, after: Target) -> None:
    control = Control()
    control.send(command)
    control.reached(boundary)
    assert control.target is after


@pytest.mark.parametrize("command", [Resume(), StepOnce(), StepPhase()])
def test_a_hold_ends_with_a_command_from_another_thread(command: Command) -> None:
    control = Control(start_paused=True)
    sender = later(control, command)
    control.wait_while_held()
    sender.join(PATIENCE)
    assert control.target is not Target.HERE


@pytest.mark.parametrize("harmless", [Pause(), Retry()])
def test_a_hold_outlasts_what_does_not_say_run(harmless: Command) -> None:
    control = Control(start_paused=True)
    later(control, harmless, Resume())
    started = time.perf_counter()
    control.wait_while_held()
    assert time.perf_counter() - started > 0.09


def test_stop_ends_a_hold_and_is_final() -> None:
    control = Control(start_paused=True)
    later(control, Stop())
    with pytest.raises(StopRequested):
        control.wait_while_held()
    control.send(Resume())
    with pytest.raises(StopRequested):
        control.wait_while_held()
    assert control.stop_requested


@pytest.mark.parametrize("before", [Resume(), StepOnce(), StepPhase()])
def test_retry_goes_as_far_as_the_failed_command_would_have(before: Command) -> None:
    control = Control()
    control.send(before)
    wanted = control.target
    control.hold_for_failure()
    assert control.target is Target.HERE
    later(control, Retry())
    control.wait_after_failure()
    assert control.target is wanted


def test_a_retry_before_the_wait_is_not_lost() -> None:
    """The screen may answer while the engine still writes the failure to the disk."""
    control = Control(start_paused=False)
    control.hold_for_failure()
    control.send(Retry())
    watchdog = later(control, Stop(), seconds=5)
    control.wait_after_failure()
    assert control.target is Target.FREE
    assert watchdog.is_alive()


def test_a_retry_sent_while_all_was_well_means_nothing() -> None:
    control = Control(start_paused=False)
    control.send(Retry())
    control.hold_for_failure()
    later(control, StepPhase())
    control.wait_after_failure()
    assert control.target is Target.PHASE_END


def test_after_a_failure_a_new_command_wins_over_the_old_one() -> None:
    control = Control(start_paused=False)
    control.hold_for_failure()
    control.send(StepPhase())
    control.send(Retry())
    control.wait_after_failure()
    assert control.target is Target.PHASE_END


def test_stop_after_a_failure() -> None:
    control = Control(start_paused=False)
    control.hold_for_failure()
    control.send(Stop())
    with pytest.raises(StopRequested):
        control.wait_after_failure()


def test_a_phase_is_told_and_timed_without_its_pauses() -> None:
    events = Events()
    control = Control(start_paused=True)
    gate = Gate(control, events.append)
    later(control, Resume(), seconds=0.2)
    with gate.phase(3, Phase.SAMPLE):
        time.sleep(0.02)
        control.send(Pause())
        later(control, Resume(), seconds=0.3)
        gate.tick("in sample, after 1 tokens")
    assert events == [
        ModeChanged(time=0, mode=Mode.PAUSED, detail="before sample"),
        ModeChanged(time=0, mode=Mode.RUNNING),
        PhaseStarted(time=0, step=3, phase=Phase.SAMPLE),
        ModeChanged(time=0, mode=Mode.PAUSED, detail="in sample, after 1 tokens"),
        ModeChanged(time=0, mode=Mode.RUNNING),
        PhaseFinished(time=0, step=3, phase=Phase.SAMPLE, seconds=gate.seconds_by_phase[Phase.SAMPLE]),
    ]
    assert 0.02 <= gate.seconds_by_phase[Phase.SAMPLE] < 0.29
    # The clocks of the two sleeps start a little before the gate holds.
    assert 0.3 <= gate.paused_seconds < 5


def test_a_phase_that_fails_is_not_finished() -> None:
    events = Events()
    gate = Gate(Control(start_paused=False), events.append)
    with pytest.raises(ZeroDivisionError), gate.phase(1, Phase.SCORE):
        raise ZeroDivisionError
    assert events.names() == ["PhaseStarted"]
    assert gate.seconds_by_phase == {}


def test_the_last_phase_is_neither_held_nor_stopped() -> None:
    events = Events()
    control = Control(start_paused=True)
    control.send(Stop())
    gate = Gate(control, events.append)
    with gate.telling(2):
        pass
    assert events.names() == ["PhaseStarted", "PhaseFinished"]


def test_a_stop_is_seen_at_every_boundary() -> None:
    control = Control(start_paused=False)
    gate = Gate(control, Events().append)
    control.send(Stop())
    with pytest.raises(StopRequested):
        gate.tick("anywhere")
    with pytest.raises(StopRequested):
        gate.between_steps(1)
    with pytest.raises(StopRequested), gate.phase(1, Phase.PROBLEMS):
        pass


def test_a_stop_while_paused_inside_a_phase() -> None:
    events = Events()
    control = Control(start_paused=True)
    gate = Gate(control, events.append)
    later(control, Stop())
    with pytest.raises(StopRequested):
        gate.tick("in update, microbatch 1 of 2")
    assert [event.detail for event in events.of(ModeChanged)] == ["in update, microbatch 1 of 2"]


def test_the_seconds_of_a_new_step_start_at_nothing() -> None:
    gate = Gate(Control(start_paused=False), Events().append)
    with gate.phase(1, Phase.SCORE):
        pass
    gate.between_steps(2)
    assert gate.seconds_by_phase == {}


def test_many_threads_may_send() -> None:
    control = Control(start_paused=True)
    commands: list[Command] = [Pause(), StepOnce(), StepPhase(), Retry(), Resume()]

    def send_all() -> None:
        for command in commands * 50:
            control.send(command)

    threads = [threading.Thread(target=send_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    control.send(Resume())
    control.wait_while_held()
    assert control.target is Target.FREE


@dataclass(frozen=True, slots=True)
class Ask(Request):
    """A request of the tests."""

    what: int


def test_requests_are_obeyed_in_order_while_held_between_phases() -> None:
    obeyed: list[int] = []
    control, events = Control(), Events()
    done = threading.Event()

    def obey(request: Request) -> None:
        assert isinstance(request, Ask)
        obeyed.append(request.what)
        if request.what == 3:
            done.set()

    gate = Gate(control, events.append, obey)
    thread = threading.Thread(target=gate.between_steps, args=(1,), daemon=True)
    control.send(Ask(1))
    thread.start()
    control.send(Ask(2))
    control.send(Ask(3))
    assert done.wait(10)
    assert obeyed == [1, 2, 3]
    assert thread.is_alive(), "a request does not let the engine go on"
    control.send(Resume())
    thread.join(10)
    assert not thread.is_alive()


def test_requests_wait_inside_a_phase_and_are_obeyed_before_the_next() -> None:
    obeyed: list[Request] = []
    control = Control(start_paused=False)
    gate = Gate(control, Events().append, obeyed.append)
    with gate.phase(1, Phase.SAMPLE):
        control.send(Ask(1))
        gate.tick("inside")
        assert obeyed == []
    with gate.phase(1, Phase.SCORE):
        assert obeyed == [Ask(1)]


def test_the_time_of_a_request_is_not_the_phases() -> None:
    control = Control(start_paused=False)
    gate = Gate(control, Events().append, lambda _request: time.sleep(0.05))
    with gate.phase(1, Phase.SAMPLE):
        pass
    control.send(Ask(1))
    with gate.phase(1, Phase.SAMPLE):
        pass
    assert gate.seconds_by_phase[Phase.SAMPLE] < 0.05
    assert gate.paused_seconds >= 0.05
