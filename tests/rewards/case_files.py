"""The labelled cases: JSON lines in ``cases/``, one pair of gold and response with the verdict it must get."""

from __future__ import annotations

from pathlib import Path

from rewards.cases import LabelledCase, parse_case

FOLDER = Path(__file__).parent / "cases"


def stems() -> list[str]:
    """Names of the case files."""
    return sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def load(stem: str) -> list[LabelledCase]:
    """The cases of one file; a malformed line names itself."""
    return [
        parse_case(line, f"{stem}.jsonl:{number}")
        for number, line in enumerate((FOLDER / f"{stem}.jsonl").read_text("utf-8").splitlines(), start=1)
        if line.strip()
    ]


def load_all() -> list[LabelledCase]:
    """The cases of all files."""
    return [case for stem in stems() for case in load(stem)]
