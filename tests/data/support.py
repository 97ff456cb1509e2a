"""Small files in the formats of real data sets, and tokenizers made on the spot."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

GSM8K_ROWS = (
    {
        "question": "A baker bakes 12 loaves in the morning and 30 in the afternoon. How many loaves is that?",
        "answer": "He bakes 12 + 30 = <<12+30=42>>42 loaves.\n#### 42",
    },
    {
        "question": "A farm sells 3 lorries for $410,000 each. What does it get?",
        "answer": "It gets 3 x 410,000 = $<<3*410000=1230000>>1,230,000.\n#### 1,230,000",
    },
    {"question": "It was 4 degrees and fell by 9. What is it now?", "answer": "4 - 9 = -5\n#### -5"},
    {"question": "Two pens cost $3. What do six cost?", "answer": "6 / 2 = 3, and 3 * 3 = 9.\n#### 9"},
)
"""Written for these tests, in the format of GSM8K."""

CMATH_ROWS = (
    {
        "grade": 1,
        "input": "小红有12支铅笔，又买了5支，现在有多少支？",
        "golden": "17",
        "reasoning_step": 1,
        "num_digits": 2,
    },
    {
        "grade": 4,
        "input": "一根绳子长2.5米，用去0.7米，还剩多少米？",
        "golden": "1.8",
        "reasoning_step": 1,
        "num_digits": 2,
    },
    {
        "grade": 5,
        "input": "一块蛋糕分成8份，吃了3份，吃了几分之几？",
        "golden": "3/8",
        "reasoning_step": 1,
        "num_digits": 1,
    },
)
"""Written for these tests, in the format of CMATH."""

MATH_ROWS = (
    {
        "problem": "What is half of $\\frac{3}{4}$?",
        "solution": "Half of it is $\\frac12 \\cdot \\frac34 = \\boxed{\\frac{3}{8}}$.",
        "level": "Level 1",
        "unique_id": "train/fractions/1.json",
    },
    {
        "problem": "Which $x$ solve $x^2 = 4$?",
        "solution": "Not just \\boxed{2}: $x \\in \\boxed{\\{-2, 2\\}}$.",
        "level": "Level 2",
        "unique_id": "train/algebra/7.json",
    },
)
"""Written for these tests, in the format of MATH."""


def write_jsonl(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return file


def numbered(num_rows: int, *, first: int = 0) -> list[dict[str, Any]]:
    """Return rows of distinct questions in the default columns."""
    return [{"prompt": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(first, first + num_rows)]


CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WITH_BOS = "<bos>" + CHATML
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + CHATML
)
DROPS_SYSTEM = CHATML.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
DATED = "Today is {{ strftime_now('%d %B %Y') }} ({{ date_string }}). " + CHATML


def make_tokenizer(
    chat_template: str | None = None, *, puts_bos: bool = False, puts_eos: bool = False
) -> Any:
    """Return a real tokenizer of single bytes with special tokens around a text, as asked."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<bos>", "<eos>", "<|user|>", "<|assistant|>", "<|system|>"]
    vocab = {token: index for index, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    single = " ".join(["<bos>"] * puts_bos + ["$A"] + ["<eos>"] * puts_eos)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[("<bos>", vocab["<bos>"]), ("<eos>", vocab["<eos>"])]
    )
    tokenizer.add_special_tokens(special)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>")
    fast.chat_template = chat_template
    return fast
