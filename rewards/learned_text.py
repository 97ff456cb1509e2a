r"""How a question and a completion become the tokens that a reward model reads. No torch; the tokenizer is given.

A model reads at scoring what it read in training, so the rule is saved beside its weights, in
:data:`SETTINGS_FILE`: ``{"version": 1, "text": "chat" | "plain", "separator": "\n\n"}``.

* ``chat``: the tokenizer's chat template over the question as user and the completion as assistant.
* ``plain``: question, separator, completion, within the special tokens that the tokenizer puts around a text.

A model without that file, from the hub say, is read by ``chat`` where its tokenizer has a template, else ``plain``.
Either way the completion stands as it is: the template never sees it, and no special token can be spelt in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SETTINGS_FILE = "reward_model.json"
VERSION = 1
_PLACE = "\ue000completion\ue001"
"""Stands for the completion while the template is filled in: private-use characters, which no template trims."""
_DAY = "26 Jul 2024"
"""Templates that write today's date write this one: the same answer gets the same score on another day."""
_CLOCK = f"{{%- macro strftime_now(format) -%}}{_DAY}{{%- endmacro %}}{{{{ '' }}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRule:
    """How question and completion are put together."""

    text: str = "chat"
    separator: str = "\n\n"

    def to_json(self) -> dict[str, Any]:
        """As it stands in the settings file."""
        return {"version": VERSION, "text": self.text, "separator": self.separator}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInput:
    """The tokens of one question and completion, and how many were cut off on the left to fit."""

    token_ids: tuple[int, ...]
    num_cut: int = 0


def rule_for(tokenizer: Any) -> TextRule:
    """The rule for a model that brings none: by its chat template, where it has one."""
    return TextRule(text="chat" if tokenizer.chat_template else "plain")


def read_rule(file: Path) -> TextRule:
    """Read the rule that a model was trained with.

    Raises:
        ValueError: the file cannot be read or says something that this version does not know.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise ValueError(f"{file} is of another version than this program reads ({VERSION})")
    rule = TextRule(text=data.get("text", ""), separator=data.get("separator", ""))
    if rule.text not in ("chat", "plain") or not isinstance(rule.separator, str):
        raise ValueError(f'{file} must say "text": "chat" or "plain", and a text as "separator"')
    return rule


class TextEncoder:
    """Turns question and completion into tokens, by one rule.

    Args:
        tokenizer: of the model, from transformers.
        rule: how the text is put together.
        max_tokens: longest input that the model takes; what is longer loses its beginning.

    Raises:
        ValueError: the tokenizer cannot follow the rule.
    """

    def __init__(self, tokenizer: Any, rule: TextRule, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._rule = rule
        self._max_tokens = max_tokens
        self._before, self._after = ((), ()) if rule.text == "chat" else _specials(tokenizer)
        self.encode("1 + 1", "2")  # a template that will not do is found now

    @property
    def rule(self) -> TextRule:
        """The rule."""
        return self._rule

    def encode(self, question: str, completion: str) -> ModelInput:
        """Return the tokens of one question and completion."""
        question, completion = _encodable(question), _encodable(completion)
        if self._rule.text == "chat":
            head, tail = self._fill_template(question)
            before, after = self._ids(head), self._ids(tail)
            num_kept_first = int(before[:1] == (self._tokenizer.bos_token_id,))
        else:
            before = (*self._before, *self._ids(question + self._rule.separator))
            after, num_kept_first = self._after, len(self._before)
        ids = (*before, *self._ids(completion, split_special_tokens=True), *after)
        num_cut = max(0, len(ids) - self._max_tokens)
        return ModelInput(token_ids=ids[:num_kept_first] + ids[num_kept_first + num_cut :], num_cut=num_cut)

    def _fill_template(self, question: str) -> tuple[str, str]:
        """The chat before and after the completion."""
        conversation = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": _PLACE},
        ]
        template = self._tokenizer.chat_template
        options = {"date_string": _DAY}
        if isinstance(template, str) and "strftime_now" in template:
            options["chat_template"] = _CLOCK + template
        try:
            text = self._tokenizer.apply_chat_template(conversation, tokenize=False, **options)
        except Exception as error:  # templates raise whatever they like
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"its chat template refuses a question and an answer: {reason}") from error
        head, place, tail = str(text).rpartition(_PLACE)
        if not place:
            raise ValueError("its chat template does not show the answer that it is given")
        return head, tail

    def _ids(self, text: str, **options: bool) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False, **options)["input_ids"])


def length_batches(lengths: Sequence[int], max_padded_tokens: int) -> list[list[int]]:
    """Places of ``lengths`` in batches of like lengths, longest first, each within the bound once it is padded.

    What alone exceeds the bound makes a batch of its own.
    """
    batches: list[list[int]] = []
    widest = 0
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if not batches or (len(batches[-1]) + 1) * widest > max_padded_tokens:
            batches.append([])
            widest = max(1, lengths[place])
        batches[-1].append(place)
    return batches


def _specials(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens that the tokenizer puts before and after a text."""
    bare = list(tokenizer("1", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("1", add_special_tokens=True)["input_ids"])
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return tuple(full[:start]), tuple(full[start + len(bare) :])
    return (), ()


def _encodable(text: str) -> str:
    """The text without lone surrogates, which no tokenizer takes."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
