"""Sampling ahead (``sampling.ahead``): step n + 1 is drawn by the weights before update n, while n is judged and updated.

Such a step is one update off-policy, and everything here is there so that this is so always, and always seen:

- **Which steps.** Those of an unattended session (``grpo-tui train``) without breakpoints, but for the first, and for the
  first after a resume or a journey. In the app, and step by step from Python, no step is: what a step is must not depend on
  when somebody pauses to look, and looking changes nothing. A replay draws ahead just the steps that the recording did.
- **Which weights.** Always those before update n: they are copied before anything moves, so how the threads take turns
  decides nothing (:mod:`grpo_tui.generation.beside`), and the same run comes to the same states.
- **When.** From the end of step n's sampling, so that a slow verifier is used too; where groups can grow or be replaced, from
  the end of their last round. Their later rounds are drawn by the present weights: only the first can be ahead.
- **What is drawn is what the step would have asked for**: the same prompts, streams and settings. It is compared where the
  step asks, and where prompts, their number of answers, or sampling settings have changed since, it is thrown away, said,
  and drawn anew. Tokens thrown away do not count towards ``run.max_tokens``.
- **How it is corrected.** ℓ° is taken under the weights that drew, kept for that (:mod:`grpo_tui.engine.batch`), so the
  algorithm's ratio and clip act from the first gradient on. Combinations without a ratio are refused in
  :mod:`grpo_tui.config.validate`. Baselines are what they are: they may be of any policy. A critic's values and GAE are
  those of the policy that drew, as PPO's surrogate wants them.
- **How it is seen.** ``CompletionRecord.ahead``, ``StepMetrics.num_ahead`` (``--json``), the step's line in the log. Where
  update n moved nothing, what it drew ahead is on-policy, and is not marked.
- **Wholly or not at all.** A step that is left or fails takes what it draws for the next with it, and keeps what was drawn for
  itself: taken again it repeats itself. Going elsewhere drops both. An error on the other thread is raised where the step
  asks for its responses, as if sampling had failed there; where memory was short beside the update, it is drawn anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from grpo_tui.events.records import Phase
from grpo_tui.events.types import Notice, Progress
from grpo_tui.generation.beside import BesideSampling
from grpo_tui.generation.fast import FastSampler
from grpo_tui.generation.types import SampledTokens, Sampler, SampleRequest, SamplingSettings, TokenTick

if TYPE_CHECKING:
    from grpo_tui.config.schema import RunConfig
    from grpo_tui.engine.control import Gate
    from grpo_tui.engine.rollout import Rollout
    from grpo_tui.engine.trainer import Trainer
    from grpo_tui.policy.policy import Policy

LOOK_SECONDS = 0.1
"""How often the engine, waiting for what is drawn, asks its gate and tells how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is drawn for a step, and by which weights."""

    step: int
    requests: Sequence[SampleRequest]
    settings: SamplingSettings
    adapter: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class AheadBatch:
    """A step's first round, drawn ahead."""

    asked: _Asked
    drawn: Sequence[SampledTokens]
    cost: TokenTick | None
    """The last that was told of drawing it."""
    seconds_beside: float
    """What drawing took while the engine did something else."""
    is_behind: bool
    """Whether the weights have moved since."""


class Ahead:
    """What a trainer draws, or has drawn, ahead. Used from the engine's thread."""

    def __init__(self, sampler: FastSampler | None = None) -> None:
        """Take a sampler that nobody else uses; None: never draw ahead."""
        self._sampler = sampler
        self.is_unattended: Callable[[], bool] = lambda: False
        """Whether nobody will look into the next step or change it before its update."""
        self._under_way: tuple[_Asked, BesideSampling] | None = None
        self._batch: AheadBatch | None = None

    @property
    def is_possible(self) -> bool:
        """Whether the run has the means, attended or not."""
        return self._sampler is not None

    @property
    def adapter(self) -> Mapping[str, Tensor]:
        """The adapter that drew the step in progress, where that was ahead."""
        assert self._batch is not None, "nothing of this step was drawn ahead"
        return self._batch.asked.adapter

    def begin(
        self, trainer: Trainer, step: int, rollout: Rollout, gate: Gate, *, is_complete: bool = False
    ) -> None:
        """Begin to draw the step after this one; nothing where that is not to be, or has begun.

        Args:
            trainer: whose policy draws.
            step: the step in progress.
            rollout: its responses.
            gate: held and left with it.
            is_complete: its last round is scored. Else one is drawn, and whether it is the last may be open.
        """
        from grpo_tui.engine.rollout import begin_rollout, next_prompts, sampling_settings, wanted_requests

        if (
            self._sampler is None
            or self._under_way is not None
            or not self._is_wanted(trainer, step, rollout)
        ):
            return
        groups = trainer.config.groups
        if not is_complete and (groups.max_group_size or groups.resample_tries):
            return
        following = begin_rollout(trainer, next_prompts(trainer, step + 1), step + 1)
        requests, settings = wanted_requests(trainer, step + 1, following), sampling_settings(trainer)
        try:
            adapter = trainer.policy.adapter_state()
            sampling = BesideSampling(self._sampler, trainer.policy.device, requests, settings, gate.beside)
        except torch.OutOfMemoryError:
            _tell(trainer, f"step {step + 1} is not drawn ahead: there is no memory for it", "warning")
            return
        asked = _Asked(step=step + 1, requests=requests, settings=settings, adapter=adapter)
        self._under_way = asked, sampling

    def take(
        self,
        trainer: Trainer,
        step: int,
        requests: Sequence[SampleRequest],
        settings: SamplingSettings,
        gate: Gate,
    ) -> AheadBatch | None:
        """What was drawn ahead for a step's first round, waited for; None where there is none that serves.

        Raises:
            Exception: what went wrong while it was drawn.
        """
        if self._under_way is not None:
            self._land(trainer, gate)
        batch = self._batch
        if batch is None or batch.asked.step != step:
            self._batch = None
            return None
        same = batch.asked.requests == requests and batch.asked.settings == settings
        if same and not trainer.breaker.breakpoints:
            return batch
        self._batch = None
        why = "it can be stopped" if same else "its prompts or how they are sampled changed meanwhile"
        _tell(trainer, f"step {step} is drawn anew, on-policy, though it had been drawn ahead: {why}")
        return None

    def wait(self) -> bool:
        """Wait until nothing is being drawn; return whether something was."""
        return self._under_way is not None and not self._under_way[1].wait(0) and self._under_way[1].wait()

    def make_way(self, trainer: Trainer) -> None:
        """Before the run's own sampler draws something else, an evaluation say: on CUDA wait for what is being drawn.

        That sampler may capture a graph, and while one thread captures, no other may synchronise or allocate. What was drawn
        stays.
        """
        if trainer.policy.device.type == "cuda":
            self.wait()

    def leave(self) -> None:
        """Leave off what is being drawn; what is there already stays, for its step may be taken again."""
        if self._under_way is not None:
            self._under_way[1].leave()
            self._under_way = None

    def drop(self) -> None:
        """Forget everything: the run goes on from elsewhere, or ends."""
        self.leave()
        self._batch = None

    def close(self) -> None:
        """Forget everything, and let go of what its sampler keeps."""
        self.drop()
        if self._sampler is not None:
            self._sampler.close()

    def _is_wanted(self, trainer: Trainer, step: int, rollout: Rollout) -> bool:
        run, sampled = trainer.config.run, trainer.num_sampled_tokens + rollout.num_sampled_tokens
        is_last = step >= run.steps or 0 < run.max_tokens <= sampled
        # What waits for the next step may change how that one is drawn.
        at_rest = trainer.tuning.waiting is None and not trainer.breaker.breakpoints
        return at_rest and not is_last and self.is_unattended()

    def _land(self, trainer: Trainer, gate: Gate) -> None:
        """Wait for what is being drawn, as the phase *sample* would wait for its own drawing."""
        assert self._under_way is not None
        asked, sampling = self._under_way
        started = time.perf_counter()
        while True:
            gate.tick("in sample, waiting for what is drawn ahead")
            if sampling.wait(LOOK_SECONDS):
                break
            _report(trainer, asked.step, sampling)
        waited = time.perf_counter() - started
        _report(trainer, asked.step, sampling)
        self._under_way = self._batch = None
        try:
            drawn = sampling.results()
        except torch.OutOfMemoryError:
            _tell(
                trainer,
                f"step {asked.step} is drawn anew, on-policy: ahead there was no memory for it",
                "warning",
            )
            return
        self._batch = AheadBatch(
            asked=asked,
            drawn=drawn,
            cost=sampling.last,
            seconds_beside=max(0.0, sampling.seconds - waited),
            is_behind=_has_moved(trainer.policy, asked.adapter),
        )


def make_ahead(config: RunConfig, policy: Policy, sampler: Sampler, say: Callable[[str], None]) -> Ahead:
    """What a run with this config has for drawing ahead.

    Args:
        config: the run's.
        policy: whose completions.
        sampler: the run's own, whose likeness to the model was measured.
        say: told in a line where the setting cannot be followed.
    """
    if not config.sampling.ahead:
        return Ahead()
    if not isinstance(sampler, FastSampler):
        say(
            "sampling.ahead does nothing: only the fast sampler can draw beside an update, and it cannot take this model"
        )
        return Ahead()
    return Ahead(FastSampler(policy, captures=False, compiles=sampler.compiles))


def _has_moved(policy: Policy, adapter: Mapping[str, Tensor]) -> bool:
    return any(not torch.equal(p, adapter[name]) for name, p in policy.trainable_parameters().items())


def _report(trainer: Trainer, step: int, sampling: BesideSampling) -> None:
    tick = sampling.last
    if tick is not None:
        trainer.report(
            Progress(
                step=step,
                phase=Phase.SAMPLE,
                done=tick.num_finished,
                total=tick.num_total,
                unit="completions",
                num_tokens=tick.num_tokens,
            )
        )


def _tell(trainer: Trainer, message: str, level: str = "info") -> None:
    trainer.emit(Notice(time=time.time(), level=level, message=message, source="sampler"))
