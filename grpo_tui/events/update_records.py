"""What is known of one update: before it, after it, and beside others that could have been taken in its place."""

from __future__ import annotations

from dataclasses import dataclass, field

from grpo_tui.events.records import FloatArray


@dataclass(frozen=True, slots=True)
class LossChoice:
    """Settings an update could be taken under: ``(key, text)`` pairs, read as ``--set key=text`` is."""

    name: str
    changes: tuple[tuple[str, str], ...] = ()
    """Laid over the run's settings; none: as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPull:
    """One answer's part in an update that was not taken yet."""

    group: int
    completion: int
    advantage: float
    num_tokens: int
    contribution: float | None = None
    """g_i · g / ‖g‖², g_i its own part of the gradient g: 1 over all answers. None: not in the first gradient step."""
    predicted: float = 0.0
    """d · ∇ log π(answer): the first-order change of its log-prob, in nats, by the step d that would be taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPull:
    """One token with its effective weight −∂L/∂ℓ in the update."""

    group: int
    completion: int
    token: int
    """Place in the completion."""
    text: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientChange:
    """What acts on the step have done to its gradient."""

    norm_before: float
    norm_after: float
    cosine: float
    """Between the gradients without and with the acts; nan where one of them is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePreview:
    """The update that a step in progress would take now. Nothing was changed to find out."""

    step: int
    learning_rate: float
    skipped: str = ""
    """Why no update would be taken; empty where one would."""
    choice: str = ""
    """Name of the twin that was kept for this update; empty: the run's own settings."""
    num_gradient_steps: int = 1
    """The gradient told is the first one's; ``predicted`` and ``step_norm`` are of all together."""
    norm: float = 0.0
    """Of the gradient, before it is clipped."""
    max_norm: float = 0.0
    """What it would be clipped to; 0: never."""
    module_norms: tuple[tuple[str, float], ...] = ()
    """Of the modules with the largest, largest first."""
    num_modules: int = 0
    step_norm: float = 0.0
    """‖d‖: how far the adapter would move."""
    answers: tuple[AnswerPull, ...] = ()
    """In order of size of their contribution; at most so many as were asked for."""
    num_answers: int = 0
    """Answers in the update."""
    tokens: tuple[TokenPull, ...] = ()
    """Those that pull most, most first."""
    num_tokens: int = 0
    change: GradientChange | None = None
    """None where no act has changed the batch."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def sampled(self) -> bool:
        """Whether not every answer was looked at by itself."""
        return len(self.answers) < self.num_answers


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRow:
    """The captured batch under one loss."""

    choice: LossChoice
    norm: float = 0.0
    """Of its gradient."""
    zero_share: float = 0.0
    """Of the tokens in the loss, those with a policy weight of exactly 0."""
    weight_abs_mean: float = 0.0
    """Mean of |−∂L_policy/∂ℓ| over the tokens in the loss."""
    num_tokens: int = 0
    same_as: int | None = None
    """Row whose gradient is this one's times a factor: their losses push every token alike."""
    unavailable: str = ""
    """Why it could not be computed; empty where it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossComparison:
    """The what-if bench: one batch under many losses, at the same weights."""

    step: int
    rows: tuple[LossRow, ...]
    cosine_N_N: FloatArray = field(compare=False)
    """Between the gradients of the rows; nan where one is 0 or missing."""
    num_parameters: int = 0
    projected_to: int = 0
    """Numbers to which gradients were projected at random to hold them all; 0: they are whole and norms are exact."""
    after_update: bool = False
    """At the weights after one update under the run's settings, where ratios have left 1; else at those that sampled."""
    ratio_spread: float = 0.0
    """Largest |ρ − 1| of a token. 0: no clip can act yet, so losses that differ by their clip alone agree."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerMove:
    """How an answer's log-prob moved in an update."""

    group: int
    completion: int
    advantage: float
    delta_T: FloatArray = field(compare=False)
    """Change of each token's log-prob, in nats."""
    realised: float
    """Their sum."""
    trains: bool = True
    predicted: float | None = None
    """What the preview said, where there was one for just this update."""

    @property
    def wanted(self) -> int:
        """1 where the update was to make it likelier, −1 less likely, 0 neither."""
        return ((self.advantage > 0) - (self.advantage < 0)) * self.trains

    @property
    def as_wanted(self) -> bool:
        """Whether it moved the way its advantage asked."""
        return self.realised * self.wanted > 0

    @property
    def wrong_way(self) -> bool:
        """Whether it moved against its advantage, or not at all."""
        return bool(self.wanted) and not self.as_wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMove:
    """A token whose log-prob moved far."""

    group: int
    completion: int
    token: int
    text: str
    delta: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReceipt:
    """What an update did to the answers it was made from, by scoring them again under the new weights."""

    step: int
    answers: tuple[AnswerMove, ...]
    """Those that moved the wrong way first, furthest first; then the others, furthest first."""
    tokens: tuple[TokenMove, ...] = ()
    """Those that moved most, most first."""
    kl: float = 0.0
    """Exact KL(before ‖ after) in nats a token, over ``kl_positions`` positions of the batch."""
    kl_positions: int = 0
    num_positions: int = 0
    """Completion tokens in the batch."""
    rounding: float = 0.0
    """Below float32: by so much a step of the same size in a random direction moves an answer's log-prob on average, which
    is rounding for the most part. Changes below it say nothing."""
    seconds: float = 0.0
    automatic: bool = False

    @property
    def num_wanted(self) -> int:
        """Answers whose advantage asked for a move."""
        return sum(bool(answer.wanted) for answer in self.answers)

    @property
    def num_as_wanted(self) -> int:
        """Those of them that moved that way."""
        return sum(answer.as_wanted for answer in self.answers)

    def mean(self, wanted: int) -> float | None:
        """Mean change of the answers that were wanted up (1) or down (−1); None where there are none."""
        moves = [answer.realised for answer in self.answers if answer.wanted == wanted]
        return sum(moves) / len(moves) if moves else None

    @property
    def num_predicted(self) -> int:
        """Answers with a prediction."""
        return sum(answer.predicted is not None for answer in self.answers)

    @property
    def num_sign_agrees(self) -> int:
        """Answers that moved to the side predicted."""
        return sum(a.predicted is not None and a.predicted * a.realised > 0 for a in self.answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinResult:
    """One update that was tried and taken back."""

    choice: LossChoice
    kl: float = 0.0
    """Exact KL(before ‖ after), nats a token."""
    right: float | None = None
    """Mean change of log-prob of the answers judged right; None where there are none."""
    wrong: float | None = None
    num_as_wanted: int = 0
    """Of ``num_wanted``, by its own advantages."""
    num_wanted: int = 0
    grad_norm: float = 0.0
    step_norm: float = 0.0
    """How far the adapter moved."""
    num_correct: int | None = None
    """Probe problems right under greedy answers; None where none were asked for."""
    skipped: str = ""
    unavailable: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinComparison:
    """Several updates from one state and one batch, each taken back."""

    step: int
    results: tuple[TwinResult, ...]
    num_right: int = 0
    num_wrong: int = 0
    kl_positions: int = 0
    num_probes: int = 0
    correct_before: int | None = None
    kept: str = ""
    """Name of the one that the step's update is taken under; empty: the run's own settings."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMismatch:
    """One token as the sampler and as the update see it."""

    group: int
    completion: int
    token: int
    text: str
    sampled: float
    """Log-prob recorded while sampling."""
    trained: float
    """Log-prob of the update's own pass at the same weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MismatchCause:
    """One possible cause, measured on the worst answers by itself."""

    name: str
    mean: float | None = None
    """Mean |Δ log-prob| that it makes by itself; None where it was not measured."""
    largest: float | None = None
    detail: str = ""
    recorded: bool = True
    """Whether it can be in the recorded log-probs at all; where not, it lies between them and the truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """Sampler against trainer, token by token."""

    step: int
    num_tokens: int
    mean: float
    """Mean |Δ log-prob| over them."""
    largest: float
    kl: float
    """k3 estimate of KL(sampler ‖ trainer), nats a token."""
    tokens: tuple[TokenMismatch, ...] = ()
    """Worst first."""
    causes: tuple[MismatchCause, ...] = ()
    """Largest first, those not measured last."""
    num_checked: int = 0
    """Answers on which causes were measured: those with the worst tokens."""
    num_answers: int = 0
    likely: str = ""
    """Name of the cause that makes up most of it."""
    seconds: float = 0.0
