"""Make the bundled tiny model and its problems, from nothing, in about ten minutes on two CPU cores.

The model is a Llama of about two million parameters that has read worked arithmetic by a *noisy teacher*. The
teacher knows how to solve every problem, but not every solution it writes is a good one:

    careful   works in short steps, then states the answer               nearly always right
    hasty     skips the work and falls for the usual misconception       nearly always wrong
    forgetful works, but stops before the last step and states nothing   no reward
    slipping  gets one step wrong and follows it through                 wrong

The model learns all four, in the teacher's proportions. So it starts with a middling reward, almost every group
of answers holds right and wrong ones, and what is to be gained is a matter of *choosing* a behaviour it already
has: which is what reinforcement learning with LoRA can teach within a minute.

    PYTHONPATH=. python sample_data/make_tiny.py        # writes the folder this file lies in
    python sample_data/make_tiny.py --steps 20 --out /tmp/quick

Everything follows from `--seed`. Licence: Apache-2.0; no foreign data goes in.
"""

# ruff: noqa: ARG002, D102 - the base class Family says what each method is for and what it gets

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from rewards import Verdict, judge

HERE = Path(__file__).resolve().parent

PAD, END, SYSTEM, USER, ASSISTANT = "<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "{{- '<|assistant|>' + message['content'] + '<|end|>' -}}"
    "{%- elif message['role'] in ['system', 'user'] -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] -}}"
    "{%- else -%}"
    "{{- raise_exception('Unknown role: ' + message['role']) -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)

SYSTEM_PROMPTS = (
    "You are a careful maths tutor.",
    "Please reason step by step, and put your final answer within \\boxed{}.",
    "Work in short steps, then state the answer.",
)

Args = tuple[int, ...]  # the numbers of a problem
Value = TypeVar("Value")  # what a family computes: an integer, a number of tenths, a pair


# ------------------------------------------------------------------------------------------------ the teacher


@dataclass(frozen=True)
class Noise:
    """How often the teacher does what it should not. The rates set the accuracy the model starts with."""

    hasty: float = 0.40  # skips the work
    hasty_right: float = 0.12  # and is right all the same
    forget: float = 0.17  # stops before the last step
    slip: float = 0.02  # a step goes wrong, per step
    ramble: float = 0.08  # fills in a harmless sentence


NO_NOISE = Noise(hasty=0.0, forget=0.0, slip=0.0)  # the teacher on a good day, who is read first


class Teacher:
    """Somebody who computes step by step, and now and then gets a step wrong."""

    def __init__(self, rng: random.Random, slip: float) -> None:
        self.rng = rng
        self.slip = slip

    def get(self, value: int) -> int:
        """The value of one step, or near it; whatever follows is computed from what is returned."""
        if self.rng.random() >= self.slip:
            return value
        return value + self.rng.choice((-10, -2, -1, 1, 2, 10))


def decimal(tenths: int) -> str:
    """Write a number of tenths: 62 is 6.2 and 60 is 6."""
    sign, size = ("-" if tenths < 0 else ""), abs(tenths)
    return f"{sign}{size // 10}.{size % 10}" if size % 10 else f"{sign}{size // 10}"


def join_terms(terms: Sequence[str]) -> str:
    """Join signed terms: x^2, -3x, 2 becomes x^2 - 3x + 2."""
    text = terms[0]
    for term in terms[1:]:
        text += f" - {term[1:]}" if term.startswith("-") else f" + {term}"
    return text


def term(coefficient: int, letter: str) -> str:
    """One term of a polynomial: (1, x) is x, (-3, x) is -3x."""
    return {1: letter, -1: f"-{letter}"}.get(coefficient, f"{coefficient}{letter}")


def signed(value: int) -> str:
    """A summand with its sign: + 3 or - 3."""
    return f"+ {value}" if value >= 0 else f"- {-value}"


# ----------------------------------------------------------------------------------------------- the families


class Family(ABC, Generic[Value]):
    """One kind of problem: how it is asked, worked, got wrong, and how its answer may be written."""

    name: str
    weight: float = 1.0  # share of the lessons, against the other families
    phrasings: tuple[str, ...] = ("What is {}?", "Compute {}.", "{} = ?")

    @abstractmethod
    def draw(self, rng: random.Random) -> Args:
        """Draw the numbers of a problem."""

    def key(self, args: Args) -> Args:
        """What makes two problems the same one, whatever their wording."""
        return args

    @abstractmethod
    def ask(self, args: Args) -> str:
        """The bare question, to be put into one of the phrasings."""

    @abstractmethod
    def solve(self, args: Args, teacher: Teacher) -> tuple[list[str], Value]:
        """The working, step by step, and what it comes to. The last step is the one a forgetful teacher leaves out."""

    @abstractmethod
    def guess(self, args: Args, rng: random.Random) -> Value:
        """What somebody in a hurry would say: the usual misconception."""

    @abstractmethod
    def write(self, value: Value, rng: random.Random) -> str:
        """The answer in one of its forms."""

    @abstractmethod
    def gold(self, args: Args) -> str:
        """The answer in its canonical form."""


class Sums(Family[int]):
    """Two-digit integers, added or subtracted."""

    name = "add"

    def draw(self, rng: random.Random) -> Args:
        a, b = rng.randint(11, 99), rng.randint(11, 99)
        return (a, b, 1) if rng.random() < 0.5 else (max(a, b), min(a, b), -1)

    def key(self, args: Args) -> Args:
        a, b, sign = args
        return (max(a, b), min(a, b), sign)

    def ask(self, args: Args) -> str:
        a, b, sign = args
        return f"{a} {signed(sign * b)}"

    def solve(self, args: Args, teacher: Teacher) -> tuple[list[str], int]:
        a, b, sign = args
        tens = b // 10 * 10
        if sign < 0:
            half = teacher.get(a - tens)
            total = teacher.get(half - b % 10)
            return [f"{a} - {tens} = {half}", f"{half} - {b % 10} = {total}"], total
        high = teacher.get(a // 10 * 10 + tens)
        low = teacher.get(a % 10 + b % 10)
        total = teacher.get(high + low)
        first = f"{a // 10 * 10} + {tens} = {high}"
        return [first, f"{a % 10} + {b % 10} = {low}", f"{high} + {low} = {total}"], total

    def guess(self, args: Args, rng: random.Random) -> int:
        a, b, sign = args
        right = a + sign * b
        digitwise = (a // 10 + sign * (b // 10)) * 10 + abs(a % 10 + sign * (b % 10)) % 10  # forgets to carry
        return digitwise if digitwise != right else right + rng.choice((-10, 10))

    def write(self, value: int, rng: random.Random) -> str:
        return str(value)

    def gold(self, args: Args) -> str:
        a, b, sign = args
        return str(a + sign * b)


class Products(Family[int]):
    """A two-digit number times a digit."""

    name = "mul"
    phrasings = ("What is {}?", "Compute {}.", "{} = ?", "Multiply: {}.")

    def draw(self, rng: random.Random) -> Args:
        return (rng.randint(12, 99), rng.randint(3, 9))

    def ask(self, args: Args) -> str:
        return f"{args[0]} * {args[1]}"

    def solve(self, args: Args, teacher: Teacher) -> tuple[list[str], int]:
        a, b = args
        high = teacher.get(a // 10 * 10 * b)
        low = teacher.get(a % 10 * b)
        total = teacher.get(high + low)
        first = f"{a // 10 * 10} * {b} = {high}"
        return [first, f"{a % 10} * {b} = {low}", f"{high} + {low} = {total}"], total

    def guess(self, args: Args, rng: random.Random) -> int:
        a, b = args
        uncarried = a // 10 * b * 10 + a % 10 * b % 10
        return uncarried if rng.random() < 0.5 and uncarried != a * b else a // 10 * 10 * b + a % 10 + b

    def write(self, value: int, rng: random.Random) -> str:
        return str(value)

    def gold(self, args: Args) -> str:
        return str(args[0] * args[1])


class Fractions(Family[tuple[int, int]]):
    """Two fractions, added or subtracted; the sum may be left unreduced."""

    name = "frac"
    weight = 2.0  # the hardest to learn
    denominators = (2, 3, 4, 5, 6, 8, 10, 12)

    def draw(self, rng: random.Random) -> Args:
        while True:
            b, d = rng.choice(self.denominators), rng.choice(self.denominators)
            a, c = rng.randint(1, b - 1), rng.randint(1, d - 1)
            if b == d or math.gcd(a, b) > 1 or math.gcd(c, d) > 1:
                continue
            if rng.random() < 0.5:
                return (a, b, c, d, 1)
            return (a, b, c, d, -1) if a * d > b * c else (c, d, a, b, -1)

    def key(self, args: Args) -> Args:
        a, b, c, d, sign = args
        return (*max((a, b), (c, d)), *min((a, b), (c, d)), sign)

    def ask(self, args: Args) -> str:
        a, b, c, d, sign = args
        return f"{a}/{b} {'+' if sign > 0 else '-'} {c}/{d}"

    def solve(self, args: Args, teacher: Teacher) -> tuple[list[str], tuple[int, int]]:
        a, b, c, d, sign = args
        common = math.lcm(b, d)
        left = teacher.get(a * common // b) if b < common else a
        right = teacher.get(c * common // d) if d < common else c
        total = teacher.get(left + sign * right)
        steps = [f"{a}/{b} = {left}/{common}"] if b < common else []
        steps += [f"{c}/{d} = {right}/{common}"] if d < common else []
        last = f"{left}/{common} {'+' if sign > 0 else '-'} {right}/{common} = {total}/{common}"
        return [*steps, last], (total, common)

    def guess(self, args: Args, rng: random.Random) -> tuple[int, int]:
        a, b, c, d, sign = args  # tops with tops, bottoms with bottoms
        return (a + c, b + d) if sign > 0 else (abs(a - c), max(b, d))

    def write(self, value: tuple[int, int], rng: random.Random) -> str:
        top, bottom = value
        if rng.random() < 0.5:  # reduced, and then perhaps as a decimal or a whole number
            exact = Fraction(top, bottom)
            top, bottom = exact.numerator, exact.denominator
            if bottom in (1, 2, 10) and rng.random() < 0.6:
                return decimal(top * 10 // bottom)
        return f"{top}/{bottom}"

    def gold(self, args: Args) -> str:
        a, b, c, d, sign = args
        return str(Fraction(a, b) + sign * Fraction(c, d))


class Decimals(Family[int]):
    """Numbers with one decimal, added or subtracted; values are tenths."""

    name = "dec"

    def draw(self, rng: random.Random) -> Args:
        while True:
            a, b = rng.randint(11, 99), rng.randint(11, 99)
            if a % 10 and b % 10 and a != b:
                return (a, b, 1) if rng.random() < 0.5 else (max(a, b), min(a, b), -1)

    def key(self, args: Args) -> Args:
        a, b, sign = args
        return (max(a, b), min(a, b), sign)

    def ask(self, args: Args) -> str:
        a, b, sign = args
        return f"{decimal(a)} {'+' if sign > 0 else '-'} {decimal(b)}"

    def solve(self, args: Args, teacher: Teacher) -> tuple[list[str], int]:
        a, b, sign = args
        whole, part = b // 10 * 10, b % 10
        if sign < 0:
            half = teacher.get(a - whole)
            total = teacher.get(half - part)
            first = f"{decimal(a)} - {decimal(whole)} = {decimal(half)}"
            return [first, f"{decimal(half)} - {decimal(part)} = {decimal(total)}"], total
        high = teacher.get(a // 10 * 10 + whole)
        low = teacher.get(a % 10 + part)
        total = teacher.get(high + low)
        first = f"{a // 10} + {b // 10} = {decimal(high)}"
        second = f"{decimal(a % 10)} + {decimal(part)} = {decimal(low)}"
        return [first, second, f"{decimal(high)} + {decimal(low)} = {decimal(total)}"], total

    def guess(self, args: Args, rng: random.Random) -> int:
        a, b, sign = args
        right = a + sign * b
        digitwise = (a // 10 + sign * (b // 10)) * 10 + abs(a % 10 + sign * (b % 10)) % 10
        return digitwise if digitwise != right else right + rng.choice((-10, 10))

    def write(self, value: int, rng: random.Random) -> str:
        style = rng.random()
        if style < 0.2:
            return f"{value}/10" if value % 10 else decimal(value)
        return f"{decimal(value)}0" if style < 0.35 and value % 10 else decimal(value)

    def gold(self, args: Args) -> str:
        return decimal(args[0] + args[2] * args[1])


class Linear(Family[int]):
    """a x + b = c with a whole solution."""

    name = "linear"
    phrasings = ("Solve {}.", "Solve for x: {}.", "{}. Find x.")

    def draw(self, rng: random.Random) -> Args:
        a, b = rng.randint(2, 9), rng.choice((-1, 1)) * rng.randint(1, 9)
        return (a, b, a * rng.randint(1, 12) + b)

    def ask(self, args: Args) -> str:
        a, b, c = args
        return f"{a}x {signed(b)} = {c}"

    def solve(self, args: Args, teacher: Teacher) -> tuple[list[str], int]:
        a, b, c = args
        right = teacher.get(c - b)
        x = teacher.get(round(right / a))
        return [f"{c} {signed(-b)} = {right}", f"{right} / {a} = {x}"], x

    def guess(self, args: Args, rng: random.Random) -> int:
        a, b, c = args
        undivided = c - b
        return undivided if rng.random() < 0.5 else max(1, round((c + b) / a) + (abs(b) < a))

    def write(self, value: int, rng: random.Random) -> str:
        return f"x = {value}" if rng.random() < 0.5 else str(value)

    def gold(self, args: Args) -> str:
        a, b, c = args
        return f"x = {(c - b) // a}"


class Expand(Family[tuple[int, int, int]]):
    """(x + a)(k x + b) multiplied out, in any order of terms or half factored; values are coefficients."""

    name = "expand"
    phrasings = ("Expand {}.", "Multiply out {}.")

    def draw(self, rng: random.Random) -> Args:
        a, b = (rng.choice((-1, 1)) * rng.randint(1, 9) for _ in range(2))
        return (a, b, rng.choice((1, 1, 2, 3)))

    def key(self, args: Args) -> Args:
        a, b, k = args
        return args if k > 1 else (max(a, b), min(a, b), k)

    def ask(self, args: Args) -> str:
        a, b, k = args
        return f"(x {signed(a)})({term(k, 'x')} {signed(b)})"

    def solve(self, args: Args, teacher: Teacher) -> tuple[list[str], tuple[int, int, int]]:
        a, b, k = args
        outer = teacher.get(k * a) if k > 1 else a
        middle, constant = teacher.get(outer + b), teacher.get(a * b)
        steps = [f"{k} * {a} = {outer}"] if k > 1 else []
        return [*steps, f"{outer} {signed(b)} = {middle}", f"{a} * {b} = {constant}"], (k, middle, constant)

    def guess(self, args: Args, rng: random.Random) -> tuple[int, int, int]:
        a, b, k = args
        return (k, 0, a * b) if rng.random() < 0.6 else (k, a * b, a + b)

    def write(self, value: tuple[int, int, int], rng: random.Random) -> str:
        k, middle, constant = value
        square, constant_term = term(k, "x^2"), [str(constant)] if constant else []
        if not middle:
            return join_terms([square, *constant_term])
        style = rng.random()
        if style < 0.2:  # the constant first
            return join_terms([*constant_term, term(middle, "x"), square])
        if style < 0.4 and constant:  # half factored
            return f"x({term(k, 'x')} {signed(middle)}) {signed(constant)}"
        return join_terms([square, term(middle, "x"), *constant_term])

    def gold(self, args: Args) -> str:
        a, b, k = args
        middle = k * a + b
        return join_terms([term(k, "x^2"), *([term(middle, "x")] if middle else []), str(a * b)])


class Collect(Family[tuple[int, int]]):
    """k(x + a) + m x collected; the sum may keep a common factor outside; values are (slope, constant)."""

    name = "collect"
    phrasings = ("Simplify {}.", "Collect terms: {}.")

    def draw(self, rng: random.Random) -> Args:
        return (rng.randint(2, 9), rng.choice((-1, 1)) * rng.randint(1, 9), rng.randint(2, 9))

    def ask(self, args: Args) -> str:
        k, a, m = args
        return f"{k}(x {signed(a)}) + {m}x"

    def solve(self, args: Args, teacher: Teacher) -> tuple[list[str], tuple[int, int]]:
        k, a, m = args
        constant, slope = teacher.get(k * a), max(2, teacher.get(k + m))
        return [f"{k} * {a} = {constant}", f"{k} + {m} = {slope}"], (slope, constant)

    def guess(self, args: Args, rng: random.Random) -> tuple[int, int]:
        k, a, m = args
        return (k + m, a) if rng.random() < 0.7 else (k * m, a)

    def write(self, value: tuple[int, int], rng: random.Random) -> str:
        slope, constant = value
        style = rng.random()
        if style < 0.25:
            return join_terms([str(constant), term(slope, "x")])
        common = next((f for f in (2, 3, 5) if slope % f == 0 and constant % f == 0), 0)
        if style < 0.5 and common and constant:
            return f"{common}({join_terms([term(slope // common, 'x'), str(constant // common)])})"
        return join_terms([term(slope, "x"), str(constant)])

    def gold(self, args: Args) -> str:
        k, a, m = args
        return join_terms([term(k + m, "x"), str(k * a)])


class Percent(Family[int]):
    """So many tens of percent of a two-digit number; values are tenths."""

    name = "percent"
    phrasings = ("What is {}?", "Find {}.", "Compute {}.")

    def draw(self, rng: random.Random) -> Args:
        return (rng.randint(2, 9), rng.randint(11, 99))

    def ask(self, args: Args) -> str:
        return f"{args[0]}0% of {args[1]}"

    def solve(self, args: Args, teacher: Teacher) -> tuple[list[str], int]:
        p, n = args
        first = f"10% is {decimal(n)}"
        high, low = teacher.get(p * (n // 10) * 10), teacher.get(p * (n % 10))
        if n % 10 == 0:
            return [first, f"{p} * {n // 10} = {decimal(high)}"], high
        total = teacher.get(high + low)
        second, third = f"{p} * {n // 10} = {decimal(high)}", f"{p} * {decimal(n % 10)} = {decimal(low)}"
        return [first, second, third, f"{decimal(high)} + {decimal(low)} = {decimal(total)}"], total

    def guess(self, args: Args, rng: random.Random) -> int:
        p, n = args
        return (
            n if rng.random() < 0.5 else abs(n - p * 10) * 10
        )  # stops at ten percent, or takes the number off

    def write(self, value: int, rng: random.Random) -> str:
        return f"{decimal(value)}0" if value % 10 and rng.random() < 0.2 else decimal(value)

    def gold(self, args: Args) -> str:
        return decimal(args[0] * args[1])


FAMILIES: tuple[Family[Any], ...] = (
    Sums(), Products(), Fractions(), Decimals(), Linear(), Expand(), Collect(), Percent()
)  # fmt: skip


# ---------------------------------------------------------------------------------------- problems and lessons


@dataclass(frozen=True)
class Problem:
    """One row of the problem files."""

    id: str
    prompt: str
    answer: str
    family: str


def state(answer: str, rng: random.Random) -> str:
    """State a final answer in one of the usual styles."""
    style = rng.random()
    if style < 0.45:
        top, slash, bottom = answer.partition("/")
        if slash and rng.random() < 0.5:
            answer = f"\\frac{{{top}}}{{{bottom}}}"
        return f"\\boxed{{{answer}}}"
    return f"The answer is {answer}." if style < 0.8 else f"Answer: {answer}"


def lesson(family: Family[Value], args: Args, noise: Noise, rng: random.Random) -> str:
    """One completion by the noisy teacher."""
    if rng.random() < noise.hasty:
        if rng.random() < noise.hasty_right:
            value = family.solve(args, Teacher(rng, 0.0))[1]
        else:
            value = family.guess(args, rng)
        return rng.choice(("Easy! ", "Quick guess: ", "No need to work. ")) + state(
            family.write(value, rng), rng
        )
    steps, value = family.solve(args, Teacher(rng, noise.slip))
    opening = rng.choice(("", "", "First, "))
    if rng.random() < noise.forget:
        return f"{opening}{', '.join(steps[:-1])}."
    ramble = "Let me check that. Yes. " if rng.random() < noise.ramble else ""
    return f"{opening}{', '.join(steps)}. {ramble}{state(family.write(value, rng), rng)}"


def make_problems(
    counts: tuple[int, int], rng: random.Random
) -> tuple[list[Problem], list[Problem], frozenset[tuple[str, Args]]]:
    """Draw training and held-out problems, no problem twice in whatever wording, and the keys of the held-out."""
    train: list[Problem] = []
    held_out: list[Problem] = []
    keys: set[tuple[str, Args]] = set()
    for family in FAMILIES:
        num_train, num_held_out = (count // len(FAMILIES) for count in counts)
        seen: set[Args] = set()
        while len(seen) < num_train + num_held_out:
            args = family.draw(rng)
            if family.key(args) in seen:
                continue
            seen.add(family.key(args))
            prompt = rng.choice(family.phrasings).format(family.ask(args))
            problem = Problem(f"{family.name}-{len(seen):04d}", prompt, family.gold(args), family.name)
            if len(seen) <= num_train:
                train.append(problem)
            else:
                held_out.append(problem)
                keys.add((family.name, family.key(args)))
    rng.shuffle(train)
    rng.shuffle(held_out)
    return train, held_out, frozenset(keys)


Conversation = list[dict[str, str]]


def lessons(
    noise: Noise, held_out: frozenset[tuple[str, Args]], rng: random.Random
) -> Iterator[tuple[Conversation, str]]:
    """Conversations and the teacher's completions without end; no held-out problem comes up in any wording."""
    weights = [family.weight for family in FAMILIES]
    while True:
        family = rng.choices(FAMILIES, weights)[0]
        args = family.draw(rng)
        if (family.name, family.key(args)) in held_out:
            continue
        prompt = rng.choice(family.phrasings).format(family.ask(args))
        messages = [{"role": "user", "content": prompt}]
        if rng.random() < 0.1:
            messages.insert(0, {"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
        yield messages, lesson(family, args, noise, rng)


# ------------------------------------------------------------------------------------- tokenizer and model


def make_tokenizer(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over the teacher's words; each digit is a token, an operator takes the blanks around it."""
    tokenizer = Tokenizer(models.BPE())
    pieces = r" ?\\[a-z]+\{?|[\p{L}]+(?: (?=[\p{L}\p{N}\\]))?|\p{N}| ?[^\s\p{L}\p{N}] ?|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=20,
        special_tokens=[PAD, END, SYSTEM, USER, ASSISTANT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=512,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_model(tokenizer: PreTrainedTokenizerFast, width: int, layers: int) -> LlamaForCausalLM:
    """Make a Llama with random weights."""
    config = LlamaConfig(
        vocab_size=math.ceil(len(tokenizer) / 8) * 8,
        hidden_size=width,
        intermediate_size=math.ceil(width * 8 / 3 / 32) * 32,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.06,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        max_new_tokens=64,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return model


# ------------------------------------------------------------------------------------------------- learning


@dataclass(frozen=True)
class Batch:
    """Lessons packed into rows, several to a row; a lesson sees only itself. B rows of length T."""

    ids: torch.Tensor  # (B, T)
    labels: torch.Tensor  # (B, T), -100 where nothing is to be learnt: prompts and padding
    positions: torch.Tensor  # (B, T), from 0 within each lesson
    mask: torch.Tensor  # (B, 1, T, T), true where the first position may look at the second


def batches(
    stream: Iterator[tuple[Conversation, str]], tokenizer: PreTrainedTokenizerFast, rows: int, length: int
) -> Iterator[Batch]:
    """Pack a stream of lessons into batches."""
    pending: tuple[list[int], list[int]] | None = None
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    while True:
        ids = torch.full((rows, length), tokenizer.pad_token_id)
        labels = torch.full((rows, length), -100)
        lesson_of = torch.full((rows, length), -1)
        positions = torch.zeros(rows, length, dtype=torch.long)
        for row in range(rows):
            start, count = 0, 0
            while True:
                prompt_ids, answer_ids = pending or tokenize_lesson(*next(stream), tokenizer)
                end = start + len(prompt_ids) + len(answer_ids)
                if end > length:
                    pending = (prompt_ids, answer_ids)
                    break
                pending = None
                ids[row, start:end] = torch.tensor(prompt_ids + answer_ids)
                labels[row, start + len(prompt_ids) : end] = torch.tensor(answer_ids)
                positions[row, start:end] = torch.arange(end - start)
                lesson_of[row, start:end] = count
                start, count = end, count + 1
        mask = (lesson_of[:, :, None] == lesson_of[:, None, :]) & causal
        yield Batch(ids, labels, positions, mask[:, None])


def tokenize_lesson(
    messages: Conversation, completion: str, tokenizer: PreTrainedTokenizerFast
) -> tuple[list[int], list[int]]:
    """Token ids of the rendered prompt and of the completion with its end."""
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt_ids: list[int] = tokenizer.encode(prompt, add_special_tokens=False)
    answer_ids: list[int] = tokenizer.encode(completion, add_special_tokens=False)
    return prompt_ids, [*answer_ids, tokenizer.eos_token_id]


def learn(
    model: LlamaForCausalLM, batch_at: Callable[[float], Batch], steps: int, learning_rate: float
) -> None:
    """Imitate the teacher by next-token prediction: Muon for the matrices, AdamW for the rest, a linear decay."""
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    outer = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(inner, lr=learning_rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(outer, lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.98), fused=True),
    ]
    model.train()
    began, running = time.monotonic(), 0.0
    for step in range(steps):
        batch = batch_at(step / steps)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * min((step + 1) / 50, (steps - step) / (0.7 * steps), 1.0)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(
                input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
            ).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch.labels[:, 1:].flatten())
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        running = loss.item() if not step else 0.98 * running + 0.02 * loss.item()
        if step % 100 == 99 or step == steps - 1:
            print(f"step {step + 1:5d}  loss {running:.3f}  {time.monotonic() - began:5.0f} s", flush=True)
    model.eval()


# ------------------------------------------------------------------------------------------------ measuring


def right(problem: Problem, completion: str) -> bool:
    """Ask the verifier that the training run will ask."""
    return judge(problem.answer, completion, problem.prompt).verdict is Verdict.CORRECT


@torch.inference_mode()
def complete(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    *,
    times: int = 1,
    greedy: bool = False,
    batch_size: int = 256,
) -> list[list[str]]:
    """Complete every prompt so many times, at temperature 1 or greedily."""
    rendered = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        for prompt in prompts
        for _ in range(times)
    ]
    texts: list[str] = []
    for start in range(0, len(rendered), batch_size):
        inputs = tokenizer(
            rendered[start : start + batch_size],
            return_tensors="pt",
            padding=True,
            add_special_tokens=False,
            return_token_type_ids=False,
        )
        how: dict[str, Any] = {"do_sample": False} if greedy else {"do_sample": True, "top_k": 0}
        output = model.generate(**inputs, **how, max_new_tokens=64)
        texts += tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [texts[start : start + times] for start in range(0, len(texts), times)]


def measure(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, problems: Sequence[Problem]
) -> dict[str, dict[str, float]]:
    """Accuracy by family and over all: mean of eight samples at temperature 1, pass@8, and greedy."""
    prompts = [problem.prompt for problem in problems]
    sampled = complete(model, tokenizer, prompts, times=8)
    greedy = complete(model, tokenizer, prompts, greedy=True)
    table: dict[str, dict[str, float]] = {}
    for name in [*(family.name for family in FAMILIES), "all"]:
        marks = [
            ([right(p, text) for text in eight], right(p, one[0]))
            for p, eight, one in zip(problems, sampled, greedy, strict=True)
            if name in (p.family, "all")
        ]
        table[name] = {
            "problems": len(marks),
            "samples": 8 * len(marks),
            "mean": round(sum(sum(eight) for eight, _ in marks) / (8 * len(marks)), 4),
            "pass@8": round(sum(any(eight) for eight, _ in marks) / len(marks), 4),
            "greedy": round(sum(one for _, one in marks) / len(marks), 4),
            "mixed_groups": round(sum(0 < sum(eight) < 8 for eight, _ in marks) / len(marks), 4),
        }
    return table


# ---------------------------------------------------------------------------------------------- the whole


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the weights as bfloat16, and configs that load them as float32 under transformers 4 and 5 alike."""
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    amend(folder / "config.json", {"dtype": "float32"}, drop=("torch_dtype",))
    names = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": [SYSTEM, USER, ASSISTANT],
    }
    amend(folder / "tokenizer_config.json", names, drop=("backend", "extra_special_tokens"))


def amend(path: Path, changes: dict[str, Any], drop: Sequence[str]) -> None:
    """Change some entries of a JSON file and drop others."""
    entries = {key: value for key, value in json.loads(path.read_text()).items() if key not in drop}
    path.write_text(json.dumps({**entries, **changes}, indent=2) + "\n")


def write_problems(path: Path, problems: Sequence[Problem]) -> None:
    """Write one JSON object a line."""
    path.write_text("".join(json.dumps(vars(problem)) + "\n" for problem in problems))


def read_problems(path: Path) -> list[Problem]:
    """Read what `write_problems` wrote."""
    return [Problem(**json.loads(line)) for line in path.read_text().splitlines()]


def make(options: argparse.Namespace) -> None:
    """Draw the problems, let a fresh model learn from the teacher, and write it all down."""
    torch.manual_seed(options.seed)
    rng = random.Random(options.seed)
    train, held_out, kept_back = make_problems((2000, 400), rng)
    options.out.mkdir(parents=True, exist_ok=True)
    write_problems(options.out / "tiny_train.jsonl", train)
    write_problems(options.out / "tiny_heldout.jsonl", held_out)

    noise = Noise()
    texts: list[str] = [*SYSTEM_PROMPTS * 100]
    for messages, completion in itertools.islice(lessons(noise, kept_back, rng), 20_000):
        texts += (messages[-1]["content"], completion)
    tokenizer = make_tokenizer(texts, options.vocab)
    model = make_model(tokenizer, options.width, options.layers)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens")

    clean, noisy = (
        batches(lessons(kind, kept_back, rng), tokenizer, options.rows, options.length)
        for kind in (NO_NOISE, noise)
    )
    learn(model, lambda done: next(clean if done < 0.6 else noisy), options.steps, options.learning_rate)
    save(model, tokenizer, options.out / "tiny_model")


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the stored weights, loaded as anybody would load them, on both sets of problems."""
    folder = options.out / "tiny_model"
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    report: dict[str, Any] = {"parameters": sum(p.numel() for p in model.parameters())}
    for split in ("train", "heldout"):
        torch.manual_seed(options.seed)
        report[split] = measure(model, tokenizer, read_problems(options.out / f"tiny_{split}.jsonl")[:400])
    return report


def main() -> int:
    """Make everything and measure it."""
    parser = argparse.ArgumentParser(description="Make the bundled tiny model and its problems.")
    parser.add_argument(
        "--out", type=Path, default=HERE, help="folder to write to (default: that of this script)"
    )
    parser.add_argument(
        "--measure", action="store_true", help="make nothing, measure the model that is there"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1800, help="gradient steps")
    parser.add_argument("--rows", type=int, default=24, help="rows in a batch")
    parser.add_argument("--length", type=int, default=160, help="tokens in a row")
    parser.add_argument("--learning-rate", type=float, default=6e-3)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocab", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()

    began = time.monotonic()
    if not options.measure:
        make(options)
    learnt = time.monotonic()
    report = measure_all(options)
    print(f"{learnt - began:.0f} s to make, {time.monotonic() - learnt:.0f} s to measure")
    text = json.dumps(report, indent=2)
    (options.out / "tiny_model" / "accuracy.json").write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
