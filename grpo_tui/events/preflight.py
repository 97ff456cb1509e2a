"""Records of the checks before step 1: what some prompts gave when they were tried, and what memory each size took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

PROBE, FIT = "probe", "fit"
"""The two checks: some prompts sampled and scored, and memory and time of the worst step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPiece:
    """A run of a prompt's text as the tokenizer gives it back; ``special``: one special token."""

    text: str
    special: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedGroup:
    """One prompt of a probe: its completions in short, each tuple over them."""

    problem_id: str
    question: str
    rewards_G: tuple[float, ...]
    verdicts_G: tuple[str, ...]
    lengths_G: tuple[int, ...]
    """Tokens of each completion."""
    truncated_G: tuple[bool, ...]
    """Whether the completion was cut at the limit."""
    dead_cause: str = ""
    """One of :data:`~grpo_tui.events.records.DEAD_CAUSES` where all rewards are equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """What a probe found. Counts are over ``groups`` and their completions."""

    groups: tuple[ProbedGroup, ...]
    group_size: int
    max_completion_tokens: int
    sampling_seconds: float
    scoring_seconds: float
    finished_steps: int
    """Steps that were finished: the weights are those after that step."""
    preview: tuple[PromptPiece, ...]
    """The first prompt, token for token as the model is given it."""
    is_chat: bool = False
    """Whether the tokenizer's chat template made it."""

    @property
    def num_completions(self) -> int:
        """All completions that were drawn."""
        return sum(len(group.lengths_G) for group in self.groups)

    @property
    def num_tokens(self) -> int:
        """Tokens of all completions."""
        return sum(sum(group.lengths_G) for group in self.groups)

    @property
    def num_truncated(self) -> int:
        """Completions cut at the limit."""
        return sum(sum(group.truncated_G) for group in self.groups)

    @property
    def num_dead(self) -> int:
        """Groups whose rewards are all equal."""
        return sum(bool(group.dead_cause) for group in self.groups)

    @property
    def dead_causes(self) -> Mapping[str, int]:
        """Dead groups by their cause."""
        return Counter(group.dead_cause for group in self.groups if group.dead_cause)

    @property
    def verdict_counts(self) -> Mapping[str, int]:
        """Completions by verdict."""
        return Counter(verdict for group in self.groups for verdict in group.verdicts_G)

    @property
    def mean_reward(self) -> float:
        """Mean over all completions; 0 of none."""
        rewards = [reward for group in self.groups for reward in group.rewards_G]
        return sum(rewards) / len(rewards) if rewards else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FitTrial:
    """One size that was tried. ``extra_bytes`` is beyond what the loaded model holds; None: memory ran out."""

    num_rows: int
    num_tokens: int
    extra_bytes: int | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """Whether the worst step fits, measured (:mod:`grpo_tui.engine.preflight`), and what it means for the config."""

    prompt_tokens: int
    completion_tokens: int
    prompts_per_step: int
    group_size: int
    free_bytes: int
    """Free once the model is loaded, before anything is tried."""
    margin: float
    """Share of them that is left alone."""
    sampling: FitTrial
    """The whole step sampled to full length."""
    microbatches: tuple[FitTrial, ...]
    """Forward and backward at growing sizes."""
    max_tokens_per_microbatch: int
    """Largest that fits; 0 where not one row does. No more than a whole step."""
    max_group_size: int
    """Largest group whose step is sampled at once; 0 where not one does. Larger ones are sampled in rounds."""
    sampling_seconds: float
    reference_seconds: float
    update_seconds: float
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether training is possible at these settings."""
        return self.max_tokens_per_microbatch > 0 and self.sampling.extra_bytes is not None

    @property
    def budget_bytes(self) -> int:
        """Of the free bytes, those that may be taken."""
        return int(self.free_bytes * (1 - self.margin))

    @property
    def seconds_per_step(self) -> float:
        """Of the worst step."""
        return self.sampling_seconds + self.reference_seconds + self.update_seconds

    @property
    def config_lines(self) -> str:
        """To paste into a config file; empty where nothing fits."""
        if not self.fits:
            return ""
        lines = f"[optim]\nmax_tokens_per_microbatch = {self.max_tokens_per_microbatch}\n"
        if 0 < self.max_group_size < self.group_size:
            lines += f"\n[sampling]\ngroup_size = {self.max_group_size}\n"
        return lines
