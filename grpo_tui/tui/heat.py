"""One number for each token as a shade: channels, what each is of, and the buckets that are painted.

A channel either has numbers, or a reason why a picture of it would say nothing. Plain functions, no widget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from grpo_tui.events.records import CompletionRecord, FloatArray, TokenScores
from grpo_tui.events.types import CompletionInspected
from grpo_tui.tui.text import compact, number
from grpo_tui.tui.tokens import Unit

BUCKETS = 8
"""Of a sequential channel: 0 is nothing, 7 the most."""
SIDE = 4
"""Buckets on each side of the middle of a diverging channel."""
UNKNOWN = -128
_OUTLIERS = 0.02
"""Share of tokens that may lie beyond the end of the scale, so that one does not take all the shades."""
_FLAT = 1e-6

Buckets = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Glance:
    """All that a channel may draw on."""

    completion: CompletionRecord
    step: int
    updated: bool
    """Whether the step's update is over."""
    inspected: CompletionInspected | None = None
    missing: str = ""
    """Why ``inspected`` is missing."""
    source: str = "sampled"
    """Whose log-probs and entropies: ``sampled`` (as recorded), ``now`` or ``base``."""

    @property
    def scores(self) -> TokenScores | None:
        """The weights looked through, where they are not those of sampling."""
        if self.inspected is None or self.source == "sampled":
            return None
        return self.inspected.base if self.source == "base" else self.inspected.now


@dataclass(frozen=True, slots=True)
class Lens:
    """How responses are looked at; shared by the rooms like the cursor."""

    channel: str = "logprob"
    source: str = "sampled"
    """``sampled``, ``now`` (the weights in memory) or ``base`` (the adapter off)."""
    diff: bool = False
    """Whether the response is held against another of its group."""
    versus: int = 0
    """Which of the others, in the order of :func:`grpo_tui.tui.tokens.counterparts`."""
    mono: bool | None = None
    """Shades of characters instead of colours; None: as the terminal is."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a channel shows: numbers, or a reason why there is no picture."""

    values_T: FloatArray | None
    reason: str = ""
    note: str = ""
    """What must be said of the numbers."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One way of looking at tokens."""

    id: str
    label: str
    meaning: str
    diverging: bool
    read: Callable[[Glance], Reading]
    middle: float = 0.0
    """Of a diverging channel: the value that means nothing happened."""
    fmt: Callable[[float], str] = compact


@dataclass(frozen=True, slots=True)
class Scale:
    """From a channel's values to buckets, and the ends of the legend."""

    buckets_T: Buckets
    low: float
    high: float


def _log_prob(glance: Glance) -> Reading:
    scores = glance.scores
    if scores is not None:
        return Reading(scores.logprobs_T)
    return _missing(glance) or Reading(glance.completion.logprobs_T)


def _entropy(glance: Glance) -> Reading:
    scores = glance.scores
    if scores is not None:
        return Reading(scores.entropies_T)
    return _missing(glance) or Reading(glance.completion.entropies_T)


def _missing(glance: Glance) -> Reading | None:
    """Why there is nothing through other weights, where those are asked for."""
    return Reading(None, glance.missing) if glance.source != "sampled" else None


def _ratio(glance: Glance) -> Reading:
    completion = glance.completion
    if completion.ratio_T is not None:
        return _unless_flat(
            completion.ratio_T, "every token has ratio {}: nothing moved before its last gradient"
        )
    if not glance.updated:
        return Reading(None, "the ratio is known after the update")
    if completion.weight_T is None:
        return Reading(None, "no update is recorded for this step")
    return Reading(
        None, "the ratio is 1 by construction: one gradient step, at the weights that sampled the response"
    )


def _kl_ref(glance: Glance) -> Reading:
    kl_ref = glance.completion.kl_ref_T
    if kl_ref is None:
        why = "kl_ref is measured in the phase reference" if not glance.updated else "kl_ref was not measured"
        return Reading(None, why)
    return _unless_flat(kl_ref, "kl_ref is {} at every token")


def _weight(glance: Glance) -> Reading:
    completion = glance.completion
    weights = completion.weight_T
    if weights is None:
        why = "no update is recorded for this step" if glance.updated else "tokens are weighed by the update"
        return Reading(None, why)
    if not weights.any():
        why = "its advantage is 0" if not completion.advantage else "every token is clipped or masked"
        return Reading(None, f"no token is pushed: {why}")
    advantage = (
        "" if completion.advantage is None else f"advantage {number(completion.advantage, 2, sign=True)}, "
    )
    return _unless_flat(
        weights,
        f"every token has the same weight {{}}: {advantage}spread evenly, and no ratio or clip tells them apart",
    )


def _change(glance: Glance) -> Reading:
    seen = glance.inspected
    if seen is None:
        return Reading(None, glance.missing)
    if seen.finished_steps < glance.step:
        return Reading(
            None, f"step {glance.step} is not updated yet: nothing has changed since it was sampled"
        )
    note = ""
    if seen.finished_steps > glance.step:
        note = f"by weights after step {seen.finished_steps}, not {glance.step}: all updates since"
    values = seen.now.logprobs_T - glance.completion.logprobs_T
    return _unless_flat(values, "log-prob changed by {} at every token", note)


def _learnt(glance: Glance) -> Reading:
    seen = glance.inspected
    if seen is None:
        return Reading(None, glance.missing)
    values = seen.now.logprobs_T - seen.base.logprobs_T
    return _unless_flat(
        values, "the adapter changes nothing here: it differs from the base by {} at every token"
    )


def _unless_flat(values: FloatArray, reason: str, note: str = "") -> Reading:
    """The values, or a sentence where they are all the same."""
    if values.size > 1 and float(np.ptp(values)) <= _FLAT * max(1e-9, float(np.abs(values).max())):
        return Reading(None, reason.format(compact(float(values[0]))), note)
    return Reading(values, note=note)


CHANNELS: tuple[Channel, ...] = (
    Channel("logprob", "log-prob", "how unlikely the token was: darker is less likely", False, _log_prob),
    Channel("entropy", "entropy", "how undecided the policy was, nats", False, _entropy),
    Channel(
        "ratio",
        "ratio",
        "likelier (+) or less likely (−) than when sampled, at the last gradient",
        True,
        _ratio,
        1.0,
    ),
    Channel("kl_ref", "kl_ref", "distance from the reference, nats", False, _kl_ref),
    Channel(
        "change", "Δlog-prob", "what the update did: made likelier (+) or less likely (−)", True, _change
    ),
    Channel(
        "weight", "grad weight", "how hard the update pushed the token: up (+) or down (−)", True, _weight
    ),
    Channel(
        "learnt",
        "vs base",
        "what training made likelier (+) or less likely (−) than the base model",
        True,
        _learnt,
    ),
)
BY_ID = {channel.id: channel for channel in CHANNELS}


def scale_of(channel: Channel, values_T: FloatArray) -> Scale:
    """Quantise values: 0…7 for a sequential channel, −4…4 for a diverging one, ``UNKNOWN`` for what is no number.

    The scale ends where 98 % of the tokens do, so a single outlier does not flatten the rest; a log-prob's
    distance from 0 counts.
    """
    values = np.asarray(values_T, dtype=np.float64)
    if channel.diverging:
        values = np.log(np.maximum(values, 1e-12)) if channel.middle == 1.0 else values - channel.middle
        limit = _end(np.abs(values))
        share = np.clip(values / limit, -1.0, 1.0)
        # Anything that moved is seen: the smallest push gets the faintest shade of its side.
        steps = np.sign(share) * np.ceil(np.abs(share) * SIDE - 1e-9)
        low, high = (np.exp(-limit), np.exp(limit)) if channel.middle == 1.0 else (-limit, limit)
    else:
        size = np.abs(values)
        limit = _end(size)
        steps = np.minimum(np.floor(np.clip(size / limit, 0.0, 1.0) * BUCKETS), BUCKETS - 1)
        low, high = 0.0, float(np.sign(values[np.isfinite(values)].sum()) or 1.0) * limit
    known = np.isfinite(steps)
    buckets = np.where(known, steps, 0).astype(np.int8)
    buckets[~known] = UNKNOWN
    return Scale(buckets, float(low), float(high))


def _end(sizes: npt.NDArray[np.float64]) -> float:
    """Where the scale ends."""
    finite = sizes[np.isfinite(sizes)]
    if not finite.size:
        return 1.0
    end = float(np.quantile(finite, 1.0 - _OUTLIERS))
    return end or float(finite.max()) or 1.0


def bucket_of_units(buckets_T: Buckets, units: tuple[Unit, ...]) -> list[int]:
    """One bucket for each unit: the farthest from nothing of its tokens."""
    listed = buckets_T.tolist()
    found = []
    for unit in units:
        of_unit = [b for b in listed[unit.first : unit.last + 1] if b != UNKNOWN]
        found.append(max(of_unit, key=abs) if of_unit else UNKNOWN)
    return found


def stopped_tokens(completion: CompletionRecord) -> npt.NDArray[np.bool_]:
    """Tokens whose push the update took away (the clip, or a mask), though their advantage is not 0."""
    nothing = np.zeros(completion.num_tokens, dtype=bool)
    if completion.weight_T is None or completion.weight_T.shape != nothing.shape:
        return nothing
    if completion.advantages_T is not None and completion.advantages_T.shape == nothing.shape:
        return np.asarray((completion.weight_T == 0) & (completion.advantages_T != 0))
    return np.asarray(completion.weight_T == 0) if completion.advantage else nothing


def role_of(bucket: int, *, diverging: bool) -> str:
    """The style role of a bucket; empty for nothing."""
    if bucket in (UNKNOWN, 0):
        return ""
    if diverging:
        return f"{'warm' if bucket > 0 else 'cool'}{abs(bucket)}"
    return f"heat{bucket}"


@lru_cache(maxsize=64)
def shade_of(bucket: int, *, diverging: bool) -> str:
    """The character of a bucket where there is no colour."""
    if bucket == UNKNOWN:
        return "?"
    if diverging:
        return " " if not bucket else "░▒▓█"[bucket - 1] if bucket > 0 else "-=≡#"[-bucket - 1]
    return " ··░░▒▓█"[bucket]


def mono_by_default(*, no_color: bool, native_ansi: bool, color_system: str | None) -> bool:
    """Whether the terminal cannot show shades: no colours are wanted, or there are sixteen at most."""
    return no_color or native_ansi or color_system in (None, "standard")
