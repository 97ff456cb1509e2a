"""What the expression grammar reads, and as what."""

import contextlib
import time

import pytest

from rewards.notation.layout import lay_out
from rewards.reading.expression import ExpressionParser
from rewards.reading.parse import read
from rewards.reading.tokens import tokenize
from rewards.reading.values import LimitExceeded, Scalar, Unreadable
from rewards.trees.tree import Node, same_shape, show


def tree(text: str) -> Node:
    return ExpressionParser(tokenize(lay_out(text))).whole()


READINGS = [
    # fractions, roots, powers
    (r"\frac12", "1/2"),
    (r"\frac{1}2", "1/2"),
    (r"\frac1{23}", "1/23"),
    (r"\frac ab", "a/b"),
    (r"\cfrac{1}{1+x}", "1/(1 + x)"),
    (r"\sqrt2", "sqrt(2)"),
    (r"\sqrt12", "sqrt(12)"),
    (r"\sqrt[3]{x}", "root(x, 3)"),
    (r"\sqrt[n]x", "root(x, n)"),
    (r"x^2y", "x^2*y"),
    (r"x^{2}\frac{1}{2}", "x^2*1/2"),
    (r"2\frac{1}{2}", "2 1/2"),
    ("10^-3", "10^(-3)"),
    ("2*x**2", "2*x^2"),
    ("-2^2", "-2^2"),
    ("1/2x", "1/2*x"),
    ("1/(2x)", "1/(2*x)"),
    # letters
    ("x_{n+1}", "x_{n+1}"),
    ("x_{10}", "x_10"),
    ("x1 + x2", "x_1 + x_2"),
    ("a_nx", "a_n*x"),
    ("v_{max}", "v_max"),
    ("2xy", "2*x*y"),
    ("abcd", "a*b*c*d"),
    ("x' + y''", "x' + y''"),
    (r"x^{\prime}", "x'"),
    (r"\varphi", "phi"),
    (r"\overline{AB}", "overline(AB)"),
    (r"\angle ABC", "angle ABC"),
    (r"\vec{v}_1", "vec(v)_1"),
    (r"\overline{3+4i}", "conjugate(3 + 4*i)"),
    # bars and brackets
    ("|x|+|y|", "abs(x) + abs(y)"),
    ("2|x|", "2*abs(x)"),
    ("||x|-1|", "abs(abs(x) - 1)"),
    (r"\left|x-1\right|\left|y\right|", "abs(x - 1)*abs(y)"),
    (r"\left\lfloor \frac{n}{2} \right\rfloor", "floor(n/2)"),
    (r"\lceil x \rceil", "ceil(x)"),
    # counting
    ("5!!", "5!!"),
    ("n(n-1)!", "n*(n - 1)!"),
    (r"\binom{n}{k}", "binomial(n, k)"),
    (r"{n \choose k}", "binomial(n, k)"),
    ("C(5,2)", "binomial(5, 2)"),
    ("_{10}C_3", "binomial(10, 3)"),
    ("{}_5P_2", "permutations(5, 2)"),
    ("^nC_k", "binomial(n, k)"),
    ("C_5^2", "binomial(5, 2)"),
    ("C_1 e^x", "C_1*e^x"),
    # functions
    (r"\sin 2x \cos x", "sin(2*x)*cos(x)"),
    (r"\sin^2 x", "sin(x)^2"),
    (r"\sin^{-1} x", "arcsin(x)"),
    (r"\tan(\frac{\pi}{4})", "tan(pi/4)"),
    (r"\sin x + 1", "sin(x) + 1"),
    ("sinx", "sin(x)"),
    ("arcsinh(x)", "arcsinh(x)"),
    (r"\log_28", "log(8, 2)"),
    (r"\log_28\sqrt{2}", "log(8*sqrt(2), 2)"),
    (r"\log_{10} 5", "log(5, 10)"),
    (r"\lg 5", "log(5, 10)"),
    ("log2(8)", "log(8, 2)"),
    ("log(8, 2)", "log(8, 2)"),
    (r"\ln|x|", "log(abs(x))"),
    (r"\gcd(12,18)", "gcd(12, 18)"),
    (r"\max\{a,b\}", "max(a, b)"),
    (r"5 \bmod 3", "mod(5, 3)"),
    ("f(x)", "f(x)"),
    ("f^{-1}(x)", "f^-1(x)"),
    ("f''(x)", "f''(x)"),
    ("u(x,t)", "u(x, t)"),
    ("x(x+1)", "x*(x + 1)"),
    # structures
    (r"\sum_{k=1}^{n} k^2", "sum(•0^2, •0, 1, n)"),
    (r"\sum\limits_{i=1}^n i", "sum(•0, •0, 1, n)"),
    (r"\prod_{k=1}^3 k", "prod(•0, •0, 1, 3)"),
    (r"\int_0^1 xdx", "integral(•0, •0, 0, 1)"),
    (r"\int_0^{\pi} \sin\theta d\theta", "integral(sin(•0), •0, 0, pi)"),
    (r"\int \frac{dx}{x}", "integral dx(1/x)"),
    (r"\int_0^1\int_0^x y dy dx", "integral(integral(•0, •0, 0, •1), •1, 0, 1)"),
    (r"\frac{d}{dx} x^2", "d/dx(x^2)"),
    (r"\frac{dy}{dx}", "y'"),
    (r"\frac{dy}{dt}", "dy/dt"),
    (r"1+2+\cdots+n", "1 + 2 + … + n"),
]


@pytest.mark.parametrize(("text", "shown"), READINGS)
def test_is_read_as(text: str, shown: str) -> None:
    assert show(tree(text)) == shown


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\sum_{k=1}^{n} k", r"\sum_{j=1}^{n} j"),
        (r"\int_0^1 x^2+x\,dx".replace(r"\,", " "), r"\int_0^1 t+t^2 dt"),
        (r"\lim_{x\to0} x", r"\lim_{h\to 0} h"),
        (r"\sum_{i=1}^n \sum_{j=1}^n ij", r"\sum_{a=1}^n \sum_{b=1}^n ba"),
    ],
)
def test_the_name_of_a_bound_variable_does_not_count(one: str, other: str) -> None:
    assert same_shape(tree(one), tree(other))


@pytest.mark.parametrize(
    "text", ["", "+", r"\frac{1}", "2 3", r"\int x", r"\lim x", r"\sqrt", "(1", r"\foo", "apples+x"]
)
def test_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        tree(text)


@pytest.mark.parametrize(
    "text",
    [
        "|" * 300,
        r"\left|" * 90 + "x" + r"\right|" * 90,
        "f(" * 200 + "x" + ")" * 200,
        "x_{" * 150 + "1" + "}" * 150,
        r"\sum_{k=1}^n " * 60 + "k",
        r"\int_0^1 " * 60 + "x" + "dx" * 60,
        r"\log_" * 100 + "2",
        r"\overline{" * 100 + "x" + "}" * 100,
        "{}_" * 200 + "2",
        "C_5^2" * 90,
        r"\max(" * 90 + "1" + ")" * 90,
        r"\frac{d}{dx}" * 90 + "x",
    ],
    ids=lambda text: text[:12],
)
def test_hostile_text_is_read_or_refused_quickly(text: str) -> None:
    started = time.thread_time()
    with contextlib.suppress(Unreadable):
        tree(text)
    assert time.thread_time() - started < 0.5


def test_too_deep_is_a_limit() -> None:
    with pytest.raises(LimitExceeded):
        tree("(" * 100 + "1" + ")" * 100)


@pytest.mark.parametrize(
    "gold",
    [
        r"6\pi - 9\sqrt{3}",
        r"\frac{\sqrt{s(s-a)(s-b)(s-c)}}{s}",
        r"\left(1+\frac{1}{n}\right)^n",
        r"1 - e^{-\lambda t}",
        r"\frac{v^2 \sin 2\theta}{g}",
        r"v_0 t + \frac{1}{2} a t^2",
        r"\operatorname{lcm}(a,b)",
        r"\text{cis } \frac{\pi}{3}",
        r"-\frac{x}{2} \sqrt{4 - x^2}",
        r"\frac{1}{\binom{52}{5}}",
        r"F_{n+2}",
        r"\vec{a} - 2\vec{b}",
        r"\frac{\partial f}{\partial x}",
    ],
)
def test_a_gold_as_data_sets_write_it_is_an_expression(gold: str) -> None:
    assert isinstance(read(gold).value, Scalar)
