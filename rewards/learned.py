"""A reward model as a reward: any transformers sequence classifier with one output, which reads question and answer.

The score is the model's raw logit. It has no zero and no unit: only differences between answers to one problem
mean anything, which is what advantages inside a group are made of. Torch and transformers are imported when a
reward is made, never with this module.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewards.base import Explanation, Sample, Score, Verdict
from rewards.learned_text import (
    SETTINGS_FILE,
    ModelInput,
    TextEncoder,
    TextRule,
    length_batches,
    read_rule,
    rule_for,
)

if TYPE_CHECKING:
    import torch

MAX_BATCH_TOKENS = 16_384
"""Padded tokens in one forward pass."""
TRAIN_ONE = "train one with: grpo-tui train-reward RUN"


class LearnedReward:
    """Pays the logit of a reward model. Callable from any thread; draws nothing from torch's random generators.

    On a CPU the same samples in the same call get the same scores, bit for bit.

    Args:
        model: a local folder or a hub id.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        max_batch_tokens: padded tokens in one forward pass.

    Raises:
        ValueError: the model is not there, or is no sequence classifier with one output; one line that says what to do.
    """

    def __init__(
        self, model: str = "", *, device: str = "auto", max_batch_tokens: int = MAX_BATCH_TOKENS
    ) -> None:
        if not model.strip():
            raise ValueError(f"it needs a model, by reward.learned_model; {TRAIN_ONE}")
        self._label = Path(model).name[:60] or model[:60]
        self._max_batch_tokens = max_batch_tokens
        self._lock = threading.Lock()
        self._classifier: Classifier | None = load_classifier(model, device)

    @property
    def name(self) -> str:
        """Component name."""
        return "learned"

    def score(self, samples: Sequence[Sample]) -> list[Score]:
        """Return one logit for each sample, in order."""
        with self._lock:  # neither the tokenizer nor close() may be met by two threads
            if self._classifier is None:
                raise RuntimeError("the reward model is closed")
            inputs = [self._classifier.encoder.encode(s.prompt, s.completion) for s in samples]
            logits = self._classifier.score(inputs, self._max_batch_tokens)
        return [self._explained(logit, given) for logit, given in zip(logits, inputs, strict=True)]

    def check_gold(self, gold: str) -> str | None:  # noqa: ARG002 - part of the protocol
        """A reward model reads no gold."""
        return None

    def close(self) -> None:
        """Let the model's memory go. Safe to call twice."""
        with self._lock:
            self._classifier = None

    def _explained(self, logit: float, given: ModelInput) -> Score:
        known = math.isfinite(logit)
        says = f"gives {logit:.4g}" if known else "gives no finite number"
        sentence = f"The reward model {self._label} {says}: a raw logit, to compare with other answers to this problem only."
        if given.num_cut:
            num_read = len(given.token_ids)
            sentence += f" Too long for it: it read {num_read} of {num_read + given.num_cut} tokens, the beginning is left out."
        why = Explanation(sentence=sentence, rule="reward model")
        return Score(value=logit if known else None, verdict=Verdict.NOT_JUDGED, explanation=why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """A sequence classifier with one output, and how it reads."""

    model: Any
    tokenizer: Any
    encoder: TextEncoder
    device: torch.device

    def score(self, inputs: Sequence[ModelInput], max_batch_tokens: int = MAX_BATCH_TOKENS) -> list[float]:
        """Logits of the inputs, in order, without gradient."""
        import torch

        logits = [math.nan] * len(inputs)
        # Where no token can pad, the model finds the end of a row only if it is alone.
        bound = max_batch_tokens if self.tokenizer.pad_token_id is not None else 0
        with torch.inference_mode():
            for places in length_batches([len(given.token_ids) for given in inputs], bound):
                column = self.logits([inputs[place] for place in places]).tolist()
                for place, logit in zip(places, column, strict=True):
                    logits[place] = float(logit)
        return logits

    def logits(self, inputs: Sequence[ModelInput]) -> torch.Tensor:
        """Logits of one batch, float32, shape ``B``, as a part of the graph."""
        import torch

        width = max(1, *(len(given.token_ids) for given in inputs))
        pad_id = self.tokenizer.pad_token_id or 0
        ids_B_T = torch.full((len(inputs), width), pad_id, dtype=torch.long)
        mask_B_T = torch.zeros_like(ids_B_T)
        for row, given in enumerate(inputs):
            ids_B_T[row, : len(given.token_ids)] = torch.tensor(given.token_ids, dtype=torch.long)
            mask_B_T[row, : len(given.token_ids)] = 1
        output = self.model(input_ids=ids_B_T.to(self.device), attention_mask=mask_B_T.to(self.device))
        logits_B: torch.Tensor = output.logits[:, 0].float()
        return logits_B


def load_classifier(source: str, device: str = "auto") -> Classifier:
    """Load a trained reward model, ready to score.

    Raises:
        ValueError: it is not there, or is no sequence classifier with one output.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    place = _pick_device(device)
    folder = _locate(source)
    # On a CPU bf16 gains little and loses digits; on CUDA the weights stay as they were saved.
    dtype = "auto" if place.type == "cuda" else torch.float32
    with _clear_errors(source):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    _check_config(config, source)
    # Making a model draws from torch's generator, which belongs to the training run.
    with _clear_errors(source), torch.random.fork_rng([place] if place.type == "cuda" else []):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=dtype, trust_remote_code=False, output_loading_info=True
        )
    if info["missing_keys"]:
        names = ", ".join(sorted(info["missing_keys"])[:3])
        raise ValueError(
            f"reward.learned_model: {source} is not trained as a reward model, it lacks {names}; {TRAIN_ONE}"
        )
    settings = Path(folder) / SETTINGS_FILE
    rule = read_rule(settings) if settings.is_file() else rule_for(tokenizer)
    return classifier_of(model.to(place).eval().requires_grad_(False), tokenizer, rule, place)


@contextmanager
def _clear_errors(source: str) -> Iterator[None]:
    """Within: whatever transformers raises is one line."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"reward.learned_model: {source} could not be loaded: {reason}") from error


def classifier_of(model: Any, tokenizer: Any, rule: TextRule, device: torch.device) -> Classifier:
    """A model and its tokenizer put together; the tokenizer's end token pads where it has no pad token.

    Raises:
        ValueError: the tokenizer cannot follow the rule.
    """
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is not None:
        tokenizer.pad_token = tokenizer.eos_token
    for config in (model.config, model.config.get_text_config()):
        config.pad_token_id = tokenizer.pad_token_id  # by which causal models find the end of a row
    encoder = TextEncoder(tokenizer, rule, _context_length(model.config, tokenizer))
    return Classifier(model=model, tokenizer=tokenizer, encoder=encoder, device=device)


def _check_config(config: Any, source: str) -> None:
    names = [str(name) for name in config.architectures or ()]
    if names and not any(name.endswith("ForSequenceClassification") for name in names):
        raise ValueError(
            f"reward.learned_model: {source} is a {names[0]}, not a sequence classifier; {TRAIN_ONE}"
        )
    if config.num_labels != 1:
        raise ValueError(
            f"reward.learned_model: {source} has {config.num_labels} outputs, a reward model has one; {TRAIN_ONE}"
        )


def _context_length(config: Any, tokenizer: Any) -> int:
    """Longest input, by the smaller of what the model and the tokenizer say."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    said = [limit for limit in (positions, tokenizer.model_max_length) if limit and limit < 10**9]
    return int(min(said, default=10**9))


def _pick_device(name: str) -> torch.device:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"{name!r} is no device; use auto, cpu, cuda or cuda:0") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {name!r} was asked for but this machine has {torch.cuda.device_count()} CUDA devices"
        )
    return device


def _locate(source: str) -> str:
    """A folder or hub id that transformers understands; what cannot be one is refused before the hub is asked."""
    path = Path(source).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(
                f"reward.learned_model: {source} has no config.json, so it holds no model; {TRAIN_ONE}"
            )
        return str(path)
    looks_like_path = source.startswith((".", "/", "~")) or source.count("/") > 1
    if path.exists() or looks_like_path:
        raise ValueError(f"reward.learned_model: there is no model folder {source}; {TRAIN_ONE}")
    if not _hub_has_it_or_answers(source):
        raise ValueError(
            f"reward.learned_model: {source} is not on this machine and the model hub did not answer; {TRAIN_ONE}"
        )
    return source


def _hub_has_it_or_answers(source: str) -> bool:
    """Whether the hub's cache holds the model, or the hub can be asked: its library would retry for a minute."""
    import socket
    from urllib.parse import urlsplit

    from huggingface_hub import constants, try_to_load_from_cache

    try:
        if isinstance(try_to_load_from_cache(source, "config.json"), str):
            return True
        if constants.HF_HUB_OFFLINE:
            return False
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname or "", 443)
    except (ValueError, OSError):
        return False
    return True
