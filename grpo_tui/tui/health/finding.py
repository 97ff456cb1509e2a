"""What a check is given, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from grpo_tui.config.schema import RunConfig
from grpo_tui.events.records import EvalRecord, StepMetrics
from grpo_tui.tui.change import Change, change

WINDOW = 10
"""Steps that a level is taken over, and as many before them to compare with."""
MIN_STEPS = 5
"""Steps without which nothing is said."""


class Level(IntEnum):
    """How bad it is."""

    OK = 0
    WATCH = 1
    """Unusual: look at it."""
    WARN = 2
    """Known to spoil runs: do something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check says."""

    check: str
    """Name of the check, as the screen writes it."""
    level: Level
    brief: str
    """The number that decides it, in a few words."""
    evidence: str
    """A sentence with the numbers, n and the steps they are of."""
    advice: str = ""
    """A sentence: what to do. Empty where all is well."""
    knobs: tuple[str, ...] = ()
    """Full keys of the settings that the advice is about."""
    look: str = ""
    """Where the thing itself can be seen, with the key that leads there."""


@dataclass(frozen=True)
class Facts:
    """What was measured up to the step looked at."""

    history: tuple[StepMetrics, ...]
    evals: tuple[EvalRecord, ...]
    config: RunConfig

    @cached_property
    def now(self) -> tuple[StepMetrics, ...]:
        """The last steps."""
        return self.history[-WINDOW:]

    @cached_property
    def before(self) -> tuple[StepMetrics, ...]:
        """As many steps before those, or as many as there are."""
        return self.history[-2 * WINDOW : -WINDOW]

    @property
    def enough(self) -> bool:
        """Whether a level can be told."""
        return len(self.now) >= MIN_STEPS

    @property
    def steps(self) -> str:
        """The window in words."""
        return f"in the last {len(self.now)} steps"

    def num_groups(self, metrics: StepMetrics) -> int:
        """Groups of a step; of a run recorded before steps counted them, as its settings say."""
        return metrics.num_groups or self.config.sampling.prompts_per_step

    def change_of(self, measure: Callable[[StepMetrics], float | None]) -> Change | None:
        """The window's mean against the one before; None where either has too few steps."""
        if min(len(self.now), len(self.before)) < MIN_STEPS:
            return None
        return change([measure(m) for m in self.now], [measure(m) for m in self.before])


Check = Callable[[Facts], Finding | None]
"""None where there is not enough to say anything, or where the thing does not exist at these settings."""


def graded(value: float, watch: float, warn: float) -> Level:
    """The level of a value of which more is worse; a threshold belongs to what it begins."""
    return Level.WARN if value >= warn else Level.WATCH if value >= watch else Level.OK
