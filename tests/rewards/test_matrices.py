"""Matrices and vectors: how they are read, worked out and compared."""

import time

import pytest

from rewards.base import Verdict
from rewards.judging import judge
from rewards.reading.parse import read
from rewards.reading.values import Matrix, Unreadable, show_value

SQUARE = r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"
COLUMN = r"\begin{pmatrix} 1/3 \\ 2/3 \end{pmatrix}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (SQUARE, "[1, 2; 3, 4]"),
        (r"\begin{bmatrix}1&2\\3&4\\\end{bmatrix}", "[1, 2; 3, 4]"),
        (r"\left(\begin{array}{cc} 1 & 2 \\[2pt] 3 & 4 \end{array}\right)", "[1, 2; 3, 4]"),
        (r"\begin{smallmatrix} \frac12 & x^2 \\ -1 & \sqrt2 \end{smallmatrix}", "[1/2, x^2; -1, sqrt(2)]"),
        (r"\frac{1}{29}\begin{pmatrix} 4 & -10 \\ -10 & 25 \end{pmatrix}", "[4/29, -10/29; -10/29, 25/29]"),
        (r"-\begin{pmatrix} 1 \\ -2 \end{pmatrix}", "[-1; 2]"),
        (r"\begin{pmatrix} 1 & 2 \end{pmatrix}^T", "[1; 2]"),
        (r"A^{-1} = " + SQUARE, "[1, 2; 3, 4]"),
    ],
)
def test_is_read_as(text: str, shown: str) -> None:
    value = read(text).value
    assert isinstance(value, Matrix)
    assert show_value(value) == shown


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        (SQUARE, r"\begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix}", True),
        (SQUARE, "[[1, 2], [3, 4]]", True),
        (SQUARE, r"\frac12\begin{pmatrix} 2 & 4 \\ 6 & 8 \end{pmatrix}", True),
        (SQUARE, r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}", False),
        (SQUARE, r"\begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix}", False),
        (SQUARE, r"\begin{pmatrix} 1 & 2 & 3 & 4 \end{pmatrix}", False),
        (SQUARE, "-2", False),
        ("-2", r"\begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix}", False),
        (r"ad-bc", r"\begin{vmatrix} a & b \\ c & d \end{vmatrix}", True),
        (COLUMN, "(1/3, 2/3)", True),
        (COLUMN, r"\langle 1/3, 2/3 \rangle", True),
        (COLUMN, r"\left(\frac13, \frac23\right)^T", True),
        (COLUMN, r"\frac13\mathbf{i} + \frac23\mathbf{j}", True),
        (COLUMN, r"\begin{pmatrix} 1/3 & 2/3 \end{pmatrix}", False),
        (COLUMN, "(2/3, 1/3)", False),
        ("(1, 2)", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", True),
        (r"3\mathbf{i}+4\mathbf{j}", r"4\hat{j} + 3\hat{\imath}", True),
        (r"3\mathbf{i}+4\mathbf{j}", r"3+4i", False),
        (r"3\mathbf{i}+4\mathbf{j}", "5", False),
        (r"2\mathbf{i} - \mathbf{k}", r"\langle 2, 0, -1 \rangle", True),
        (
            r"\begin{pmatrix} 1+2t \\ 3-t \end{pmatrix}",
            r"\begin{pmatrix}1\\3\end{pmatrix} + t\begin{pmatrix}2\\-1\end{pmatrix}",
            True,
        ),
        (
            r"\begin{pmatrix} 4 \\ 6 \end{pmatrix}",
            r"\begin{pmatrix}1\\2\end{pmatrix} + \begin{pmatrix}3\\4\end{pmatrix}",
            False,
        ),
        (
            r"\begin{pmatrix} \cos 2\theta & 0 \\ 0 & 1 \end{pmatrix}",
            r"\begin{pmatrix} 1 - 2\sin^2\theta & 0 \\ 0 & 1 \end{pmatrix}",
            True,
        ),
    ],
)
def test_verdict(gold: str, answer: str, right: bool) -> None:
    assert (judge(gold, f"\\boxed{{{answer}}}").verdict is Verdict.CORRECT) is right


def test_the_near_miss_of_one_entry_is_named() -> None:
    why = judge(SQUARE, r"\boxed{\begin{pmatrix} 1 & -2 \\ 3 & 4 \end{pmatrix}}").explanation
    assert (why.rule, why.near_miss) == ("different entry", "sign")
    assert "row 1, column 2" in why.sentence


def test_a_transposed_matrix_is_a_near_miss() -> None:
    assert (
        judge(SQUARE, r"\boxed{\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}}").explanation.near_miss
        == "order"
    )


@pytest.mark.parametrize(
    "text",
    [
        r"\begin{pmatrix} 1 & 2 \\ 3 \end{pmatrix}",
        r"\begin{pmatrix} \end{pmatrix}",
        r"\begin{pmatrix} 1 \\ 2",
        r"\begin{pmatrix}1&2\\3&4\end{pmatrix} + 1",
        r"\begin{pmatrix}1\\2\end{pmatrix}\begin{pmatrix}1\\2\end{pmatrix}",
        r"\sin\begin{pmatrix}1\\2\end{pmatrix}",
        r"\begin{pmatrix}" + "1&" * 100 + r"1\end{pmatrix}",
        r"\begin{pmatrix}2&3\\4&5\end{pmatrix}^{99999}",
        r"\begin{vmatrix}" + r"\\".join(["&".join("abcdefg")] * 7) + r"\end{vmatrix}",
        r"\begin{pmatrix}" * 100,
    ],
    ids=lambda text: text[:40],
)
def test_what_is_no_matrix_is_refused_quickly(text: str) -> None:
    started = time.thread_time()
    with pytest.raises(Unreadable):
        read(text)
    assert time.thread_time() - started < 0.2
