from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from grpo_tui.data.bundled import bundled_path
from grpo_tui.generation.detokenize import Unfolding, _by_prefix, _streamed, decode_with_offsets

TEXTS = [
    "",
    "The answer is 42.",
    r"\frac{3}{4} + 1\n\nso \boxed{x^2}",
    "x² + 3 = 𝛑 é→ ok\n\n  日本語",
    "👩‍👩‍👧 🇫🇷 a\u0301 \u200b end",
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(bundled_path("tiny_model")))


def _byte_fallback(kind: str) -> Any:
    """A tokenizer as SentencePiece models have: spaces as ▁, unknown characters as single bytes."""
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    pieces = [
        "</s>",
        "<unk>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        "▁a",
        "b",
        "é",
        "▁the",
        "\ufffd",
        "日",
    ]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True, unk_token="<unk>"))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if kind == "llama":
        steps.append(decoders.Strip(" ", 1, 0))
    backend.decoder = decoders.Sequence(steps)
    backend.add_special_tokens([AddedToken("</s>", special=True)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", clean_up_tokenization_spaces=False
    )


def _check(tokenizer: Any, ids: list[int]) -> None:
    text, offsets = decode_with_offsets(tokenizer, ids)
    assert text == tokenizer.decode(ids, skip_special_tokens=True)
    assert offsets.shape == (len(ids),)
    assert offsets.dtype == "int32"
    assert all(a <= b for a, b in pairwise(offsets.tolist()))
    assert all(0 <= offset <= len(text) for offset in offsets.tolist())


@pytest.mark.parametrize("text", TEXTS)
def test_offsets_are_those_the_tokenizer_read_them_at(tokenizer: Any, text: str) -> None:
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    decoded, offsets = decode_with_offsets(tokenizer, encoded["input_ids"])
    assert decoded == text
    assert offsets.tolist() == [start for start, _ in encoded["offset_mapping"]]


def test_every_part_of_a_character_begins_where_the_character_does(tokenizer: Any) -> None:
    ids = tokenizer("1𝛑2", add_special_tokens=False)["input_ids"]
    text, offsets = decode_with_offsets(tokenizer, ids)
    assert text == "1𝛑2"
    assert offsets[0] == 0
    assert set(offsets[1:-1].tolist()) == {1}
    assert offsets[-1] == 2
    assert len(ids) > 3, "the tokenizer has a token for 𝛑: take a rarer character"


def test_special_tokens_are_not_shown(tokenizer: Any) -> None:
    a, b = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in ("12", "34"))
    eos = tokenizer.eos_token_id
    text, offsets = decode_with_offsets(tokenizer, [eos, *a, eos, *b, eos])
    assert text == "1234"
    assert offsets[0] == 0
    assert offsets[1 + len(a)] == 2
    assert offsets[-1] == 4
    assert tokenizer.eos_token not in text


def test_an_unfinished_character_at_the_end(tokenizer: Any) -> None:
    ids = tokenizer("12𝛑", add_special_tokens=False)["input_ids"][:-1]
    text, offsets = decode_with_offsets(tokenizer, ids)
    assert text.startswith("12")
    assert "\ufffd" in text
    assert offsets[-1] == 2


def test_a_replacement_character_that_was_meant(tokenizer: Any) -> None:
    _check(tokenizer, tokenizer("a \ufffd end", add_special_tokens=False)["input_ids"])


def test_random_ids(tokenizer: Any) -> None:
    draw = random.Random(0)
    for _ in range(200):
        _check(tokenizer, [draw.randrange(len(tokenizer)) for _ in range(draw.randrange(20))])


def test_both_ways_agree(tokenizer: Any) -> None:
    draw = random.Random(1)
    for _ in range(50):
        ids = [draw.randrange(len(tokenizer)) for _ in range(draw.randrange(20))]
        text = tokenizer.decode(ids, skip_special_tokens=True)
        assert _streamed(tokenizer, ids, text) == _by_prefix(tokenizer, ids, text)


@pytest.mark.parametrize("kind", ["llama", "gemma"])
def test_byte_fallback_tokenizers(kind: str) -> None:
    """Bytes that make no character, which a policy under training does emit, break the incremental decoder."""
    tokenizer = _byte_fallback(kind)
    draw = random.Random(2)
    size = len(tokenizer)
    for _ in range(400):
        choices = [draw.randrange(size), draw.randrange(258, size), draw.randrange(130, 258), 0]
        _check(tokenizer, [draw.choice(choices) for _ in range(draw.randrange(12))])
    _check(tokenizer, [264, 8, 173, 218, 74, 258, 153, 258, 0])


def test_a_tokenizer_without_a_fast_backend(tokenizer: Any) -> None:
    class Slow:
        def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
            return str(tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))

    ids = tokenizer(TEXTS[3], add_special_tokens=False)["input_ids"]
    slow, fast = decode_with_offsets(Slow(), ids), decode_with_offsets(tokenizer, ids)
    assert slow[0] == fast[0]
    assert slow[1].tolist() == fast[1].tolist()


@pytest.mark.parametrize("text", ["7 + 5 = 12", "héllo 你好 🎉 x", "\\boxed{12}"])
@pytest.mark.parametrize("stride", [1, 3])
def test_unfolding_ends_at_the_whole_text(tokenizer: Any, text: str, stride: int) -> None:
    ids = tokenizer.encode(text)
    whole = tokenizer.decode(ids, skip_special_tokens=True)
    unfolding = Unfolding(tokenizer)
    for end in range(0, len(ids) + stride, stride):
        assert whole.startswith(unfolding.follow(ids[:end])), "only whole characters are told"
    assert unfolding.follow(ids).rstrip("\ufffd") == whole.rstrip("\ufffd")


def test_unfolding_without_the_library_decodes_the_whole(tokenizer: Any) -> None:
    class Slow:
        decode = staticmethod(tokenizer.decode)

    ids = tokenizer.encode("7 + 5 = 12")
    assert Unfolding(Slow()).follow(ids) == Unfolding(tokenizer).follow(ids)


def test_a_shorter_completion_is_another_one(tokenizer: Any) -> None:
    unfolding = Unfolding(tokenizer)
    unfolding.follow(tokenizer.encode("123456"))
    assert unfolding.follow(tokenizer.encode("9")) == tokenizer.decode(tokenizer.encode("9"))
