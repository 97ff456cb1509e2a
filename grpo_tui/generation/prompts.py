"""Prompts through the sampler's twin: each distinct one once, and kept for as long as completions of it wait."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grpo_tui.generation.drawing import Cost
from grpo_tui.generation.slab import SlabCache
from grpo_tui.generation.trusted import left_pad
from grpo_tui.policy.policy import Policy, positions

PREFILL_TOKENS = 16_384
"""Padded prompt tokens that go through the model at once."""


def new_cache(model: Any, capacity: int) -> SlabCache:
    """An empty cache for a model, of at most so many positions."""
    return SlabCache(int(model.config.get_text_config().num_hidden_layers), capacity)


def prefill(model: Any, ids_P_W: Tensor, mask_P_W: Tensor, cache: SlabCache) -> Tensor:
    """Put prompts, padded on the left, into the cache; logits after their last token, ``P_V``."""
    width = ids_P_W.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool, device=ids_P_W.device).tril()
    looks = causal & mask_P_W[:, None, None, :]
    # A padded position looks at itself, for a softmax over nothing is NaN.
    looks = looks | torch.eye(width, dtype=torch.bool, device=ids_P_W.device)
    output = model(
        input_ids=ids_P_W,
        attention_mask=looks,
        position_ids=positions(mask_P_W),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: Tensor = output.logits[:, -1]
    return logits


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Prompts that went through together: their keys and values, and the logits after each, ``P_V``."""

    cache: SlabCache
    logits_P_V: Tensor

    def select(self, rows: Sequence[int]) -> Part:
        """A part of its own with some of them."""
        width, rows_P = self.cache.get_seq_length(), torch.tensor(rows, device=self.logits_P_V.device)
        cache = self.cache.like(len(rows), width, width)
        cache.put(torch.arange(len(rows), device=rows_P.device), self.cache, rows_P)
        return Part(cache, self.logits_P_V[rows_P])


@dataclass(frozen=True, slots=True)
class Portion:
    """Of completions that were taken together, those whose prompts are in one part: which they are, and where in it."""

    part: Part
    which_M: Tensor
    rows_M: Tensor


@dataclass(frozen=True, slots=True)
class Taken:
    """Completions that need not wait any more."""

    rows: list[int]
    """Which of all they are."""
    lengths: list[int]
    """Tokens of their prompts."""
    portions: list[Portion]


class Prompts:
    """The completions that wait, and the prompts that they begin from."""

    def __init__(
        self, policy: Policy, model: Any, prompt_by_row: Mapping[int, tuple[int, ...]], cost: Cost
    ) -> None:
        self._policy, self._model, self._cost = policy, model, cost
        number: dict[tuple[int, ...], int] = {}
        self._waiting = deque(
            (row, number.setdefault(ids, len(number))) for row, ids in prompt_by_row.items()
        )
        self._prompts = list(number)
        self._num_waiting = Counter(number for _, number in self._waiting)
        self._kept: dict[int, tuple[Part, int]] = {}
        self.longest = max(map(len, self._prompts))
        """Tokens of the longest prompt."""

    def __len__(self) -> int:
        """How many completions wait."""
        return len(self._waiting)

    def take(self, count: int) -> Taken:
        """Those that have waited longest, with their prompts gone through the model."""
        taken = [self._waiting.popleft() for _ in range(count)]
        numbers = [number for _, number in taken]
        self._prefill([number for number in dict.fromkeys(numbers) if number not in self._kept])
        found: dict[Part, list[tuple[int, int]]] = defaultdict(list)
        for which, number in enumerate(numbers):
            part, at = self._kept[number]
            found[part].append((which, at))
        self._num_waiting.subtract(numbers)
        self._let_go()
        device = self._policy.device
        return Taken(
            rows=[row for row, _ in taken],
            lengths=[len(self._prompts[number]) for number in numbers],
            portions=[
                Portion(part, *torch.tensor(pairs, device=device).unbind(dim=1))
                for part, pairs in found.items()
            ],
        )

    def _let_go(self) -> None:
        """Forget prompts for which nothing waits any more."""
        still: dict[Part, list[tuple[int, int]]] = defaultdict(list)
        for number, (part, at) in self._kept.items():
            if self._num_waiting[number]:
                still[part].append((number, at))
        if sum(map(len, still.values())) == len(self._kept):
            return
        self._kept = {}
        for part, pairs in still.items():
            fewer = part.select([at for _, at in pairs])
            self._kept.update({number: (fewer, at) for at, (number, _) in enumerate(pairs)})

    def _prefill(self, numbers: Sequence[int]) -> None:
        """Let prompts go through the model, as many at once as is good."""
        if not numbers:
            return
        prompts = [self._prompts[number] for number in numbers]
        at_once = max(1, PREFILL_TOKENS // max(map(len, prompts)))
        with self._cost.prefill(sum(map(len, prompts)), self._policy.device):
            for start in range(0, len(prompts), at_once):
                part = self._part(prompts[start : start + at_once])
                for at, number in enumerate(numbers[start : start + at_once]):
                    self._kept[number] = part, at

    def _part(self, prompts: Sequence[tuple[int, ...]]) -> Part:
        ids, mask = left_pad(prompts, self._policy.pad_id, self._policy.device)
        cache = new_cache(self._model, ids.shape[1])
        return Part(cache, prefill(self._model, ids, mask, cache))
