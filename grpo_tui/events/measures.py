"""What conditions can ask of a step, a group and a response: each measure once, with what it means."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from grpo_tui.events.records import CompletionRecord, FloatArray, GroupRecord, StepMetrics
from rewards.base import Verdict

Scope = Literal["step", "group", "response"]
WORDS = tuple(str(verdict).replace(" ", "_") for verdict in Verdict)


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that something has. ``read`` takes the thing (and the verdict's word); None: not known yet."""

    help: str
    read: Callable[..., float | None]
    of_verdict: bool = False
    before: Callable[[StepMetrics], float | None] | None = None
    """The same from the metrics of a finished step, so that a change can be told."""


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _responses(groups: Sequence[GroupRecord]) -> list[CompletionRecord]:
    return [completion for group in groups for completion in group.completions]


def _share(completions: Sequence[CompletionRecord], word: str) -> float | None:
    judged = [c for c in completions if c.verdict is not None]
    return sum(_word(c) == word for c in judged) / len(judged) if judged else None


def _count(completions: Sequence[CompletionRecord], word: str) -> float | None:
    if any(c.verdict is None for c in completions):
        return None
    return float(sum(_word(c) == word for c in completions))


def _word(completion: CompletionRecord) -> str:
    return str(completion.verdict).replace(" ", "_")


def _pass(completions: Sequence[CompletionRecord]) -> float | None:
    return _share(completions, str(Verdict.CORRECT))


def _worst(arrays: Iterable[FloatArray | None]) -> float | None:
    highest = [float(array.max()) for array in arrays if array is not None and array.size]
    return max(highest) if highest else None


def _of_responses(
    read: Callable[[Sequence[CompletionRecord]], float | None],
) -> Callable[[Any], float | None]:
    return lambda groups: read(_responses(groups))


def _length(completions: Sequence[CompletionRecord]) -> float | None:
    return _mean(float(c.num_tokens) for c in completions)


def _cut(completions: Sequence[CompletionRecord]) -> float | None:
    return _mean(float(c.finish_reason == "length") for c in completions)


def _token_mean(arrays: Iterable[FloatArray | None]) -> float | None:
    known = [array for array in arrays if array is not None and array.size]
    return float(np.concatenate(known).mean()) if known else None


_STEP: dict[str, Measure] = {
    "reward": Measure(
        "mean reward", _of_responses(lambda cs: _mean(c.reward for c in cs)), before=lambda m: m.reward_mean
    ),
    "reward_std": Measure(
        "standard deviation of all rewards",
        _of_responses(lambda cs: _std([c.reward for c in cs])),
        before=lambda m: m.reward_std,
    ),
    "accuracy": Measure("share of correct responses", _of_responses(_pass), before=lambda m: m.accuracy),
    "dead": Measure(
        "share of groups whose rewards are all equal",
        lambda groups: _mean(float(g.degenerate) for g in groups) if _scored(groups) else None,
    ),
    "truncated": Measure("share of responses cut at the length limit", _of_responses(_cut)),
    "mean_length": Measure("mean tokens of a response", _of_responses(_length)),
    "entropy": Measure(
        "mean entropy of a token, nats",
        _of_responses(lambda cs: _token_mean(c.entropies_T for c in cs)),
        before=lambda m: m.entropy,
    ),
    "kl_ref": Measure(
        "mean kl_ref of a token",
        _of_responses(lambda cs: _token_mean(c.kl_ref_T for c in cs)),
        before=lambda m: m.kl_ref,
    ),
    "worst_token.kl_ref": Measure(
        "highest kl_ref of a token", _of_responses(lambda cs: _worst(c.kl_ref_T for c in cs))
    ),
    "worst_token.entropy": Measure(
        "highest entropy of a token", _of_responses(lambda cs: _worst(c.entropies_T for c in cs))
    ),
    "verdict": Measure(
        "share of responses of a verdict",
        lambda groups, word: _share(_responses(groups), word),
        of_verdict=True,
    ),
    "count": Measure(
        "number of responses of a verdict",
        lambda groups, word: _count(_responses(groups), word),
        of_verdict=True,
    ),
}

_GROUP: dict[str, Measure] = {
    "mean": Measure("mean reward of the group", lambda g: g.reward_mean),
    "sd": Measure("standard deviation of its rewards", lambda g: g.reward_std),
    "best": Measure("its highest reward", lambda g: max(g.rewards, default=None)),
    "worst": Measure("its lowest reward", lambda g: min(g.rewards, default=None)),
    "size": Measure("its number of responses", lambda g: float(len(g.completions))),
    "accuracy": Measure("share of its responses that are correct", lambda g: _pass(g.completions)),
    "dead": Measure(
        "1 where its rewards are all equal", lambda g: float(g.degenerate) if _scored([g]) else None
    ),
    "form_only": Measure(
        "1 where only form makes a difference", lambda g: float(g.form_only) if _scored([g]) else None
    ),
    "unique": Measure("number of different texts", lambda g: float(len({c.text for c in g.completions}))),
    "truncated": Measure("share of its responses cut at the limit", lambda g: _cut(g.completions)),
    "mean_length": Measure("mean tokens of its responses", lambda g: _length(g.completions)),
    "kl_ref": Measure("mean kl_ref of its tokens", lambda g: _token_mean(c.kl_ref_T for c in g.completions)),
    "worst_token.kl_ref": Measure(
        "highest kl_ref of its tokens", lambda g: _worst(c.kl_ref_T for c in g.completions)
    ),
    "verdict": Measure(
        "share of its responses of a verdict", lambda g, word: _share(g.completions, word), of_verdict=True
    ),
    "count": Measure(
        "number of its responses of a verdict", lambda g, word: _count(g.completions, word), of_verdict=True
    ),
}

_RESPONSE: dict[str, Measure] = {
    "reward": Measure("its reward", lambda c: c.reward),
    "advantage": Measure("its advantage", lambda c: c.advantage),
    "length": Measure("its tokens", lambda c: float(c.num_tokens)),
    "truncated": Measure("1 where it was cut at the limit", lambda c: float(c.finish_reason == "length")),
    "entropy": Measure("mean entropy of its tokens, nats", lambda c: _token_mean([c.entropies_T])),
    "kl_ref": Measure("mean kl_ref of its tokens", lambda c: c.kl_ref),
    "worst_token.kl_ref": Measure("highest kl_ref of its tokens", lambda c: _worst([c.kl_ref_T])),
    "verdict": Measure(
        "1 where it has this verdict",
        lambda c, word: None if c.verdict is None else float(_word(c) == word),
        of_verdict=True,
    ),
}

NAMES: Mapping[Scope, Mapping[str, Measure]] = {"step": _STEP, "group": _GROUP, "response": _RESPONSE}


def _std(rewards: Sequence[float | None]) -> float | None:
    known = [reward for reward in rewards if reward is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None


def _scored(groups: Sequence[GroupRecord]) -> bool:
    return all(len(group.rewards) == len(group.completions) > 0 for group in groups)


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint with the nearest known word; empty where none is near."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
