"""Labelled cases as JSON lines: a gold, a response, and the verdict that it must get. Disputed verdicts become such.

``{"id", "category", "gold", "response", "correct"}`` with optional ``strict`` (as ``correct`` where it is left out),
``verdict``, ``prompt``, ``adversarial`` and ``why``. ``correct`` is the lenient reading's label.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from rewards.base import Sample, Score, Verdict

_TEXTS = ("id", "category", "gold", "response", "verdict", "prompt", "why")
_TRUTHS = ("correct", "strict", "adversarial")


class BadCase(ValueError):
    """A line that is no case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledCase:
    """One case. ``correct`` is the lenient reading's label, ``strict`` the strict one's."""

    id: str
    category: str
    gold: str
    response: str
    correct: bool
    strict: bool
    verdict: str = ""
    prompt: str = ""
    adversarial: bool = False
    why: str = ""

    @property
    def sample(self) -> Sample:
        """What a reward is given of it."""
        return Sample(problem_id=self.id, prompt=self.prompt, completion=self.response, gold=self.gold)


def read_cases(lines: Iterable[str]) -> list[LabelledCase]:
    """The cases of a file; blank lines are passed over.

    Raises:
        BadCase: a line is no case; the message names it.
    """
    return [parse_case(line, f"line {number}") for number, line in enumerate(lines, start=1) if line.strip()]


def parse_case(line: str, where: str) -> LabelledCase:
    """One line.

    Raises:
        BadCase: it is no case; the message begins with ``where``.
    """
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise BadCase(f"{where}: not JSON: {problem}") from problem
    if not isinstance(fields, dict):
        raise BadCase(f"{where}: a JSON object is wanted")
    unknown = sorted(fields.keys() - {*_TEXTS, *_TRUTHS})
    if unknown:
        raise BadCase(f"{where}: unknown field {unknown[0]!r}")
    missing = [name for name in ("id", "category", "gold", "response", "correct") if name not in fields]
    if missing:
        raise BadCase(f"{where}: {missing[0]!r} is missing")
    for name, value in fields.items():
        kind, word = (bool, "true or false") if name in _TRUTHS else (str, "text")
        if not isinstance(value, kind):
            raise BadCase(f"{where}: {name!r} must be {word}")
    return LabelledCase(**{"strict": fields["correct"], **fields})


def line_of(case: LabelledCase) -> str:
    """A case as its line: one line of ASCII, whatever stands in its texts."""
    optional = ("verdict", "adversarial")
    fields = {name: value for name, value in asdict(case).items() if value or name not in optional}
    return json.dumps(fields) + "\n"


def complaint(case: LabelledCase, score: Score) -> str:
    """What is wrong with the score that the lenient reading gave ``case``; empty where nothing is."""
    faults = []
    if (score.verdict is Verdict.CORRECT) != case.correct or score.explanation.lenient != case.correct:
        faults.append(f"correct should be {case.correct}")
    if score.explanation.strict != case.strict:
        faults.append(f"strict should be {case.strict}")
    if case.verdict and score.verdict != case.verdict:
        faults.append(f"verdict should be {case.verdict!r}, not {score.verdict.value!r}")
    return "; ".join(faults)
