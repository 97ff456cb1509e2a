"""The bundled model and its problems are whole, small, and start where reinforcement learning is interesting."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewards import Verdict, judge
from rewards.judging import check_gold

SAMPLE_DATA = Path(__file__).parents[2] / "sample_data"
MODEL = SAMPLE_DATA / "tiny_model"
MAX_BYTES = 8_000_000
SPLITS = ("train", "heldout")


def read_problems(split: str) -> list[dict[str, str]]:
    lines = (SAMPLE_DATA / f"tiny_{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL)


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(MODEL).eval()


def render(tokenizer: Any, *messages: tuple[str, str], prompt: bool = True) -> str:
    chat = [{"role": role, "content": content} for role, content in messages]
    return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=prompt))


def complete(model: Any, tokenizer: Any, prompts: list[str], times: int) -> list[str]:
    rendered = [render(tokenizer, ("user", prompt)) for prompt in prompts for _ in range(times)]
    inputs = tokenizer(rendered, return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.inference_mode():
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=True,
            top_k=0,
            max_new_tokens=64,
        )
    texts: list[str] = tokenizer.batch_decode(
        output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return texts


def test_everything_is_there_and_small() -> None:
    for name in (
        "make_tiny.py",
        "README.md",
        "tiny_train.jsonl",
        "tiny_heldout.jsonl",
        "tiny_model/accuracy.json",
    ):
        assert (SAMPLE_DATA / name).is_file(), name
    sizes = [p.stat().st_size for p in SAMPLE_DATA.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert sum(sizes) <= MAX_BYTES


@pytest.mark.parametrize("split", SPLITS)
def test_problems_are_well_formed(split: str) -> None:
    problems = read_problems(split)
    assert len(problems) == {"train": 2000, "heldout": 400}[split]
    for problem in problems:
        assert set(problem) == {"id", "prompt", "answer", "family"}
        assert all(isinstance(value, str) and value for value in problem.values())
        assert check_gold(problem["answer"]) is None
    by_family = Counter(problem["family"] for problem in problems)
    assert len(by_family) >= 5
    assert min(by_family.values()) >= 20


def test_no_problem_is_in_both_splits_or_twice() -> None:
    problems = [problem for split in SPLITS for problem in read_problems(split)]
    assert len({problem["id"] for problem in problems}) == len(problems)
    assert len({problem["prompt"] for problem in problems}) == len(problems)


def test_model_is_a_small_llama_in_float32(model: Any) -> None:
    assert model.config.model_type == "llama"
    assert type(model).__name__ == "LlamaForCausalLM"
    assert 1_000_000 <= sum(parameter.numel() for parameter in model.parameters()) <= 4_000_000
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_special_tokens_agree(model: Any, tokenizer: Any) -> None:
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    for config in (model.config, model.generation_config):
        assert config.pad_token_id == tokenizer.pad_token_id
        assert config.eos_token_id == tokenizer.eos_token_id
    assert len(tokenizer) <= model.config.vocab_size


@pytest.mark.parametrize(
    "text",
    [
        "What is 47 + 38?",
        "\\boxed{\\frac{3}{4}}",
        "  two  blanks, a\ttab,\r\n\n and line ends \n",
        "Ünïcödé — 世界, مرحبا, 🧮👩🏽‍🔬, e\u0301, \u00a0, \ufeff, \x00\x7f",
        "def f(x): return x**2 # code",
        "1,234.50 % of $7 / 8 - 9 = x^2",
        "",
    ],
)
def test_any_text_survives_the_tokenizer(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_every_digit_is_a_token(tokenizer: Any) -> None:
    assert tokenizer.tokenize("1234567890") == list("1234567890")


def test_chat_template_opens_the_answer_when_asked(tokenizer: Any) -> None:
    turn = ("user", "What is 1 + 1?")
    assert render(tokenizer, turn) == "<|user|>What is 1 + 1?<|assistant|>"
    assert render(tokenizer, ("system", "Be brief."), turn) == (
        "<|system|>Be brief.<|user|>What is 1 + 1?<|assistant|>"
    )
    answered = render(tokenizer, turn, ("assistant", "The answer is 2."), prompt=False)
    assert answered == render(tokenizer, turn) + "The answer is 2.<|end|>"
    assert tokenizer.encode(answered, add_special_tokens=False)[-1] == tokenizer.eos_token_id


def test_chat_template_refuses_an_unknown_role(tokenizer: Any) -> None:
    with pytest.raises(Exception, match="Unknown role: wizard"):
        render(tokenizer, ("wizard", "Abracadabra"))


@pytest.mark.parametrize("split", SPLITS)
def test_measured_start_is_where_groups_are_mixed(split: str) -> None:
    table = json.loads((MODEL / "accuracy.json").read_text())[split]
    assert 0.35 <= table["all"]["mean"] <= 0.55
    assert table["all"]["pass@8"] >= 0.95
    for family, row in table.items():
        assert 0.15 <= row["mean"] <= 0.75, family


def test_sampled_accuracy_is_what_was_measured(model: Any, tokenizer: Any) -> None:
    measured = json.loads((MODEL / "accuracy.json").read_text())["heldout"]["all"]["mean"]
    problems = read_problems("heldout")[:96]
    torch.manual_seed(7)
    texts = complete(model, tokenizer, [problem["prompt"] for problem in problems], times=2)
    golds = [problem for problem in problems for _ in range(2)]
    right = [
        judge(problem["answer"], text, problem["prompt"]).verdict is Verdict.CORRECT
        for problem, text in zip(golds, texts, strict=True)
    ]
    assert sum(right) / len(right) == pytest.approx(measured, abs=0.14)
