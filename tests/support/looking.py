"""Answers of the engine to a look at a completion, made up from the completion itself."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from grpo_tui.events.fold import reduce
from grpo_tui.events.records import CompletionRecord, FloatArray, GroupRecord, TokenScores
from grpo_tui.events.state import RunState
from grpo_tui.events.types import (
    CompletionInspected,
    Event,
    GroupSampled,
    ReferenceComputed,
    StepFinished,
    TokensWeighed,
)
from tests.support.builders import T0

NEVER_SAMPLED = 90_000
"""Ids from here on stand for tokens that were likely and not drawn."""


def scores(completion: CompletionRecord, logprobs_T: FloatArray, top: int = 5) -> TokenScores:
    """The sampled token first among the likeliest, then others, each half as likely."""
    size = completion.num_tokens
    others = np.arange(NEVER_SAMPLED, NEVER_SAMPLED + top - 1, dtype=np.int32)
    ids = np.concatenate([completion.token_ids_T[:, None], np.tile(others, (size, 1))], axis=1)
    falling = np.log(0.5, dtype=np.float32) * np.arange(top, dtype=np.float32)
    return TokenScores(
        logprobs_T=logprobs_T,
        entropies_T=completion.entropies_T * np.float32(0.5),
        top_ids_T_K=ids.astype(np.int32),
        top_logprobs_T_K=(logprobs_T[:, None] + falling[None, :]).astype(np.float32),
    )


def inspected(
    completion: CompletionRecord,
    *,
    step: int,
    group: int,
    finished_steps: int | None = None,
    gain: float = 0.25,
    text: str = " alt",
) -> CompletionInspected:
    """Every second token has become likelier by ``gain``, the others less likely; the base knew none of it."""
    size = completion.num_tokens
    change = np.where(np.arange(size) % 2 == 0, gain, -gain).astype(np.float32)
    now = completion.logprobs_T + change
    ids = np.unique(
        np.concatenate([completion.token_ids_T, np.arange(NEVER_SAMPLED, NEVER_SAMPLED + 4, dtype=np.int32)])
    )
    starts = [*completion.token_offsets_T.tolist(), len(completion.text)]
    texts = {
        int(id): completion.text[starts[i] : starts[i + 1]] for i, id in enumerate(completion.token_ids_T)
    }
    return CompletionInspected(
        time=T0,
        step=step,
        group=group,
        completion=completion.index,
        token_ids_T=completion.token_ids_T,
        finished_steps=step if finished_steps is None else finished_steps,
        temperature=1.0,
        now=scores(completion, now),
        base=scores(completion, completion.logprobs_T - np.float32(0.5)),
        vocabulary=tuple(texts.get(int(id), f"{text}{int(id) - NEVER_SAMPLED}") for id in ids),
        vocabulary_ids=ids.astype(np.int32),
    )


WORD = re.compile(r"\s?\w+|\s?[^\w\s]|\s")


def tokenised(completion: CompletionRecord) -> CompletionRecord:
    """The same text in words, so that responses that begin alike have tokens in common; one that ended has its end."""
    pieces = list(WORD.finditer(completion.text))
    starts = [piece.start() for piece in pieces]
    ids = [zlib.crc32(piece.group().encode()) % 50_000 for piece in pieces]
    if not pieces:
        starts, ids = [0], [1]
    if completion.finish_reason == "stop":
        starts, ids = [*starts, len(completion.text)], [*ids, 0]
    level = np.abs(np.sin(np.arange(len(ids)) * (1.0 + 0.1 * completion.index))).astype(np.float32)
    return replace(
        completion,
        token_ids_T=np.array(ids, dtype=np.int32),
        token_offsets_T=np.array(starts, dtype=np.int32),
        logprobs_T=(-2.5 * level**3 - 0.01).astype(np.float32),
        entropies_T=(1.8 * level).astype(np.float32),
    )


def by_token(events: Iterable[Event]) -> Iterator[Event]:
    """The same events with words for tokens, numbers that differ among them, and what each update did with each."""
    state = RunState()
    for event in events:
        if isinstance(event, GroupSampled):
            completions = tuple(tokenised(c) for c in event.group.completions)
            event = replace(event, group=replace(event.group, completions=completions))
        elif isinstance(event, ReferenceComputed) and state.current is not None:
            event = replace(event, kl_ref_P_G=tuple(map(_kl_ref, state.current.groups)))
        elif isinstance(event, StepFinished) and state.current is not None:
            weighed = _weighed(state)
            state = reduce(state, weighed)
            yield weighed
        state = reduce(state, event)
        yield event


def _kl_ref(group: GroupRecord) -> tuple[FloatArray, ...]:
    return tuple((0.02 * np.abs(c.logprobs_T)).astype(np.float32) for c in group.completions)


def _weighed(state: RunState) -> TokensWeighed:
    """A × ρ over the length; every fifth token is clipped."""
    assert state.current is not None
    weights, ratios = [], []
    for group in state.current.groups:
        ratio_G = [
            np.exp(0.3 * np.sin(np.arange(c.num_tokens))).astype(np.float32) for c in group.completions
        ]
        weight_G = []
        for completion, ratio in zip(group.completions, ratio_G, strict=True):
            weight = ratio * np.float32((completion.advantage or 0.0) / completion.num_tokens)
            weight[4::5] = 0.0
            weight_G.append(weight.astype(np.float32))
        ratios.append(tuple(ratio_G))
        weights.append(tuple(weight_G))
    return TokensWeighed(
        time=state.log[-1].time if state.log else T0,
        step=state.current.step,
        weights_P_G=tuple(weights),
        ratios_P_G=tuple(ratios),
    )
