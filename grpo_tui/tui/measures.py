"""What a step measures, each once: its name, its value, how it is written, and when it does not exist."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grpo_tui.config.schema import RunConfig
from grpo_tui.events.records import StepMetrics
from grpo_tui.tui.text import compact, percent

Value = Callable[[StepMetrics, RunConfig], float | None]


def _percent(value: float | None) -> str:
    return percent(value) if value is not None and math.isfinite(value) else "–"


def _exists(_config: RunConfig) -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number of a step."""

    name: str
    """At most 9 cells."""
    of: Value
    """Its value in a step; None where it was not measured."""
    show: Callable[[float | None], str] = compact
    role: str = ""
    about: str = ""
    """What the mean is over, for the chart's title."""
    from_zero: bool = True
    """Whether its chart begins at 0."""
    spread: Value | None = None
    """Standard deviation to lay around it."""
    with_held_out: bool = False
    """Whether held-out accuracy belongs on its chart."""
    undefined: Callable[[RunConfig], str] = _exists
    """Why it does not exist at these settings; empty where it does."""


def _cut_off(m: StepMetrics, _config: RunConfig) -> float | None:
    return m.num_truncated / m.num_completions if m.num_completions else None


def _dead(m: StepMetrics, config: RunConfig) -> float | None:
    groups = m.num_groups or config.sampling.prompts_per_step
    return m.num_degenerate_groups / groups if groups else None


def _explained_variance(m: StepMetrics, _config: RunConfig) -> float | None:
    return (
        m.update.critic.explained_variance if m.update is not None and m.update.critic is not None else None
    )


def _no_reference(config: RunConfig) -> str:
    off = config.algorithm.beta == 0 and not config.algorithm.measure_kl_ref
    return "not measured" if off else ""


def _nothing_to_clip(config: RunConfig) -> str:
    algorithm = config.algorithm
    if "none" in (algorithm.clip, algorithm.ratio) or algorithm.update != "gradient":
        return "no clip"
    if algorithm.num_epochs == 1 and algorithm.num_minibatches == 1 and not config.sampling.ahead:
        return "1 update/step"
    return ""


def _no_groups(config: RunConfig) -> str:
    sampling = config.sampling
    return "groups of 1" if max(sampling.group_size, config.groups.max_group_size) == 1 else ""


REWARD = Measure(
    name="reward",
    of=lambda m, _: m.reward_mean,
    role="good",
    about="mean of responses",
    spread=lambda m, _: m.group_mean_std,
    with_held_out=True,
)
KL_REF = Measure(
    name="kl_ref", of=lambda m, _: m.kl_ref, role="accent", about="nats a token", undefined=_no_reference
)
ACCURACY = Measure(
    name="accuracy",
    of=lambda m, _: m.accuracy,
    show=_percent,
    role="good",
    about="of responses",
    with_held_out=True,
)
ALWAYS = (
    Measure(name="entropy", of=lambda m, _: m.entropy, about="nats a token"),
    Measure(name="length", of=lambda m, _: m.mean_length, about="tokens a response"),
    Measure(name="grad norm", of=lambda m, _: m.grad_norm, about="before clipping"),
    Measure(name="|adv|", of=lambda m, _: m.advantage_abs_mean, about="mean of responses"),
    Measure(name="dead grp", of=_dead, show=_percent, role="warn", about="of groups", undefined=_no_groups),
    Measure(name="cut off", of=_cut_off, show=_percent, about="of responses"),
    Measure(name="clip frac", of=lambda m, _: m.clip_fraction, about="of tokens", undefined=_nothing_to_clip),
    Measure(name="lenient", of=lambda m, _: m.accuracy_lenient, show=_percent, about="of responses"),
)
"""Best first: where a panel is short the last ones are left out."""
AGREES = Measure(
    name="agrees", of=lambda m, _: m.agreement.get("learned"), show=_percent, role="warn", about="of pairs"
)
OF_THE_UPDATE = (
    Measure(
        name="kl step",
        of=lambda m, _: m.update.kl_step if m.update is not None else None,
        role="accent",
        about="nats a token",
    ),
    Measure(name="critic", of=_explained_variance, role="info", about="explained variance"),
)
"""After kl_ref where the run measures them: the exact KL of each update, and the variance that the critic explains."""


def measures_of(history: Sequence[StepMetrics], config: RunConfig) -> tuple[Measure, ...]:
    """The measures of a run, most telling first. Accuracy stands apart where the reward is not accuracy itself."""
    has_model = any("learned" in m.component_means or "learned" in m.agreement for m in history)
    measured = [
        measure for measure in OF_THE_UPDATE if any(measure.of(m, config) is not None for m in history)
    ]
    return (REWARD, *((ACCURACY, AGREES) if has_model else ()), KL_REF, *measured, *ALWAYS)
