"""Looking at one completion through the weights in memory: what they think of each token, and what else was likely."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grpo_tui.engine.trainer import Prompt, Trainer
from grpo_tui.events.commands import InspectCompletion
from grpo_tui.events.records import CompletionRecord, GroupRecord, IntArray, ProblemRecord, TokenScores
from grpo_tui.events.types import CompletionInspected
from grpo_tui.generation.trusted import left_pad
from grpo_tui.ops.logprobs import entropy_of, raised
from grpo_tui.policy.policy import Policy, TokenBatch

CHUNK_ELEMENTS = 1 << 24
"""Logits raised to float32 at a time, in elements."""
MAX_TOP = 20


def inspect_completion(trainer: Trainer, request: InspectCompletion) -> None:
    """Score a recorded completion under the present weights and under the base, and tell both.

    Nothing of the run changes: no weights, no random numbers, no record.

    Raises:
        ValueError: there is no such completion, or its problem is not among those of this run any more.
    """
    group, completion = recorded_answer(trainer, request.step, request.group, request.completion)
    if not completion.num_tokens:
        raise ValueError(f"response {request.completion + 1} of step {request.step} has no tokens to look at")
    prompt = _prompt_of(trainer.prompts, group.problem)
    policy, temperature = trainer.policy, trainer.config.sampling.temperature
    batch = one_row(policy, prompt.token_ids, completion.token_ids_T)
    top = max(1, min(request.top, MAX_TOP))
    with torch.no_grad():
        now = score_tokens(policy.token_logits(batch), batch.completion_ids_B_T[0], temperature, top)
        with policy.reference():
            base = score_tokens(policy.token_logits(batch), batch.completion_ids_B_T[0], temperature, top)
    ids = np.unique(
        np.concatenate([completion.token_ids_T, now.top_ids_T_K.ravel(), base.top_ids_T_K.ravel()])
    )
    trainer.emit(
        CompletionInspected(
            time=time.time(),
            step=request.step,
            group=request.group,
            completion=request.completion,
            token_ids_T=completion.token_ids_T,
            finished_steps=trainer.finished_steps,
            temperature=temperature,
            now=now,
            base=base,
            vocabulary=token_texts(policy.tokenizer, ids.tolist()),
            vocabulary_ids=ids.astype(np.int32),
        )
    )


def recorded_answer(
    trainer: Trainer, step: int, index: int, completion: int
) -> tuple[GroupRecord, CompletionRecord]:
    """A completion as it is recorded, and its group.

    Raises:
        ValueError: there is none.
    """
    group = trainer.recall(step, index)
    found = [c for c in group.completions if c.index == completion] if group is not None else []
    if group is None or not found:
        raise ValueError(f"step {step} has no response {completion + 1} in group {index + 1} on record")
    return group, found[0]


def score_tokens(logits_T_V: Tensor, tokens_T: Tensor, temperature: float, top: int) -> TokenScores:
    """Log-probs, entropies and the likeliest tokens at ``temperature`` > 0, host-side.

    Positions are raised to float32 in pieces, so that a long completion under a large vocabulary fits.
    """
    vocab = logits_T_V.shape[-1]
    rows = max(1, CHUNK_ELEMENTS // vocab)
    pieces: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for start in range(0, logits_T_V.shape[0], rows):
        logprobs_N_V = torch.log_softmax(raised(logits_T_V[start : start + rows]) / temperature, dim=-1)
        tokens_N = tokens_T[start : start + rows]
        best_N_K, ids_N_K = logprobs_N_V.topk(min(top, vocab), dim=-1)
        taken_N = logprobs_N_V.gather(-1, tokens_N.unsqueeze(-1)).squeeze(-1)
        pieces.append((taken_N, entropy_of(logprobs_N_V), ids_N_K, best_N_K))
    taken, entropies, ids, best = (torch.cat(parts).cpu() for parts in zip(*pieces, strict=True))
    return TokenScores(
        logprobs_T=taken.float().numpy(),
        entropies_T=entropies.float().numpy(),
        top_ids_T_K=ids.int().numpy(),
        top_logprobs_T_K=best.float().numpy(),
    )


def token_texts(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """The text of each token as it reads inside a text; a space at its beginning is kept, special tokens have names.

    A token that is only part of a character reads as U+FFFD.
    """
    anchor = tokenizer.encode("a", add_special_tokens=False)[-1:]
    before = tokenizer.decode(anchor)
    # Some tokenizers drop a space at the beginning of what they decode: so each token stands behind another.
    texts = (tokenizer.decode([*anchor, i]) for i in ids)
    return tuple(
        text[len(before) :] if text.startswith(before) else tokenizer.decode([i])
        for i, text in zip(ids, texts, strict=True)
    )


def _prompt_of(prompts: Sequence[Prompt], problem: ProblemRecord) -> Prompt:
    for prompt in prompts:
        if prompt.problem.id == problem.id and prompt.text == problem.prompt:
            return prompt
    raise ValueError(
        f"problem {problem.id} is no longer among this run's problems as it was: its data has changed since"
    )


def one_row(policy: Policy, prompt_ids: tuple[int, ...], token_ids_T: IntArray) -> TokenBatch:
    """A prompt and tokens that follow it, as the batch of one row that the policy scores."""
    ids, mask = left_pad([prompt_ids], policy.pad_id, policy.device)
    tokens = torch.from_numpy(token_ids_T.astype(np.int64)).to(policy.device).unsqueeze(0)
    return TokenBatch(
        prompt_ids_B_P=ids,
        prompt_mask_B_P=mask,
        completion_ids_B_T=tokens,
        completion_mask_B_T=torch.ones_like(tokens, dtype=torch.bool),
    )
