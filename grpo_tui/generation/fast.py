"""The fast sampler: the same completions as the trusted one, by a twin of the model that has nothing to wait for.

Against :mod:`grpo_tui.generation.trusted`: the adapter is folded into the weights (:mod:`~grpo_tui.generation.folded`), the
cache is written in place (:mod:`~grpo_tui.generation.slab`), attention does not repeat keys
(:mod:`~grpo_tui.generation.attention`), and rows that are finished make place for those that wait, or leave the batch
(:mod:`~grpo_tui.generation.refilling`). A model that one of these cannot take is sampled by the trusted one:
:func:`make_sampler` tries, compares, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from grpo_tui.config import machine
from grpo_tui.generation import attention
from grpo_tui.generation.captured import Captured
from grpo_tui.generation.choice import choose
from grpo_tui.generation.compiler import CannotBuildError, library
from grpo_tui.generation.drawing import MAX_ROWS, Cost, Drawn, draw_all
from grpo_tui.generation.folded import Twin
from grpo_tui.generation.fused import Fused, can_fuse
from grpo_tui.generation.native import Native, has_dots
from grpo_tui.generation.prompts import Prompts, new_cache, prefill
from grpo_tui.generation.refilling import Decode, Rows
from grpo_tui.generation.slab import SlabCache
from grpo_tui.generation.straight import Straight
from grpo_tui.generation.threads import decoding_threads
from grpo_tui.generation.trusted import TrustedSampler
from grpo_tui.generation.types import (
    OnToken,
    SampledTokens,
    Sampler,
    SampleRequest,
    SamplingSettings,
)
from grpo_tui.heap import give_back_where_scarce
from grpo_tui.policy.errors import UNFIT, one_line
from grpo_tui.policy.policy import Policy, TokenBatch

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.15}
"""Largest total variation between the distributions of twin and model that is taken for rounding."""
SLOWER = "two to four times slower than"


class FastSampler:
    """Draws completions through a twin of the policy's model."""

    def __init__(
        self,
        policy: Policy,
        max_rows: int = MAX_ROWS,
        *,
        captures: bool | None = None,
        fuses: bool | None = None,
        compiles: bool = False,
    ) -> None:
        """Build the twin.

        Args:
            policy: to sample from.
            max_rows: completions decoded together.
            captures: decode over fixed addresses, on CUDA as a graph; None: on CUDA, where the model is decoded straight.
            fuses: decode by Triton's kernels; None: on CUDA, where decoding is captured and they take the model.
            compiles: decode by compiled code, if it takes the model: bfloat16 on a CPU.

        Raises:
            ValueError: the model's adapter or cache is of a kind that the twin cannot have.
            CannotBuildError: there is no compiled code, where it was wanted.
        """
        self._policy = policy
        self._max_rows = max_rows
        _check_cache(policy)
        self._twin = Twin(policy, attention.NAME)
        native = _native(self._twin) if compiles else None
        self.compiles = native is not None
        self._decode = native or _decoder(self._twin)
        on_cuda = policy.device.type == "cuda"
        self.captures = (on_cuda if captures is None else captures) and isinstance(self._decode, Straight)
        fused = _fused(self._twin) if self.captures and (on_cuda if fuses is None else fuses) else None
        self.fuses = fused is not None
        if self.captures:
            self._decode = Captured(fused or self._decode)

    @torch.no_grad()
    def sample(
        self, requests: Sequence[SampleRequest], settings: SamplingSettings, on_token: OnToken
    ) -> list[SampledTokens]:
        """One completion for each request, in order."""
        num_rows = min(len(requests), self._max_rows)
        give_back_where_scarce(machine.free_memory())
        with (
            self._on_its_device(),
            decoding_threads(self._policy),
            self._twin.awake(num_rows) as model,
            self._afterwards(),
        ):

            def begin(drawn: Drawn, waiting: Sequence[int], max_rows: int, cost: Cost) -> Rows:
                prompt_by_row = {row: requests[row].prompt_ids for row in waiting}
                prompts = Prompts(self._policy, model, prompt_by_row, cost)
                return Rows(prompts, self._decode, drawn, max_rows, self._forget)

            return draw_all(
                self._policy, requests, settings, self._max_rows, begin, on_token,
                captures=self.captures,
                choose=self._decode.choose if isinstance(self._decode, Native) else choose,
            )  # fmt: skip

    @torch.no_grad()
    def freeze(self, num_requests: int) -> None:
        """Draw by the weights as they are now until :meth:`thaw`: see :mod:`grpo_tui.generation.beside`."""
        self._twin.freeze(min(num_requests, self._max_rows))

    def thaw(self) -> None:
        """Draw by the policy's weights again."""
        self._twin.thaw()

    def close(self) -> None:
        """Let go of what is kept from one sampling to the next; another one may follow."""
        if isinstance(self._decode, Native):
            self._decode.close()

    def _on_its_device(self) -> AbstractContextManager[object]:
        """Within: streams, graphs and Triton's kernels, which go by the thread's device, are the policy's device's."""
        device = self._policy.device
        return torch.cuda.device(device) if device.type == "cuda" else nullcontext()

    @contextmanager
    def _afterwards(self) -> Iterator[None]:
        """A graph holds the addresses of weights that are copies for one sampling: it goes with them."""
        try:
            yield
        finally:
            self._forget()

    def _forget(self) -> None:
        """Let go of what decoding holds of a cache."""
        if isinstance(self._decode, Captured):
            self._decode.forget()

    @torch.no_grad()
    def deviation(self) -> float:
        """Largest total variation between next-token distributions of the twin and of the model it stands for.

        ½ Σ |p − q| over the vocabulary, on a few tokens, with noise for an adapter.
        """
        batch = self._policy.sample_batch()
        num_rows = batch.completion_ids_B_T.shape[0]
        with self._on_its_device(), self._policy.stirred(), self._twin.awake(num_rows), self._afterwards():
            expected = torch.softmax(self._policy.logits(batch).float(), dim=-1)
            found = torch.softmax(self._logits(batch).float(), dim=-1)
            return float(0.5 * (found - expected).abs().sum(-1).max())

    @torch.no_grad()
    def logits(self, batch: TokenBatch) -> Tensor:
        """Logits that this sampler would draw given tokens from, one position at a time, ``B_T_V``."""
        num_rows = batch.completion_ids_B_T.shape[0]
        with (
            self._on_its_device(),
            decoding_threads(self._policy),
            self._twin.awake(num_rows),
            self._afterwards(),
        ):
            return self._logits(batch)

    def _logits(self, batch: TokenBatch) -> Tensor:
        """What each completion token is predicted from, by prefill and decoding, ``B_T_V``."""
        model, answers, mask = self._twin.model, batch.completion_ids_B_T, batch.prompt_mask_B_P
        cache = new_cache(model, mask.shape[1] + answers.shape[1])
        logits = [prefill(model, batch.prompt_ids_B_P, mask, cache)]
        for column in range(answers.shape[1] - 1):
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            looks = mask[:, None, None]
            # A copy: captured, the next position writes over it.
            logits.append(self._decode(answers[:, column], mask.sum(1) - 1, looks, cache).clone())
        return torch.stack(logits, dim=1)


def make_sampler(policy: Policy, kind: str, say: Callable[[str], None] = lambda _line: None) -> Sampler:
    """The sampler that a config asks for.

    Args:
        policy: to sample from.
        kind: ``trusted``, ``fast``, or ``auto``: the fast one where it works and agrees with the model.
        say: told in a sentence why ``auto`` fell back.

    Raises:
        ValueError: ``fast`` was asked for and does not work with this model.
    """
    if kind == "trusted":
        return TrustedSampler(policy)
    try:
        sampler, deviation = _built(policy, say)
        limit = TOLERANCE.get(policy.dtype, 0.15)
        if not deviation <= limit:
            raise ValueError(f"its distributions differ by up to {deviation:.2g}, more than {limit:g}")
    except UNFIT as error:
        reason = one_line(error)
        if kind == "fast":
            raise ValueError(f"sampling.sampler: 'fast' does not work with this model: {reason}") from error
        say(f"the fast sampler cannot take this model ({reason}); the trusted one samples, slower")
        return TrustedSampler(policy)
    return sampler


def way_of_decoding(device: torch.device, dtype: torch.dtype) -> str:
    """How positions of a Llama-like model are decoded on this machine, in words."""
    if device.type == "cuda":
        return "CUDA graphs of Triton's kernels" if can_fuse() else "CUDA graphs of torch's kernels"
    if device.type != "cpu" or dtype is not torch.bfloat16 or not has_dots():
        return "torch"
    try:
        built = library()
    except CannotBuildError as error:
        return f"torch, {SLOWER} compiled code: {one_line(error)}"
    return "compiled code" + (" with matrix instructions (AMX)" if built.has_tiles() else "")


def _built(policy: Policy, say: Callable[[str], None]) -> tuple[FastSampler, float]:
    """The fast sampler and its deviation; without compiled code, kernels of its own, or graphs, where they do not work."""
    compiled = _compiled(policy, say)
    if compiled is not None:
        return compiled
    sampler = FastSampler(policy)
    if sampler.fuses:
        try:
            deviation = sampler.deviation()
            if deviation <= TOLERANCE.get(policy.dtype, 0.15):
                return sampler, deviation
            reason = f"distributions differ by up to {deviation:.2g}"
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a compiler's, a driver's or Triton's: of any kind
            reason = one_line(error)
        say(f"decoding by Triton's kernels does not work here ({reason}); torch's decode, slower")
        sampler = FastSampler(policy, fuses=False)
    if sampler.captures:
        try:
            return sampler, sampler.deviation()
        except UNFIT as error:
            say(
                f"decoding cannot be captured as a CUDA graph ({one_line(error)}); it goes kernel by kernel, slower"
            )
            sampler = FastSampler(policy, captures=False)
    return sampler, sampler.deviation()


def _compiled(policy: Policy, say: Callable[[str], None]) -> tuple[FastSampler, float] | None:
    """The fast sampler that decodes by compiled code, and its deviation; None where that is not quick, or does not work."""
    if policy.device.type != "cpu" or policy.dtype is not torch.bfloat16 or not has_dots():
        return None
    try:
        sampler = FastSampler(policy, compiles=True)
        if not sampler.compiles:
            return None
        deviation = sampler.deviation()
    except CannotBuildError as error:
        say(f"decoding goes by torch, {SLOWER} by compiled code: {one_line(error)}")
        return None
    except (*UNFIT, AssertionError, MemoryError) as error:
        say(f"compiled decoding does not work here ({one_line(error)}); torch's decode, slower")
        return None
    if not deviation <= TOLERANCE[torch.bfloat16]:
        say(f"compiled decoding is off by up to {deviation:.2g} with this model; torch's decode, slower")
        return None
    return sampler, deviation


def _native(twin: Twin) -> Native | None:
    """Compiled code for the model, where it takes it.

    Raises:
        CannotBuildError: there is none.
    """
    try:
        return Native(twin)
    except (ValueError, AttributeError):
        return None


def _fused(twin: Twin) -> Fused | None:
    """Triton's kernels for the model, where both are there."""
    if not can_fuse():
        return None
    try:
        return Fused(twin)
    except (ValueError, AttributeError, ImportError):
        return None


def _check_cache(policy: Policy) -> None:
    """Only plain caches, one of keys and values for each layer, can be written in place."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    layers = DynamicCache(config=policy.model.config.get_text_config()).layers
    odd = {type(layer).__name__ for layer in layers if type(layer) is not DynamicLayer}
    if odd:
        raise ValueError(f"its cache has layers of other kinds: {', '.join(sorted(odd))}")


def _decoder(twin: Twin) -> Decode:
    """What feeds one token a row and gives the logits of the next, ``B_V``."""
    try:
        return Straight(twin)
    except (ValueError, AttributeError):
        return partial(_through_modules, twin.model)


def _through_modules(
    model: Any, tokens_B: Tensor, positions_B: Tensor, looks: Tensor | None, cache: SlabCache
) -> Tensor:
    """Decode by the model's own modules."""
    output = model(
        input_ids=tokens_B.unsqueeze(1),
        attention_mask=looks,
        position_ids=positions_B.unsqueeze(1),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: Tensor = output.logits[:, -1]
    return logits
