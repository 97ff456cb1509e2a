"""The verifier beside Math-Verify, in one run: ``python -m tests.benchmarks.verifier [--gsm8k train.jsonl]``.

Accuracy on the labelled cases by category, pairs a second in one process, latency, groups of 64 with and without
bombs, start-up and memory of a worker. Wants the ``bench`` extra; without Math-Verify only our side is printed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rewards.base import Sample, Verdict
from rewards.cases import LabelledCase, complaint
from rewards.evident import judge_evident
from rewards.judging import judge
from rewards.math_verifier import MathVerifier
from rewards.reading.parse import read
from tests.rewards.case_files import load_all
from tests.rewards.run_cases import judge_cases

Judge = Callable[[str, str], bool]


class Pair(NamedTuple):
    """A gold answer and a response."""

    gold: str
    response: str


def ours(gold: str, response: str) -> bool:
    """Our verdict, in this process: at a glance where that is enough, as the reward does it, else in full."""
    sample = Sample(problem_id="", prompt="", completion=response, gold=gold)
    score = judge_evident(sample) or judge(gold, response, lenient=True)
    return score.verdict is Verdict.CORRECT


def math_verify() -> Judge | None:
    """Math-Verify as TRL calls it; None where it is not installed."""
    try:
        from math_verify import parse, verify
    except ImportError:
        return None

    def judge_pair(gold: str, response: str) -> bool:
        try:
            return bool(verify(parse(f"\\boxed{{{gold}}}"), parse(response)))
        except Exception:  # a grader that raises pays nothing
            return False

    return judge_pair


# -- accuracy


def print_accuracy(peer: Judge | None) -> None:
    """Both sides on every labelled case, by category."""
    cases = load_all()
    scores = judge_cases(cases)
    right, peers_right, total = Counter[str](), Counter[str](), Counter[str]()
    false_positives = peers_false_positives = 0
    for case, score in zip(cases, scores, strict=True):
        paid = score.verdict is Verdict.CORRECT
        total[case.category] += 1
        right[case.category] += not complaint(case, score)
        false_positives += case.adversarial and paid and not case.correct
        if peer is not None:
            theirs = peer(case.gold, case.response)
            peers_right[case.category] += theirs == case.correct
            peers_false_positives += case.adversarial and theirs and not case.correct
    print("| category | cases | ours | Math-Verify |\n|---|---|---|---|")
    for category in sorted(total):
        print(f"| {category} | {total[category]} | {right[category]} | {_of(peers_right[category], peer)} |")
    num_adversarial = sum(case.adversarial for case in cases)
    count = total.total()
    print(f"| **all** | {count} | {right.total() / count:.2%} | {_share(peers_right.total(), count, peer)} |")
    print(
        f"| paid wrongly among {num_adversarial} adversarial | | {false_positives} | {_of(peers_false_positives, peer)} |"
    )


def _of(count: int, peer: Judge | None) -> str:
    return "-" if peer is None else str(count)


def _share(count: int, total: int, peer: Judge | None) -> str:
    return "-" if peer is None else f"{count / total:.2%}"


# -- speed


def gsm8k_like(count: int) -> list[Pair]:
    """Boxed integers, right and wrong, at the end of a short solution."""
    rng = random.Random(0)
    pairs = []
    for _ in range(count):
        value = rng.randint(1, 99_999)
        said = value if rng.random() < 0.5 else value + rng.randint(1, 9)
        shown = f"{said:,}" if rng.random() < 0.3 else str(said)
        pairs.append(
            Pair(
                str(value),
                f"She pays {value - 1} dollars and then 1 dollar, so in total $\\boxed{{{shown}}}$.",
            )
        )
    return pairs


def gsm8k_solutions(file: Path, count: int) -> list[Pair]:
    """Whole solutions of the data set against their own answers."""
    rows = [json.loads(line)["answer"] for line in file.read_text("utf-8").splitlines()[:count]]
    return [Pair(row.rpartition("####")[2].strip(), row) for row in rows]


def math_like(cases: Sequence[LabelledCase]) -> list[Pair]:
    """The labelled cases with LaTeX golds: expressions, sets, intervals, matrices, right and wrong."""
    return [Pair(case.gold, case.response) for case in cases if not case.adversarial and "\\" in case.gold]


def per_second(judge_pair: Judge, pairs: Sequence[Pair]) -> tuple[float, list[float]]:
    """Pairs a second, and the seconds of each."""
    read.cache_clear()
    seconds = []
    for gold, response in pairs:
        started = time.perf_counter()
        judge_pair(gold, response)
        seconds.append(time.perf_counter() - started)
    return len(pairs) / sum(seconds), seconds


def print_speed(name: str, pairs: Sequence[Pair], peer: Judge | None, rounds: int = 3) -> None:
    """Both sides on the same pairs, in turns; medians of the rounds."""
    for pair in pairs[:20]:
        ours(*pair)
        if peer is not None:
            peer(*pair)
    mine, theirs, tails = [], [], []
    for _ in range(rounds):
        speed, seconds = per_second(ours, pairs)
        mine.append(speed)
        tails.append(sorted(seconds))
        if peer is not None:
            theirs.append(per_second(peer, pairs[: max(200, len(pairs) // 10)])[0])
    tail = tails[-1]
    p50, p95, p99 = (tail[min(len(tail) - 1, int(len(tail) * q))] * 1000 for q in (0.5, 0.95, 0.99))
    speed = statistics.median(mine)
    beside = (
        f"{statistics.median(theirs):,.0f} | {speed / statistics.median(theirs):.1f}×" if theirs else "- | -"
    )
    print(f"| {name} ({len(pairs)}) | {speed:,.0f} | {beside} | {p50:.2f} / {p95:.2f} / {p99:.2f} |")


# -- groups and workers


def print_groups(pairs: Sequence[Pair]) -> None:
    """A group of 64 through the reward as training uses it, with and without bombs."""
    verifier = MathVerifier()
    try:
        verifier.score([_sample(Pair("x^2-1", "\\boxed{(x-1)(x+1)}"))])
        rng = random.Random(1)
        plain = [_timed(verifier, rng.sample(gsm8k_like(500), 64)) for _ in range(20)]
        algebra = [_timed(verifier, rng.sample(list(pairs), 64)) for _ in range(20)]
        bombs = [
            Pair("\\sqrt{2}", f"\\boxed{{{bomb}}}") for bomb in ("9^{9^{9^9}}", "\\tan(10^{99999})+\\sqrt{3}")
        ]
        bombed = [_timed(verifier, [*rng.sample(list(pairs), 62), *bombs]) for _ in range(3)]
        print(
            f"| group of 64, GSM8K-like | {statistics.median(plain) * 1000:.1f} ms, max {max(plain) * 1000:.1f} |"
        )
        print(
            f"| group of 64, MATH-like | {statistics.median(algebra) * 1000:.1f} ms, max {max(algebra) * 1000:.1f} |"
        )
        print(f"| group of 64 with two bombs | max {max(bombed) * 1000:.0f} ms |")
        memory = [_resident_mb(pid) for pid in verifier._pool.pids()]
        print(f"| a worker, resident | {max(memory):.0f} MB |")
    finally:
        verifier.close()


def _timed(verifier: MathVerifier, pairs: Sequence[Pair]) -> float:
    read.cache_clear()
    started = time.perf_counter()
    verifier.score([_sample(pair) for pair in pairs])
    return time.perf_counter() - started


def _sample(pair: Pair) -> Sample:
    return Sample(problem_id="b", prompt="", completion=pair.response, gold=pair.gold)


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def print_start() -> None:
    """Import time, and seconds from process start to the first verdict of each kind."""
    code = "import time; t = time.perf_counter(); import rewards; print(time.perf_counter() - t)"
    imports = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    ]
    print(f"| import rewards | {min(imports) * 1000:.0f} ms |")
    for name, gold, response in (
        ("an integer", "3", "\\boxed{3}"),
        ("algebra in a worker", "\\sin(2x)", "\\boxed{2\\sin x\\cos x}"),
    ):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "grpo_tui.cli", "verify", "--gold", gold, response],
            capture_output=True,
            check=True,
        )
        print(f"| grpo-tui verify, {name}: start to end | {time.perf_counter() - started:.2f} s |")


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gsm8k", type=Path, help="GSM8K train.jsonl, for whole solutions")
    parser.add_argument("--skip-accuracy", action="store_true")
    options = parser.parse_args()
    peer = math_verify()
    if not options.skip_accuracy:
        print_accuracy(peer)
        print()
    pairs = math_like(load_all())
    print(
        "| pairs in one process | ours, pairs/s | Math-Verify, pairs/s | ratio | ours p50 / p95 / p99, ms |"
    )
    print("|---|---|---|---|---|")
    print_speed("GSM8K-like, boxed", gsm8k_like(4000), peer)
    if options.gsm8k:
        print_speed("GSM8K solutions", gsm8k_solutions(options.gsm8k, 2000), peer)
    print_speed("MATH-like", pairs, peer)
    print("\n| what | result |\n|---|---|")
    print_groups(pairs)
    print_start()


if __name__ == "__main__":
    main()
