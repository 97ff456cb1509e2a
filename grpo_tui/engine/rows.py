"""The rollout batch as rows, and microbatches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from grpo_tui.config.schema import AlgorithmConfig
from grpo_tui.engine.trainer import Prompt, Trainer
from grpo_tui.events.records import GroupRecord
from grpo_tui.generation.trusted import left_pad
from grpo_tui.ops.masking import completion_mask
from grpo_tui.policy.packing import SharedPrompts, pack
from grpo_tui.policy.policy import Policy, TokenBatch

_V = TypeVar("_V")


@dataclass(slots=True, kw_only=True)
class Row:
    """One completion in the update. Tensors are on the policy's device, length T of this completion."""

    group: int
    index: int
    """Place in the group."""
    prompt_ids: tuple[int, ...]
    completion_ids_T: Tensor
    sampled_logprobs_T: Tensor
    reward: float
    trains: bool = True
    """False: takes no part in the loss (it was cut, and such completions are masked)."""
    excluded: bool = False
    """A person keeps it out: nothing is compared with it, and it takes no part in the loss."""
    ahead: bool = False
    """Drawn by the policy before the last update."""
    advantage: float = 0.0
    advantages_T: Tensor | None = None
    """Of each token, where they differ (``gae``)."""
    values_T: Tensor | None = None
    """V of the state before each token, by the critic as it was before the update."""
    returns_T: Tensor | None = None
    """What the critic learns to predict."""
    ref_logprobs_T: Tensor | None = None
    old_logprobs_T: Tensor | None = None
    """Of the policy that sampled. None when on-policy: the update's own first pass gives them."""
    old_is_first: bool = field(default=False, repr=False)
    """The old log-probs were taken from the update's own first pass, and go with it."""
    first_logprobs_T: Tensor | None = field(default=None, repr=False)
    """ℓ at the weights before the update, from the update's first pass."""
    last_logprobs_T: Tensor | None = field(default=None, repr=False)
    """ℓ in the last gradient step that saw this row."""
    weight_T: Tensor | None = field(default=None, repr=False)
    """Effective weight of each token in the first gradient step that saw this row."""
    ratio_T: Tensor | None = field(default=None, repr=False)
    """ρ as the loss had it, in the last gradient step that saw this row."""

    @property
    def num_tokens(self) -> int:
        """Completion tokens."""
        return int(self.completion_ids_T.shape[0])

    @property
    def total_length(self) -> int:
        """Prompt and completion tokens."""
        return len(self.prompt_ids) + self.num_tokens

    def forget_update(self) -> None:
        """Drop what an update that was not finished has left."""
        self.first_logprobs_T = self.last_logprobs_T = self.weight_T = self.ratio_T = None
        if self.old_is_first:
            self.old_logprobs_T, self.old_is_first = None, False

    @property
    def has_signal(self) -> bool:
        """Whether the policy term pushes any of its tokens."""
        if not self.trains:
            return False
        return self.advantage != 0.0 if self.advantages_T is None else bool((self.advantages_T != 0).any())


def is_on_policy(config: AlgorithmConfig, rows: Sequence[Row] = ()) -> bool:
    """Whether every gradient of a step is taken at the weights that sampled it, none of its rows having been drawn ahead."""
    one_gradient = config.num_epochs == 1 and config.num_minibatches == 1
    return one_gradient and not any(row.ahead for row in rows)


def make_rows(trainer: Trainer, prompts: Sequence[Prompt], groups: Sequence[GroupRecord]) -> list[Row]:
    """Flatten groups to rows ``_B``, in order."""
    device = trainer.policy.device
    masked = trainer.config.groups.mask_truncated
    return [
        Row(
            group=group.index,
            index=completion.index,
            prompt_ids=prompt.token_ids,
            completion_ids_T=torch.from_numpy(completion.token_ids_T.astype(np.int64)).to(device),
            sampled_logprobs_T=torch.from_numpy(completion.logprobs_T).to(device),
            reward=completion.reward or 0.0,
            excluded=completion.excluded,
            ahead=completion.ahead,
            trains=not (completion.excluded or (masked and completion.finish_reason == "length")),
        )
        for prompt, group in zip(prompts, groups, strict=True)
        for completion in group.completions
    ]


def nested(rows: Sequence[Row], values: Sequence[_V]) -> tuple[tuple[_V, ...], ...]:
    """One value a row, put back into groups ``P_G``."""
    groups: dict[int, list[_V]] = {}
    for row, value in zip(rows, values, strict=True):
        groups.setdefault(row.group, []).append(value)
    return tuple(tuple(group) for group in groups.values())


MIN_MICROBATCH_TOKENS = 2048
"""Padded tokens from which on a microbatch keeps the processor busy by itself."""
NARROWER = 0.8
"""A row this much narrower than its microbatch is better off in the next: padding costs as much as tokens."""


def split_by_tokens(rows: Sequence[Row], max_tokens: int, *, packs: bool = False) -> list[list[Row]]:
    """Microbatches of at most ``max_tokens`` padded tokens (at least one row each), like lengths together.

    Args:
        rows: in any order.
        max_tokens: of one microbatch.
        packs: short rows cost no padding (:func:`grpo_tui.policy.shared.pack`), so none are parted for it.
    """
    ordered = sorted(rows, key=lambda row: row.total_length, reverse=True)
    microbatches: list[list[Row]] = []
    prompt = completion = 0
    for row in ordered:
        new_prompt = max(prompt, len(row.prompt_ids))
        new_completion = max(completion, row.num_tokens)
        size = (new_prompt + new_completion) * (len(microbatches[-1]) + 1) if microbatches else 0
        narrow = row.total_length < NARROWER * (prompt + completion)
        wasteful = not packs and size > MIN_MICROBATCH_TOKENS and narrow
        if not microbatches or size > max_tokens or wasteful:
            microbatches.append([])
            new_prompt, new_completion = len(row.prompt_ids), row.num_tokens
        microbatches[-1].append(row)
        prompt, completion = new_prompt, new_completion
    return microbatches


def token_batch(rows: Sequence[Row], policy: Policy) -> TokenBatch:
    """Rows in one rectangle."""
    distinct = list(dict.fromkeys(row.prompt_ids for row in rows))
    place = {prompt: i for i, prompt in enumerate(distinct)}
    ids, mask = left_pad(distinct, policy.pad_id, policy.device)
    prompt_of = torch.tensor([place[row.prompt_ids] for row in rows], device=policy.device)
    lengths = torch.tensor([row.num_tokens for row in rows], device=policy.device)
    completion_ids = torch.nn.utils.rnn.pad_sequence(
        [row.completion_ids_T for row in rows], batch_first=True, padding_value=policy.pad_id
    )
    return TokenBatch(
        prompt_ids_B_P=ids[prompt_of],
        prompt_mask_B_P=mask[prompt_of],
        completion_ids_B_T=completion_ids,
        completion_mask_B_T=completion_mask(lengths, completion_ids.shape[1]),
        shared=SharedPrompts(ids_Q_P=ids, mask_Q_P=mask, prompt_of_B=prompt_of)
        if len(distinct) < len(rows)
        else None,
    )


def count_tokens(rows: Sequence[Row], policy: Policy) -> tuple[int, int]:
    """Real tokens of a microbatch, and the positions that go through the model for them."""
    distinct = {row.prompt_ids: place for place, row in enumerate(rows)}
    answers = [row.num_tokens for row in rows]
    if policy.packs_rows and len(distinct) < len(rows):
        prompts = list(map(len, distinct))
        packing = pack(answers, [distinct[row.prompt_ids] for row in rows])
        # A completion's last token predicts nothing and stays out.
        real = sum(prompts) + sum(answers) - len(answers)
        return real, len(prompts) * max(prompts) + packing.num_positions
    lengths = [len(row.prompt_ids) for row in rows]
    return sum(lengths) + sum(answers), len(rows) * (max(lengths) + max(answers))


def loss_mask(rows: Sequence[Row], completion_mask_B_T: Tensor) -> Tensor:
    """The completion mask without rows that take no part in the loss."""
    trains = torch.tensor([row.trains for row in rows], device=completion_mask_B_T.device)
    return completion_mask_B_T & trains.unsqueeze(1)


def padded(arrays: Sequence[Tensor]) -> Tensor:
    """Per-completion numbers in one rectangle ``B_T``, 0 on the right."""
    return torch.nn.utils.rnn.pad_sequence(list(arrays), batch_first=True)


def known(tensor_T: Tensor | None) -> Tensor:
    """A tensor that an earlier phase has made."""
    assert tensor_T is not None, "this was not prepared for this row"
    return tensor_T
