"""Expressions up to identity: what is one, what is not, how precisely and how fast that is decided."""

import time

import pytest

from rewards.base import Verdict
from rewards.judging import judge
from rewards.notation.layout import lay_out
from rewards.reading.expression import ExpressionParser
from rewards.reading.tokens import tokenize
from rewards.trees.estimates import Unknown, clearly_differ, estimate
from rewards.trees.exact import TooLarge
from rewards.trees.points import digits_in, real_points, whole_variables
from rewards.trees.tree import Node

EQUAL = [
    (r"\frac{1}{\sqrt2}", r"\frac{\sqrt2}{2}"),
    (r"\sqrt{5+2\sqrt6}", r"\sqrt2+\sqrt3"),
    (r"\sqrt{2+\sqrt3}", r"\frac{\sqrt6+\sqrt2}{2}"),
    (r"\ln 4", r"2\ln 2"),
    (r"\sqrt{x^2}", "|x|"),
    (r"\sqrt{x^3}", r"x\sqrt{x}"),
    (r"\sqrt{ab}", r"\sqrt a\sqrt b"),
    (r"\ln(ab)", r"\ln a+\ln b"),
    (r"\sin^2 x", r"1-\cos^2 x"),
    (r"\sin 3x", r"3\sin x-4\sin^3 x"),
    (r"\tan\frac{\pi}{8}", r"\sqrt2-1"),
    (r"\cos\frac{\pi}{5}", r"\frac{1+\sqrt5}{4}"),
    (r"e^{i\pi/3}", r"\frac12+\frac{\sqrt3}{2}i"),
    (r"\frac{1}{1+i}", r"\frac{1-i}{2}"),
    ("6+9i", "3(2+3i)"),
    (r"\text{cis }60^\circ", r"\frac{1+i\sqrt3}{2}"),
    ("|3+4i|", "5"),
    (r"\overline{3+4i}", "3-4i"),
    (r"i\sqrt3", r"\sqrt{-3}"),
    (r"\sqrt[3]{-8}", "-2"),
    ("x^{1/3}", r"\sqrt[3]{x}"),
    ("x^{2/3}", r"\sqrt[3]{x^2}"),
    ("2^{x+1}", r"2\cdot 2^x"),
    ("4^x", "2^{2x}"),
    ("(-1)^{n+1}", "-(-1)^n"),
    ("(-1)^n", r"\cos(n\pi)"),
    (r"\binom{n}{2}", r"\frac{n(n-1)}{2}"),
    (r"\frac{(2n)!}{(n!)^2}", r"\binom{2n}{n}"),
    ("n!", "n(n-1)!"),
    (r"\sum_{k=1}^n k", r"\frac{n(n+1)}{2}"),
    (r"\sum_{k=1}^n k^2", r"\sum_{j=1}^n j^2"),
    (r"\int_0^1 f(x)\,dx", r"\int_0^1 f(t)\,dt"),
    ("f(2x)", "f(x+x)"),
    ("f(x)+1", "1+f(x)"),
    (r"\log_2 8x", r"3+\log_2 x"),
    (r"\log_{10}5", r"\log 5"),
    (r"\log 5", r"\ln 5"),
    (r"\arctan 1 + x", r"x+\frac{\pi}{4}"),
    (r"\sinh x", r"\frac{e^x-e^{-x}}{2}"),
    (r"\max(a,b)", r"\max(b,a)"),
    (r"\max(a,b)", r"\frac{a+b+|a-b|}{2}"),
    (r"\gcd(a,b)", r"\gcd(b,a)"),
    (r"\sin(90^\circ - x)", r"\cos x"),
    (r"\sin 30^\circ + x", r"x+\frac12"),
    (r"\frac{x^2-1}{x-1}", "x+1"),
    ("(x+1)^{10}", "(x+1)^9(x+1)"),
    ("10^{10^{10}}", "10^{10^{10}}"),
    (r"\sin^2 x + C", r"-\cos^2 x + C"),
    (r"\frac{x^3}{3}+C", r"\frac{x^3}{3}+C_1"),
    (r"\frac{x^3}{3}", r"\frac{x^3}{3}+C"),
    (r"y=\sqrt3 x", r"x=\frac{y}{\sqrt3}"),
    (r"x\sqrt3 - y = 0", r"y=\sqrt3 x"),
    (r"\frac{\sin x}{1+\cos x}", r"\tan\frac x2"),
    (r"\frac{1}{\sec x}", r"\cos x"),
    (r"2\sqrt3+3\sqrt2", r"3\sqrt2+\sqrt{12}"),
    (r"\sqrt[3]{7+5\sqrt2}", r"1+\sqrt2"),
    (r"\sqrt[3]{2+\sqrt5}+\sqrt[3]{2-\sqrt5}", "1"),
    (r"\frac{\pi^2}{6}", r"\frac{\pi\cdot\pi}{6}"),
    ("3.14159", r"\pi"),
    ("1.414", r"\sqrt2"),
    (r"e^{\ln 5}x", "5x"),
    (r"0x+\sin\pi", "0"),
    ("y = x^2 + C", "y = x^2 + C"),
    (r"\frac{dy}{dx}=2x", r"\frac{dy}{dx}=2x"),
    (r"1+2+\cdots+n", r"1+2+\ldots+n"),
    (r"\lfloor x\rfloor", "floor(x)"),
    ("C_5^2", r"\binom52"),
    (r"\begin{vmatrix}1&2\\3&4\end{vmatrix}x", "-2x"),
    ("x^2", r"x^2 \text{ for } x > 0"),
    ("x^2", "x^2, x > 0"),
    ("x^2", "x²"),
    (r"\frac{\sqrt3}{2}", "√3/2"),
    (r"2\sqrt{3}", "2√3"),
    (r"\sqrt{12}", "√12"),
    (r"\sqrt[3]{2}", "∛2"),
    (r"\sqrt[3]{2}", "2^(1/3)"),
    (r"\sqrt[3]{2}", "cbrt(2)"),
    (r"2\pi", "2π"),
    (r"x\cdot y", "x·y"),
    ("x_1 + x_2", "x₁+x₂"),
    ("e^x", "exp(x)"),
    ("e^{-x}", "e^(-x)"),
    ("e^{-x}", "exp(-x)"),
    (r"\ln(x)", "ln x"),
    (r"\log_2(3)", "log_2 3"),
    (r"\log_2(3)", "log2(3)"),
    (r"\log_2 3", "log(3)/log(2)"),
    (r"\log_2 3", "ln(3)/ln(2)"),
    ("3x(x+1)", "3*x*(x+1)"),
    (r"\frac{1}{2x}", "1/(2x)"),
    (r"\frac{x}{2}", "1/2x"),
    ("|x-1|", "abs(x-1)"),
    (r"\sin^{-1}(x)", "arcsin(x)"),
    (r"\sin^{-1}(x)", "asin(x)"),
    (r"\csc x", r"1/\sin(x)"),
    (r"\cosh x", r"\frac{e^x+e^{-x}}{2}"),
    (r"\tan 2x", r"\frac{2\tan x}{1-\tan^2 x}"),
    (r"\sin x \cos y + \cos x \sin y", r"\sin(x+y)"),
    (r"\frac{n(n+1)}{2}", r"\binom{n+1}{2}"),
    (r"\operatorname{lcm}(a,b)", "lcm(a,b)"),
    (r"\lfloor x \rfloor", "⌊x⌋"),
    (r"\lceil x/2 \rceil", r"\left\lceil \frac{x}{2} \right\rceil"),
    ("f'(x)", r"f^{\prime}(x)"),
    ("f^{-1}(x)", "f^{-1}(x)"),
    (r"\overline{AB}", r"\overline{AB}"),
    (r"\angle ABC", "∠ABC"),
    (r"2\vec{a}+\vec{b}", r"\vec{b}+2\vec{a}"),
    (r"z\bar z", r"\bar z z"),
    (r"\sum_{n=1}^{\infty} \frac{1}{n^2}", r"\sum_{k=1}^\infty k^{-2}"),
    (r"\int_a^b f(x) dx", r"\int_a^b f(t)\,\mathrm{d}t"),
    (r"\lim_{x \to \infty} f(x)", r"\lim_{t\to\infty} f(t)"),
    (r"2\cos\theta", r"2\cos(\theta)"),
    (r"r e^{i\theta}", r"r(\cos\theta+i\sin\theta)"),
    (r"5\angle 30^\circ", r"5\angle 30^\circ"),
    (r"\frac{1}{3}", r"0.\overline{3}"),
    (r"1-\frac{1}{2^n}", "1-2^{-n}"),
    (r"\frac{2^{n+1}-2}{2}", "2^n-1"),
    ("a_{n}=2^n", "a_n = 2^{n}"),
    ("x^4+4x^3y+6x^2y^2+4xy^3+y^4", "(x+y)^4"),
    ("(a-b)^2", "(b-a)^2"),
    (r"\frac{a}{b}-\frac{c}{d}", r"\frac{ad-bc}{bd}"),
    (r"\sqrt{a^2b}", r"\sqrt{a^2 b}"),
    (r"\sqrt{18}x", r"3\sqrt2 x"),
    (r"1+\sqrt2+\sqrt3", r"\sqrt3+\sqrt2+1"),
    (r"\frac{2}{\sqrt5-1}", r"\frac{1+\sqrt5}{2}"),
    (r"\phi", r"\varphi"),
    (r"\frac{4}{3}\pi r^3", r"4\pi r^3/3"),
    (r"\frac{GMm}{r^2}", "G M m / r^2"),
    ("mgh", "mgh"),
    (r"\frac12 mv^2", "0.5mv^2"),
    (r"\tfrac{1}{2}(a+b)h", r"\dfrac{(a+b)h}{2}"),
    (r"-\frac{b}{2a}", r"\frac{-b}{2a}"),
    (r"x+\frac{1}{x}", r"\frac{x^2+1}{x}"),
    (r"\log(xy)", r"\log x+\log y"),
    (r"\ln\frac{x}{y}", r"\ln x - \ln y"),
    ("3^{2x}", "9^x"),
    ("(n+1)!", r"(n+1)\cdot n!"),
    (r"\frac{(n+2)!}{n!}", "(n+2)(n+1)"),
    ("{}^nP_r", r"\frac{n!}{(n-r)!}"),
    ("P(n,2)", "n(n-1)"),
    (r"\pi", r"\pi"),
    (r"\frac{\pi}{180}x", r"x\pi/180"),
    ("2i", r"\sqrt{-4}"),
    ("-1", "i^2 = -1"),
    ("(1+i)^2+x", "2i+x"),
    (r"\frac{-1+i\sqrt{3}}{2}", r"e^{2\pi i/3}"),
    (r"\cos\frac{2\pi}{3}+i\sin\frac{2\pi}{3}", r"-\frac12+\frac{\sqrt3}{2}i"),
    ("a+bi", "a+ib"),
    (r"\lambda e^{-\lambda x}", r"\lambda\exp(-\lambda x)"),
    (r"x^{\log_2 3}", r"x^{\ln 3/\ln 2}"),
    ("2x+3y=6", r"y=2-\frac{2}{3}x"),
    ("x^2+y^2=4", "x^2+y^2-4=0"),
    (r"\det\begin{pmatrix}a&b\\c&d\end{pmatrix}", "ad-bc"),
    (r"\frac{dy}{dx}=\frac{x}{y}", r"y'=\frac{x}{y}"),
    ("e^x+C", "C+e^x"),
    (r"C_1\cos x+C_2\sin x", r"C_1 \cos(x) + C_2 \sin(x)"),
    (r"C_1\cos x+C_2\sin x", r"A\cos x+B\sin x"),
    ("Ce^{2x}", "ce^{2x}"),
    ("y=Ce^{2x}", "y=Ke^{2x}"),
]
DIFFERENT = [
    (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
    ("2^{-99}", "2^{-98}"),
    (r"1-\frac1e", r"1+\frac1e"),
    ("e^{-100}", "0"),
    ("e^{-1000}", "0"),
    ("0", "e^{-1000}"),
    (r"\sqrt2", r"\sqrt2+10^{-20}"),
    (r"\sqrt2", r"\sqrt2+10^{-50}"),
    (r"\sqrt2", r"\sqrt2+10^{-200}"),
    (r"\pi", "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803"),
    (r"e^{\pi\sqrt{163}}", "262537412640768744"),
    (r"\pi", r"\frac{355}{113}"),
    (r"\pi", r"\frac{103993}{33102}"),
    (r"\ln x^2", r"2\ln x"),
    (r"\sqrt{x^2}", "x"),
    (r"\ln|x|", r"\ln x"),
    (r"\sin 3x", r"3\sin x-4\cos^3 x"),
    ("6+9i", "6-9i"),
    ("5", "|3+4i|"),
    (r"\sum_{k=1}^n k", r"\frac{n(n-1)}{2}"),
    (r"\sum_{k=1}^n k^2", r"\sum_{j=1}^n j^3"),
    ("55", r"\sum_{k=1}^{10}k"),
    (r"\int_0^1 f(x)\,dx", r"\int_0^2 f(t)\,dt"),
    ("f(x)", "fx"),
    ("f(x)", "g(x)"),
    (r"\log_2 5", r"\log 5"),
    ("(x+1)^{100}", "(x+1)^{99}"),
    ("10^{10^{10}}", "10^{10^{11}}"),
    ("9^{9^{9^9}}", "9^{9^{9^8}}"),
    (r"\frac{x^3}{3}+C", r"\frac{x^3}{3}"),
    ("A+B+C", "A+B+K"),
    (r"y=\sqrt3 x", r"y=\sqrt2 x"),
    ("a^2+b^2", "(a+b)^2"),
    (r"\sqrt{a^2+b^2}", "a+b"),
    (r"\frac{\pi^2}{6}", "1.6449340668"),
    ("3.1415", r"\pi"),
    ("x^{10}+10^{-9}", "x^{10}"),
    ("0", r"\sin(10^{-30})"),
    ("1", r"1-10^{-60}\pi"),
    (r"\frac{dy}{dx}", r"\frac{y}{x}"),
    (r"\frac{1}{2x}", "1/2x"),
    (r"\sin^{-1}(x)", r"1/\sin(x)"),
    (r"\operatorname{lcm}(a,b)", "gcd(a,b)"),
    ("f'(x)", "f(x)"),
    ("f''(x)", "f'(x)"),
    ("f^{-1}(x)", r"\frac{1}{f(x)}"),
    (r"\overline{AB}", r"\overline{BC}"),
    (r"2\vec{a}+\vec{b}", "2a+b"),
    (r"\frac{\pi^2}{6}", r"\sum_{k=1}^\infty k^{-2}"),
    (r"\sum_{n=1}^{\infty} \frac{1}{n^2}", r"\sum_{k=1}^\infty k^{-3}"),
    ("e-1", r"\int_0^1 e^x\,dx"),
    (r"\int_0^1 e^x\,dx", r"\int_0^1 e^{2x}\,dx"),
    (r"\lim_{x \to 0} f(x)", r"\lim_{x\to 1} f(x)"),
    ("x^4+4x^3y+6x^2y^2+4xy^3-y^4", "(x+y)^4"),
    ("(a-b)^3", "(b-a)^3"),
    (r"\sqrt{a^2b}", r"a\sqrt{b}"),
    (r"\alpha", r"\beta"),
    (r"\frac12 (a+b)h", r"\frac12 (a-b)h"),
    ("3^{2x}", "6^x"),
    ("(n+1)!", "n!+1"),
    (r"\pi", "3.14"),
    (r"\pi", "22/7"),
    (r"\frac{-1+i\sqrt{3}}{2}", r"\frac{-1-i\sqrt{3}}{2}"),
    ("a+bi", "a-bi"),
    ("x^2+y^2=4", "x^2+y^2=2"),
    ("a^2+c^2", "a^2+k^2"),
    ("Cx", "Kx"),
    (r"C\sin x", r"2\sin x"),
]


def tree(text: str) -> Node:
    return ExpressionParser(tokenize(lay_out(text))).whole()


def verdict(gold: str, answer: str) -> Verdict:
    return judge(gold, f"\\boxed{{{answer}}}").verdict


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_equal(gold: str, answer: str) -> None:
    assert verdict(gold, answer) is Verdict.CORRECT


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different(gold: str, answer: str) -> None:
    assert verdict(gold, answer) is not Verdict.CORRECT


@pytest.mark.parametrize(
    ("gold", "answer"), [(r"2\sqrt3", r"-2\sqrt3"), (r"\sin x", r"-\sin x"), ("x+1", "-x-1")]
)
def test_a_slip_of_the_sign_is_named(gold: str, answer: str) -> None:
    assert judge(gold, f"\\boxed{{{answer}}}").explanation.near_miss == "sign"


def test_a_missing_constant_of_integration_is_a_slip_of_form() -> None:
    why = judge(r"\frac{x^3}{3}+C", r"\boxed{\frac{x^3}{3}}").explanation
    assert (why.rule, why.near_miss) == ("constant missing", "format only")


@pytest.mark.parametrize(
    "answer",
    [
        "9^{9^{9^{9}}}",
        "100000!",
        r"\sum_{k=1}^{10^9} k",
        r"\sum_{i=1}^{1000}\sum_{j=1}^{1000} ij",
        r"\prod_{k=1}^{1000}k^{1000}",
        r"\binom{10^9}{5\cdot10^8}",
        r"\gcd(10^{300},3^{600})",
        "x^{x^{x^{x^{x}}}}",
        "e^{e^{e^{e^{e}}}}",
        r"\sin(10^{300})",
        "(x+y+z+w)^{999}",
        r"10^{-20000}\pi",
        r"\pi^{5000}",
        r"\sum_{k=1}^{1000}\frac{1}{k^{k}}",
    ],
)
@pytest.mark.parametrize("gold", ["5", r"\sqrt2", "x^2+1"])
def test_a_giant_is_bounded_and_pays_nothing(gold: str, answer: str) -> None:
    started = time.thread_time()
    assert verdict(gold, answer) is not Verdict.CORRECT
    assert time.thread_time() - started < 1.0


def test_an_estimate_knows_its_error() -> None:
    value, error = estimate(tree(r"(10^{9}+\sqrt2)-10^{9}"), {})
    assert abs(value - 2**0.5) <= error < 1e-2
    assert clearly_differ(estimate(tree(r"\sqrt2"), {}), estimate(tree(r"\sqrt3"), {}))
    assert not clearly_differ(estimate(tree(r"\sqrt2\sqrt3"), {}), estimate(tree(r"\sqrt6"), {}))


@pytest.mark.parametrize(
    "text", [r"\ln(-1)", r"\sqrt{-2}", "e^{e^{e^{e}}}", r"\tan\frac{\pi}{2}", "x", "f(1)", r"\arcsin 2"]
)
def test_what_has_no_estimate_says_so(text: str) -> None:
    with pytest.raises((Unknown, TooLarge)):
        estimate(tree(text), {})


def test_points_change_one_sign_at_a_time() -> None:
    points = real_points(tree("xy"), tree("yx"))
    assert all(value > 0 for value in points[0].values())
    assert all(sum(value < 0 for value in point.values()) <= 1 for point in points)
    assert {name for point in points for name, value in point.items() if value < 0} == {"x", "y"}


def test_bounds_of_sums_and_exponents_of_minus_one_are_whole() -> None:
    assert whole_variables(tree(r"\sum_{k=1}^{n} k x + (-1)^m")) == {"n", "m"}


def test_precision_grows_with_the_digits_written() -> None:
    assert digits_in(tree(r"\sqrt2 + 10^{-300}")) >= 290
    assert digits_in(tree("e^{-1000}")) >= 430
    assert digits_in(tree("x^2 + 3x")) == 0
