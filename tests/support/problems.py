"""Arithmetic problems with the answers a small model gives: right, nearly right, and wrong in telling ways."""

from __future__ import annotations

from dataclasses import dataclass

from rewards.base import Verdict


@dataclass(frozen=True, slots=True)
class Answer:
    """One thing a model may say: text before the answer, the answer, and what the verifier makes of it."""

    before: str
    text: str
    parsed: str
    verdict: Verdict = Verdict.CORRECT
    near_miss: str = ""


@dataclass(frozen=True, slots=True)
class Toy:
    """A problem and its possible answers: the first is right."""

    question: str
    gold: str
    parsed_gold: str
    right: Answer
    wrong: tuple[Answer, ...]


def _w(before: str, text: str, parsed: str, near_miss: str = "") -> Answer:
    return Answer(before, text, parsed, Verdict.WRONG, near_miss)


NO_BOX = Answer(
    "so 6/8 is 3/4 and then 3/4 + 1/4 and 3/4 + 1/4 and 3/4 + 1/4 and 3/4", "", "", Verdict.NO_ANSWER
)
BROKEN = Answer("we divide both sides by 2 and get", "\\frac{8}{", "", Verdict.UNPARSED)
SLOW = Answer("which is", "9^{9^{9^{9}}}", "", Verdict.TIMEOUT)

TOYS: tuple[Toy, ...] = (
    Toy(
        "Simplify 6/8 + 1/4.",
        "1",
        "Integer 1",
        Answer("6/8 is 3/4, and 1/4 more is 4/4, so the answer is", "1", "Integer 1"),
        (
            _w("6/8 + 1/4 = 7/12, so the answer is", "7/12", "Rational 7/12"),
            _w("6/8 is 3/4, and 1/4 more is 2/4, which is", "1/2", "Rational 1/2"),
            NO_BOX,
        ),
    ),
    Toy(
        "What is 17 × 6?",
        "102",
        "Integer 102",
        Answer("17 × 6 = 60 + 42 =", "102", "Integer 102"),
        (
            _w("17 × 6 = 60 + 41 =", "101", "Integer 101", "off by one"),
            _w("17 × 6 is", "-102", "Integer −102", "sign"),
        ),
    ),
    Toy(
        "Solve 2x + 3 = 11.",
        "4",
        "Integer 4",
        Answer("2x = 8, so x =", "4", "Integer 4"),
        (_w("2x = 14, so x =", "7", "Integer 7"), _w("2x = 8, so x =", "8", "Integer 8"), BROKEN),
    ),
    Toy(
        "Add 3/5 and 1/10.",
        "7/10",
        "Rational 7/10",
        Answer("3/5 is 6/10; 6/10 + 1/10 =", "7/10", "Rational 7/10"),
        (_w("3/5 + 1/10 =", "4/15", "Rational 4/15"), _w("6/10 + 1/10 =", "6/10", "Rational 3/5")),
    ),
    Toy(
        "Factor x^2 - 5x + 6.",
        "(x-2)(x-3)",
        "(x − 3)⋅(x − 2)",
        Answer("two numbers with sum 5 and product 6 are 2 and 3:", "(x-2)(x-3)", "(x − 3)⋅(x − 2)"),
        (
            _w("two numbers with product 6:", "(x+2)(x+3)", "(x + 2)⋅(x + 3)", "sign"),
            _w("it is", "(x-1)(x-6)", "(x − 6)⋅(x − 1)"),
            SLOW,
        ),
    ),
    Toy(
        "What is 9 × 9?",
        "81",
        "Integer 81",
        Answer("9 × 9 =", "81", "Integer 81"),
        (_w("9 × 9 =", "72", "Integer 72"),),
    ),
    Toy(
        "Expand (x + 1)(x - 4).",
        "x^2-3x-4",
        "x² − 3x − 4",
        Answer("x·x − 4x + x − 4 =", "x^2-3x-4", "x² − 3x − 4"),
        (_w("x·x − 4x + x + 4 =", "x^2-3x+4", "x² − 3x + 4", "sign"), _w("=", "x^2-4", "x² − 4")),
    ),
    Toy(
        "What is 35% of 80?",
        "28",
        "Integer 28",
        Answer("35% of 80 is 0.35 × 80 =", "28", "Integer 28"),
        (_w("35% of 80 is", "0.28", "Float 0.28", "percent"), _w("80 − 35 =", "45", "Integer 45")),
    ),
    Toy(
        "What is 12 + 30?",
        "42",
        "Integer 42",
        Answer("12 + 30 =", "42", "Integer 42"),
        (_w("12 + 30 =", "32", "Integer 32"),),
    ),
    Toy(
        "Solve 5y - 4 = 2y + 11.",
        "5",
        "Integer 5",
        Answer("3y = 15, so y =", "5", "Integer 5"),
        (_w("7y = 15, so y =", "15/7", "Rational 15/7"), _w("3y = 7, so y =", "7/3", "Rational 7/3"), NO_BOX),
    ),
)
