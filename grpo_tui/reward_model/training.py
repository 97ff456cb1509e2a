"""Train a sequence classifier to tell right answers from wrong ones, in float32, all of its weights."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from grpo_tui.ops.ranking import bradley_terry_loss
from grpo_tui.policy.errors import PolicyError
from grpo_tui.policy.loading import locate, pick_device
from grpo_tui.reward_model.pairs import Answers
from grpo_tui.runs.checkpoints import fsync
from rewards.learned import Classifier, classifier_of
from rewards.learned_text import SETTINGS_FILE, ModelInput, rule_for

MAX_BATCH_TOKENS = 8_192
"""Padded tokens in one forward-backward pass; a problem's answers stay together, so one problem may exceed it."""
MAX_GRAD_NORM = 1.0
WARMUP_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """How to train. ``batch_size`` counts problems."""

    lr: float = 2e-5
    epochs: int = 1
    batch_size: int = 8
    seed: int = 0


def load_untrained(source: str, *, device: str, seed: int) -> Classifier:
    """A model with a fresh head of one output, in float32; its text is read by the chat template where it has one.

    Raises:
        PolicyError: no such model or device, or no head can be put on it.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    place = pick_device(device)
    folder, gguf_file = locate(source)
    if gguf_file:
        raise PolicyError(
            f"model.source: {source} is packed for generating and takes no head; "
            "give --model the folder or hub id of a transformers model"
        )
    torch.manual_seed(seed)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=1, dtype=torch.float32, trust_remote_code=False
        )
        classifier = classifier_of(model.to(place), tokenizer, rule_for(tokenizer), place)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise PolicyError(f"model.source: {source} cannot become a reward model: {reason}") from error
    if tokenizer.pad_token_id is None:
        raise PolicyError(f"model.source: the tokenizer of {source} has neither a pad nor an end token")
    return classifier


def train(
    classifier: Classifier,
    answers: Sequence[Answers],
    options: TrainingOptions,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Iterator[float]:
    """Train in place, by AdamW with linear warm-up and decay.

    Args:
        classifier: its model is changed.
        answers: problems to train on.
        options: how.
        progress: told the gradient steps done, and of how many in all.

    Yields:
        The mean loss of each epoch, when it ends.

    Raises:
        FloatingPointError: the loss is no longer finite.
    """
    model = classifier.model
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.0)
    encoded = [_encoded(classifier, problem) for problem in answers]
    steps_per_epoch = -(-len(encoded) // options.batch_size)
    total = steps_per_epoch * options.epochs
    done = 0
    torch.manual_seed(options.seed)  # of dropout, where the model has it
    for epoch in range(options.epochs):
        order = list(range(len(encoded)))
        random.Random(f"epoch {options.seed} {epoch}").shuffle(order)
        losses = []
        model.train()
        for start in range(0, len(order), options.batch_size):
            batch = [encoded[place] for place in order[start : start + options.batch_size]]
            for group in optimizer.param_groups:
                group["lr"] = options.lr * _schedule(done, total)
            losses.append(_gradient_step(classifier, optimizer, batch) * len(batch))
            done += 1
            progress(done, total)
        model.eval()
        yield sum(losses) / len(encoded)


def save(classifier: Classifier, folder: Path, about: dict[str, Any]) -> None:
    """Write weights (safetensors), tokenizer and the text rule: all of it stands in ``folder``, or nothing.

    Raises:
        OSError: the disk does not take it, or something stands in ``folder`` already.
    """
    with _whole_folder(folder) as temporary:
        classifier.model.save_pretrained(temporary)
        classifier.tokenizer.save_pretrained(temporary)
        settings = {**classifier.encoder.rule.to_json(), "trained": about}
        text = json.dumps(settings, ensure_ascii=False, indent=2) + "\n"
        (temporary / SETTINGS_FILE).write_text(text, encoding="utf-8")


_Encoded = tuple[list[ModelInput], list[ModelInput]]


def _encoded(classifier: Classifier, problem: Answers) -> _Encoded:
    encode = classifier.encoder.encode
    right = [encode(problem.question, text) for text in problem.right]
    return right, [encode(problem.question, text) for text in problem.wrong]


def _gradient_step(
    classifier: Classifier, optimizer: torch.optim.Optimizer, batch: Sequence[_Encoded]
) -> float:
    """One step on the mean over problems of their loss, which is returned. Problems go through in small batches."""
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for part in _parts(batch):
        logits = classifier.logits([given for right, wrong in part for given in (*right, *wrong)])
        losses, start = [], 0
        for right, wrong in part:
            middle, end = start + len(right), start + len(right) + len(wrong)
            losses.append(bradley_terry_loss(logits[start:middle], logits[middle:end]))
            start = end
        loss = torch.stack(losses).sum() / len(batch)
        if not bool(torch.isfinite(loss)):
            raise FloatingPointError("the loss is not finite; use a lower --lr")
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
        total += float(loss.detach())
    torch.nn.utils.clip_grad_norm_(classifier.model.parameters(), MAX_GRAD_NORM)
    optimizer.step()
    return total


def _parts(batch: Sequence[_Encoded]) -> list[list[_Encoded]]:
    """The problems in order, in parts of a bounded number of padded tokens."""
    parts: list[list[_Encoded]] = []
    num_rows = widest = 0
    for right, wrong in batch:
        rows = len(right) + len(wrong)
        width = max(len(given.token_ids) for given in (*right, *wrong))
        if not parts or (num_rows + rows) * max(widest, width) > MAX_BATCH_TOKENS:
            parts.append([])
            num_rows = widest = 0
        parts[-1].append((right, wrong))
        num_rows, widest = num_rows + rows, max(widest, width)
    return parts


def _schedule(done: int, total: int) -> float:
    """Share of the peak learning rate in gradient step ``done`` (from 0): up over the first tenth, then down to 0."""
    warmup = max(1, int(WARMUP_SHARE * total))
    return min((done + 1) / warmup, (total - done) / max(1, total - warmup + 1))


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside ``folder`` to fill; on leaving it gets that name, durably and at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    temporary.mkdir()
    try:
        yield temporary
        for path in (*temporary.rglob("*"), temporary):
            fsync(path)
        temporary.rename(folder)  # refuses a folder that is not empty
        fsync(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
