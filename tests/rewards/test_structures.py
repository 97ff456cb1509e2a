"""Lists, tuples, named solutions, ratios, bases, letters, congruences and words against each other."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.comparing.algebra import same_by_algebra
from rewards.comparing.equivalence import decide_exactly, equal_values
from rewards.comparing.outcome import Outcome
from rewards.judging import decide_fully
from rewards.reading.parse import read

SAME = [
    ("{1, 2}", "x = 1 or x = 2"),
    ("1, 2", "2 and 1"),
    ("1, 2", "(1, 2)"),
    ("(1, 2)", "1, 2"),
    ("(1, 2)", "x = 1, y = 2"),
    ("(1, 2)", "y = 2, x = 1"),
    ("(1, 2)", "A = (1, 2)"),
    ("(x, y) = (1, 2)", "x = 1, y = 2"),
    ("(1, 2), (3, 4)", "x = 1, y = 2 or x = 3, y = 4"),
    ("x_1 = 1, x_2 = 2", "2, 1"),
    ("x = 2 \\pm \\sqrt{3}", "2 + \\sqrt{3}, 2 - \\sqrt{3}"),
    ("(\\pm 1, 2)", "(1, 2), (-1, 2)"),
    ("x = y = 2", "x = 2, y = 2"),
    ("3:4", "6:8"),
    ("3:4", "3/4"),
    ("2:3:4", "4:6:8"),
    ("1011_2", "1011_{two}"),
    ("1011_2", "1011 base 2"),
    ("1F_{16}", "0x1f"),
    ("0.\\overline{12}_3", "0.\\overline{12}_{3}"),
    ("A, C", "AC"),
    ("(B) 12", "B"),
    ("(B) 12", "12"),
    ("x \\equiv 3 \\pmod 7", "x ≡ 10 (mod 7)"),
    ("x = \\frac{\\pi}{4} + k\\pi, k \\in \\mathbb{Z}", "x = \\frac{5\\pi}{4} + n\\pi"),
    ("AB = 5", "5"),
    ("x = 5", "5"),
    ("3x - y = 4", "y = 3x - 4"),
    ("DNE", "does not exist"),
    ("well-known", "Well known."),
    ("3 cm and 4 cm", "3, 4"),
    ("(3,5; 2)", "(3.5, 2)"),
]
OTHER = [
    ("(1, 2)", "\\{2, 1\\}"),
    ("(1, 2)", "2, 1"),
    ("[1, 2]", "1, 2"),
    ("x = 1, y = 2", "x = 2, y = 1"),
    ("x = 1, y = 2", "x = 1 or y = 2"),
    ("x = 1, y = 2", "\\{1, 2\\}"),
    ("f(1) = 2, f(2) = 4", "f(1) = 4, f(2) = 2"),
    ("1, 1, 2", "1, 2"),
    ("3:4", "4:3"),
    ("3:4", "0:5"),
    ("1:0:2", "3:0:5"),
    ("1011_2", "1011"),
    ("1011_2", "11"),
    ("B", "BC"),
    ("A", "(A) and (B)"),
    ("5", "x + y = 5"),
    ("5", "5 = 5"),
    ("x = \\frac{\\pi}{4} + k\\pi, k \\in \\mathbb{Z}", "x = \\frac{\\pi}{4} + 2n\\pi, n \\in \\mathbb{Z}"),
    ("x \\equiv 3 \\pmod 7", "3"),
    ("42", "42 mod 5"),
    ("yes", "true"),
    ("undefined", "does not exist"),
    ("3 cm, 4 cm", "3 m, 4 m"),
]
EVERYTHING = sorted({text for pair in (*SAME, *OTHER) for text in pair})


def judged(gold: str, answer: str) -> Outcome:
    left, right = read(gold), read(answer)
    return decide_exactly(left, right) or decide_fully(left, right)


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_the_same_answer_in_another_form(gold: str, answer: str) -> None:
    outcome = judged(gold, answer)
    assert outcome.correct, outcome


@pytest.mark.parametrize(("gold", "answer"), OTHER)
def test_another_answer(gold: str, answer: str) -> None:
    outcome = judged(gold, answer)
    assert not outcome.correct, outcome
    assert outcome.because
    assert outcome.because[-1] != "."


@pytest.mark.parametrize("gold", EVERYTHING)
def test_every_gold_equals_itself(gold: str) -> None:
    assert judged(gold, gold).correct


@pytest.mark.parametrize(
    ("gold", "answer", "slip"),
    [
        ("(1, 2)", "(2, 1)", "order"),
        ("x = 1, y = 2", "x = 2, y = 1", "order"),
        ("1, 2", "1, -2", "sign"),
        ("1, 2, 3", "1, 2", "subset"),
        ("1, 2", "1, 2, 3", "superset"),
        ("5", "5, 6", "superset"),
        ("3:4", "4:3", "reciprocal"),
        ("x = 5", "2x = 10", "unsimplified"),
        ("8", "2^3", "unsimplified"),
        ("1011_2", "1011", "format only"),
    ],
)
def test_near_misses(gold: str, answer: str, slip: str) -> None:
    assert judged(gold, answer).near_miss == slip


values = st.sampled_from(EVERYTHING)


@given(values, values)
def test_equality_of_values_is_symmetric(left: str, right: str) -> None:
    one, other = read(left).value, read(right).value
    assert equal_values(one, other, same_by_algebra) == equal_values(other, one, same_by_algebra)
    assert equal_values(one, one, same_by_algebra)


@given(st.lists(st.integers(-99, 99), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_a_list_equals_itself_in_any_order_and_a_tuple_does_not(items: list[int], random: Random) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)
    assert judged(", ".join(map(str, items)), ", ".join(map(str, shuffled))).correct
    if len(items) > 1:
        ordered = judged(f"({', '.join(map(str, items))})", f"({', '.join(map(str, shuffled))})")
        assert ordered.correct == (items == shuffled)
    gold, answer = (", ".join(map(str, one)) for one in (items, [*shuffled, shuffled[0]]))
    assert judged("\\{" + gold + "\\}", "\\{" + answer + "\\}").correct


@given(st.lists(st.integers(1, 40), min_size=2, max_size=4), st.integers(1, 9))
def test_a_ratio_is_free_of_a_common_factor(parts: list[int], factor: int) -> None:
    scaled = ":".join(str(part * factor) for part in parts)
    assert judged(":".join(map(str, parts)), scaled).correct
