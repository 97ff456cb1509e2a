"""From a problem to the text and the tokens that a model is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from grpo_tui.config.schema import DataConfig
from grpo_tui.data.problem import DataError, Problem


class PromptTokenizer(Protocol):
    """What rendering needs of a tokenizer; those of ``transformers`` have it."""

    chat_template: Any

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any:
        """Return the conversation as one text."""
        ...

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of a text."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPrompt:
    """A prompt as the model sees it: the whole text, the messages it was made of, and whether as a chat."""

    text: str
    messages: tuple[Mapping[str, str], ...]
    is_chat: bool


def render_prompt(problem: Problem, tokenizer: PromptTokenizer, config: DataConfig) -> RenderedPrompt:
    """Return the prompt of a problem, by the tokenizer's chat template or as plain text.

    Raises:
        DataError: the chat template is missing or refuses the conversation.
    """
    messages = compose_messages(problem, config)
    if config.render == "plain" or (config.render == "auto" and not tokenizer.chat_template):
        text = "\n\n".join(message["content"] for message in messages)
        return RenderedPrompt(text=text, messages=messages, is_chat=False)
    if not tokenizer.chat_template:
        raise DataError("data.render is 'chat', but the model's tokenizer has no chat template; use 'plain'")
    try:
        return _render_chat(messages, tokenizer)
    except Exception as error:
        raise DataError(f"{problem.id}: the chat template refuses this prompt: {error}") from error


def compose_messages(problem: Problem, config: DataConfig) -> tuple[Mapping[str, str], ...]:
    """Return the problem's messages with the template laid over the question and the system prompt before it.

    A system message that the data itself brings stands in place of ``data.system_prompt``.
    """
    # Not str.format: a template holds LaTeX, and \boxed{} has braces of its own.
    content = config.prompt_template.replace("{prompt}", problem.question)
    messages = (*problem.messages[:-1], {"role": "user", "content": content})
    if config.system_prompt and messages[0]["role"] != "system":
        return ({"role": "system", "content": config.system_prompt}, *messages)
    return messages


def _render_chat(messages: tuple[Mapping[str, str], ...], tokenizer: PromptTokenizer) -> RenderedPrompt:
    if messages[0]["role"] != "system":
        return RenderedPrompt(text=_apply(messages, tokenizer), messages=messages, is_chat=True)
    try:
        text = _apply(messages, tokenizer)
    except Exception:
        text = ""
    # Some templates refuse a system message, others drop it without a word.
    if messages[0]["content"].strip() not in text:
        messages = _fold_system(messages)
        text = _apply(messages, tokenizer)
    return RenderedPrompt(text=text, messages=messages, is_chat=True)


def _fold_system(messages: tuple[Mapping[str, str], ...]) -> tuple[Mapping[str, str], ...]:
    """Return the messages with the system message put at the head of the first user message."""
    system, *rest = messages
    first = next(index for index, message in enumerate(rest) if message["role"] == "user")
    folded = {"role": "user", "content": f"{system['content']}\n\n{rest[first]['content']}"}
    return (*rest[:first], folded, *rest[first + 1 :])


# Some templates write today's date. The same run on another day must give the same prompts, so they are told
# one fixed day: by the variable some of them read, and by a macro in place of the function others call.
_FIXED_DAY = "26 Jul 2024"
_FIXED_CLOCK = (
    "{%- macro strftime_now(format) -%}"
    "{{ format.replace('%d', '26').replace('%b', 'Jul').replace('%B', 'July').replace('%m', '07')"
    ".replace('%Y', '2024').replace('%A', 'Friday').replace('%H', '12').replace('%M', '00').replace('%S', '00') }}"
    "{%- endmacro %}{{ '' }}"
)


def _apply(messages: tuple[Mapping[str, str], ...], tokenizer: PromptTokenizer) -> str:
    options: dict[str, Any] = {"date_string": _FIXED_DAY}
    template = tokenizer.chat_template
    if isinstance(template, str) and "strftime_now" in template:
        options["chat_template"] = _FIXED_CLOCK + template
    conversation = [dict(message) for message in messages]
    return str(
        tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True, **options)
    )


def encode_prompt(rendered: RenderedPrompt, tokenizer: PromptTokenizer) -> list[int]:
    """Return the token ids of a rendered prompt.

    A chat template writes every special token it wants itself. Plain text gets those the tokenizer puts before
    a text (unless they are there already), and none of those it puts after one: the completion follows.
    """
    bare = list(tokenizer.encode(rendered.text, add_special_tokens=False))
    if rendered.is_chat:
        return bare
    full = list(tokenizer.encode(rendered.text, add_special_tokens=True))
    start = _find(bare, full)
    prefix = full[:start]
    return bare if bare[: len(prefix)] == prefix else prefix + bare


def _find(part: Sequence[int], whole: Sequence[int]) -> int:
    """Return where ``part`` starts in ``whole``; 0 where it is not in it."""
    for start in range(len(whole) - len(part) + 1):
        if list(whole[start : start + len(part)]) == list(part):
            return start
    return 0


def check_length(num_prompt_tokens: int, max_completion_tokens: int, context_length: int) -> str | None:
    """Return one line saying why a prompt cannot be used with this model, None where it can."""
    if num_prompt_tokens == 0:
        return "the prompt has no tokens"
    if num_prompt_tokens + max_completion_tokens > context_length:
        return (
            f"prompt of {num_prompt_tokens} tokens + {max_completion_tokens} completion tokens exceed "
            f"context {context_length}"
        )
    return None
