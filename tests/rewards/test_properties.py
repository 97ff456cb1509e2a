"""What holds for every number, every expression the generator can write, and every text."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.base import Verdict
from rewards.finding.candidates import Kind, Wanted
from rewards.finding.extract import extract
from rewards.judging import judge, prepare
from rewards.reading.parse import read
from rewards.reading.values import Unreadable

integers = st.integers(-(10**12), 10**12)
fractions = st.fractions(max_denominator=10**6)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**6), max_value=10**6)

leaves = st.one_of(st.integers(1, 99).map(str), st.sampled_from(["x", "y", r"\pi", r"\sqrt{2}", "1.5"]))
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" + ", " - ", r" \cdot "]), inner).map("".join),
        st.tuples(inner, inner).map(lambda two: rf"\frac{{{two[0]}}}{{{two[1]}}}"),
        inner.map(lambda one: f"({one})^2"),
        inner.map(lambda one: rf"\sin({one})"),
    ),
    max_leaves=8,
)
TEXT_LIKE_ANSWERS = st.text(
    alphabet=st.sampled_from(list("0123456789abxyz+-*/^=(){}[]\\$%,.:;!|<>_ \n#√π½−“答案是"))
    | st.characters(),
    max_size=80,
)
PIECES = st.lists(
    st.one_of(
        TEXT_LIKE_ANSWERS,
        st.sampled_from(
            [
                "\\boxed{",
                "}",
                "The answer is ",
                "#### ",
                "<answer>",
                "</answer>",
                "<think>",
                "</think>",
                "Final answer: ",
                "答案是",
                " or ",
                "\\frac{1}{2}",
                "\\sqrt",
                "Question: ",
                "$$",
                "\\[",
                "\\text{",
                "İ",
                "x = ",
            ]
        ),
    ),
    max_size=12,
).map("".join)

WANTED = [Wanted(kind, "east" if kind is Kind.WORDS else "") for kind in Kind]


@given(integers)
def test_an_integer_equals_itself_however_it_is_written(n: int) -> None:
    for written in (str(n), f"{n:,}", f"{n}.0", f"${n}$", f"+{n}" if n >= 0 else f"−{-n}"):
        assert judge(str(n), f"\\boxed{{{written}}}").verdict is Verdict.CORRECT


@given(fractions, st.integers(1, 50))
def test_a_fraction_equals_itself_reduced_or_not(f: Fraction, k: int) -> None:
    gold = f"{f.numerator}/{f.denominator}"
    for written in (
        gold,
        f"{f.numerator * k}/{f.denominator * k}",
        rf"\frac{{{f.numerator * k}}}{{{f.denominator * k}}}",
    ):
        assert judge(gold, f"The answer is {written}.").verdict is Verdict.CORRECT


@given(fractions, fractions)
def test_comparison_of_fractions_is_symmetric_and_exact(a: Fraction, b: Fraction) -> None:
    left, right = f"{a.numerator}/{a.denominator}", f"{b.numerator}/{b.denominator}"
    there = judge(left, f"\\boxed{{{right}}}").verdict
    back = judge(right, f"\\boxed{{{left}}}").verdict
    assert there is back is (Verdict.CORRECT if a == b else Verdict.WRONG)


@given(decimals)
def test_a_decimal_equals_itself(d: object) -> None:
    assert judge(str(d), f"Answer: {d}").verdict is Verdict.CORRECT


@settings(max_examples=60, deadline=None)
@given(expressions)
def test_an_expression_equals_itself(text: str) -> None:
    try:
        read(text)
    except Unreadable:
        return
    score = judge(text, f"\\boxed{{{text}}}")
    assert score.verdict is Verdict.CORRECT or score.explanation.rule == "undefined", (
        score.explanation.sentence
    )


@settings(max_examples=40, deadline=None)
@given(expressions, expressions)
def test_comparison_of_expressions_never_raises(gold: str, answer: str) -> None:
    judge(gold, f"\\boxed{{{answer}}}")


@settings(max_examples=400, deadline=None)
@given(PIECES, PIECES)
def test_no_text_raises_and_every_span_lies_inside_it(text: str, gold: str) -> None:
    for wanted in WANTED:
        found = extract(text, wanted, lenient=True)
        for candidate in (*filter(None, [found.answer]), *found.others):
            assert 0 <= candidate.span.start <= candidate.span.end <= len(text)
            if wanted.kind is not Kind.LIST:
                assert text[candidate.span.start : candidate.span.end] == candidate.text
    for reference in ("5", "x^2 + 1", "1, 2", "Monday", "B", gold):
        prepare(reference, text, text)


@settings(max_examples=300, deadline=None)
@given(TEXT_LIKE_ANSWERS)
def test_no_answer_raises(text: str) -> None:
    for gold in ("5", "2.5", "x^2 + 1", "x = 4", "1, 2", "(1, 2)", "x > 3", "Monday", "B"):
        judge(gold, f"<answer>{text}</answer>", text)
