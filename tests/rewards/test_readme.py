"""The README says what is so."""

from pathlib import Path

import rewards
from rewards import judge
from rewards.registry import available_rewards

README = (Path(rewards.__file__).parent / "README.md").read_text(encoding="utf-8")


def test_every_module_and_every_reward_is_named() -> None:
    package = Path(rewards.__file__).parent
    plumbing = {
        "__init__.py",
        "base.py",
        "codec.py",
        "compose.py",
        "cursor.py",
        "functions.py",
        "near_miss.py",
    }
    plumbing |= {"outcome.py", "registry.py", "shaping.py"}
    assert [m.name for m in package.glob("*.py") if m.name not in plumbing and m.name not in README] == []
    assert [name for name in available_rewards() if f"`{name}`" not in README] == []


def test_the_example_is_what_judge_says() -> None:
    assert judge("3/4", r"... so \boxed{\frac{6}{8}}").explanation.sentence in README
