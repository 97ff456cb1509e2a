"""The README says what is so."""

import re
from pathlib import Path

import pytest

import rewards
from rewards import Verdict, judge
from rewards.registry import available_rewards

PACKAGE = Path(rewards.__file__).parent
README = (PACKAGE / "README.md").read_text(encoding="utf-8")


def test_every_package_module_and_reward_is_named() -> None:
    packages = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    modules = [path.name for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
    assert [name for name in packages if f"`{name}/`" not in README] == []
    assert [name for name in modules if f"`{name}`" not in README] == []
    assert [name for name in available_rewards() if f"`{name}`" not in README] == []


def test_what_it_names_is_there() -> None:
    named = set(re.findall(r"`(\w+\.py)`", README)) - {"file.py"}
    assert named - {path.name for path in PACKAGE.rglob("*.py")} == set()


def test_every_verdict_of_the_verifier_is_explained() -> None:
    table = README.partition("## What a verdict means")[2]
    assert [v.value for v in Verdict if v is not Verdict.NOT_JUDGED and v.value not in table] == []


def test_the_example_is_what_judge_says() -> None:
    assert judge("3/4", r"... so \boxed{\frac{6}{8}}").explanation.sentence in README


EXAMPLES = [
    ("5", r"\boxed{4}. Wait, that is wrong: \boxed{5}", True),
    ("18", "The answer is not 17 but 18.", True),
    ("17", "17 is wrong.", False),
    ("1, 2", r"\boxed{1} and \boxed{2}", True),
    ("3", "The answer is 3 or 4.", False),
    ("3.14", r"\boxed{\pi}", True),
    ("1/3", r"\boxed{0.33}", False),
    ("3.14159", r"\boxed{3.14}", False),
    ("1234", r"\boxed{1{,}234}", True),
    ("1234567", r"\boxed{12,34,567}", True),
    ("3.5", r"\boxed{3,5}", True),
    ("12", "答案是十二。", True),
    ("1000", r"\boxed{10,00}", False),
    ("3/4", r"\boxed{6/8}", True),
    ("8/3", r"\boxed{2 2/3}", True),
    ("1500", r"\boxed{1.5 \cdot 10^3}", True),
    ("72", r"\boxed{48 + 24 = 72}", True),
    ("1024", r"\boxed{2^{10}}", False),
    ("3", r"\boxed{6/2}", False),
    ("4", r"\boxed{\sqrt{16}}", False),
    ("28", r"\boxed{28\%}", True),
    ("0.28", r"\boxed{0.28\%}", False),
    (r"60\text{ km/h}", "The answer is 60 kph.", True),
    ("2 hours 30 minutes", "The answer is 150 minutes.", True),
    (r"100\text{ cm}", "The answer is 1 m.", False),
    (r"\sin 2x", r"\boxed{2\sin x\cos x}", True),
    (r"\ln x^2", r"\boxed{2\ln x}", False),
    (r"\frac{x^2}{2} + C", r"\boxed{\frac{x^2}{2} + K}", True),
    (r"\frac{x^2}{2} + C", r"\boxed{\frac{x^2}{2}}", False),
    ("y = 2x + 1", r"\boxed{2x - y + 1 = 0}", True),
    ("x = 4", r"\boxed{x^2 = 16}", False),
    (r"\{1, 2\}", r"\boxed{2, 1}", True),
    ("(1, 2)", r"\boxed{(2, 1)}", False),
    ("x > 3", r"\boxed{(3, \infty)}", True),
    ("x > 3", r"\boxed{2x > 6}", False),
    ("x > 3", r"\boxed{[3, \infty)}", False),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\boxed{\langle 1, 2 \rangle}", True),
    (
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        r"\boxed{\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}}",
        False,
    ),
    ("1011_2", r"\boxed{1011}", False),
    ("3:4", r"\boxed{6:8}", True),
    ("3:45 p.m.", "The answer is 15:45.", True),
    ("3:45 p.m.", "The answer is 3:45 a.m.", False),
    ("B", r"\boxed{B) 12}", True),
    ("B", "The answer is A or B.", False),
    ("9^{9^{9}}", r"\boxed{9^{9^{9}}}", True),
    ("42", "The answer is 42 doubled.", False),
    ("42", "The answer is at least 42.", False),
]


@pytest.mark.parametrize(("gold", "response", "right"), EXAMPLES)
def test_the_examples_of_the_table_are_judged_as_it_says(gold: str, response: str, right: bool) -> None:
    score = judge(gold, response, lenient=True)
    assert (score.verdict is Verdict.CORRECT) == right, score.explanation.sentence
