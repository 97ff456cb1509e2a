"""The labelled cases: JSON lines in ``cases/``, one pair of gold and response with the verdict it must get."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "cases"
_FIELDS = frozenset(
    ["id", "category", "gold", "response", "correct", "strict", "verdict", "prompt", "adversarial", "why"]
)


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


def stems() -> list[str]:
    """Names of the case files."""
    return sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def load(stem: str) -> list[LabelledCase]:
    """The cases of one file; a malformed line names itself."""
    return [
        _case(line, f"{stem}.jsonl:{number}")
        for number, line in enumerate((FOLDER / f"{stem}.jsonl").read_text("utf-8").splitlines(), start=1)
        if line.strip()
    ]


def load_all() -> list[LabelledCase]:
    """The cases of all files."""
    return [case for stem in stems() for case in load(stem)]


def _case(line: str, where: str) -> LabelledCase:
    try:
        fields = json.loads(line)
        unknown = set(fields) - _FIELDS
        if unknown:
            raise ValueError(f"unknown field {sorted(unknown)[0]!r}")
        return LabelledCase(**{"strict": fields["correct"], **fields})
    except (ValueError, TypeError, KeyError) as problem:
        raise ValueError(f"{where}: {problem!r}") from problem
