"""Answers of the engine to a look at a completion, made up from the completion itself."""

from __future__ import annotations

import numpy as np

from grpo_tui.events.records import CompletionRecord, FloatArray, TokenScores
from grpo_tui.events.types import CompletionInspected
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
