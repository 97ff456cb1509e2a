"""Plain records carried by events: problems, completions, groups, what one step measured.

Axes in names: ``_P`` prompts, ``_G`` completions of a group, ``_T`` tokens. Arrays are NumPy, on the host,
never tensors; a record is never changed once made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from rewards.base import Score, Verdict

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]


class Phase(StrEnum):
    """The seven calls of one step, in order."""

    PROBLEMS = "problems"
    SAMPLE = "sample"
    SCORE = "score"
    ADVANTAGES = "advantages"
    REFERENCE = "reference"
    UPDATE = "update"
    EMIT = "emit"


PHASES: tuple[Phase, ...] = tuple(Phase)


class Mode(StrEnum):
    """What the engine is doing, as reached (not as requested)."""

    LOADING = "loading"
    PAUSED = "paused"
    RUNNING = "running"
    FAILED = "failed"
    FINISHED = "finished"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemRecord:
    """One problem as the model saw it. ``question`` is the user's text, ``prompt`` the rendered whole."""

    id: str
    question: str
    prompt: str
    answer: str
    num_prompt_tokens: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRecord:
    """One sampled continuation; fields fill in as the step goes on (None: not known yet).

    ``text`` is the decoded completion without special tokens, which is what the verifier judges;
    ``token_offsets_T`` holds the character offset in ``text`` at which each token's text starts.
    """

    index: int
    text: str
    finish_reason: str
    """``"stop"`` (ended by itself) or ``"length"`` (cut at the limit)."""
    token_ids_T: IntArray
    token_offsets_T: IntArray
    logprobs_T: FloatArray
    """Log-probability of each token under the sampling policy at the sampling temperature."""
    entropies_T: FloatArray
    """Entropy (nats) of the sampling distribution at each position."""
    kl_ref_T: FloatArray | None = None
    """k3 estimate of KL(policy ‖ reference) at each token."""
    reward: float | None = None
    scores: Mapping[str, Score] = field(default_factory=dict)
    """Every reward component, by name, unweighted."""
    advantage: float | None = None

    @property
    def num_tokens(self) -> int:
        """Tokens sampled, the end-of-sequence token included."""
        return int(self.token_ids_T.shape[0])

    @property
    def kl_ref(self) -> float | None:
        """Mean of ``kl_ref_T`` over the completion's tokens, None where it was not measured."""
        if self.kl_ref_T is None or self.kl_ref_T.size == 0:
            return None
        return float(self.kl_ref_T.mean())

    @property
    def verdict(self) -> Verdict | None:
        """The first component's verdict that judges truth; None before scoring."""
        verdicts = [score.verdict for score in self.scores.values()]
        judged = [verdict for verdict in verdicts if verdict is not Verdict.NOT_JUDGED]
        return (judged or verdicts or [None])[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """The completions of one prompt."""

    index: int
    problem: ProblemRecord
    completions: tuple[CompletionRecord, ...]

    @property
    def rewards(self) -> tuple[float, ...]:
        """Rewards of the completions that are scored."""
        return tuple(c.reward for c in self.completions if c.reward is not None)

    @property
    def reward_mean(self) -> float | None:
        """Mean reward; None before scoring."""
        return float(np.mean(self.rewards)) if self.rewards else None

    @property
    def reward_std(self) -> float | None:
        """Bessel-corrected standard deviation of the rewards; None before scoring."""
        return float(np.std(self.rewards, ddof=1)) if len(self.rewards) > 1 else None

    @property
    def degenerate(self) -> bool:
        """All rewards equal: the group carries no signal. False before scoring."""
        return len(self.rewards) == len(self.completions) and len(set(self.rewards)) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMetrics:
    """What one finished step measured. Means are over completions or over masked tokens, as each says."""

    step: int
    reward_mean: float
    reward_std: float
    """Spread over all completions of the step."""
    group_std_mean: float
    """Mean over groups of the spread inside a group: what the advantage is made of."""
    accuracy: float
    """Share of completions whose verdict is ``correct``."""
    component_means: Mapping[str, float]
    verdict_counts: Mapping[str, int]
    advantage_abs_mean: float
    kl_ref: float | None
    """Mean over all sampled tokens of the k3 estimate, None where not measured."""
    kl_old: float
    """Mean k3 estimate between the policy after sampling and the policy at each gradient step."""
    entropy: float
    """Mean entropy of the sampling distribution over sampled tokens, nats."""
    loss: float
    policy_loss: float
    kl_loss: float
    grad_norm: float
    """Before clipping."""
    clip_fraction: float
    learning_rate: float
    num_optimizer_steps: int
    update_skipped: str
    """Why no optimiser step was taken, as a sentence; empty when one was."""
    num_completions: int
    num_completion_tokens: int
    num_degenerate_groups: int
    num_truncated: int
    mean_length: float
    seconds: float
    seconds_by_phase: Mapping[str, float]
    tokens_per_second: float
    """Completion tokens over the seconds of the sample phase."""
    peak_memory_bytes: int
    state_hash: str
    """Hash over adapter, optimiser and RNG after the step."""
    accuracy_lenient: float | None = None
    """Share of completions that are right wherever the answer stands; None where no reward judges truth. What
    ``accuracy`` gains on it is form, not mathematics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDetail:
    """A step with its groups. ``metrics`` is None while the step is in progress."""

    step: int
    groups: tuple[GroupRecord, ...] = ()
    metrics: StepMetrics | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRecord:
    """Accuracy on held-out problems (one completion each), with a 95 % Wilson interval."""

    step: int
    """Number of finished steps when it was measured; 0 is the untrained policy."""
    accuracy: float
    low: float
    high: float
    num_problems: int
    seconds: float
    temperature: float = 1.0
    """0 means greedy."""
    accuracy_lenient: float | None = None
    """The same by the lenient reading: right wherever the answer stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """What was loaded."""

    source: str
    architecture: str
    num_parameters: int
    num_trainable: int
    dtype: str
    device: str
    context_length: int
    vocab_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRecord:
    """What problems were found. ``rejected`` holds one line for each problem kept out of training."""

    source: str
    num_train: int
    num_eval: int
    rejected: tuple[str, ...] = ()
