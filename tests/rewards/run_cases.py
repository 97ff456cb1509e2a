"""Run the labelled cases and print what differs: ``python -m tests.rewards.run_cases [FILE ...] [--category C]``."""

from __future__ import annotations

import argparse
from collections import Counter

from rewards import MathVerifier, Score
from rewards.cases import LabelledCase, complaint
from tests.rewards.case_files import load, stems


def judge_cases(cases: list[LabelledCase]) -> list[Score]:
    """The score of every case by the lenient reading; each carries the strict one's opinion too."""
    samples = [case.sample for case in cases]
    verifier = MathVerifier(lenient=True)
    try:
        return verifier.score(samples)
    finally:
        verifier.close()


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--category")
    parser.add_argument("--id")
    parser.add_argument("--all", action="store_true", help="print every case, not only those that differ")
    options = parser.parse_args()
    cases = [
        case
        for stem in options.files or stems()
        for case in load(stem)
        if options.category in (None, case.category) and options.id in (None, case.id)
    ]
    total, bad = Counter[str](), Counter[str]()
    for case, score in zip(cases, judge_cases(cases), strict=True):
        fault = complaint(case, score)
        total[case.category] += 1
        bad[case.category] += bool(fault)
        if fault or options.all:
            _print_case(case, fault, score)
    for category, count in sorted(total.items()):
        print(f"{category:32} {count - bad[category]:5d} of {count:5d}")  # noqa: T201
    print(f"{'all':32} {total.total() - bad.total():5d} of {total.total():5d}")  # noqa: T201
    return int(bad.total() > 0)


def _print_case(case: LabelledCase, fault: str, score: Score) -> None:
    print(f"{case.id} [{case.category}] {fault or 'as labelled'}")  # noqa: T201
    print(f"    gold {case.gold[:200]!r}\n    response {case.response[:400]!r}")  # noqa: T201
    print(f"    got {score.verdict.value}: {score.explanation.sentence}")  # noqa: T201
    if case.why:
        print(f"    why {case.why}")  # noqa: T201


if __name__ == "__main__":
    raise SystemExit(main())
