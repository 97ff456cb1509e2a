"""The math verifier as a reward: evident answers are judged here, everything else in worker processes.

Completions are hostile, and there are many ways to be slow on a text. So this process only looks for the plainest
ending (:mod:`rewards.finding.quick`) and compares plain numbers; whatever needs a search, a parser or algebra goes whole to a
worker, which is killed at its deadline.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from rewards.base import Explanation, Sample, Score, Verdict
from rewards.codec import score_from_json
from rewards.evident import judge_evident
from rewards.finding.candidates import FORMS
from rewards.judging import VERIFIER_VERSION, check_gold
from rewards.trees.tree import clip
from rewards.workers.begun import Begun
from rewards.workers.isolation import Failure, Reply, WorkerPool

_EVIDENT_IN_A_ROW = 512
"""Answers judged in this process, one after the other, after which workers are thought idle."""

_Key = tuple[str, str, str, str]


class MathVerifier:
    """The math verifier as a reward: 1.0 for a correct final answer, else 0.0.

    Plain numbers at a plain end are judged in this process. The rest goes to worker processes, equal samples once; one
    that runs past the deadline or kills its worker gets a verdict of its own (timeout, crash) and pays nothing.

    Args:
        lenient: pay for what the last sentence asserts when no answer is stated. Both readings are judged at once and
            stand in every explanation, whichever pays.
        form: the form that the strict reading demands: any explicit statement (``stated``), or ``boxed``, ``hashes``,
            ``answer_tags``, ``think_answer``.
        workers: number of worker processes; they start when first needed, or with :meth:`warm_up`.
        deadline_s: wall-clock limit of one judgement.
        memory_mb: address-space limit of one worker.
    """

    def __init__(
        self,
        *,
        lenient: bool = False,
        form: str = "stated",
        workers: int = 2,
        deadline_s: float = 2.0,
        memory_mb: int = 1024,
    ) -> None:
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
        self._lenient = lenient
        self._form = form
        self._pool = WorkerPool(workers=workers, deadline_s=deadline_s, memory_mb=memory_mb)
        self._early: Begun[_Key] = Begun(self._pool)
        self._num_evident = _EVIDENT_IN_A_ROW

    @property
    def name(self) -> str:
        """Component name."""
        return "math"

    def warm_up(self) -> None:
        """Start the workers now, without waiting for them, so that the first group does not."""
        self._pool.start()

    def check_gold(self, gold: str) -> str | None:
        """Return None if ``gold`` can be judged against, else one line saying why not."""
        return check_gold(gold)

    def close(self) -> None:
        """End the worker processes. Safe to call twice; a later score starts them again."""
        self._early.drop()
        self._pool.close()

    @property
    def asks_workers(self) -> bool:
        """Whether one of the last some hundred answers needed a worker."""
        return self._num_evident < _EVIDENT_IN_A_ROW

    def begin(self, samples: Sequence[Sample]) -> None:
        """Let workers begin on those samples that need one; :meth:`score` will find what they make of them."""
        keys = dict.fromkeys(_key(sample) for sample in samples if self._judge_here(sample) is None)
        self._early.begin({key: self._request(*key) for key in keys})

    def drop_begun(self) -> None:
        """What was begun early will not be scored."""
        self._early.drop()

    def score(self, samples: Sequence[Sample]) -> list[Score]:
        """Judge ``samples`` in order. Never raises on any text."""
        scores: list[Score | None] = [None] * len(samples)
        waiting: dict[_Key, list[int]] = {}
        for index, sample in enumerate(samples):
            scores[index] = self._judge_here(sample)
            if scores[index] is None:
                waiting.setdefault(_key(sample), []).append(index)
        self._num_evident = 0 if waiting else self._num_evident + len(samples)
        for key, reply in self._replies(waiting).items():
            indices = waiting[key]
            score = _score_of(reply, samples[indices[0]])
            for index in indices:
                scores[index] = score
        return [score for score in scores if score is not None]

    def _replies(self, keys: Collection[_Key]) -> dict[_Key, Reply]:
        """What workers make of each, those that were begun early and those that were not."""
        replies = self._early.take(keys)
        rest = [key for key in keys if key not in replies]
        return replies | dict(zip(rest, self._pool.run([self._request(*key) for key in rest]), strict=True))

    def _judge_here(self, sample: Sample) -> Score | None:
        """Judge a plain answer in this process; None where a worker is needed."""
        try:
            return judge_evident(sample, form=self._form)
        except Exception:  # a defect of ours must not end a training run: the worker meets it, and tells
            return None

    def _request(self, gold: str, completion: str, prompt: str, finish_reason: str) -> dict[str, Any]:
        return {
            "gold": gold,
            "completion": completion,
            "prompt": prompt,
            "finish_reason": finish_reason,
            "lenient": self._lenient,
            "form": self._form,
        }


def _key(sample: Sample) -> _Key:
    """All that a verdict depends on."""
    return sample.gold, sample.completion, sample.prompt, sample.finish_reason


def _score_of(reply: Reply, sample: Sample) -> Score:
    """The worker's score, or one that says why there is none."""
    if reply.result is not None:
        try:
            return score_from_json(reply.result)
        except ValueError:
            return _failed(Verdict.CRASH, "the worker sent an unreadable reply", sample)
    if reply.failure is Failure.TIMEOUT:
        return _failed(Verdict.TIMEOUT, reply.detail, sample)
    return _failed(Verdict.CRASH, reply.detail, sample)


def _failed(verdict: Verdict, detail: str, sample: Sample) -> Score:
    caption = "Timed out" if verdict is Verdict.TIMEOUT else "Verifier crashed"
    why = Explanation(
        sentence=f"{caption}: {clip(detail, 400)}.",
        strict=False,
        lenient=False,
        gold_text=clip(sample.gold),
        rule=f"worker {verdict.value}",
        version=VERIFIER_VERSION,
    )
    return Score(value=0.0, verdict=verdict, explanation=why)


class LenientMathVerifier(MathVerifier):
    """The same with the lenient reading: for reporting beside the strict one, not for training."""

    def __init__(
        self, *, form: str = "stated", workers: int = 2, deadline_s: float = 2.0, memory_mb: int = 1024
    ) -> None:
        super().__init__(lenient=True, form=form, workers=workers, deadline_s=deadline_s, memory_mb=memory_mb)

    @property
    def name(self) -> str:
        """Component name."""
        return "math_lenient"
