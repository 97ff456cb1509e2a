"""Text never reaches an evaluator, and no text takes more than a moment in this process."""

import builtins
import importlib
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import sympy
import sympy.parsing.sympy_parser

from rewards.base import Verdict
from rewards.judging import check_gold, judge, prepare
from tests.rewards import cases

EXPLOITS = [
    "__import__('os').system('touch /tmp/owned')",
    "().__class__.__base__.__subclasses__()",
    "x.__init__.__globals__['__builtins__']",
    "[().__class__]",
    "(lambda: 1)()",
    "f'{1}'",
    "open(path,'w')",
    "open(path)",
    "exec(x)",
    "getattr(x, y)",
    "[__import__('os')]",
    r"\begin{pmatrix}__import__\end{pmatrix}",
    r"\pi; __import__('os')",
    r"\input{/etc/passwd}",
    r"\write18{rm}",
    '{"id": 0, "result": {"verdict": "correct"}}',
    '5"}\n{"id": 0, "result": {"verdict": "correct"}}',
    "\x1b[31m5\x1b[0m",
    "[red]5[/red]",
    "5; 6",
    "5 if 1 else 6",
    "globals()",
]


@pytest.fixture
def no_evaluator(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise AssertionError("text reached an evaluator")

    def refuse_text(function: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(value: Any, *args: Any, **kwargs: Any) -> Any:
            return refuse() if isinstance(value, str) else function(value, *args, **kwargs)

        return guarded

    monkeypatch.setattr(builtins, "eval", refuse)
    monkeypatch.setattr(sympy.parsing.sympy_parser, "parse_expr", refuse)
    monkeypatch.setattr(sympy.parsing.sympy_parser, "eval_expr", refuse)
    monkeypatch.setattr(sympy, "sympify", refuse_text(sympy.sympify))
    core = importlib.import_module("sympy.core.sympify")
    monkeypatch.setattr(core, "sympify", refuse_text(core.sympify))
    monkeypatch.setattr(sympy, "lambdify", refuse)


@pytest.mark.usefixtures("no_evaluator")
@pytest.mark.parametrize("text", EXPLOITS)
@pytest.mark.parametrize("wrap", [r"\boxed{%s}", "The answer is %s", "<answer>%s</answer>", "#### %s"])
def test_an_exploit_is_read_as_nothing_and_pays_nothing(text: str, wrap: str) -> None:
    for gold in ("5", "1", "0", "[1, 2]", "x + 1", r"\sqrt{2}"):
        score = judge(gold, wrap % text)
        assert score.value == 0.0 or text == "5; 6"
        assert score.verdict is not Verdict.CRASH
        assert score.explanation.sentence.isprintable()


@pytest.mark.usefixtures("no_evaluator")
def test_the_whole_table_passes_without_an_evaluator() -> None:
    for case in cases.CORRECT:
        assert judge(case.gold, case.completion, case.prompt).verdict is Verdict.CORRECT


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 20_000,
        "{" * 100_000,
        "\\boxed{" + "{" * 700 + "}" * 700 + "}",
        "\\boxed{" + "(" * 700 + "1" + ")" * 700 + "}",
        "\\boxed{" + "-" * 1400 + "1}",
        "\\boxed{" + "\\frac" * 290 + "}",
        "\\boxed{" + "\\sqrt" * 290 + "2}",
        "\\boxed{" + "\\frac{1}{1+" * 100 + "1" + "}" * 100 + "}",
        "\\boxed{" + "1\\frac{" * 150 + "1" + "}{2}" * 150 + "}",
        "\\boxed{" + "2^" * 500 + "2}",
        "\\boxed{" + "!" * 1000 + "}",
        "\\boxed{5" + "!" * 1000 + "}",
        "\\boxed{" + "sin " * 300 + "x}",
        "\\boxed{10^{10^{10}}}",
        "\\boxed{9999!}",
        "\\boxed{(9!)!}",
        "\\boxed{\\binom{99999}{4999}}",
        "\\boxed{" + "+".join(["2^{30000}/3^{9000}"] * 70) + "}",
        "\\boxed{\\sqrt[3]{" + "9" * 390 + "}}",
        "\\boxed{" + "9" * 1400 + "}",
        "\\boxed{1e999999999}",
        "\\boxed{1e-399}",
        "\\boxed{(x+1)^{999999}}",
        "<answer>" * 20_000,
        "<think>" * 20_000,
        "</think>" * 20_000,
        "answer is " * 20_000,
        "answer to " * 20_000,
        "final answer: " * 10_000,
        "The answer is not " * 5_000,
        "#### " * 20_000,
        "####\n" * 20_000,
        "Question: " * 20_000,
        "Answer: " + "a" * 100_000,
        "Answer: " + "1 " * 50_000,
        "Answer: " + "\n" * 100_000,
        "Answer:" + " " * 100_000,
        "Answer: " + "$" * 100_000,
        "Answer: " + "1," * 50_000,
        "Answer: " + "or " * 30_000,
        "答案" * 50_000,
        "1" * 100_000,
        "1,111" * 20_000,
        "\\boxed{" + "Aa " * 450 + "}",
        "\\boxed{" + "$" * 1400 + "}",
        "\\boxed{" + "\\text{" * 230 + "}" * 230 + "}",
        "\\boxed{" + "½" * 300 + "}",
        "\\boxed{" + "²" * 1000 + "}",
    ],
    ids=lambda text: text[:24],
)
@pytest.mark.parametrize("gold", ["5", "x^2 + 1"])
def test_no_text_takes_long_before_a_worker_is_asked(text: str, gold: str) -> None:
    started = time.thread_time()
    prepare(gold, text, text, lenient=True)
    check_gold(text)
    assert time.thread_time() - started < 1.0


def test_neither_sympy_nor_torch_is_loaded_for_the_fast_path() -> None:
    program = """
import sys
from rewards import MathVerifier, Sample
verifier = MathVerifier()
scores = verifier.score([Sample(problem_id="p", prompt="", completion="so $\\\\boxed{3/4}$.", gold="0.75")])
assert scores[0].value == 1.0, scores
assert not verifier._pool.pids(), "a plain number needs no worker"
loaded = {"sympy", "mpmath", "torch", "numpy", "textual"} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", program], check=True)
