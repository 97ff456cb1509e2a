"""Commands: the one door into a running engine. Frozen values, obeyed at the next boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from grpo_tui.events.update_records import LossChoice


@dataclass(frozen=True, slots=True)
class Command:
    """Base of all commands."""


@dataclass(frozen=True, slots=True)
class Resume(Command):
    """Run until told otherwise."""


@dataclass(frozen=True, slots=True)
class Pause(Command):
    """Stop at the next boundary (a phase, a microbatch, or a sampled token) and wait."""


@dataclass(frozen=True, slots=True)
class StepOnce(Command):
    """Run to the end of the present step, or through one whole step when between steps; then wait."""


@dataclass(frozen=True, slots=True)
class StepPhase(Command):
    """Run to the end of the present phase; then wait."""


@dataclass(frozen=True, slots=True)
class Stop(Command):
    """Leave the step in progress, save, and end the engine thread."""


@dataclass(frozen=True, slots=True)
class Retry(Command):
    """After a failure: take the failed step again from its start."""


@dataclass(frozen=True, slots=True)
class Request(Command):
    """Base of commands that the engine carries out on its own thread, with the trainer at hand.

    Obeyed at the next boundary between phases, in the order they came, whether the engine is held there or runs
    on. Inside a phase they wait: a half-made gradient is no state to look at or to change. What becomes of one is
    told by events; one that fails is told by :class:`~grpo_tui.events.types.RequestFailed` and harms nothing.
    """

    changes_course: ClassVar[bool] = True
    """Whether it can change what later steps do. Those are recorded, and repeated by ``grpo-tui replay``."""
    leaves_step: ClassVar[bool] = False
    """Whether it leaves the step in progress; then it does not wait for the end of a phase either."""


@dataclass(frozen=True, slots=True)
class InspectCompletion(Request):
    """Score one completion again with the present weights and with the adapter off.

    Answered by :class:`~grpo_tui.events.types.CompletionInspected`. The completion may be of the step in progress
    or of any finished one.
    """

    step: int
    group: int
    """Index of the group in its step."""
    completion: int
    """Index of the completion in its group."""
    top: int = 5
    """How many of the likeliest tokens to tell at each position."""

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class ChangeSettings(Request):
    """Go on under other settings: ``(key, text)`` pairs, read and checked as ``--set key=text`` is.

    All of them count from the same step: the one in progress where nothing of it has read any of them yet, else the
    next. Answered by :class:`~grpo_tui.events.types.SettingsChanged`.
    """

    changes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class UndoSettings(Request):
    """Take back the last change of settings that was not taken back yet."""


@dataclass(frozen=True, slots=True)
class ProfileSteps(Request):
    """Profile steps ``first`` to ``last``, both among them; a trace of each goes into ``folder``."""

    first: int
    last: int
    folder: str

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Withdraw(Command):
    """A request is not wanted any more: one that still waits is forgotten, one in progress is left at its next token."""

    request: Request


BASE, ADAPTER = "base", "adapter"
"""Sources of a :class:`Play`: the adapter off, and the adapter as it is now."""


def step_source(step: int) -> str:
    """The source of a :class:`Play` that is the adapter as a kept checkpoint has it, ``step 20``."""
    return f"step {step}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Play(Request):
    """Sample completions of any prompt from several adapters side by side; nothing of the training changes.

    Every source draws from the same random streams, so that the first token where two of them part is the
    weights' doing.
    """

    id: int
    """Number of this play in the run, to know its events by."""
    question: str
    """The user's text; the run's template is laid over it."""
    answer: str = ""
    """Gold answer, for the run's rewards; empty: nothing is judged."""
    num_samples: int = 8
    temperature: float = 1.0
    """0 takes the likeliest token."""
    max_tokens: int = 256
    sources: tuple[str, ...] = (BASE, ADAPTER)
    """:data:`BASE`, :data:`ADAPTER` or a :func:`step_source`, in the order they are shown."""
    seed: int = 0
    problem_id: str = ""
    """The problem of the run that the question was taken from, for what else it holds (earlier messages, metadata)."""

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PinProbe(Request):
    """Read a prompt around updates from now on; the training does not notice.

    Answered by :class:`~grpo_tui.events.types.ProbePinned` and a first reading of the weights as they are.
    """

    question: str = ""
    """The text of the prompt, under the run's template; empty where ``held_out`` says which."""
    answer: str = ""
    """Gold answer; empty: nothing is judged, and no log-prob of it read."""
    problem_id: str = ""
    """The problem of the run that the question was taken from, if any."""
    held_out: int = 0
    """The number of a held-out problem, from 1, instead of a text; -1: the first that is not pinned yet."""
    every: int = 1
    """Read after every so many steps."""
    max_tokens: int = 0
    """Longest answer; 0: as the run samples."""

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class UnpinProbe(Request):
    """Read a probe no more; its readings stay."""

    probe: int

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class DropPrompt(Request):
    """Train on this problem no more. From the next step whose problems are not chosen yet another stands in its places."""

    problem_id: str


@dataclass(frozen=True, slots=True)
class PostponePrompt(Request):
    """Leave this problem out for some steps."""

    problem_id: str
    steps: int


@dataclass(frozen=True, slots=True)
class RestorePrompt(Request):
    """Take a problem back as it was: into the order where it was dropped or postponed, and with the run's group size."""

    problem_id: str


@dataclass(frozen=True, slots=True)
class AnswersForPrompt(Request):
    """Sample so many answers for this problem, whatever the group size of the others."""

    problem_id: str
    group_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeVerdict(Request):
    """Say that a verdict is wrong: it becomes a case for the verifier's tests. Nothing else changes."""

    step: int
    group: int
    """Index of the group in its step."""
    completion: int
    """Index of the completion in its group."""
    should_be: str
    """``correct`` or ``wrong``."""
    note: str = ""

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class ReverifyAll(Request):
    """Judge every recorded answer again under the rules in force; on a thread beside the training.

    Answered by :class:`~grpo_tui.events.types.Reverified`. Nothing recorded changes.
    """

    changes: tuple[tuple[str, str], ...] = ()
    """Other rules to judge by: ``(key, text)`` of ``reward`` settings, as ``--set`` takes them."""

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class KeepReverified(Request):
    """Store the verdicts of the last :class:`ReverifyAll` beside the recorded ones."""

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Probe(Request):
    """Sample and score some prompts as training would, to know what awaits it; nothing of the training changes.

    Answered by :class:`~grpo_tui.events.types.PreflightDone`.
    """

    num_prompts: int = 16
    """No more are tried than there are."""

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class MeasureFit(Request):
    """Run the worst step's parts and read what memory and time they take; nothing of the training changes.

    Only between steps. Answered by :class:`~grpo_tui.events.types.FitMeasured`.
    """

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Undo(Request):
    """Back to the end of an earlier step. In the middle of a step, the first of ``steps`` is to leave that one."""

    steps: int = 1

    leaves_step: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Redo(Request):
    """Forward again, along the line that was left by going back."""

    steps: int = 1

    leaves_step: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class GoTo(Request):
    """To the end of a step. ``branch`` None: on the present line, its undone steps included."""

    step: int
    branch: int | None = None

    leaves_step: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Fork(Request):
    """Open a branch here: steps from now on go on it, and the line so far stays as it is."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class StartAgain(Request):
    """What a new process did with the run before it went on. Only found in session scripts.

    It stood at the end of ``step`` on the line of ``branch``, and the run was to begin with other settings: ``(key, text)``.
    """

    step: int
    branch: int
    changes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PreviewUpdate(Request):
    """The real gradient and step that the step in progress would take. Answered by ``PreviewComputed``."""

    step: int
    max_answers: int = 64
    """Answers to be looked at by themselves, each a pass of its own; of more, so many evenly spread."""

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class CompareLosses(Request):
    """The step's batch under other losses. Answered by ``WhatIfComputed``."""

    step: int
    choices: tuple[LossChoice, ...] = ()
    """Empty: every algorithm, and every part of the run's own exchanged by itself."""
    after_update: bool = False
    """Look from where one update would lead, so that ratios and clips have something to act on."""

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class MakeReceipt(Request):
    """Score the last update's answers again. Answered by ``ReceiptComputed``."""

    step: int

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class TwinUpdate(Request):
    """Take the step's update under each of these settings, measure, and take it back. Answered by ``TwinComputed``."""

    step: int
    choices: tuple[LossChoice, ...]
    num_probes: int = 0
    """Held-out problems to answer greedily after each."""

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class UpdateAs(Request):
    """Take this step's update, and no other, under these settings. Answered by ``UpdateChosen``."""

    step: int
    choice: LossChoice


@dataclass(frozen=True, slots=True)
class FindMismatch(Request):
    """Compare the sampler's log-probs with the update's. Answered by ``MismatchFound``."""

    step: int

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in a run a request is obeyed: before step ``step``, or where ``phase`` names one, before that phase in it.

    ``visit`` counts how often the phase has begun in the step: sampling and scoring can come in several rounds.
    """

    step: int = 0
    phase: str = ""
    visit: int = 0


@dataclass(frozen=True, slots=True)
class SetBreakpoint(Request):
    """Set a breakpoint, or change the one of that id. Answered by ``BreakpointsChanged``.

    See :class:`grpo_tui.events.breakpoints.Breakpoint` for the fields.
    """

    id: int = 0
    """0: a new one, which gets the next free number."""
    condition: str = ""
    phase: str = ""
    after: bool = False
    enabled: bool = True
    once: bool = False

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class RemoveBreakpoint(Request):
    """Take a breakpoint away."""

    id: int

    changes_course: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class OverrideVerdict(Request):
    """Say what the verdict on a response should have been, before the update uses it."""

    step: int
    group: int
    completion: int
    verdict: str
    """A value of :class:`rewards.base.Verdict`."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class OverrideReward(Request):
    """Give a response another reward, whatever its components say."""

    step: int
    group: int
    completion: int
    reward: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Exclude(Request):
    """Keep responses out of the update: out of their group's comparison, and out of the loss. Or take them in again."""

    step: int
    group: int
    completion: int | None = None
    """None: the whole group."""
    excluded: bool = True


@dataclass(frozen=True, slots=True)
class Reroll(Request):
    """Draw and judge the responses of a group anew, from other random streams."""

    step: int
    group: int


@dataclass(frozen=True, slots=True)
class DrawMore(Request):
    """Draw and judge more responses to one prompt."""

    step: int
    group: int
    count: int


@dataclass(frozen=True, slots=True)
class UndoAct(Request):
    """Take back the last act on the step in progress."""

    step: int


@dataclass(frozen=True, slots=True)
class ForkResponse(Request):
    """Sample on from inside a response: from before a token, from after it, and from another token in its place.

    Nothing of the step changes. Answered by ``ResponseForked``.
    """

    step: int
    group: int
    completion: int
    token: int
    num_samples: int = 8
    instead: int | None = None
    """Id of a token to try in its place."""

    changes_course: ClassVar[bool] = False
