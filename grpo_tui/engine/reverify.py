"""Recorded answers judged again under other rules: what flips, before anything is stored, and never in place.

The judging runs beside the training: its own reward with its own worker processes, its own reader of the run file, and a
thread that waits for them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from grpo_tui.config.changes import differences, with_changes
from grpo_tui.config.schema import RunConfig
from grpo_tui.engine.advice import one_line
from grpo_tui.engine.rewarding import make_reward
from grpo_tui.events.commands import KeepReverified, ReverifyAll
from grpo_tui.events.judgements import Flip
from grpo_tui.events.records import Phase
from grpo_tui.events.types import Progress, Reverified, VerdictsRevised
from grpo_tui.runs.answers import RecordedAnswer
from grpo_tui.runs.reader import RunReader
from grpo_tui.runs.schema import RunFileError
from rewards.base import Verdict
from rewards.compose import ComposedScore, WeightedReward

if TYPE_CHECKING:
    from grpo_tui.engine.trainer import Trainer

GAUGE = "reverify"
"""What :class:`~grpo_tui.events.types.Progress` is ``of`` while answers are judged again."""
IN_FORCE = "the rules in force"
CLOSING_SECONDS = 10.0
"""How long the end of a run waits for the thread."""
_KEYS = ("reward.", "groups.overlong_")


class Cancelled(Exception):
    """Nobody waits for the result any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of judging answers again."""

    num_answers: int
    num_changed_rewards: int
    flips: tuple[Flip, ...]


def judge_again(
    reader: RunReader,
    reward: WeightedReward,
    max_tokens: int,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> Result:
    """Judge every answer of every finished step, on whatever branch.

    Args:
        reader: the run.
        reward: the rules.
        max_tokens: the limit that length rewards are told.
        report: called with steps done and in all; may raise to leave.

    Raises:
        RunFileError: the run cannot be read.
    """
    steps = sorted(reader.states())
    num_answers = num_changed = 0
    flips: list[Flip] = []
    for done, (branch, step) in enumerate(steps):
        report(done, len(steps))
        answers = reader.recorded_answers(branch, step, max_tokens)
        scores = reward.score([answer.sample for answer in answers])
        for answer, score in zip(answers, scores, strict=True):
            num_answers += 1
            num_changed += answer.reward is None or abs(answer.reward - score.total) > 1e-9
            if answer.verdict != score.verdict.value and not _never_judged(answer, score):
                flips.append(_flip(answer, score))
    report(len(steps), len(steps))
    return Result(num_answers=num_answers, num_changed_rewards=num_changed, flips=tuple(flips))


def _never_judged(answer: RecordedAnswer, score: ComposedScore) -> bool:
    return answer.verdict is None and score.verdict is Verdict.NOT_JUDGED


def _flip(answer: RecordedAnswer, score: ComposedScore) -> Flip:
    judged = next((s for s in score.components.values() if s.verdict is score.verdict), None)
    why = judged.explanation if judged is not None else None
    text = answer.sample.completion
    return Flip(
        branch=answer.branch,
        step=answer.step,
        group=answer.group,
        completion=answer.completion,
        old=answer.verdict or Verdict.NOT_JUDGED.value,
        new=score.verdict.value,
        old_reward=answer.reward,
        new_reward=score.total,
        gold=answer.sample.gold,
        answer=(why.answer_text if why is not None and why.answer_text else text[-80:]),
        reason=why.sentence if why is not None else "",
    )


def rules_for(config: RunConfig, changes: Sequence[tuple[str, str]]) -> tuple[RunConfig, str]:
    """A config under other rules, and what they are in a few words.

    Raises:
        ValueError: a change is of something else than the reward, or cannot be used.
    """
    if not changes:
        return config, IN_FORCE
    other = with_changes(config, changes)
    found = differences(config, other)
    strange = [key for key, _, _ in found if not key.startswith(_KEYS)]
    if strange:
        raise ValueError(f"{strange[0]}: answers are judged again by other rewards only (reward.…)")
    return other, ", ".join(f"{key}={new}" for key, _, new in found) or IN_FORCE


class Reverifying:
    """A thread that judges a run's answers again and emits one :class:`~grpo_tui.events.types.Reverified`."""

    def __init__(self, trainer: Trainer, run_dir: Path, config: RunConfig, rules: str) -> None:
        self.rules = rules
        self.result: Result | None = None
        self._trainer = trainer
        self._run_dir = run_dir
        self._config = config
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reverify", daemon=True)

    @property
    def busy(self) -> bool:
        """Whether it is at work."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the result."""
        self._thread.join(timeout)

    def close(self) -> None:
        """Leave off. Safe to call twice."""
        self._cancelled.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSING_SECONDS)

    def _run(self) -> None:
        started = time.perf_counter()
        message = ""
        try:
            with _reward(self._config) as reward, RunReader(self._run_dir) as reader:
                limit = self._config.sampling.max_completion_tokens
                self.result = judge_again(reader, reward, limit, self._report)
        except Cancelled:
            return
        except Exception as error:
            message = f"the answers were not judged again: {one_line(error)}"
        result = self.result or Result(num_answers=0, num_changed_rewards=0, flips=())
        with contextlib.suppress(RunFileError):  # the run may have ended meanwhile
            self._trainer.emit(
                Reverified(
                    time=time.time(),
                    rules=self.rules,
                    num_answers=result.num_answers,
                    num_changed_rewards=result.num_changed_rewards,
                    flips=result.flips,
                    seconds=time.perf_counter() - started,
                    message=message,
                )
            )

    def _report(self, done: int, total: int) -> None:
        if self._cancelled.is_set():
            raise Cancelled
        self._trainer.report(
            Progress(
                step=self._trainer.finished_steps,
                phase=Phase.SCORE,
                done=done,
                total=total,
                unit="steps",
                of=GAUGE,
            )
        )


@contextlib.contextmanager
def _reward(config: RunConfig) -> Iterator[WeightedReward]:
    reward = make_reward(config)
    try:
        yield reward
    finally:
        reward.close()


def reverify_all(trainer: Trainer, request: ReverifyAll) -> None:
    """Handle :class:`~grpo_tui.events.commands.ReverifyAll`: begin, and let the training go on.

    Raises:
        ValueError: there is nothing to judge, the rules cannot be used, or it is being done already.
    """
    if trainer.run_dir is None:
        raise ValueError("answers are judged again from the run's folder, and this trainer has none")
    if trainer.reverifying is not None and trainer.reverifying.busy:
        raise ValueError("the recorded answers are being judged again already")
    config, rules = rules_for(trainer.config, request.changes)
    trainer.reverifying = Reverifying(trainer, trainer.run_dir, config, rules)
    trainer.reverifying.start()


def keep(trainer: Trainer, _request: KeepReverified) -> None:
    """Handle :class:`~grpo_tui.events.commands.KeepReverified`.

    Raises:
        ValueError: nothing was judged again, or no verdict differs.
    """
    done = trainer.reverifying
    if done is None or done.busy or done.result is None:
        raise ValueError("judge the recorded answers again first")
    if not done.result.flips:
        raise ValueError(f"no verdict differs under {done.rules}: there is nothing to store")
    trainer.emit(revised(done.result, done.rules))


def revised(result: Result, rules: str) -> VerdictsRevised:
    """The event that stores second verdicts beside the recorded ones."""
    return VerdictsRevised(time=time.time(), rules=rules, num_answers=result.num_answers, flips=result.flips)
