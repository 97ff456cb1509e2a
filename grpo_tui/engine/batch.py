"""Phase *reference*: the rollout batch as rows, what the update compares them with, and microbatches of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from grpo_tui.config.schema import AlgorithmConfig
from grpo_tui.engine.control import Gate
from grpo_tui.engine.trainer import Prompt, Trainer
from grpo_tui.events.records import FloatArray, GroupRecord, Phase
from grpo_tui.events.types import Progress, ReferenceComputed
from grpo_tui.generation.trusted import left_pad
from grpo_tui.ops.kl import k3
from grpo_tui.ops.masking import completion_mask
from grpo_tui.policy.policy import Policy, TokenBatch


@dataclass(slots=True, kw_only=True)
class Row:
    """One completion in the update. Log-probs are on the policy's device, length T of this completion."""

    prompt_ids: tuple[int, ...]
    completion_ids_T: Tensor
    sampled_logprobs_T: Tensor
    advantage: float
    ref_logprobs_T: Tensor | None = None
    old_logprobs_T: Tensor | None = None
    """None when on-policy: the update's own first pass gives them."""
    first_logprobs_T: Tensor | None = field(default=None, repr=False)
    """ℓ at the weights before the update, from the update's first pass."""

    @property
    def num_tokens(self) -> int:
        """Completion tokens."""
        return int(self.completion_ids_T.shape[0])

    @property
    def total_length(self) -> int:
        """Prompt and completion tokens."""
        return len(self.prompt_ids) + self.num_tokens


def is_on_policy(config: AlgorithmConfig) -> bool:
    """Whether every gradient of a step is taken at the weights that sampled it."""
    return config.num_epochs == 1 and config.num_minibatches == 1


def make_rows(trainer: Trainer, prompts: Sequence[Prompt], groups: Sequence[GroupRecord]) -> list[Row]:
    """Flatten groups to rows ``_B``, in order."""
    device = trainer.policy.device
    return [
        Row(
            prompt_ids=prompt.token_ids,
            completion_ids_T=torch.from_numpy(completion.token_ids_T.astype(np.int64)).to(device),
            sampled_logprobs_T=torch.from_numpy(completion.logprobs_T).to(device),
            advantage=completion.advantage or 0.0,
        )
        for prompt, group in zip(prompts, groups, strict=True)
        for completion in group.completions
    ]


def prepare_batch(
    trainer: Trainer, step: int, prompts: Sequence[Prompt], groups: Sequence[GroupRecord], gate: Gate
) -> list[Row]:
    """Rows with reference log-probs where something needs them, and old ones where the update is off-policy."""
    rows = make_rows(trainer, prompts, groups)
    config = trainer.config.algorithm
    needs_reference = config.beta > 0 or config.measure_kl_ref
    microbatches = split_by_tokens(rows, trainer.config.optim.max_tokens_per_microbatch)
    total = len(microbatches) * (int(needs_reference) + int(not is_on_policy(config)))
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        trainer.report(
            Progress(step=step, phase=Phase.REFERENCE, done=done, total=total, unit="microbatches")
        )

    if needs_reference:
        with trainer.policy.reference():
            for microbatch in microbatches:
                gate.tick(f"in reference, after {done} microbatches")
                for row, logprobs_T in _logprobs_of(trainer, microbatch):
                    row.ref_logprobs_T = logprobs_T
                tell()
        emit_kl_ref(trainer, step, rows, exact=False)
    if not is_on_policy(config):
        for microbatch in microbatches:
            gate.tick(f"in reference, after {done} microbatches")
            for row, logprobs_T in _logprobs_of(trainer, microbatch):
                row.old_logprobs_T = logprobs_T
            tell()
    return rows


@torch.no_grad()
def _logprobs_of(trainer: Trainer, rows: Sequence[Row]) -> list[tuple[Row, Tensor]]:
    logprobs_B_T, _ = trainer.policy.logprobs(
        token_batch(rows, trainer.policy), trainer.config.sampling.temperature
    )
    return [(row, logprobs_B_T[i, : row.num_tokens].clone()) for i, row in enumerate(rows)]


def emit_kl_ref(trainer: Trainer, step: int, rows: Sequence[Row], *, exact: bool) -> list[FloatArray] | None:
    """Tell the k3 estimate of KL(policy ‖ reference) at every token; None where it was not measured.

    ``exact`` takes the policy's log-probs from the update's first pass, else those recorded while sampling.
    """
    arrays: list[FloatArray] = []
    for row in rows:
        logprobs_T = row.first_logprobs_T if exact else row.sampled_logprobs_T
        if logprobs_T is None or row.ref_logprobs_T is None:
            return None
        arrays.append(k3(logprobs_T - row.ref_logprobs_T).float().cpu().numpy())
    size = trainer.config.sampling.group_size
    nested = tuple(tuple(arrays[start : start + size]) for start in range(0, len(arrays), size))
    trainer.emit(ReferenceComputed(time=time.time(), step=step, kl_ref_P_G=nested, exact=exact))
    return arrays


def split_by_tokens(rows: Sequence[Row], max_tokens: int) -> list[list[Row]]:
    """Microbatches of at most ``max_tokens`` padded tokens (at least one row each), like lengths together."""
    ordered = sorted(rows, key=lambda row: row.total_length, reverse=True)
    microbatches: list[list[Row]] = []
    prompt = completion = 0
    for row in ordered:
        new_prompt = max(prompt, len(row.prompt_ids))
        new_completion = max(completion, row.num_tokens)
        size = (new_prompt + new_completion) * (len(microbatches[-1]) + 1) if microbatches else 0
        if not microbatches or size > max_tokens:
            microbatches.append([])
            new_prompt, new_completion = len(row.prompt_ids), row.num_tokens
        microbatches[-1].append(row)
        prompt, completion = new_prompt, new_completion
    return microbatches


def token_batch(rows: Sequence[Row], policy: Policy) -> TokenBatch:
    """Rows in one rectangle."""
    prompt_ids, prompt_mask = left_pad([row.prompt_ids for row in rows], policy.pad_id, policy.device)
    lengths = torch.tensor([row.num_tokens for row in rows], device=policy.device)
    completion_ids = torch.nn.utils.rnn.pad_sequence(
        [row.completion_ids_T for row in rows], batch_first=True, padding_value=policy.pad_id
    )
    return TokenBatch(
        prompt_ids_B_P=prompt_ids,
        prompt_mask_B_P=prompt_mask,
        completion_ids_B_T=completion_ids,
        completion_mask_B_T=completion_mask(lengths, completion_ids.shape[1]),
    )


def padded(arrays: Sequence[Tensor]) -> Tensor:
    """Per-completion numbers in one rectangle ``B_T``, 0 on the right."""
    return torch.nn.utils.rnn.pad_sequence(list(arrays), batch_first=True)
