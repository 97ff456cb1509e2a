"""From a problem to text and tokens, on real tokenizers made in the test."""

from __future__ import annotations

from typing import Any

import pytest

from grpo_tui.config import DataConfig
from grpo_tui.data import (
    DataError,
    Problem,
    RenderedPrompt,
    bundled_path,
    check_length,
    encode_prompt,
    render_prompt,
)
from tests.data.support import CHATML, DATED, DROPS_SYSTEM, NO_SYSTEM, WITH_BOS, make_tokenizer

transformers = pytest.importorskip("transformers")

CHAT = make_tokenizer(CHATML)
BOS_ID, EOS_ID = 0, 1


def problem(*contents: str, system: str = "") -> Problem:
    """Return a problem of user and assistant turns, ending with the user's."""
    roles = ("user", "assistant")
    turns = [{"role": roles[turn % 2], "content": content} for turn, content in enumerate(contents)]
    head = [{"role": "system", "content": system}] if system else []
    return Problem(id="p", question=contents[-1], messages=(*head, *turns), answer="4")


def render(tokenizer: Any, item: Problem, **settings: Any) -> RenderedPrompt:
    return render_prompt(item, tokenizer, DataConfig(**settings))


def test_chat_is_used_where_the_tokenizer_has_a_template() -> None:
    rendered = render(CHAT, problem("2+2?"))
    assert rendered.text == "<|user|>2+2?<eos><|assistant|>"
    assert rendered.messages == ({"role": "user", "content": "2+2?"},)
    assert rendered.is_chat
    plain = render(make_tokenizer(), problem("2+2?"))
    assert (plain.text, plain.is_chat) == ("2+2?", False)


def test_the_choice_can_be_made_by_hand() -> None:
    assert render(CHAT, problem("2+2?"), render="plain").text == "2+2?"
    with pytest.raises(DataError, match=r"has no chat template; use 'plain'"):
        render(make_tokenizer(), problem("2+2?"), render="chat")


def test_the_template_is_laid_over_the_question_alone() -> None:
    settings = {"prompt_template": "{prompt}\n\nAnswer in \\boxed{}.", "system_prompt": "Be brief."}
    rendered = render(CHAT, problem("a {prompt} {x}?"), **settings)
    assert rendered.text == (
        "<|system|>Be brief.<eos><|user|>a {prompt} {x}?\n\nAnswer in \\boxed{}.<eos><|assistant|>"
    )
    plain = render(CHAT, problem("2+2?"), render="plain", **settings)
    assert plain.text == "Be brief.\n\n2+2?\n\nAnswer in \\boxed{}."


def test_a_conversation_keeps_its_turns_and_its_own_system_message() -> None:
    talk = problem("2+2?", "4", "doubled?", system="From the data.")
    rendered = render(CHAT, talk, prompt_template="Q: {prompt}", system_prompt="From the config.")
    assert rendered.text == (
        "<|system|>From the data.<eos><|user|>2+2?<eos><|assistant|>4<eos><|user|>Q: doubled?<eos><|assistant|>"
    )


@pytest.mark.parametrize("template", [NO_SYSTEM, DROPS_SYSTEM])
def test_templates_that_refuse_or_drop_a_system_message_get_it_in_the_users(template: str) -> None:
    tokenizer = make_tokenizer(template)
    rendered = render(tokenizer, problem("2+2?"), system_prompt="Be brief.")
    assert rendered.text == "<|user|>Be brief.\n\n2+2?<eos><|assistant|>"
    assert rendered.messages == ({"role": "user", "content": "Be brief.\n\n2+2?"},)
    talk = render(tokenizer, problem("2+2?", "4", "doubled?"), system_prompt="Be brief.")
    assert talk.text == "<|user|>Be brief.\n\n2+2?<eos><|assistant|>4<eos><|user|>doubled?<eos><|assistant|>"


def test_a_template_that_refuses_everything_is_one_line() -> None:
    tokenizer = make_tokenizer("{{ raise_exception('no\nway') }}")
    with pytest.raises(DataError) as caught:
        render(tokenizer, problem("2+2?"), system_prompt="Be brief.")
    assert str(caught.value) == "p: the chat template refuses this prompt: no way"


def test_a_template_that_writes_the_date_gives_the_same_prompt_every_day() -> None:
    rendered = render(make_tokenizer(DATED), problem("2+2?"))
    assert rendered.text.startswith("Today is 26 July 2024 (26 Jul 2024). <|user|>2+2?")


# --- tokens ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("puts_bos", [True, False])
@pytest.mark.parametrize("puts_eos", [True, False])
def test_a_chat_has_just_the_special_tokens_its_template_writes(puts_bos: bool, puts_eos: bool) -> None:
    for template, num_bos in ((CHATML, 0), (WITH_BOS, 1)):
        tokenizer = make_tokenizer(template, puts_bos=puts_bos, puts_eos=puts_eos)
        rendered = render(tokenizer, problem("2+2?"))
        ids = encode_prompt(rendered, tokenizer)
        assert ids.count(BOS_ID) == num_bos
        assert tokenizer.decode(ids) == rendered.text


@pytest.mark.parametrize("puts_bos", [True, False])
@pytest.mark.parametrize("puts_eos", [True, False])
def test_plain_text_gets_what_comes_before_it_and_nothing_after(puts_bos: bool, puts_eos: bool) -> None:
    tokenizer = make_tokenizer(puts_bos=puts_bos, puts_eos=puts_eos)
    ids = encode_prompt(render(tokenizer, problem("2+2?")), tokenizer)
    assert tokenizer.decode(ids) == "<bos>" * puts_bos + "2+2?"
    written = encode_prompt(render(tokenizer, problem("<bos>2+2?")), tokenizer)
    assert tokenizer.decode(written) == "<bos>2+2?"


def test_an_empty_text_has_no_tokens_but_those_put_before_it() -> None:
    nothing = RenderedPrompt(text="", messages=(), is_chat=False)
    assert encode_prompt(nothing, make_tokenizer()) == []
    assert encode_prompt(nothing, make_tokenizer(puts_eos=True)) == []


def test_the_tiny_models_own_tokenizer() -> None:
    try:
        folder = bundled_path("tiny_model")
    except DataError as error:
        pytest.skip(str(error))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rendered = render(tokenizer, problem("What is 2 + 2?"))
    ids = encode_prompt(rendered, tokenizer)
    assert tokenizer.decode(ids) == rendered.text
    assert "What is 2 + 2?" in rendered.text


def test_length_against_the_context() -> None:
    assert check_length(64, 64, 128) is None
    assert check_length(65, 64, 128) == "prompt of 65 tokens + 64 completion tokens exceed context 128"
    assert check_length(0, 64, 128) == "the prompt has no tokens"
