"""What a sampler is asked and what it answers. Token ids in, token ids out; text is nobody's business here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from grpo_tui.events.records import FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSettings:
    """How tokens are drawn. ``temperature`` 0 takes the likeliest token."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRequest:
    """One completion to draw. ``stream_key`` names its random stream: equal keys draw equal numbers."""

    prompt_ids: tuple[int, ...]
    stream_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledTokens:
    """One drawn completion, host-side.

    ``logprobs_T`` are at the sampling temperature but before top-p and top-k, which is the distribution that
    the update differentiates; at temperature 0 they are those of temperature 1.
    """

    token_ids_T: IntArray
    logprobs_T: FloatArray
    entropies_T: FloatArray
    finish_reason: str


class Glimpse(NamedTuple):
    """A completion while it is drawn: none of its tokens yet where it waits for a place."""

    token_ids: list[int]
    """Its end included."""
    finish_reason: str = ""
    """Empty while it is not finished."""

    @property
    def finished(self) -> bool:
        """Whether nothing more comes."""
        return bool(self.finish_reason)


Peek = Callable[[Sequence[int]], list[Glimpse]]
"""From requests, counted from the first of the call, to what was drawn of each so far."""


def _nothing(_rows: Sequence[int]) -> list[Glimpse]:
    return []


def _nobody() -> list[bool]:
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTick:
    """After each decoded position: how far sampling is."""

    num_tokens: int
    """Tokens drawn so far in this call, over all completions."""
    num_finished: int
    num_total: int
    longest: int
    """Tokens of the longest completion that still ran."""
    num_prompt_tokens: int = 0
    """Prompt tokens prefilled so far in this call; each distinct prompt once, or once in each round where there are some."""
    prefill_seconds: float = field(default=0.0, compare=False)
    decode_seconds: float = field(default=0.0, compare=False)
    """Spent so far in this call; what listeners to ticks take is not among them."""
    peek: Peek = field(default=_nothing, compare=False)
    """Gives what was drawn of some requests so far. Waits for the device, so it is for the few who look."""
    ended: Callable[[], list[bool]] = field(default=_nobody, compare=False)
    """Which requests are finished. Waits for the device too."""


OnToken = Callable[[TokenTick], None]
"""May raise to abandon sampling; may block to pause it."""


class Sampler(Protocol):
    """Draws completions. Implementations must give the same tokens at temperature 0."""

    def sample(
        self, requests: Sequence[SampleRequest], settings: SamplingSettings, on_token: OnToken
    ) -> list[SampledTokens]:
        """One completion for each request, in order. Requests with equal prompts share a prefill."""
        ...
