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
    """Against its group; with a critic, the mean over the completion's tokens."""
    advantages_T: FloatArray | None = None
    """Of each token, where tokens of one completion differ (``gae``)."""
    weight_T: FloatArray | None = None
    """−∂L_policy/∂ℓ at each token in the step's first pass over it: A × ρ × unclipped × aggregation weight."""
    ratio_T: FloatArray | None = None
    """ρ at each token in the step's last gradient step; None where it is 1 by construction."""
    round: int = 0
    """Which round of sampling drew it, where the group grew."""
    excluded: bool = False
    """A person keeps it out of the update: out of its group's comparison, and out of the loss."""
    ahead: bool = False
    """Drawn ahead (``sampling.ahead``): by the policy before the last update, one step off-policy."""

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
        """All rewards equal: the group carries no signal. False before scoring, and of one completion alone."""
        compared = [c.reward for c in self.completions if not c.excluded]
        return None not in compared and len(compared) > 1 and len(set(compared)) == 1

    @property
    def dead_cause(self) -> str:
        """Why all rewards are equal: one of :data:`DEAD_CAUSES`; empty where they are not."""
        if not self.degenerate:
            return ""
        verdicts = {completion.verdict for completion in self.completions}
        if verdicts == {Verdict.CORRECT}:
            return "too easy"
        if len({completion.text for completion in self.completions}) == 1:
            return "identical text"
        if Verdict.CORRECT not in verdicts and verdicts - {Verdict.NOT_JUDGED, None}:
            return "too hard"
        return "equal rewards"

    @property
    def form_only(self) -> bool:
        """Alive, but not by the truth: every verdict is equally right, and only other components differ."""
        if self.degenerate or len(self.rewards) < len(self.completions):
            return False
        right = {completion.verdict is Verdict.CORRECT for completion in self.completions}
        judged = any(
            score.verdict is not Verdict.NOT_JUDGED for c in self.completions for score in c.scores.values()
        )
        return judged and len(right) == 1


DEAD_CAUSES = ("too easy", "too hard", "identical text", "equal rewards")
"""Why a group carries no signal: all right; none right; one text only; or equal rewards by chance or by design."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstToken:
    """The token at which something per-token is largest, so that an outlier can be looked at."""

    value: float
    group: int
    completion: int
    token: int
    text: str
    """The token's own text, bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticReport:
    """What the value function did in a step."""

    value_loss: float
    explained_variance: float
    """1 − Var(return − value) / Var(return) before this step's update; NaN where returns did not vary."""
    value_mean: float
    return_mean: float
    grad_norm: float
    warming_up: bool
    """The policy was frozen: only the critic learnt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRegionReport:
    """What TRPO's step did. ``kl`` and ``surrogate_gain`` are of the accepted point, or of the last one tried."""

    accepted: bool
    kl: float
    """Mean exact KL(π_old ‖ π_θ) in nats a token."""
    kl_limit: float
    surrogate_gain: float
    num_tries: int
    scale: float
    """Share of the full step that was taken; 0 where none was."""
    num_positions: int
    """Positions that ``kl`` was measured at: all of the rollout batch."""
    step_norm: float
    """Length of the full step, over all adapter weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport:
    """What happened inside an update. Shares are of tokens that took part, over all its gradient steps."""

    ratio_quantiles: Mapping[str, float] = field(default_factory=dict)
    """Of ρ over tokens, by probability (``"0.5"``); empty where ρ is 1 by construction."""
    clip_fraction_low: float = 0.0
    clip_fraction_high: float = 0.0
    kl_ref_worst: WorstToken | None = None
    kl_old_worst: WorstToken | None = None
    """By the k3 estimate of KL(π_old ‖ π_θ), at the step's last gradient step."""
    grad_norm_by_module: Mapping[str, float] = field(default_factory=dict)
    """Mean over gradient steps, before clipping, by adapted module (both LoRA matrices together)."""
    advantage_std: float = 0.0
    advantage_min: float = 0.0
    advantage_max: float = 0.0
    push_up: float = 0.0
    """Sum of the positive effective token weights of one pass."""
    push_down: float = 0.0
    """Sum of the negative ones, as a negative number."""
    zero_weight_fraction: float = 0.0
    """Share of sampled tokens that the policy term does not push at all."""
    explanations: tuple[str, ...] = ()
    """Why nothing moved, or why the loss is 0 though something did: sentences, most decisive first."""
    kl_step: float | None = None
    """Exact KL(policy before ‖ policy after) of the whole update, mean per token; None where not measured."""
    kl_step_positions: int = 0
    gradient_variance: float | None = None
    """Trace of the gradient's covariance, estimated from two halves of the batch; None where not measured."""
    gradient_signal: float | None = None
    """‖E g‖² by the same halves, unbiased, so it can be negative."""
    critic: CriticReport | None = None
    trust_region: TrustRegionReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassReport:
    """One kind of pass through the model in a step."""

    num_tokens: int = 0
    """Real tokens that went through, padding not among them."""
    seconds: float = 0.0
    """Without those in which the engine was held."""
    tokens_per_second: float = 0.0
    num_microbatches: int = 0
    padding: float = 0.0
    """Share of the positions computed that were no tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingReport:
    """Where a step's time went. ``seconds_by_phase`` has the phases; these are the passes inside them."""

    prefill: PassReport
    """Each distinct prompt once, before its completions are decoded."""
    decode: PassReport
    """Completion tokens, one position of all running rows at a time."""
    reference: PassReport
    """Scoring without gradient: the reference, and the old policy where the update is off-policy."""
    update: PassReport
    """Forward and backward of the policy, over all gradient steps; its seconds are those of the gradients alone."""
    device_peak_bytes: int | None = None
    """Most memory of a CUDA device held within this step; None on a CPU, whose peak only grows
    (``StepMetrics.peak_memory_bytes``)."""
    run_file_seconds: float = 0.0
    """The engine's time for writing the run file since the step before was told."""


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
    """Mean k3 estimate of KL(π_old ‖ π_θ), π_old the policy that sampled, π_θ the one at each gradient step."""
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
    """Completion tokens over the seconds of the sample phase, with those in which it went on beside the step before."""
    peak_memory_bytes: int
    state_hash: str
    """Hash over adapter, optimiser and RNG after the step."""
    accuracy_lenient: float | None = None
    """Share of completions that are right wherever the answer stands; None where no reward judges truth. What
    ``accuracy`` gains on it is form, not mathematics."""
    degenerate_causes: Mapping[str, int] = field(default_factory=dict)
    """Degenerate groups by cause."""
    num_form_only_groups: int = 0
    """Groups whose rewards differ though all are equally right: only a format or length term teaches there."""
    num_sampled_tokens: int = 0
    """All completion tokens sampled, those of replaced groups included."""
    num_resampled_groups: int = 0
    """Groups drawn and replaced because their rewards were all equal."""
    num_tokens_saved: int = 0
    """Adaptive group size: tokens it did not sample, estimated from each prompt's mean length."""
    num_masked_completions: int = 0
    """Completions kept out of the update because they were cut at the length limit."""
    num_ahead: int = 0
    """Completions drawn ahead: by the policy before the last update. 0: the step is on-policy."""
    agreement: Mapping[str, float] = field(default_factory=dict)
    """For each component that does not judge truth: share of (right, wrong) pairs of a group that it orders as the
    verifier does, ties counting half."""
    num_agreement_pairs: int = 0
    num_groups: int = 0
    """Groups trained on; 0 in runs recorded before it was counted."""
    group_mean_std: float | None = None
    """Bessel-corrected spread of the groups' mean rewards: how unlike the prompts are. None of one group."""
    update: UpdateReport | None = None
    timing: TimingReport | None = None


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
class TokenScores:
    """A completion read by one set of weights, position by position, at the run's sampling temperature."""

    logprobs_T: FloatArray
    """Log-probability of each token of the completion, nats."""
    entropies_T: FloatArray
    """Entropy of the distribution that the token was one of, nats."""
    top_ids_T_K: IntArray
    """The likeliest tokens at each position, likeliest first."""
    top_logprobs_T_K: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingChange:
    """One setting that changed while the run ran; values as text, as ``--set`` takes them."""

    key: str
    old: str
    new: str


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchRecord:
    """A line of steps that left another one: its own steps come after ``fork_step``."""

    branch: int
    parent: int | None = None
    """None for the line that the run began with."""
    fork_step: int = 0
    """The last step taken over from the parent."""
    name: str = ""

    @property
    def label(self) -> str:
        """Its name for a person."""
        return self.name or ("main" if self.parent is None else f"branch {self.branch}")
