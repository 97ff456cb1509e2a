"""The frozen tree of settings that describes a run, whole.

One dataclass per TOML table. Field metadata carries the one-line help text, the allowed range or choices, and
when a change would apply, so that the command line, the error messages and the screens all read the same
source. Nothing here imports more than the standard library: a configuration parses without torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

ALGORITHM_NAMES = (
    "grpo",
    "grpo_basic",
    "dr_grpo",
    "bnpo",
    "dapo",
    "gspo",
    "cispo",
    "sapo",
    "luspo",
    "vespo",
    "rloo",
    "reinforce",
    "ppo",
    "trpo",
)
"""Rows of the table in :mod:`grpo_tui.config.algorithms`."""


def setting(
    default: Any,
    doc: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
) -> Any:
    """Declare one setting.

    Args:
        default: its value when nobody says otherwise.
        doc: one line of help, with the unit.
        choices: for strings, the only values allowed.
        low: smallest value allowed (inclusive).
        high: largest value allowed (inclusive).
        above: exclusive lower bound.
    """
    return field(
        default=default, metadata={"doc": doc, "choices": choices, "low": low, "high": high, "above": above}
    )


class Weights(Mapping[str, float]):
    """A mapping that cannot change: comparable, hashable and picklable, so that a whole config is."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, float]) -> None:
        self._items = dict(items)

    def __getitem__(self, name: str) -> float:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which model is trained, and how the adapter is laid over it."""

    source: str = setting("tiny", "'tiny' (bundled), a hub id, a local folder, or a .gguf file")
    dtype: str = setting("auto", "dtype of the base weights", choices=("auto", "fp32", "bf16"))
    device: str = setting("auto", "'auto', 'cpu', 'cuda' or 'cuda:N'")
    lora_rank: int = setting(16, "rank of the LoRA adapter", low=1, high=1024)
    lora_alpha: float = setting(32.0, "LoRA scale numerator; the update is scaled by alpha / rank", above=0)
    lora_dropout: float = setting(0.0, "dropout on the adapter's input", low=0.0, high=0.9)
    adapter_layers: str = setting(
        "auto",
        "peft: PEFT's own layers; lean: the same parameters with less around them; auto: lean where it agrees",
        choices=("auto", "lean", "peft"),
    )
    lora_targets: tuple[str, ...] = setting(("all-linear",), "module names to adapt, or 'all-linear'")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Where problems come from, and how they become prompts."""

    source: str = setting("tiny", "'tiny', a .jsonl or .parquet file, a local folder, or a datasets name")
    subset: str = setting("", "configuration name of a datasets data set, e.g. 'main' for GSM8K")
    split: str = setting("train", "split of a datasets data set")
    eval_source: str = setting("", "held-out problems, named as source is; empty: held out from the source")
    eval_split: str = setting(
        "test", "split of a datasets data set that is held out; empty: eval_fraction of the split trained on"
    )
    eval_fraction: float = setting(
        0.0, "share held out of a source that has no eval_split (a file, say); 0: none", low=0.0, high=0.5
    )
    prompt_field: str = setting("prompt", "column holding the question (text, or a list of chat messages)")
    answer_field: str = setting("answer", "column holding the gold answer")
    id_field: str = setting("id", "column holding a unique id; the row number is used where it is missing")
    answer_format: str = setting(
        "raw", "how the gold answer is taken from its column", choices=("raw", "after_hashes", "last_boxed")
    )
    system_prompt: str = setting("", "system message put before each question; empty: none")
    prompt_template: str = setting("{prompt}", "text of the user message; {prompt} stands for the question")
    render: str = setting("auto", "'chat' uses the model's chat template", choices=("auto", "chat", "plain"))
    limit: int = setting(0, "train on the first N problems only; 0: all", low=0)
    shuffle: bool = setting(True, "shuffle the problems anew in each pass, by the run's seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """How completions are drawn."""

    prompts_per_step: int = setting(8, "prompts (groups) in a step", low=1)
    group_size: int = setting(8, "completions per prompt (G); the smallest, where it is adaptive", low=1)
    max_completion_tokens: int = setting(256, "longest completion, in tokens", low=1)
    temperature: float = setting(1.0, "softmax temperature, also used in every log-prob", above=0)
    top_p: float = setting(
        1.0, "nucleus: keep the smallest set of tokens with this probability", above=0, high=1.0
    )
    top_k: int = setting(0, "keep only the k likeliest tokens; 0: all", low=0)
    sampler: str = setting(
        "auto",
        "trusted: the model's own forward; fast: a twin with the adapter folded in; auto: fast where it agrees",
        choices=("auto", "fast", "trusted"),
    )
    ahead: bool = setting(
        False,
        "in grpo-tui train alone: draw the next step while this one is judged and updated (one step off-policy)",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardConfig:
    """Which rewards are paid, and the limits of the verifier."""

    weights: Mapping[str, float] = field(
        default_factory=lambda: Weights({"math": 1.0}),
        metadata={"doc": "component name (or 'pkg.mod:function') to weight; 0: measured but not paid"},
    )
    answer_form: str = setting(
        "stated",
        "the form that an answer must have to be paid by math and format; stated: any of them, or a phrase",
        choices=("stated", "boxed", "hashes", "answer_tags", "think_answer"),
    )
    canaries: bool = setting(True, "try the rewards on built-in adversarial answers before step 1")
    learned_model: str = setting(
        "", "folder or hub id of the sequence-classification model behind the reward 'learned'"
    )
    timeout_seconds: float = setting(2.0, "longest time for one verdict", above=0)
    workers: int = setting(1, "verifier worker processes", low=1, high=64)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", Weights(self.weights))


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmConfig:
    """The update rule. A name is a set of vetted defaults (config/algorithms.py); each part can be set on its own."""

    name: str = setting(
        "grpo", "a row of the algorithm table; sets every part below", choices=ALGORITHM_NAMES
    )
    advantage: str = setting(
        "zscore",
        "how rewards become advantages",
        choices=("zscore", "mean", "leave_one_out", "batch", "none", "ema", "gae"),
    )
    baseline_decay: float = setting(
        0.9, "with advantage 'ema': share of the running mean kept each step", low=0.0, high=0.9999
    )
    ratio: str = setting(
        "token",
        "what the new policy is compared with the old one by; none: score function, no ratio",
        choices=("token", "sequence_mean", "sequence_product", "none"),
    )
    clip: str = setting(
        "bounds",
        "what holds the ratio back: bounds (PPO), cispo, sapo, vespo, or none",
        choices=("bounds", "none", "cispo", "sapo", "vespo"),
    )
    clip_low: float = setting(0.2, "the ratio is clipped below 1 - clip_low", low=0.0, high=1.0)
    clip_high: float = setting(
        0.2, "the ratio is clipped above 1 + clip_high (with clip 'cispo': above clip_high)", low=0.0
    )
    clip_delta: float = setting(
        0.0, "cap on the ratio where the advantage is negative, above 1 + clip_high; 0: none", low=0.0
    )
    sapo_tau_positive: float = setting(1.0, "SAPO's temperature for positive advantages", above=0)
    sapo_tau_negative: float = setting(1.05, "SAPO's temperature for the others", above=0)
    vespo_k_positive: float = setting(2.0, "VESPO's exponent k for advantages >= 0", low=0)
    vespo_lambda_positive: float = setting(3.0, "VESPO's rate lambda for advantages >= 0", above=0)
    vespo_k_negative: float = setting(3.0, "VESPO's exponent k for negative advantages", low=0)
    vespo_lambda_negative: float = setting(2.0, "VESPO's rate lambda for negative advantages", above=0)
    beta: float = setting(0.04, "weight of the KL term; 0: none", low=0.0)
    kl_anchor: str = setting(
        "ref",
        "what KL holds the policy to: the reference, or the policy that sampled",
        choices=("ref", "old"),
    )
    kl_estimator: str = setting(
        "k3", "estimator of the KL term", choices=("k1", "k2", "k3", "k3_ratio", "exact")
    )
    kl_in: str = setting("loss", "where the KL term stands", choices=("loss", "reward"))
    aggregation: str = setting(
        "sequence_mean",
        "how token losses become one number",
        choices=(
            "sequence_mean",
            "token_mean",
            "token_mean_minibatch",
            "constant",
            "sequence_sum",
            "answer_sum",
        ),
    )
    update: str = setting(
        "gradient",
        "how the weights move: AdamW, or TRPO's trust region",
        choices=("gradient", "trust_region"),
    )
    num_epochs: int = setting(1, "passes over the rollout batch", low=1)
    num_minibatches: int = setting(1, "gradient steps per pass", low=1)
    measure_kl_ref: bool = setting(True, "measure kl_ref even where beta is 0 (one extra forward pass)")
    measure_kl_step: bool = setting(
        False,
        "measure each update's exact KL(old policy || new policy) (two extra passes over some completions)",
    )
    measure_gradient_noise: bool = setting(
        False, "estimate the gradient's variance in each step from two halves of the rollout batch"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsConfig:
    """What becomes of groups that teach nothing, of long ones, and how large they grow."""

    resample_tries: int = setting(
        0, "rounds in which zero-spread groups are replaced by groups of other prompts; 0: kept", low=0
    )
    max_group_size: int = setting(
        0, "adaptive group size: undecided and mixed groups grow from group_size to this; 0: off", low=0
    )
    adaptive_doubt: float = setting(
        0.25,
        "adaptive: an all-equal group grows while the chance that it will not stay so is above this",
        low=0.0,
        high=1.0,
    )
    mask_truncated: bool = setting(False, "completions cut at the length limit take no part in the update")
    overlong_penalty: float = setting(
        0.0, "weight of the soft overlong penalty (reward 'overlong'); 0: none", low=0.0
    )
    overlong_cache: float = setting(
        0.2, "width of the overlong ramp, as a share of max_completion_tokens", above=0, high=1.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticConfig:
    """The value function of advantage 'gae': a second LoRA adapter and a float32 head."""

    gamma: float = setting(1.0, "discount for each token", low=0.0, high=1.0)
    gae_lambda: float = setting(0.95, "lambda of generalised advantage estimation", low=0.0, high=1.0)
    value_lambda: float = setting(
        1.0, "lambda of the returns that the critic learns; 1: what was really earned", low=0.0, high=1.0
    )
    value_clip: float = setting(
        0.2, "values move at most this far from the old ones in a step; 0: any", low=0.0
    )
    value_lr: float = setting(1e-4, "learning rate of the critic", low=0.0)
    value_warmup_steps: int = setting(10, "first steps in which only the critic learns", low=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRegionConfig:
    """TRPO's step, for update 'trust_region'."""

    kl_limit: float = setting(
        0.01, "delta: largest mean exact KL(old || new) of a step, in nats a token", above=0
    )
    cg_iterations: int = setting(10, "iterations of conjugate gradient", low=1)
    cg_damping: float = setting(
        0.1, "added to the Fisher matrix's diagonal, as a share of its curvature along the gradient", above=0
    )
    line_search_steps: int = setting(10, "tries of the backtracking line search", low=1)
    line_search_shrink: float = setting(
        0.8, "the step shrinks by this factor in each try", above=0, high=0.99
    )
    fisher_tokens: int = setting(512, "completion tokens that the Fisher matrix is taken over", low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """AdamW on the adapter."""

    lr: float = setting(1e-5, "peak learning rate", low=0.0)
    schedule: str = setting("constant", "shape after warm-up", choices=("constant", "linear", "cosine"))
    warmup_steps: int = setting(0, "steps of linear warm-up", low=0)
    weight_decay: float = setting(0.0, "decoupled weight decay", low=0.0)
    beta1: float = setting(0.9, "Adam's first moment decay", low=0.0, high=0.9999)
    beta2: float = setting(0.999, "Adam's second moment decay", low=0.0, high=0.999999)
    eps: float = setting(1e-8, "Adam's stabiliser", above=0)
    max_grad_norm: float = setting(1.0, "gradient norm is clipped to this; 0: never", low=0.0)
    max_tokens_per_microbatch: int = setting(
        8192,
        "padded tokens in one forward-backward pass (gradients accumulate over passes); a CPU takes 2048 at most of a "
        "model above 50 M parameters, for more gain nothing there",
        low=1,
    )
    gradient_checkpointing: bool = setting(
        False, "compute each layer again in the backward pass instead of keeping its activations"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalConfig:
    """Held-out evaluation."""

    every: int = setting(0, "evaluate every N steps (and before the first); 0: never", low=0)
    num_problems: int = setting(64, "held-out problems per evaluation", low=1)
    temperature: float = setting(1.0, "sampling temperature of the evaluation; 0: greedy", low=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """The run itself."""

    name: str = setting("", "name shown and used for the folder; empty: made from model and data")
    seed: int = setting(0, "seed of everything random", low=0, high=2**63 - 1)
    steps: int = setting(100, "steps to train", low=1)
    max_tokens: int = setting(
        0, "the run ends after the step in which it has sampled this many tokens; 0: no limit", low=0
    )
    checkpoint_every: int = setting(
        1, "steps between checkpoints on disk (one is always written on stopping)", low=1
    )
    keep_checkpoints: int = setting(3, "newest checkpoints kept on disk", low=1)
    receipts: bool = setting(
        False, "score every update's answers again: did they move as their advantages asked (one more pass)"
    )
    history_mb: int = setting(
        2000, "disk space for states to go back to; older ones are thinned out beyond it; 0: keep none", low=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Everything that decides what a run does. Two equal configs on one machine give one trajectory."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    groups: GroupsConfig = field(default_factory=GroupsConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    trust_region: TrustRegionConfig = field(default_factory=TrustRegionConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    run: RunSettings = field(default_factory=RunSettings)
