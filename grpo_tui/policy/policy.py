"""A policy and its reference in one set of weights: adapter on, adapter off."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding

from grpo_tui.events.records import ModelRecord
from grpo_tui.ops.head import head_logprobs
from grpo_tui.ops.logprobs import token_logprobs
from grpo_tui.policy.lean import LeanTwin
from grpo_tui.policy.many import copied_by_name, raw
from grpo_tui.policy.packing import SharedPrompts, packed
from grpo_tui.policy.shared import shared_states

UNBOUNDED_CONTEXT = 1 << 30
STIR = 0.02
"""Standard deviation of the noise that stands for an adapter while two implementations are compared."""
POLICY_ADAPTER = "default"
"""PEFT's name for the first adapter of a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBatch:
    """Prompts padded on the left, completions on the right, so that completions start in one column.

    ``prompt_mask_B_P`` and ``completion_mask_B_T`` are True on real tokens.
    """

    prompt_ids_B_P: Tensor
    prompt_mask_B_P: Tensor
    completion_ids_B_T: Tensor
    completion_mask_B_T: Tensor
    shared: SharedPrompts | None = None
    """The same prompts, each once, where rows have them in common."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """A model's modules, those that PEFT has put adapters on, and the policy's adapter."""

    num_adapters: int
    modules: list[Any]
    adapted: list[Any]
    adapter: dict[str, torch.nn.Parameter]


class Policy:
    """A causal LM under a LoRA adapter.

    The adapter is trained in float32 whatever the dtype of the frozen base. The reference is the same model
    with the adapter switched off; the base weights never change.
    """

    def __init__(self, *, model: Any, tokenizer: Any, device: torch.device, source: str) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.device = device
        self.source = source
        self.eos_ids = _eos_ids(model, tokenizer)
        # A pad is never attended to and masks go by position, so any id in range does.
        self.pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.eos_ids[0]
        self.context_length = _context_length(model)
        self.num_parameters = sum(p.numel() for p in model.parameters() if not p.requires_grad)
        """Parameters of the frozen base."""
        self.decodes_alone = True
        """Whether nothing computes beside decoding, so that it may set the number of threads, which is the process's."""
        self._found: _Parts | None = None
        self.lean: LeanTwin | None = None
        """The same model without PEFT's layers around it, for scoring and updating; None: not for this one."""

    @property
    def packs_rows(self) -> bool:
        """Whether prompts go through the model once for all their completions, and these without padding."""
        return self.lean is not None and self.lean.shares_prompts

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the base weights."""
        dtype = self.model.get_input_embeddings().weight.dtype
        assert isinstance(dtype, torch.dtype)
        return dtype

    def trainable_parameters(self) -> dict[str, torch.nn.Parameter]:
        """The adapter's parameters by name, in a fixed order. A critic's adapter on the same base is not among them."""
        return dict(self._parts().adapter)

    def _parts(self) -> _Parts:
        """The model's parts, looked for once for each number of adapters: a walk through a model takes milliseconds."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        count = len(self.model.peft_config)
        if self._found is None or self._found.num_adapters != count:
            modules = list(self.model.modules())
            adapter = {
                name: p
                for name, p in self.model.named_parameters()
                if "lora_" in name and f".{POLICY_ADAPTER}." in name
            }
            adapted = [module for module in modules if isinstance(module, BaseTunerLayer)]
            self._found = _Parts(count, modules, adapted, adapter)
        return self._found

    def record(self) -> ModelRecord:
        """What was loaded, for the screen and the run file."""
        base = self.model.get_base_model()
        trainable = sum(p.numel() for p in self.trainable_parameters().values())
        return ModelRecord(
            source=self.source,
            architecture=type(base).__name__,
            num_parameters=self.num_parameters,
            num_trainable=trainable,
            dtype=str(self.dtype).removeprefix("torch."),
            device=str(self.device),
            context_length=self.context_length,
            vocab_size=int(self.model.config.get_text_config().vocab_size),
        )

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Within: the model is the reference (adapter off)."""
        self._switch_adapter(on=False)
        try:
            yield
        finally:
            self._switch_adapter(on=True)

    def _switch_adapter(self, *, on: bool) -> None:
        # What PEFT's disable_adapter does, without the survey of all layers that it makes each time.
        for layer in self._parts().adapted:
            layer.enable_adapters(on)
        if self.lean is not None:
            self.lean.switch.on = on

    @contextmanager
    def training_mode(self) -> Iterator[None]:
        """Within: dropout of the adapter is on, if it has any."""
        try:
            self._set_training(on=True)
            yield
        finally:
            self._set_training(on=False)

    def _set_training(self, *, on: bool) -> None:
        # What train() does, past each module's own __setattr__, which looks for parameters first.
        for module in self._parts().modules:
            object.__setattr__(module, "training", on)

    def logprobs(
        self, batch: TokenBatch, temperature: float, *, with_entropy: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Log-probs (with gradient) and entropies of the completions' tokens, each ``B_T``.

        Slots outside the completion mask hold finite numbers without meaning; so do the entropies where they are
        not wanted.
        """
        if self.lean is None:
            return token_logprobs(self.logits(batch), batch.completion_ids_B_T, temperature=temperature)
        mask = batch.completion_mask_B_T
        logprobs_N, entropies_N = head_logprobs(
            self._lean_states(batch),
            self.lean.head_weight,
            self.lean.head_bias,
            batch.completion_ids_B_T[mask],
            temperature=temperature,
            with_entropy=with_entropy,
        )
        empty = torch.zeros(mask.shape, dtype=logprobs_N.dtype, device=mask.device)
        return empty.masked_scatter(mask, logprobs_N), empty.masked_scatter(mask, entropies_N)

    @contextmanager
    def stirred(self) -> Iterator[None]:
        """Within: the adapter is noise instead of what it is, so that a comparison sees it even when it is new and 0."""
        generator = torch.Generator().manual_seed(0)
        noise = {
            name: (STIR * torch.randn(p.shape, generator=generator)).to(p)
            for name, p in self.trainable_parameters().items()
        }
        with self.weights(noise):
            yield

    def sample_batch(self) -> TokenBatch:
        """Three rows of random tokens over two prompts, one of them padded: to compare two implementations on."""
        generator = torch.Generator().manual_seed(0)
        vocab = int(self.model.config.get_text_config().vocab_size)
        ids = torch.randint(vocab, (3, 14), generator=generator).to(self.device)
        real = torch.ones_like(ids, dtype=torch.bool)
        prompts, prompt_mask = ids[:2, :8], real[:2, :8].clone()
        prompt_mask[0, :3] = False
        prompt_of = torch.tensor([0, 1, 0], device=self.device)
        return TokenBatch(
            prompt_ids_B_P=prompts[prompt_of],
            prompt_mask_B_P=prompt_mask[prompt_of],
            completion_ids_B_T=ids[:, 8:],
            completion_mask_B_T=real[:, 8:],
            shared=SharedPrompts(ids_Q_P=prompts, mask_Q_P=prompt_mask, prompt_of_B=prompt_of),
        )

    @torch.no_grad()
    def lean_deviation(self) -> float:
        """Largest difference of a log-prob between the lean twin and the model it stands for, on a few tokens."""
        assert self.lean is not None
        with self.stirred():
            batch = self.sample_batch()
            tokens = self.logits(batch).argmax(-1)
            batch = replace(batch, completion_ids_B_T=tokens)
            expected, _ = token_logprobs(self.logits(batch), tokens)
            found, _ = self.logprobs(batch, 1.0)
            return max(float((found - expected).abs().max()), self._head_deviation(batch))

    def _head_deviation(self, batch: TokenBatch) -> float:
        """How far the twin's own logits are from W h on the same states, in thousandths of the largest.

        Both are one and the same product, so a plain head gives 0; log-probs alone would take a soft cap over small logits
        for the rounding of bf16.
        """
        assert self.lean is not None
        ids = batch.completion_ids_B_T
        states = self.lean.backbone(input_ids=ids, use_cache=False).last_hidden_state
        bare = torch.nn.functional.linear(states, self.lean.head_weight, self.lean.head_bias).float()
        whole = self.lean.model(input_ids=ids, use_cache=False).logits.float()
        return 1000.0 * float((whole - bare).abs().max() / bare.abs().max())

    def logits(self, batch: TokenBatch) -> Tensor:
        """Logits that each token of the completions was drawn from, ``B_T_V``, in the model's dtype."""
        input_ids = torch.cat([batch.prompt_ids_B_P, batch.completion_ids_B_T], dim=1)
        mask = torch.cat([batch.prompt_mask_B_P, batch.completion_mask_B_T], dim=1)
        length = batch.completion_ids_B_T.shape[1]
        output = self.model(
            input_ids=input_ids,
            attention_mask=mask.long(),
            position_ids=positions(mask),
            use_cache=False,
            logits_to_keep=length + 1,
        )
        # Models that do not know logits_to_keep give all positions; the slice is right for both.
        logits: Tensor = output.logits[:, -(length + 1) : -1]
        return logits

    def token_logits(self, batch: TokenBatch) -> Tensor:
        """Logits that each real token of the completions was drawn from, ``N_V``, by the way :meth:`logprobs` goes."""
        mask = batch.completion_mask_B_T
        if self.lean is None:
            return self.logits(batch)[mask]
        return torch.nn.functional.linear(
            self._lean_states(batch), self.lean.head_weight, self.lean.head_bias
        )

    def _lean_states(self, batch: TokenBatch) -> Tensor:
        """Last hidden states from which the real completion tokens are predicted, ``N_D``."""
        assert self.lean is not None
        mask = batch.completion_mask_B_T
        if batch.shared is None or not self.packs_rows:
            return states_before_tokens(self.lean.backbone, batch)[mask]
        layout = packed(batch.shared, batch.completion_ids_B_T, mask)
        if self.lean.straight is None:
            states = shared_states(self.lean.backbone, layout)
        else:
            on, recomputes = self.lean.switch.on, self.lean.recomputes
            states = self.lean.straight(layout, adapter=on, recomputes=recomputes)
        # Not states[source]: on several CPU threads its backward adds up what a prompt's completions send in no fixed order.
        return embedding(layout.source_B_T[mask], states)

    def adapter_state(self) -> dict[str, Tensor]:
        """A copy of the adapter's parameters, on their device."""
        return copied_by_name(self.trainable_parameters())

    def load_adapter_state(self, state: Mapping[str, Tensor]) -> None:
        """Put parameters back, in place."""
        parameters = self.trainable_parameters()
        assert parameters.keys() == state.keys(), "the state belongs to another adapter"
        with torch.no_grad():
            torch._foreach_copy_(list(parameters.values()), [state[name] for name in parameters])

    @contextmanager
    def weights(self, state: Mapping[str, Tensor]) -> Iterator[None]:
        """Within: the adapter holds other parameters. No graph over the present ones may be waiting for a backward."""
        present = self.adapter_state()
        self.load_adapter_state(state)
        try:
            yield
        finally:
            self.load_adapter_state(present)

    def base_hash(self) -> str:
        """SHA-256 over the frozen weights: must never change."""
        digest = hashlib.sha256()
        for name, parameter in self.model.named_parameters():
            if "lora_" not in name:
                digest.update(name.encode())
                digest.update(raw(parameter.cpu()))
        return digest.hexdigest()


def states_before_tokens(backbone: Any, batch: TokenBatch) -> Tensor:
    """Last hidden states from which each completion token is predicted, ``B_T_D``."""
    mask = torch.cat([batch.prompt_mask_B_P, batch.completion_mask_B_T], dim=1)
    output = backbone(
        input_ids=torch.cat([batch.prompt_ids_B_P, batch.completion_ids_B_T], dim=1),
        attention_mask=mask.long(),
        position_ids=positions(mask),
        use_cache=False,
    )
    length = batch.completion_ids_B_T.shape[1]
    states: Tensor = output.last_hidden_state[:, -(length + 1) : -1]
    return states


def positions(mask: Tensor) -> Tensor:
    """Position ids that count real tokens only, so that padding on either side changes nothing."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)


def _eos_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every id that ends a completion: the tokenizer's, and those the generation config adds."""
    ids = [tokenizer.eos_token_id]
    config = getattr(model, "generation_config", None)
    extra = getattr(config, "eos_token_id", None)
    if extra is not None:
        ids += extra if isinstance(extra, list) else [extra]
    return tuple(dict.fromkeys(int(i) for i in ids))


def _context_length(model: Any) -> int:
    length = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(length) if length else UNBOUNDED_CONTEXT
