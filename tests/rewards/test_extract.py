"""Where the final answer is found, where its value ends, and what is refused."""

import time

import pytest

from rewards.finding.candidates import Kind, Source, Wanted
from rewards.finding.extract import Found, extract

NUMBER = Wanted(Kind.NUMBER)


def found(text: str, kind: Kind = Kind.NUMBER, words: str = "", **options: object) -> str | None:
    extraction = extract(text, Wanted(kind, words), lenient=True, **options)  # type: ignore[arg-type]
    if extraction.found is not Found.ANSWER:
        return None
    assert extraction.answer is not None
    return extraction.answer.value_text.strip()


@pytest.mark.parametrize(
    ("text", "source", "value"),
    [
        (r"so \boxed{5}.", Source.BOXED, "5"),
        (r"\boxed{4}, then \boxed{5}", Source.BOXED, "5"),
        (r"\boxed{\boxed{5}}", Source.BOXED, r"\boxed{5}"),
        (r"\boxed 5", Source.BOXED, "5"),
        (r"\boxed{oops \boxed{5}", Source.BOXED, "5"),
        ("4 + 1 = 5\n#### 5", Source.HASHES, "5"),
        ("<answer>5</answer>", Source.TAG, "5"),
        ("<ANSWER>\nThe answer is 5.\n</ANSWER>", Source.TAG, "5"),
        ("<answer>She has 5 apples left.</answer>", Source.TAG, "5"),
        ("The answer is 5.", Source.PHRASE, "5"),
        ("**Final Answer**\n\n5", Source.PHRASE, "5"),
        ("5 is the answer.", Source.PHRASE, "5"),
        ("We get an answer of 5.", Source.PHRASE, "5"),
        ("The answer, rounded to a whole number, is 5.", Source.PHRASE, "5"),
        ('{"answer": "5 clips"}', Source.PHRASE, "5 clips"),
        ("答：小明有5个苹果。", Source.PHRASE, "小明有5个苹果"),
        ("故答案为：5。", Source.PHRASE, "5"),
        ("So x = 5.", Source.LAST_SENTENCE, "x = 5"),
        ("She has 5 apples left. Hope this helps!", Source.LAST_SENTENCE, "5"),
        ("2 + 3 = 5 clips altogether in April and May", Source.LAST_SENTENCE, "5"),
        ("x = 5.\n\nCheck: 2*5 + 3 = 13 ✓", Source.LAST_SENTENCE, "x = 5"),
        ("所以一共有5个。", Source.LAST_SENTENCE, "一共有5个"),
    ],
)
def test_every_kind_of_statement_is_found(text: str, source: Source, value: str) -> None:
    answer = extract(text, NUMBER, lenient=True).answer
    assert answer is not None
    assert (answer.source, answer.value_text) == (source, value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("The answer is 12 apples for the 3 children.", "12"),
        ("The answer is that she has 12 apples left after giving 5 away.", "12"),
        ("Answer: Janet has 12 eggs left to sell for $2 each.", "12"),
        ("The answer is 12 (that is, 3 groups of 4).", "12"),
        ("The answer is 12 because 3 x 4 = 12.", "12"),
        ("The answer is 120 km per hour.", "120 km per hour"),
        ("The answer is not 17 but 18.", "18"),
        ("The answer is 18 instead of 17.", "18"),
        ("3 children get 4 apples each.", "4"),
        (r"\boxed{5}\text{ cm}", r"5 \text{ cm}"),
        (r"\boxed{28}\%", r"28 \%"),
        (r"$x = -\boxed{5}$", "-5"),
    ],
)
def test_the_value_ends_where_it_should(text: str, value: str) -> None:
    assert found(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 42 doubled.",
        "The answer is the number after 42.",
        "The answer is at least 42.",
        "The answer is 42 or 43.",
        "The answer is 42. Or 43.",
        "The answer could be 42.",
        "The answer is 42?",
        "The answer is 42. Wait, that is wrong.",
        "If the answer is 42, then what?",
        "I do not think the answer is 42.",
        "See page 42.",
        "42 is wrong.",
        "Now we multiply 42 by",
        "We still need to subtract 42.",
        "Is it 42?",
        r"\boxed{42} or \boxed{43}",
        r"2\cdot\boxed{42}",
        r"\boxed{42} thousand",
        r"\boxed{1} \boxed{2} \boxed{3} \boxed{42}",
        r"\boxed{}",
        r"The answer is 42, so \boxed{}.",
        "<think>\\boxed{42}</think>",
        "<think>\\boxed{42}",
        "~~42~~",
        "1. 40\n2. 41\n3. 42",
    ],
)
def test_what_asserts_nothing_is_refused(text: str) -> None:
    assert found(text) is None


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        (r"x = \boxed{1} or x = \boxed{2}", Kind.LIST, "1, 2"),
        ("So x = 1 or x = 2.", Kind.LIST, "x = 1 or x = 2"),
        (r"\boxed{1, 2} and again \boxed{1, 2}", Kind.LIST, "1, 2"),
        ("The correct option is (B).", Kind.CHOICE, "B"),
        ("Answer: B) 12", Kind.CHOICE, "B"),
        ("Option C is correct.", Kind.CHOICE, "C"),
        ("故选B。", Kind.CHOICE, "B"),
        ("The answer is a, b, or c.", Kind.CHOICE, None),
        ("The answer is A and C.", Kind.CHOICE, None),
        ("The answer is Evelyn because she is the fastest.", Kind.WORDS, "Evelyn"),
        ("The answer is yes, since 4 divides 12.", Kind.WORDS, "yes"),
        ("So the winner is Evelyn.", Kind.WORDS, "Evelyn"),
        ("Evelyn is the fastest.", Kind.WORDS, "Evelyn"),
        ("The answer is east or north.", Kind.WORDS, None),
        (r"So the lines meet at $(2, 3)$.", Kind.OTHER, "(2, 3)"),
    ],
)
def test_the_kind_of_gold_tells_what_a_value_is(text: str, kind: Kind, value: str | None) -> None:
    assert found(text, kind, "Evelyn" if kind is Kind.WORDS else "") == value


def test_a_hallucinated_next_question_is_not_read() -> None:
    assert found("The answer is 17.\n\nQuestion: 6*7?\nThe answer is 42.") == "17"
    assert found("\\boxed{17}\n\n**Problem 2**\n6*7\n\\boxed{42}") == "17"
    assert found("So she has 17 apples.<|im_end|>\nThe answer is 42.") == "17"


def test_an_explicit_final_answer_supersedes_a_box() -> None:
    assert found(r"\boxed{4}. We need x + 1. **Final answer:** 5") == "5"
    assert found(r"\boxed{5}. The price of one egg is $2.") == "5"
    assert found("\\boxed{5}\nFinal answer: unknown") is None


def test_the_question_repeated_is_no_answer() -> None:
    question = "Tom has 16 eggs and sells 4. He has 16 eggs. How many are left?"
    assert found("Tom has 16 eggs and sells 4.", prompt=question) is None
    assert found(question, prompt=question) is None
    assert found(question + "\nThe answer is 12.", prompt=question) == "12"


def test_a_response_that_was_cut_off_asserts_nothing_at_its_end() -> None:
    assert found("So she has 1", cut_off=True) is None
    assert found("The answer is 1", cut_off=True) is None
    assert found("The answer is 12. And", cut_off=True) == "12"
    assert found(r"so \boxed{12}", cut_off=True) == "12"


def test_losers_say_why_they_lost() -> None:
    losers = extract(r"The answer is 3. \boxed{4}, no, \boxed{5}", NUMBER).losers
    assert {loser.reason for loser in losers} == {
        "a stronger kind of statement is there",
        "a later one replaces it",
    }


@pytest.mark.parametrize(
    "piece",
    ["\\boxed{", "answer is ", "<think>", "$", "\\[", "####\n", "is the answer ", "**", "(", "1,", "<|"],
)
def test_a_hostile_megabyte_is_read_in_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    started = time.thread_time()
    extract(text, NUMBER, lenient=True)
    assert time.thread_time() - started < 2.0
